"""Stuck is not busy: since when a driver is blocked, and how old what it owes is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

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
