"""Stuck is not busy: since when a driver is blocked, and how old what it owes is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opencrypto import (
    CRK_MOD_EXP,
    CRYPTO_ASYMQ,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_SYMQ,
    ERESTART,
    Cryptkop,
    Cryptop,
    Framework,
)
from opencrypto._core import lasting
from tests.toy import Toy, newsession, request


class Moody(Toy):
    """A toy that answers, keeps what it is given, or takes nothing, as it is told."""

    keyops = (CRK_MOD_EXP,)

    def __init__(self) -> None:
        super().__init__("moody", algs=(CRYPTO_NULL_CBC,))
        self.mood = "well"
        self.kept: list[Cryptop] = []

    def process(self, crp: Cryptop, hint: int) -> int:
        if self.mood == "full":
            return ERESTART
        if self.mood == "silent":
            self.kept.append(crp)
            return 0
        return super().process(crp, hint)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        if self.mood == "full":
            return ERESTART
        self.kdone(krp)
        return 0

    def reply(self) -> None:
        """Be well, and answer what was kept."""
        self.mood = "well"
        kept, self.kept = self.kept, []
        for crp in kept:
            super().process(crp, 0)


def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def moody() -> Iterator[tuple[Framework, Moody]]:
    """A framework with the one driver."""
    driver = Moody()
    with Framework(plugins=[driver]) as fw:
        yield fw, driver
        driver.reply()
        driver.unblock(CRYPTO_SYMQ | CRYPTO_ASYMQ)


def seconds(fw: Framework, name: str) -> float:
    """Read a time of the driver."""
    value = fw.sysctl[f"opencrypto.drivers.moody.{name}"]
    assert isinstance(value, float)
    return value


STUCK = ("blocked_for", "blocked_since", "oldest_inflight", "oldest_queued")


def test_a_driver_that_answers_at_once_owes_nothing(moody: tuple[Framework, Moody]) -> None:
    fw, _ = moody
    for flags in (CRYPTO_F_CBIMM, 0, CRYPTO_F_BATCH):
        fw.dispatch(request(newsession(fw), lambda crp: None, flags=flags))
    until(lambda: not fw.sysctl["opencrypto.drivers.moody.inflight"])
    assert [seconds(fw, name) for name in STUCK] == [0.0] * 4
    assert fw.sysctl["opencrypto.drivers.moody.unblocked"] == 0


def test_the_age_of_what_is_not_answered(moody: tuple[Framework, Moody]) -> None:
    """The oldest counts, though it was asked for when nobody watched."""
    fw, driver = moody
    sid = newsession(fw)
    driver.mood = "silent"
    asked = time.monotonic()
    fw.dispatch(request(sid, lambda crp: None))
    time.sleep(0.1)
    fw.dispatch(request(sid, lambda crp: None))
    age = seconds(fw, "oldest_inflight")
    assert 0.1 <= age <= time.monotonic() - asked + 0.001
    assert seconds(fw, "oldest_queued") == 0.0
    assert seconds(fw, "blocked_for") == 0.0
    driver.reply()
    until(lambda: seconds(fw, "oldest_inflight") == 0.0)


def test_a_request_that_is_used_again_is_as_old_as_its_last_dispatch(
    moody: tuple[Framework, Moody],
) -> None:
    fw, driver = moody
    crp = request(newsession(fw), lambda crp: None, flags=CRYPTO_F_BATCH)
    fw.dispatch(crp)
    until(lambda: not crp.state)
    time.sleep(0.1)
    driver.mood = "silent"
    crp.flags = CRYPTO_F_CBIMM
    fw.dispatch(crp)
    assert seconds(fw, "oldest_inflight") < 0.1


@pytest.mark.parametrize("kind", ["requests", "key requests"])
def test_since_when_a_driver_is_blocked(moody: tuple[Framework, Moody], kind: str) -> None:
    fw, driver = moody
    driver.mood = "full"
    begun, of_day = time.monotonic(), time.time()
    if kind == "requests":
        fw.dispatch(request(newsession(fw), lambda crp: None))
    else:
        fw.kdispatch(Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], lambda krp: None))
    until(lambda: fw.sysctl["opencrypto.drivers.moody.blocked"])
    time.sleep(0.05)
    lasts = seconds(fw, "blocked_for")
    assert 0.05 <= lasts <= time.monotonic() - begun + 0.001
    assert of_day - 0.01 <= seconds(fw, "blocked_since") <= time.time() - lasts + 0.05
    assert seconds(fw, "oldest_queued") >= 0.05
    driver.mood = "well"
    driver.unblock(CRYPTO_SYMQ | CRYPTO_ASYMQ)
    assert [seconds(fw, name) for name in STUCK[:2]] == [0.0, 0.0]
    assert fw.sysctl["opencrypto.drivers.moody.unblocked"] == 2
    until(lambda: seconds(fw, "oldest_queued") == 0.0)


def test_it_is_said_again_and_again_that_a_driver_stays_blocked(
    moody: tuple[Framework, Moody],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a while, after twice that, and so on: though nobody asks for anything meanwhile."""
    monkeypatch.setattr(lasting, "FIRST", 0.1)
    fw, driver = moody
    driver.mood = "full"

    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if "driver_stays_blocked" in r.getMessage()]

    with caplog.at_level(logging.WARNING, "opencrypto"):
        begun = time.monotonic()
        fw.dispatch(request(newsession(fw), lambda crp: None))
        until(lambda: len(said()) == 3)
        assert time.monotonic() - begun >= 0.4
        assert "moody" in said()[0]
        driver.mood = "well"
        driver.unblock(CRYPTO_SYMQ)
        time.sleep(0.5)
        assert len(said()) == 3


