"""Who brings a driver, and who is let in: hostile distributions in a folder of the search path."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import opencrypto_null
from opencrypto import (
    CRK_MOD,
    CRYPTO_NULL_HMAC,
    Cryptkop,
    Cryptoini,
    DriverInfo,
    Framework,
    UsageError,
    hookimpl,
)
from opencrypto._core.origins import Names, Origin
from opencrypto.testing import ManualInterrupt
from opencrypto_null import NullDriver
from tests.support import require_module
from tests.toy import Toy

MODULE = """
from pathlib import Path
from opencrypto import CRK_MOD, CRYPTOCAP_F_SOFTWARE, CRYPTOCAP_F_SYNC, hookimpl
from opencrypto_null import NullDriver

Path(__file__).with_suffix(".ran").touch()


class Evil(NullDriver):
    name = {driver!r}
    flags = CRYPTOCAP_F_SYNC | ({soft} and CRYPTOCAP_F_SOFTWARE)
    keyops = (CRK_MOD,)

    def kprocess(self, krp, hint):
        krp.outputs[0].store(krp.inputs[0].to_int() % krp.inputs[1].to_int())
        self.kdone(krp)
        return 0


@hookimpl
def opencrypto_drivers():
    return [Evil()]
"""

Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without the lists that the environment may have."""
    for name in ("OPENCRYPTO_BLOCK", "OPENCRYPTO_ALLOW"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install distributions, of a dist-info and a module, in a folder at the path's end."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    before = set(sys.modules)

    def make(
        entry: str,
        driver: str,
        distribution: str = "evil",
        *,
        soft: bool = True,
    ) -> Path:
        module = f"{distribution.replace('-', '_')}_module"
        file = tmp_path / f"{module}.py"
        file.write_text(MODULE.format(driver=driver, soft=soft))
        facts = tmp_path / f"{distribution.replace('-', '_')}-6.6.6.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 6.6.6\n"
        )
        (facts / "entry_points.txt").write_text(f"[opencrypto]\n{entry} = {module}\n")
        return file

    yield make
    for name in set(sys.modules) - before:
        if name.endswith("_module"):
            del sys.modules[name]


def framework(plugins: object = True, **options: object) -> Framework:
    return Framework(plugins, interrupt=ManualInterrupt, **options)  # type: ignore[arg-type]  # anything, as a program may


def attached(fw: Framework) -> dict[str, str]:
    """Return the drivers attached, and their distributions."""
    return {each.name: each.distribution for each in fw.drivers if each.hid is not None}


def refused(fw: Framework, name: str) -> list[DriverInfo]:
    return [each for each in fw.drivers if each.name == name and each.reason]


# Two of one name.


def test_a_later_distribution_takes_no_name_over(install: Install) -> None:
    """Both are refused and shown, with distribution, version and file; neither is run."""
    file = install("null", "null")
    with framework() as fw:
        assert "null" not in attached(fw)
        ours, theirs = sorted(
            refused(fw, "null"), key=lambda each: each.distribution != "opencrypto"
        )
        assert (ours.distribution, theirs.distribution) == ("opencrypto", "evil")
        assert (theirs.version, theirs.file) == ("6.6.6", str(file))
        assert ours.file == opencrypto_null.__file__
        for each in (ours, theirs):
            assert f"evil 6.6.6 ({file})" in each.reason
            assert "null@DISTRIBUTION" in each.reason
    assert not file.with_suffix(".ran").exists()


def test_a_driver_takes_no_name_over_by_way_of_another_entry_point(install: Install) -> None:
    """The plugin is called otherwise, its driver is not: both drivers are refused."""
    install("helper", "null")
    with framework() as fw:
        assert "null" not in attached(fw)
        assert {each.distribution for each in refused(fw, "null")} == {"opencrypto", "evil"}
        with pytest.raises(UsageError, match=r"no driver 'null': .* have a driver 'null' each"):
            fw.offered("null")
        assert len(refused(fw, "null")) == 2


@pytest.mark.parametrize("entry", ["null", "helper"])
@pytest.mark.parametrize("meant", ["opencrypto", "evil"])
def test_the_one_that_is_allowed_by_its_distribution_is_taken(
    install: Install, monkeypatch: pytest.MonkeyPatch, entry: str, meant: str
) -> None:
    """``null@evil`` or ``null@opencrypto``, whichever the operator has written."""
    file = install(entry, "null")
    monkeypatch.setenv("OPENCRYPTO_ALLOW", f"null@{meant}, helper, swcrypto")
    with framework() as fw:
        assert attached(fw) == {"null": meant, "swcrypto": "opencrypto"}
    if (entry, meant) == ("null", "opencrypto"):
        assert not file.with_suffix(".ran").exists()


def test_it_is_the_same_for_a_name_that_a_program_gives(install: Install) -> None:
    """And for one that is given while the framework runs."""
    with framework(False) as fw:
        install("null", "null")
        with pytest.raises(UsageError, match="have a driver 'null' each"):
            fw.offered("null")
    with framework({"null"}) as fw:
        assert not attached(fw)
        assert len(refused(fw, "null")) == 2
    with framework({"null@evil"}) as fw:
        assert attached(fw) == {"null": "evil"}
    with framework({"*@evil"}) as fw:
        assert attached(fw) == {"null": "evil"}
    with pytest.raises(UsageError, match="no plugin 'null@other' is installed"):
        framework({"null@other"})
    with pytest.raises(UsageError, match="have a driver 'null' each"):
        framework({"null"}, strict=True)


