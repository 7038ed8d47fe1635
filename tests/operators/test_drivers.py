"""A live process's drivers, as they are seen from outside: command, client, tree and metrics."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_SYMQ,
    CryptoError,
    Framework,
    UsageError,
)
from opencrypto.cli.top import Screen
from opencrypto.control import Client
from opencrypto.metrics import Collector
from tests.cli.commands import run
from tests.operators.impostor import impostor, saying
from tests.operators.test_stuck import Moody, until
from tests.test_options import Card
from tests.test_selftest import Broken
from tests.toy import newsession, request


class Talkative(Broken):
    """It says more of itself than anybody reads, and some of it no terminal should get."""

    remarks = ("\x1b[2Jcleared", "x" * 5000)


@contextlib.contextmanager
def live(place: Path) -> Iterator[tuple[Framework, Moody]]:
    """A process with a driver whose known answers fail, and one that is blocked."""
    moody = Moody()
    with Framework(plugins=[Talkative(), moody], control=place) as framework:
        sid = newsession(framework, driver="moody")
        moody.mood = "full"
        framework.dispatch(request(sid, lambda crp: None, flags=CRYPTO_F_BATCH))
        until(lambda: framework.sysctl["opencrypto.drivers.moody.blocked"])
        yield framework, moody
        moody.mood = "well"
        framework.unblock(framework.drivers[1].hid or 0, CRYPTO_SYMQ)


def test_the_command_shows_a_live_process(tmp_path: Path) -> None:
    """Whose they are; state; what is not trusted and why; remarks, fit for a terminal."""
    place = tmp_path / "it.sock"
    with live(place):
        done = run("drivers", "--socket", place)
        told = json.loads(run("drivers", "--socket", place, "--json").stdout)
        options = json.loads(run("drivers", "--options", "--socket", place, "--json").stdout)
    assert "pid" in done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    state = {row[1]: row[3] for row in rows if len(row) == 7}
    assert state["broken"] == "attached"
    assert state["moody"].startswith("BLOCKED for 0:00:")
    assert ["broken", "AES_CBC", "its known answer is wrong"] in rows
    assert ["broken", "\N{REPLACEMENT CHARACTER}[2Jcleared"] in rows
    assert told["of"]["pid"] > 0
    broken, moody = told["drivers"]
    assert broken["failed"]["AES_CBC"] == "its known answer is wrong"
    assert not broken["blocked"]
    assert moody["blocked"]
    assert abs(moody["blocked_since"] - time.time()) < 60
    assert not moody["leaving"]
    assert options["of"] == told["of"]


def test_without_a_process_it_says_what_they_are() -> None:
    done = run("drivers")
    assert "installed plugins" in done.stderr
    assert "installed plugins" not in done.stdout
    assert "--probe" in run("drivers", "--probe", "--pid", "1", status=2).stderr


def test_a_driver_that_leaves_is_shown_as_leaving(tmp_path: Path) -> None:
    """While it owes an answer; it has a state on the tree too."""
    moody = Moody()
    with Framework(plugins=[moody], control=tmp_path / "it.sock") as framework:
        sid = newsession(framework)
        moody.mood = "silent"
        framework.dispatch(request(sid, lambda crp: None))
        leaving = threading.Thread(target=framework.detach, args=("moody",))
        leaving.start()
        try:
            with Client(tmp_path / "it.sock") as client:
                until(lambda: client.drivers()[0]["leaving"])
                state = client.get("opencrypto.drivers.moody.state")
        finally:
            moody.reply()
            leaving.join()
        assert state == {"opencrypto.drivers.moody.state": "leaving"}


def test_whether_there_is_a_way_back_is_said_before_a_detach(tmp_path: Path) -> None:
    """By whether a plugin offers it; one that the program made and attached is gone for good."""
    place = tmp_path / "it.sock"
    with Framework(plugins=[Moody()], control=place) as framework, Client(place) as client:
        framework.attach(Broken(), selftest=False)
        screen = Screen(client, 1.0)
        screen.press("down")
        asked = []
        for key in ("up", "down"):
            screen.press(key)
            screen.press("d")
            asked.append(screen.view().message)
            screen.press("n")
        offered = {each["name"]: each["offered"] for each in client.drivers()}
        assert offered == {"moody": True, "broken": False}
        for name, can in offered.items():
            said = next(each for each in asked if f"Detach {name}?" in each)
            assert said.startswith("Attach can undo it." if can else "Attach cannot undo it: ")
            assert len(said) <= 80
            with contextlib.nullcontext() if can else pytest.raises(CryptoError):
                client.call("detach", driver=name)
                client.call("attach", driver=name)


def test_one_that_comes_back_has_its_name(tmp_path: Path) -> None:
    """Also while the one before it is on its way out; whose counts stand beside, as of one left."""
    place = tmp_path / "it.sock"
    first, second = Moody(), Moody()
    with Framework(plugins=[first], control=place) as framework:
        framework.dispatch(request(newsession(framework), lambda crp: None))
        sid = newsession(framework)
        first.mood = "silent"
        framework.dispatch(request(sid, lambda crp: None))
        leaving = threading.Thread(target=framework.detach, args=("moody",))
        leaving.start()
        until(lambda: framework.drivers[0].leaving)
        later = threading.Timer(0.2, first.reply)
        later.start()
        framework.attach(second)
        leaving.join()
        later.join()
        assert [info.name for info in framework.drivers] == ["moody"]
        told = json.loads(run("drivers", "--socket", place, "--json").stdout)["counts"]
    assert [each["driver"] for each in told] == ["moody", "moody (left)", "(no driver)"]
    assert [each["requests"] for each in told] == [0, 2, 0]


def test_a_process_without_drivers_is_shown_as_that(tmp_path: Path) -> None:
    place = tmp_path / "it.sock"
    with Framework(plugins=False, control=place) as framework:
        assert "no drivers" in run("drivers", "--socket", place).stderr
        assert json.loads(run("drivers", "--socket", place, "--json").stdout)["drivers"] == []
        assert len(run("stat", "--socket", place).stdout.splitlines()) == 2
        assert run("sysctl", "opencrypto.drivers", "--socket", place).stdout == ""
        assert framework.sysctl.below("opencrypto.drivers") == {}
        with pytest.raises(UsageError):
            framework.sysctl.below("opencrypto.driver")


def test_names_and_metrics_have_the_failed_selftests(tmp_path: Path) -> None:
    """A name for each, whose value is the reason; a series for each."""
    with live(tmp_path / "it.sock") as (framework, _):
        prefix = "opencrypto.drivers.broken.failed"
        assert framework.sysctl[f"{prefix}.AES_CBC"] == "its known answer is wrong"
        assert "ZeroDivisionError" in str(framework.sysctl[f"{prefix}.SHA1_HMAC"])
        assert framework.sysctl["opencrypto.drivers.moody.state"] == "blocked"
        registry = CollectorRegistry()
        registry.register(Collector(framework))
        lines = [
            line
            for line in generate_latest(registry).decode().splitlines()
            if line.startswith("opencrypto_selftest_failed{")
        ]
    assert sorted(lines) == [
        'opencrypto_selftest_failed{alg="AES_CBC",driver="broken"} 1.0',
        'opencrypto_selftest_failed{alg="SHA1_HMAC",driver="broken"} 1.0',
    ]


def test_what_a_driver_says_is_bounded(tmp_path: Path) -> None:
    """The client would else refuse the whole answer."""
    with live(tmp_path / "it.sock"), Client(tmp_path / "it.sock") as client:
        remarks = client.drivers()[0]["remarks"]
    assert [len(each) for each in remarks] == [11, 1000]


def test_options_are_told_and_secrets_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a secret, whether it is set; the command shows what the client is told."""
    place = tmp_path / "it.sock"
    monkeypatch.setenv("OPENCRYPTO_CARD_PIN", "271828")
    monkeypatch.setenv("OPENCRYPTO_CARD_DEPTH", "4")
    with Framework(plugins=[Card()], control=place), Client(place) as client:
        told = {each["option"]: each for each in client.options()}
        shown = run("drivers", "--options", "--socket", place).stdout
        everything = json.dumps([client.options(), client.drivers()])
    assert told["depth"]["value"] == "4"
    assert told["pin"]["value"] == "(set)"
    assert told["pin"]["secret"]
    assert "card\tdepth\t4\tOPENCRYPTO_CARD_DEPTH\t" in shown
    assert "271828" not in everything + shown


@pytest.mark.parametrize("field", ["name", "hid", "failed", "remarks", "blocked_since", "leaving"])
@pytest.mark.parametrize(
    "value", [{}, [1], [["a"]], "x" * 5000, 10**60, 1.5e300, [["a", "b", "c"]]]
)
def test_an_answer_of_a_wrong_type_or_size_is_an_error(
    tmp_path: Path, field: str, value: object
) -> None:
    """Whoever asks may be root, and whoever answers anybody."""
    place = tmp_path / "it.sock"
    with Framework(plugins=[Moody()], control=place), Client(place) as client:
        (true,) = client.drivers()
    with (
        impostor(tmp_path / "other.sock", saying([true | {field: value}])),
        Client(tmp_path / "other.sock") as client,
        pytest.raises(CryptoError, match=f"does not speak our protocol: '{field}'"),
    ):
        client.drivers()
