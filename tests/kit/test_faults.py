"""Each faulty driver is caught, by the clause that names its fault, and by that alone."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Iterator

import pytest

from opencrypto import Driver
from opencrypto.testing import CLAUSES, FAULTS, Fault, check_driver
from opencrypto.testing.faults.hanging import Hangs
from opencrypto.testing.report import Report
from tests.kit.correct_drivers import HonestKeys, HonestLean

PATIENCE = 0.2
"""Seconds; short, since most of the time goes into waiting for what never comes."""


def base_of(fault: type[Fault]) -> type[Driver]:
    """Return the right driver that a fault is to be added to."""
    return HonestKeys if fault.clause.startswith("K") else HonestLean


def let_go(fault: type[Fault]) -> None:
    """End what hangs in drivers with a fault of that kind, so that all its threads end."""
    if issubclass(fault, Hangs):
        fault.let_go()


@pytest.fixture(autouse=True)
def hanging_again() -> Iterator[None]:
    """Have what hangs do so in the next test."""
    yield
    for fault in FAULTS:
        if issubclass(fault, Hangs):
            fault.freed = threading.Event()


def caught(fault: type[Fault], clauses: set[str], *, quick: bool = False) -> Report:
    """Run clauses on a driver with a fault, again with patience if it looks late."""
    driver = fault.of(base_of(fault))
    try:
        report = check_driver(driver, clauses=clauses, patience=PATIENCE, quick=quick)
        if not report.broken <= {fault.clause}:
            # A machine that was busy for longer than that looks like a driver that is late.
            report = check_driver(driver, clauses=clauses, patience=10 * PATIENCE, quick=quick)
    finally:
        let_go(fault)
    return report


FIRST_OF_EACH = tuple({fault.clause: fault for fault in reversed(FAULTS)}.values())
"""A fault of each clause: to try them all takes minutes, and is done by ``make kit``."""

MANY = FAULTS if "OPENCRYPTO_KIT_LONG" in os.environ else FIRST_OF_EACH


@pytest.mark.slow
@pytest.mark.parametrize("fault", MANY, ids=lambda fault: fault.__name__)
def test_no_other_clause_is_blamed(fault: type[Fault]) -> None:
    """Whatever the tests of the other clauses find, it is this one that they name."""
    report = caught(fault, set(CLAUSES) - {fault.clause}, quick=True)
    assert report.broken <= {fault.clause}, str(report)


QUICK_CLAUSES = {"D1", "D3", "D4", "D13", "D20", "D23", "D25", "D26", "K1", "K4"}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=() if fault.clause in QUICK_CLAUSES else pytest.mark.slow)
        for fault in FAULTS
    ],
    ids=lambda fault: fault.__name__,
)
def test_its_clause_catches_it(fault: type[Fault]) -> None:
    report = caught(fault, {fault.clause})
    assert report.broken == {fault.clause}, str(report)
    own = next(result for result in report.results if result.clause == fault.clause)
    assert own.failures, f"no test of {fault.clause} itself failed:\n{report}"


def test_every_clause_has_a_fault() -> None:
    assert {fault.clause for fault in FAULTS} == set(CLAUSES)


def test_every_fault_says_what_it_does() -> None:
    silent = [fault.__name__ for fault in FAULTS if not (inspect.getdoc(fault) or "").strip()]
    assert not silent


def test_there_are_sixty_and_more() -> None:
    assert len(FAULTS) >= 60
    assert len({fault.__name__ for fault in FAULTS}) == len(FAULTS)
