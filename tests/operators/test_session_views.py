"""Sessions, departed drivers and the way back, as ``sessions``, ``top``, ``drivers`` show them."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_SYMQ,
    Cryptoini,
    Framework,
    Profile,
)
from opencrypto.cli import sample, sums, topview
from opencrypto.cli.sample import Change, Reading
from opencrypto.cli.stat import LATENCY, numbers
from opencrypto.cli.top import Screen
from opencrypto.control import Client
from tests.cli.commands import run
from tests.operators.impostor import impostor, saying
from tests.toy import Log, Toy, newsession, request

WATCH = "opencrypto.sessions.watch"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the socket is."""
    return tmp_path / "it.sock"


@pytest.fixture
def framework(place: Path) -> Iterator[Framework]:
    """A framework with two drivers, a control socket, and places noted."""
    with Framework(plugins=[Toy("one"), Toy("two")], control=place, trace_sessions=True) as made:
        yield made


@pytest.fixture
def client(framework: Framework, place: Path) -> Iterator[Client]:
    """A client of it."""
    with Client(place) as made:
        yield made


def drawn(view: Any, width: int = 100, height: int = 24) -> list[str]:
    """The lines of a screen."""
    out = StringIO()
    Console(file=out, width=width, height=height, highlight=False).print(view)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def change(client: Client, old: Reading | None = None) -> Change:
    """What happened since a reading."""
    return Change(old, sample.read(client), age=1.0)


# The command.


def test_the_command_lists_sessions(framework: Framework, place: Path) -> None:
    """With tabs into a pipe; what is not known is a dash; the count goes to stderr."""
    sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC), profile=Profile("encrypt"))
    done = run("sessions", "--socket", place)
    head, row = (line.split("\t") for line in done.stdout.splitlines())
    assert head[:3] == ["sid", "chain", "driver"]
    told = dict(zip(head, row, strict=True))
    assert told["sid"] == f"{sid:#x}"
    assert (told["chain"], told["driver"], told["state"]) == ("NULL_CBC", "one", "live")
    assert (told["idle"], told["profile"]) == ("-", "encrypt")
    assert Path(__file__).name in told["opened"]
    assert "1 sessions open" in done.stderr


def test_the_idle_ones_once_they_are_watched(framework: Framework, place: Path) -> None:
    """--idle is refused before, with what to do; then the busy one is not among them."""
    busy, quiet = newsession(framework), newsession(framework)
    refused = run("sessions", "--socket", place, "--idle", "60", status=2)
    assert f"{WATCH}=1" in refused.stderr
    framework.sysctl[WATCH] = 1
    framework._dispatcher.watcher.run_began -= 100
    for sid in (busy, quiet):
        framework._sessions.find(sid).lineage.born -= 100
    framework.dispatch(request(busy, Log()))
    told = json.loads(run("sessions", "--socket", place, "--idle", "60", "--json").stdout)
    assert (told["open"], told["matching"]) == (2, 1)
    assert [each["sid"] for each in told["sessions"]] == [quiet]
    told = json.loads(run("sessions", "--socket", place, "--sort", "requests", "--json").stdout)
    assert [(s["sid"], s["requests"]) for s in told["sessions"]] == [(busy, 1), (quiet, 0)]
    assert "age, idle, requests" in run("sessions", "--sort", "x", status=2).stderr