@pytest.mark.slow
def test_it_is_said_that_a_driver_stays_silent(
    moody: tuple[Framework, Moody],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a while, after twice that, and so on; no more once it has answered."""
    for name, seconds_ in (("FIRST", 0.05), ("LOOK", 0.05), ("SILENT", 0.1)):
        monkeypatch.setattr(lasting, name, seconds_)
    fw, driver = moody

    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if "driver_stays_silent" in r.getMessage()]

    with caplog.at_level(logging.WARNING, "opencrypto"):
        begun = time.monotonic()
        driver.mood = "silent"
        sid = newsession(fw)
        for _ in range(3):
            fw.dispatch(request(sid, lambda crp: None))
        until(lambda: len(said()) == 3)
        assert time.monotonic() - begun >= 0.4
        assert all(word in said()[0] for word in ("driver=moody", "what=requests", "inflight=3"))
        driver.reply()
        until(lambda: not fw._drivers.find("moody").owes)
        time.sleep(0.5)
        assert len(said()) == 3


def test_of_a_driver_that_is_blocked_it_is_not_said_that_it_is_silent(
    moody: tuple[Framework, Moody],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, seconds_ in (("FIRST", 0.05), ("LOOK", 0.05), ("SILENT", 0.1)):
        monkeypatch.setattr(lasting, name, seconds_)
    fw, driver = moody
    sid = newsession(fw)
    with caplog.at_level(logging.WARNING, "opencrypto"):
        driver.mood = "full"
        fw.dispatch(request(sid, lambda crp: None))
        until(lambda: "driver_stays_blocked" in caplog.text)
        time.sleep(0.3)
    assert "driver_stays_silent" not in caplog.text


def test_a_driver_that_answers_later_is_not_silent(
    moody: tuple[Framework, Moody],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However long it goes on: what counts is how long one request waits."""
    for name, seconds_ in (("FIRST", 0.02), ("LOOK", 0.02), ("SILENT", 1.0)):
        monkeypatch.setattr(lasting, name, seconds_)
    fw, driver = moody
    sid = newsession(fw)
    with caplog.at_level(logging.WARNING, "opencrypto"):
        for _ in range(10):
            driver.mood = "silent"
            fw.dispatch(request(sid, lambda crp: None))
            time.sleep(0.05)
            driver.reply()
    assert "driver_stays_silent" not in caplog.text


def test_a_call_that_does_not_come_back_is_dated() -> None:
    """By whoever looks now and then; a call that is quick is left alone."""
    inside, go_on = threading.Event(), threading.Event()

    class Hanging(Toy):
        def process(self, crp: Cryptop, hint: int) -> int:
            inside.set()
            assert go_on.wait(20)
            return super().process(crp, hint)

    with Framework(plugins=False) as fw:
        fw.attach(Hanging("hangs"), selftest=False)
        sid = newsession(fw)
        crp = request(sid, lambda crp: None)
        caller = threading.Thread(target=fw.dispatch, args=(crp,))
        caller.start()
        try:
            assert inside.wait(20)
            fw.look_around()
            assert crp.since == 0.0  # once is no proof
            begun = time.monotonic()
            fw.look_around()
            assert begun <= crp.since <= time.monotonic()
            assert fw._drivers.find("hangs").owes
            time.sleep(0.05)
            age = fw.sysctl["opencrypto.drivers.hangs.oldest_inflight"]
            assert isinstance(age, float)
            assert age >= 0.05
        finally:
            go_on.set()
            caller.join()


def test_a_process_with_a_control_socket_dates_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread is awake each second anyway."""
    from opencrypto.control import server

    monkeypatch.setattr(server, "TICK", 0.02)
    looks = threading.Semaphore(0)
    with Framework(plugins=[Toy()], control=tmp_path / "it.sock") as fw:
        look_around = fw._look_around

        def look() -> None:
            look_around()
            looks.release()

        monkeypatch.setattr(fw, "_look_around", look)
        assert looks.acquire(timeout=20)
        assert looks.acquire(timeout=20)
