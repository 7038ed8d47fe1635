"""Drivers that are right and unusual keep the contract: the kit gives no false alarm."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from opencrypto import BusyError, Cryptkop, Cryptoini, Driver
from opencrypto.driver import Process
from opencrypto.testing import check_driver
from opencrypto.testing.report import Result
from tests.kit.correct_drivers import HonestLean
from tests.kit.odd_drivers import ODD, Exclusive, FourSessions, HandsKeysBack, OneSession

PATIENCE = 2.0
"""Seconds; some of them are late, and so may the machine be."""


@pytest.mark.slow
@pytest.mark.parametrize("driver", ODD, ids=lambda driver: driver.__name__)
def test_it_keeps_the_contract(driver: type[Driver]) -> None:
    report = check_driver(driver, quick=True, patience=PATIENCE)
    assert report.ok, str(report)
    assert not report.left_behind


def results(driver: type[Driver], *clauses: str) -> dict[str, Result]:
    """Run some clauses, which must be kept, and return what came of each."""
    report = check_driver(driver, clauses=clauses, patience=PATIENCE)
    assert report.ok, str(report)
    return {result.clause: result for result in report.results}


@pytest.mark.slow
def test_an_exclusive_driver_skips_nothing() -> None:
    """It is opened by one at a time, so that each clause has it."""
    clauses = ("D1", "D2", "D15", "D17", "D19", "D20", "D23")
    alone, beside = results(Exclusive, *clauses), results(HonestLean, *clauses)
    for clause in clauses:
        assert alone[clause].passed == beside[clause].passed
        assert alone[clause].skips == beside[clause].skips
    assert Exclusive.opened == []


@pytest.mark.slow
def test_few_sessions_are_no_fault() -> None:
    found = results(FourSessions, "D17", "D18")
    assert found["D17"].passed
    skipped = [name for names in found["D18"].skips.values() for name in names]
    assert not [name for name in skipped if "makes_room" in name]


def test_what_needs_more_sessions_than_there_are_is_skipped_with_the_reason() -> None:
    found = results(OneSession, "D16")
    assert "the driver has 1 sessions at a time, this needs 2" in found["D16"].skips
    assert found["D16"].passed


def test_a_key_operation_handed_back_is_asked_again() -> None:
    found = results(HandsKeysBack, "K1", "K4")
    assert found["K1"].passed
    assert found["K4"].passed


class NeverReady(HandsKeysBack):
    """Is always busy."""

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        self.asked = 2
        return super().kprocess(krp, hint)


@pytest.mark.slow
def test_a_driver_that_hands_all_back_is_not_tried() -> None:
    report = check_driver(NeverReady, clauses={"K4"}, patience=PATIENCE)
    assert not report.ok
    assert not report.broken
    assert "handed it back with EAGAIN, 50 times" in report.verdict


class Full(FourSessions):
    """Claims more sessions than it has."""

    max_sessions = 6

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        if len(self.lids) >= 4:
            raise BusyError("full")
        return super().newsession(ini)


def test_fewer_sessions_than_claimed_are_a_fault() -> None:
    report = check_driver(Full, clauses={"D17"}, patience=PATIENCE)
    assert report.broken == {"D2"}
    assert "newsession refused with 4 open, though max_sessions is 6" in str(report)