def test_so_many_as_are_asked_for(
    framework: Framework, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50, or what -n says; 0 is all of them, page by page."""
    from opencrypto.cli import sessions

    sids = {newsession(framework) for _ in range(61)}
    done = run("sessions", "--socket", place)
    assert len(done.stdout.splitlines()) == 51
    assert "61 sessions open; 11 more: -n 0 shows all" in done.stderr
    assert len(run("sessions", "--socket", place, "-n", "7").stdout.splitlines()) == 8
    monkeypatch.setattr(sessions, "PAGE", 10)
    with Client(place) as client:
        for count, wanted in ((0, 61), (25, 25), (1000, 61)):
            found = sessions.collect(client, 0.0, "age", count)["sessions"]
            assert len(found) == wanted
            assert {each["sid"] for each in found} <= sids


@pytest.mark.slow
def test_a_strange_process_is_not_believed(place: Path) -> None:
    """What is no page of sessions is one sentence."""
    row = {"sid": 1, "chain": [], "drivers": [], "state": "live", "age": 0, "inflight": 0,
           "profile": "", "idle": None, "requests": None, "bytes": None, "opened": []}  # fmt: skip
    page = {"open": 1, "matching": 1, "sessions": [row], "next": None}
    pages: list[object] = [
        {**page, "sessions": [{**row, "age": "x"}]},
        {**page, "sessions": [{**row, "chain": [1]}]},
        {**page, "next": ["a"]},
        {**page, "open": None},
        [],
    ]
    for wrong in pages:
        with impostor(place, saying(wrong)):
            done = run("sessions", "--socket", place, status=1)
        assert done.stderr.count("\n") == 1


# top.


def test_what_left_and_what_met_no_driver_have_rows(framework: Framework, client: Client) -> None:
    """Below the drivers, whatever the order; only drivers can be chosen."""
    sid = newsession(framework, driver="one")
    framework.dispatch(request(sid, Log()))
    assert [row.name for row in topview.rows(change(client), "name")] == ["one", "two"]
    framework.freesession(sid)
    framework.detach("one")
    before = sample.read(client)
    framework.dispatch(request(99, Log()))
    after = change(client, before)
    for sort in topview.SORTS:
        found = topview.rows(after, sort)
        assert [row.name for row in found] == ["two", "one (left)", "(no driver)"]
        assert [row.attached for row in found] == [True, False, False]
        assert found[1].rate == 0
        assert found[2].rate > 0
        assert found[2].errors > 0
    assert topview.attached(after, "sick") == ["two"]
    screen = Screen(client, 1.0)
    for key in ("down", "down", "d"):
        screen.press(key)
    assert "Detach two?" in "\n".join(drawn(screen.view()))


def test_in_flight_is_without_what_waits(framework: Framework, client: Client) -> None:
    driver = next(s.driver for s in framework._drivers if s.name == "one")
    assert isinstance(driver, Toy)
    driver.hold = True
    sid = newsession(framework, driver="one")
    log = Log()
    framework.dispatch(request(sid, log))
    driver.full = True
    framework.dispatch(request(sid, log, flags=CRYPTO_F_CBIMM | CRYPTO_F_BATCH))
    while not framework.sysctl["opencrypto.drivers.one.blocked"]:
        pass
    found = change(client)
    (row,) = (row for row in topview.rows(found, "name") if row.name == "one")
    assert (row.inflight, row.queued) == (1, 1)
    assert "1 in flight, 1 queued" in topview.sums(found)[0]
    assert framework.sysctl["opencrypto.drivers.one.inflight"] == 2
    driver.full = driver.hold = False
    driver.unblock(CRYPTO_SYMQ)
    driver.answer()


def test_the_way_back_and_totals(framework: Framework, client: Client) -> None:
    """Refusals and bugs are rates; how long callbacks take is there while timing is on."""
    sid = newsession(framework)
    assert "p99" not in topview.sums(change(client))[3]
    framework.sysctl["opencrypto.timing"] = 1
    framework.sysctl["opencrypto.crypto_ret_q.maxlen"] = 0
    before = sample.read(client)
    framework.dispatch(request(sid, Log()))
    framework._dispatcher.returns.drop()
    framework._bugs._count.add()
    after = change(client, before)
    way_back, whole = topview.sums(after)[3:]
    assert "waiting" in way_back
    assert "in callbacks" in way_back
    assert sums.refused(after) > 0
    assert ", 0 refused/s" not in way_back
    assert ", 0 bugs/s" not in way_back
    assert "1 refused, 1 bugs" in whole
    row = numbers(after)
    assert {*LATENCY} <= {*row}
    assert all(row[name] for name in ("p50", "p99", "cb99", "fin99", "drop/s", "bug/s"))
    assert row["mig/s"] == 0


def test_l_shows_sessions_and_keys_act_on_them(framework: Framework, client: Client) -> None:
    first, second = newsession(framework), newsession(framework)
    screen = Screen(client, 1.0)
    assert any("rate/s" in line for line in drawn(screen.view()))
    screen.press("l")
    lines = drawn(screen.view())
    assert len(lines) == 24
    assert [line[:1] for line in lines if f"{first:#x}" in line] == [">"]
    screen.press("down")
    assert any(line.startswith(f">  {second:#x}") for line in drawn(screen.view()))
    screen.press("o")
    assert Path(__file__).name in "".join(drawn(screen.view(), width=300)[-6:])
    screen.press("s")
    assert "w turns it on" in " ".join(drawn(screen.view())[-2:])
    screen.press("w")
    assert framework.sysctl[WATCH] == 1
    framework.dispatch(request(second, Log()))
    screen.press("s")
    screen.press("s")
    text = "\n".join(drawn(screen.view()))
    assert "sorted by requests" in text
    assert "reqs" in text
    screen.press("s")
    assert "sorted by age" in "\n".join(drawn(screen.view()))
    screen.press("l")
    assert any("rate/s" in line for line in drawn(screen.view()))
    assert screen.press("q")


@pytest.mark.parametrize(("width", "height"), [(60, 15), (80, 24), (200, 50)])
def test_the_screen_of_sessions_fits(
    framework: Framework, client: Client, width: int, height: int
) -> None:
    """However many there are, and none; the keys are on the last line."""
    screen = Screen(client, 1.0)
    screen.press("l")
    assert len(drawn(screen.view(), width, height)) == height
    for _ in range(70):
        newsession(framework)
    framework.sysctl[WATCH] = 1
    screen.press("l")
    screen.press("l")
    lines = drawn(screen.view(), width, height)
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    assert lines[-1].startswith("q quit")
    assert "NULL_CBC" in "\n".join(lines)


def test_with_the_last_session_gone_no_key_fails(framework: Framework, client: Client) -> None:
    sid = newsession(framework)
    screen = Screen(client, 1.0)
    screen.press("l")
    framework.freesession(sid)
    screen.press("w")
    for key in ("up", "down", "o", "x", "s"):
        assert not screen.press(key)
    assert "0 open" in "\n".join(drawn(screen.view()))


# drivers.


def test_drivers_shows_errors_with_what_was_said_last(framework: Framework, place: Path) -> None:
    class Failing(Toy):
        def process(self, crp: Any, hint: int) -> int:
            crp.fail(errno.EIO, "the card is on fire")
            self.done(crp)
            return 0

    framework.attach(Failing("card"), selftest=False)
    sid = newsession(framework, driver="card")
    framework.dispatch(request(sid, Log()))
    framework.dispatch(request(77, Log()))
    told = json.loads(run("drivers", "--socket", place, "--json").stdout)
    found = {each["driver"]: each for each in told["errors"]}
    assert found["card"]["error"] == "EIO"
    assert found["card"]["class"] == "DriverBug"
    assert (found["card"]["count"], found["card"]["last"]) == (1, "the card is on fire")
    assert found["(no driver)"]["error"] == "ENOENT"
    printed = run("drivers", "--socket", place).stdout
    assert "card\tEIO\t1\t0:00:0" in printed
    framework.freesession(sid)
    framework.detach("card")
    told = json.loads(run("drivers", "--socket", place, "--json").stdout)
    assert {each["driver"] for each in told["errors"]} == {"card (left)", "(no driver)"}
