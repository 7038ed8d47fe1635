"""Plugins: found, guarded, observed."""

from __future__ import annotations

import types
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_SYMQ,
    CRYPTOCAP_F_ACCEL_SOFTWARE,
    CRYPTOCAP_F_SOFTWARE,
    Driver,
    DriverUnavailable,
    Framework,
    UsageError,
    hookimpl,
)
from opencrypto.testing import ManualInterrupt
from tests.toy import Log, Toy, newsession, request, step


def offering(name: str, *drivers: object) -> types.ModuleType:
    """A module whose hook returns these."""
    module = types.ModuleType(name)
    module.opencrypto_drivers = hookimpl(  # type: ignore[attr-defined]  # of a module made here
        lambda: list(drivers), specname="opencrypto_drivers"
    )
    return module


def failing(name: str, error: BaseException) -> types.ModuleType:
    """A module whose hook raises this."""
    module = types.ModuleType(name)

    def hook() -> list[Driver]:
        raise error

    module.opencrypto_drivers = hookimpl(hook, specname="opencrypto_drivers")  # type: ignore[attr-defined]  # of a module made here
    return module


def framework(*plugins: object, **options: Any) -> Framework:
    return Framework(plugins=plugins, interrupt=ManualInterrupt, **options)


def names(fw: Framework) -> list[str]:
    return [each.name for each in fw.drivers if not each.reason]


def reasons(fw: Framework) -> dict[str, str]:
    return {each.name: each.reason for each in fw.drivers if each.reason}


class Offers:
    """A plugin that is a class."""

    @hookimpl
    def opencrypto_drivers(self) -> list[Driver]:
        return [Toy("of-a-class")]


class OneDriver(Toy):
    """A driver class that is itself the plugin."""

    name = "one-driver"

    def __init__(self) -> None:
        super().__init__("one-driver")


def test_a_module_a_class_an_instance_or_a_driver_is_a_plugin() -> None:
    """All four ways of offering drivers are accepted."""
    with framework(offering("module", Toy("of-a-module")), Offers, OneDriver, Toy("bare")) as fw:
        assert names(fw) == ["bare", "of-a-class", "of-a-module", "one-driver"]
        assert reasons(fw) == {}
    with framework(Offers()) as fw:
        assert names(fw) == ["of-a-class"]


def test_ids_follow_class_and_name_never_the_order_of_loading() -> None:
    """Hardware first, then accelerated, then software, each by name, whatever comes first."""
    accelerated = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_ACCEL_SOFTWARE
    plugins = [
        offering("a", Toy("z-soft"), Toy("z-hard", flags=0)),
        offering("b", Toy("a-soft"), Toy("m-acc", flags=accelerated)),
        offering("c", Toy("a-hard", flags=0)),
    ]
    for order in (plugins, plugins[::-1]):
        fresh = [offering(p.__name__, *(_twin(d) for d in p.opencrypto_drivers())) for p in order]
        with framework(*fresh) as fw:
            assert names(fw) == ["a-hard", "z-hard", "m-acc", "a-soft", "z-soft"]


def _twin(driver: Toy) -> Toy:
    return Toy(driver.name, flags=driver.flags)


class Panic(BaseException):
    """What an extension module raises that has panicked is no Exception either."""


BROKEN: list[tuple[object, str, str]] = [
    (failing("raises", ImportError("no such library")), "raises", "ImportError: no such library"),
    (failing("cannot", DriverUnavailable("no device here")), "cannot", "no device here"),
    (failing("exits", SystemExit("at import")), "exits", "SystemExit: at import"),
    (failing("panics", Panic("in Rust")), "panics", "Panic: in Rust"),
    (offering("garbage", "a string"), "garbage", "offers str, which is no Driver"),
    (offering("none", None), "none", "offers NoneType, which is no Driver"),
    (offering("class", Toy), "class", "offers type, which is no Driver"),
    (types.ModuleType("empty"), "empty", "implements no hook; mark its functions"),
    (offering("badname", Toy("two words")), "two words", "one token"),
    (offering("noname", Toy(None)), "None", "one token"),  # type: ignore[arg-type]  # wrong on purpose
    (offering("badflags", Toy("bf", flags="x")), "bf", "CRYPTOCAP_F_"),  # type: ignore[arg-type]  # wrong on purpose
    ("no-such-plugin", "no-such-plugin", "no plugin 'no-such-plugin' is installed"),
]


