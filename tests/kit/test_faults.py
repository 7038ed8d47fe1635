"""Each faulty driver is caught, by the clause that names its fault, and by that alone."""

from __future__ import annotations

import inspect

import pytest

from opencrypto import Driver
from opencrypto.testing import CLAUSES, FAULTS, Fault, check_driver
from tests.kit.correct_drivers import HonestKeys, HonestLean

PATIENCE = 0.2
"""Seconds; short, since most of the time goes into waiting for what never comes."""


def base_of(fault: type[Fault]) -> type[Driver]:
    """Return the right driver that a fault is to be added to."""
    return HonestKeys if fault.clause.startswith("K") else HonestLean


@pytest.mark.slow
@pytest.mark.alone  # what is "soon" to a clause is late on a machine that is flooded
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_it_is_caught_by_its_clause_alone(fault: type[Fault]) -> None:
    driver = fault.of(base_of(fault))
    report = check_driver(driver, patience=PATIENCE)
    if report.broken != {fault.clause}:
        # A machine that was busy for longer than that looks like a driver that is late.
        report = check_driver(driver, patience=10 * PATIENCE)
    assert report.broken == {fault.clause}, str(report)
    own = next(result for result in report.results if result.clause == fault.clause)
    assert own.failures, f"no test of {fault.clause} itself failed:\n{report}"


QUICK_CLAUSES = {"D1", "D3", "D4", "D13", "D15", "D20", "K1", "K4"}
QUICK = [fault for fault in FAULTS if fault.clause in QUICK_CLAUSES]


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.__name__)
def test_its_clause_catches_it(fault: type[Fault]) -> None:
    driver = fault.of(base_of(fault))
    report = check_driver(driver, clauses={fault.clause}, patience=PATIENCE)
    if report.broken != {fault.clause}:  # on a busy machine an honest part may have been late
        report = check_driver(driver, clauses={fault.clause}, patience=10 * PATIENCE)
    assert report.broken == {fault.clause}, str(report)


def test_every_clause_has_a_fault() -> None:
    assert {fault.clause for fault in FAULTS} == set(CLAUSES)


def test_every_fault_says_what_it_does() -> None:
    silent = [fault.__name__ for fault in FAULTS if not (inspect.getdoc(fault) or "").strip()]
    assert not silent