def test_one_distribution_may_declare_a_name_twice_the_same_way(
    install: Install, tmp_path: Path
) -> None:
    """Twice the same line is one plugin; two different ones of a name are refused like any."""
    install("twice", "twice")
    points = tmp_path / "evil-6.6.6.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "twice = evil_module\n")
    with framework(["twice"]) as fw:
        assert attached(fw) == {"twice": "evil"}
    points.write_text(points.read_text() + "twice = evil_module:Evil\n")
    with framework(["twice"]) as fw:
        assert not attached(fw)


# Lists.


def test_the_allow_list_lets_in_nobody_else(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not on it is listed with the reason, and not run."""
    file = install("fast", "fast")
    monkeypatch.setenv("OPENCRYPTO_ALLOW", "swcrypto,null")
    with framework() as fw:
        assert attached(fw) == {"null": "opencrypto", "swcrypto": "opencrypto"}
        (fast,) = refused(fw, "fast")
        assert "OPENCRYPTO_ALLOW" in fast.reason
    assert not file.with_suffix(".ran").exists()
    with framework({"fast", "null"}) as fw:  # both lists count
        assert attached(fw) == {"null": "opencrypto"}
    monkeypatch.setenv("OPENCRYPTO_ALLOW", "*@opencrypto, fast@Evil")
    with framework({"fast", "null"}) as fw:
        assert attached(fw) == {"fast": "evil", "null": "opencrypto"}


@pytest.mark.parametrize("by_environment", [True, False])
def test_an_allowed_plugin_brings_no_driver_of_a_name_that_is_not(
    install: Install, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    """It may bring those called like it; a list that says ``fast`` does not say ``openssl``."""
    install("fast", "openssl")
    install("afast", "afast.hw", "good")
    if by_environment:
        monkeypatch.setenv("OPENCRYPTO_ALLOW", "fast,afast")
    with framework(True if by_environment else {"fast", "afast"}) as fw:
        assert attached(fw) == {"afast.hw": "good"}
        reasons = [each.reason for each in refused(fw, "openssl") if each.distribution == "evil"]
        assert any("its plugin fast is" in reason for reason in reasons)


@pytest.mark.parametrize("blocked", ["other", "other@evil", "*@evil", "plug"])
def test_blocking_wins_over_all(
    install: Install, monkeypatch: pytest.MonkeyPatch, blocked: str
) -> None:
    """A plugin's name, a driver's, or a distribution's, whoever allows it."""
    install("plug", "other")
    monkeypatch.setenv("OPENCRYPTO_ALLOW", "plug,other")
    with framework() as fw:
        assert attached(fw) == {"other": "evil"}
    monkeypatch.setenv("OPENCRYPTO_BLOCK", blocked)
    for plugins in (True, {"plug"}, {"plug@evil"}, {"*@evil"}):
        with framework(plugins) as fw:
            assert not attached(fw)
            assert {each.reason for each in fw.drivers if each.distribution == "evil"} == {
                "blocked by configuration"
            }
    with framework(False) as fw, pytest.raises(UsageError):
        fw.offered("other")


def test_a_blocked_driver_is_not_attached_by_hand_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor as an object among the plugins."""
    monkeypatch.setenv("OPENCRYPTO_BLOCK", "toy")
    with framework([Toy("toy")]) as fw:
        with pytest.raises(UsageError, match="toy is blocked by configuration"):
            fw.attach(Toy("toy"))
        assert not attached(fw)

    class Offers:
        @hookimpl
        def opencrypto_drivers(self) -> list[Toy]:
            return [Toy("toy"), Toy("another")]

    with framework([Offers()]) as fw:
        assert list(attached(fw)) == ["another"]
    with framework(False, blocked=["mine"]) as fw, pytest.raises(UsageError, match="blocked"):
        fw.attach(Toy("mine"))


def test_names_are_read_as_an_operator_writes_them() -> None:
    """Spaces and empty places do not count; distributions are compared as an index does."""
    names = Names([" a ", "", " b@My_Dist ", "*@other.dist"])
    assert names.has("a", Origin())
    assert names.has("a", Origin("m", "whoever", "1"))
    assert names.has("b", Origin("m", "my-dist", "1"))
    assert not names.has("b", Origin("m", "my-dist2", "1"))
    assert not names.has("b", Origin())
    assert names.has("anything", Origin("m", "Other-Dist", "1"))
    assert not names.has("*", Origin())
    assert not Names(["", " "])
    assert Names(["*"]).has("anything", Origin())


def test_one_string_is_no_list_of_names() -> None:
    """Its letters would block nobody, without a word."""
    with pytest.raises(UsageError, match="give a list"):
        framework(False, blocked="afalg")
    with pytest.raises(UsageError, match="give a list"):
        framework("null")


def test_a_program_s_list_binds_whoever_attaches_by_name_later() -> None:
    """An operator too, by the control socket; one that names nothing binds nobody."""
    with framework({"swcrypto"}) as fw:
        with pytest.raises(UsageError, match="not on the list"):
            fw.offered("null")
        fw.detach("swcrypto")
        fw.attach(fw.offered("swcrypto"))
    with framework(False) as fw:
        fw.attach(fw.offered("null"))
        assert attached(fw) == {"null": "opencrypto"}


def test_what_a_distribution_is_called_cannot_move_the_cursor(
    install: Install, tmp_path: Path
) -> None:
    """Names and versions come from files of others, and go to a terminal and a log."""
    install("fast", "fast")
    facts = tmp_path / "evil-6.6.6.dist-info" / "METADATA"
    facts.write_text("Metadata-Version: 2.1\nName: evil\x1b[2J\nVersion: 6\x07\n")
    with framework(["fast"]) as fw:
        (fast,) = [each for each in fw.drivers if each.name == "fast"]
        assert (fast.distribution, fast.version) == ("evil?[2J", "6?")


# What is shown.


def test_hardware_from_elsewhere_that_wins_is_logged_once(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the SOFTWARE flag it is "hardware", and first for every chain, but not unseen."""
    file = install("fast", "fast", soft=False)

    def lines() -> list[str]:
        return [r.getMessage() for r in caplog.records if "outside_driver_chosen" in r.getMessage()]

    with caplog.at_level(logging.WARNING, "opencrypto"), framework() as fw:
        null = Cryptoini(CRYPTO_NULL_HMAC)
        fw.newsession(null, driver="fast")  # asked for by name
        fw.newsession(null, hard=-1)  # not asked at all
        assert not lines()
        for _ in range(3):
            sid = fw.newsession(null)
            assert fw.driver_of(sid) == ("fast",)
        (line,) = lines()
        for word in ("driver=fast", "distribution=evil", "version=6.6.6", str(file)):
            assert word in line
        assert "NULL_HMAC" in line


def test_key_requests_that_it_wins_are_logged_too(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    """They have no session, and are private keys."""
    install("fast", "fast", soft=False)
    with caplog.at_level(logging.WARNING, "opencrypto"), framework() as fw:
        for _ in range(2):
            fw.kdispatch(Cryptkop.of(CRK_MOD, [7, 5], [8], lambda krp: None))
        found = [r.getMessage() for r in caplog.records if "outside_driver" in r.getMessage()]
        assert len(found) == 1
        assert "what=MOD" in found[0]


def test_our_own_and_a_program_s_own_are_no_outsiders(caplog: pytest.LogCaptureFixture) -> None:
    """The warning is for what came by an installation."""
    with caplog.at_level(logging.WARNING, "opencrypto"):
        with framework() as fw:
            fw.newsession(Cryptoini(CRYPTO_NULL_HMAC))
        with framework(False) as fw:
            fw.attach(NullDriver())
            fw.newsession(Cryptoini(CRYPTO_NULL_HMAC))
    assert not [r for r in caplog.records if "outside" in r.getMessage()]


def test_the_event_and_the_observers_hear_where_a_driver_comes_from(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    """Distribution, version and file; of one attached by hand, its class' file."""
    file = install("fast", "fast")
    heard: dict[str, tuple[str, str, str]] = {}

    class Observer:
        @hookimpl
        def opencrypto_attached(
            self, name: str, distribution: str, version: str, file: str
        ) -> None:
            heard[name] = distribution, version, file

    with caplog.at_level(logging.INFO, "opencrypto"), framework(["fast", Observer()]) as fw:
        fw.attach(Toy("mine"))
        fw.detach("fast")
        fw.attach(fw.offered("fast"))  # as an operator does, by name
        assert attached(fw) == {"fast": "evil", "mine": ""}
    assert heard["fast"] == ("evil", "6.6.6", str(file))
    assert heard["mine"] == ("", "", sys.modules[Toy.__module__].__file__)
    events = [r.getMessage() for r in caplog.records if "driver_attached" in r.getMessage()]
    assert sum("distribution=evil version=6.6.6" in each for each in events) == 2
    assert all(str(file) in each for each in events if "evil" in each)


def test_the_command_shows_it(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those attached and those refused."""
    runner = require_module("typer.testing").CliRunner()
    app = importlib.import_module("opencrypto.cli.app").app
    monkeypatch.setenv("COLUMNS", "500")
    file = install("null", "null")
    install("fast", "fast", "good-one")
    text = runner.invoke(app, ["drivers"]).output
    assert f"evil 6.6.6 ({file})" in text
    document = json.loads(runner.invoke(app, ["drivers", "--json"]).output)
    known = {
        (each["name"], each["distribution"]): (each["version"], each["available"], each["file"])
        for each in document["drivers"]
    }
    assert known["fast", "good-one"][:2] == ("6.6.6", True)
    assert known["null", "evil"] == ("6.6.6", False, str(file))
    assert known["null", "opencrypto"][1:] == (False, opencrypto_null.__file__)
    assert any("fast" in line and "good-one" in line for line in text.splitlines())