@pytest.mark.parametrize(("plugin", "name", "reason"), BROKEN, ids=[each[1] for each in BROKEN])
def test_a_broken_plugin_takes_nobody_down(plugin: object, name: str, reason: str) -> None:
    """It is listed with its reason, before or after others, and they are attached."""
    for plugins in ((plugin, offering("good", Toy())), (offering("good", Toy()), plugin)):
        try:
            fw = framework(*plugins)
        except UsageError:  # a name that is no entry point is the caller's mistake
            assert isinstance(plugin, str)
            continue
        with fw:
            assert names(fw) == ["toy"]
            assert reason in reasons(fw)[name]


def test_a_constructor_or_a_generator_that_raises() -> None:
    """A class that cannot be made, and a hook that fails half way, are listed too."""

    class Cannot:
        def __init__(self) -> None:
            raise OSError("of the constructor")

    def some() -> Iterable[Driver]:
        yield Toy("first")
        raise OSError("half way")

    module = types.ModuleType("half")
    module.opencrypto_drivers = hookimpl(some, specname="opencrypto_drivers")  # type: ignore[attr-defined]  # of a module made here
    with framework(Cannot, module) as fw:
        assert reasons(fw) == {"Cannot": "OSError: of the constructor", "half": "OSError: half way"}
        assert names(fw) == ["first"]


def test_a_driver_that_cannot_say_its_name_takes_nobody_down() -> None:
    """Name and flags are asked for before anything was checked, and may raise."""

    class Shy(Toy):
        @property
        def name(self) -> str:
            raise OSError("none of your business")

        @name.setter
        def name(self, value: str) -> None:
            pass

    with framework(offering("shy", Shy("shy")), offering("good", Toy("good"))) as fw:
        assert names(fw) == ["good"]
        assert reasons(fw) == {"shy": "OSError: none of your business"}


def test_a_plugin_that_cannot_say_its_name_takes_nobody_down() -> None:
    """A program brings it, and is told of it as of any other that fails."""

    class Shy:
        @property
        def name(self) -> str:
            raise OSError("none of your business")

    with framework(Shy(), offering("good", Toy("good"))) as fw:
        assert names(fw) == ["good"]
        assert reasons(fw) == {"Shy": "OSError: none of your business"}


class Maker:
    """A plugin that makes new drivers each time, and keeps what it has made."""

    def __init__(self, name: str, *offered: str) -> None:
        self.name = name
        self.offered = offered
        self.made: list[Toy] = []

    @hookimpl
    def opencrypto_drivers(self) -> list[Driver]:
        new = [Toy(name) for name in self.offered]
        self.made += new
        return [*new]

    @property
    def closed(self) -> dict[str, int]:
        """How many of each name were closed."""
        return {n: sum(t.closed for t in self.made if t.name == n) for n in self.offered}


def test_one_driver_is_asked_of_who_offers_it_and_what_comes_with_it_is_closed() -> None:
    one, other = Maker("one", "a", "b"), Maker("other", "c")
    with framework(one, other) as fw:
        assert names(fw) == ["a", "b", "c"]
        fw.detach("a")
        assert fw.attach(fw.offered("a")) == 0
        assert [len(maker.made) for maker in (one, other)] == [4, 1]
        assert one.closed == {"a": 1, "b": 1}
        assert names(fw) == ["a", "b", "c"]
        with pytest.raises(UsageError, match="no plugin 'd' is installed"):
            fw.offered("d")
        assert one.closed == {"a": 2, "b": 2}
    assert one.closed == {"a": 3, "b": 3}
    assert len(one.made) == 6


def test_a_driver_that_its_plugin_gives_again_is_not_closed_under_anybody() -> None:
    """It is the same object, at work here or elsewhere, or perhaps wanted later."""
    a, b, c = Toy("a"), Toy("b"), Toy("c")
    with framework(offering("same", a, b, c)) as fw:
        for name in "ac":
            fw.detach(name)
        assert fw.offered("a") is a
        assert (a.closed, b.closed, c.closed) == (1, 0, 1)
        with framework() as second:
            second.attach(a)
            second._plugins.add([offering("again", a, Toy("x"))])
            second.offered("x")
            assert a.closed == 1


def test_an_unwanted_driver_that_raises_in_close_is_in_nobodys_way() -> None:
    class Stubborn(Toy):
        def close(self) -> None:
            raise OSError

    class Mixed:
        @hookimpl
        def opencrypto_drivers(self) -> list[Driver]:
            return [Toy("a"), Stubborn("b")]

    with framework() as fw:
        fw._plugins.add([Mixed()])
        assert fw.offered("a").name == "a"


def test_a_misspelt_hook_is_refused() -> None:
    """A hook that nobody would ever call is an error, not silence."""

    class Misspelt:
        name = "misspelt"

        @hookimpl
        def opencrypto_driver(self) -> list[Driver]:
            return []

    with framework(Misspelt()) as fw:
        assert "opencrypto_driver, which is no hook" in reasons(fw)["misspelt"]


def test_strict_makes_a_failure_an_error_and_leaves_nothing_behind() -> None:
    """A plugin named strict, or any if all are, raises its error; what was attached is closed."""
    toy = Toy("a")
    for strict in (True, ["boom"]):
        with pytest.raises(ImportError, match="no such library"):
            framework(failing("boom", ImportError("no such library")), strict=strict)
    with pytest.raises(UsageError, match="one token"):
        framework(offering("x", toy, Toy("two words")), strict=True)
    assert toy.closed == 1
    with pytest.raises(UsageError, match="plugin boom failed: SystemExit: 3"):
        framework(failing("boom", SystemExit(3)), strict=True)
    with pytest.raises(KeyboardInterrupt):
        framework(failing("boom", KeyboardInterrupt()))
    with framework(failing("boom", ImportError()), strict=["other"]):
        pass
    with framework(failing("boom", DriverUnavailable("none here")), strict=True) as fw:
        assert reasons(fw) == {"boom": "none here"}


def test_blocked_names_are_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocked by argument or by OPENCRYPTO_BLOCK, a plugin is listed so and never called."""
    monkeypatch.setenv("OPENCRYPTO_BLOCK", " second , ")
    plugins = [failing(name, AssertionError("called")) for name in ("first", "second")]
    with framework(*plugins, blocked=["first"], strict=True) as fw:
        assert reasons(fw) == dict.fromkeys(("first", "second"), "blocked by configuration")


def test_discovery_guards_each_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the installed plugins one that cannot be imported is listed, the others are attached."""
    found = [
        EntryPoint("zzz", "tests.core.test_plugins:Offers", "opencrypto"),
        EntryPoint("broken", "opencrypto_that_is_not_there", "opencrypto"),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: found)
    with Framework(interrupt=ManualInterrupt) as fw:
        assert names(fw) == ["of-a-class"]
        assert "ModuleNotFoundError" in reasons(fw)["broken"]


class Observer:
    """Writes down every event."""

    name = "observer"

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    @hookimpl
    def opencrypto_attached(self, hid: int, name: str) -> None:
        self.events.append(("attached", hid, name))

    @hookimpl
    def opencrypto_detached(self, name: str) -> None:
        self.events.append(("detached", name))

    @hookimpl
    def opencrypto_newsession(self, sid: int, driver: str) -> None:
        self.events.append(("newsession", sid, driver))

    @hookimpl
    def opencrypto_migrated(self, sid: int, new_sid: int) -> None:
        self.events.append(("migrated", sid, new_sid))

    @hookimpl
    def opencrypto_blocked(self, hid: int, what: int) -> None:
        self.events.append(("blocked", hid, what))

    @hookimpl
    def opencrypto_unblocked(self, hid: int) -> None:
        self.events.append(("unblocked", hid))


def test_observers_hear_of_every_event_once() -> None:
    """Attach, new session, block, unblock, detach and migration, in order, to who asks for them."""
    observer = Observer()
    with framework(observer) as fw:
        one = Toy("one")
        fw.attach(one)
        fw.attach(Toy("two"))
        sid, log = newsession(fw), Log()
        one.full = True
        fw.dispatch(request(sid, log))
        one.full = False
        one.unblock(CRYPTO_SYMQ)
        step(fw)
        fw.detach("one")
        fw.dispatch(request(sid, log))
        assert observer.events == [
            ("attached", 0, "one"),
            ("attached", 1, "two"),
            ("newsession", sid, "one"),
            ("blocked", 0, CRYPTO_SYMQ),
            ("unblocked", 0),
            ("detached", "one"),
            ("migrated", sid, log.calls[-1][2]),
        ]


def test_an_observer_that_raises_stops_nothing() -> None:
    """It is logged; what it observed goes on."""

    class Grumpy:
        name = "grumpy"

        @hookimpl
        def opencrypto_attached(self, name: str) -> None:
            raise RuntimeError

    with framework(Grumpy()) as fw:
        fw.attach(Toy())
        assert names(fw) == ["toy"]
