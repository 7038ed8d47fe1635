"""Right drivers keep the contract, whatever their way of working: no clause asks for too much."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from opencrypto import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_SHA1,
    Capability,
)
from opencrypto.testing import CLAUSES, DriverContract, check_driver
from opencrypto.testing.report import Report
from opencrypto_swcrypto._driver import SwcryptoDriver
from tests.kit.correct_drivers import Honest, HonestPlain, HonestThreaded


class TestSynchronous(DriverContract):
    """Answers in the caller's thread."""

    driver_class = Honest


@pytest.mark.slow
class TestUncompiled(DriverContract):
    """Has one process for all sessions, before which the framework checks."""

    driver_class = HonestPlain


@pytest.mark.slow
class TestThreaded(DriverContract):
    """Answers from a thread, with room for eight requests, and ERESTART beyond."""

    driver_class = HonestThreaded


class Short(SwcryptoDriver):
    """Takes regions up to a length, which the base of drivers made of primitives sees to."""

    name = "short"
    keyops = frozenset[int]()
    capabilities: Mapping[int, Capability] = {
        CRYPTO_SHA1: Capability(maxlen=1000),
        CRYPTO_AES_CBC: Capability(maxlen=1000),
        CRYPTO_AES_GCM_16: Capability(maxlen=1000),
        CRYPTO_AES_128_GMAC: Capability(maxlen=1000),
    }


def test_a_driver_of_transforms_keeps_to_the_lengths_it_claims() -> None:
    report = check_driver(Short, clauses={"D4", "D12", "D21"})
    assert report.ok, str(report)


class Named(Honest):
    """Takes an argument, so that the contract cannot call the class alone."""

    capabilities: Mapping[int, Capability] = {CRYPTO_SHA1: Capability()}

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


@pytest.mark.slow
class TestMadeByHand(DriverContract):
    """Says how a driver is made."""

    driver_class = Named

    def make_driver(self) -> Named:
        return Named("by-hand")


@pytest.fixture(scope="module")
def report() -> Report:
    return check_driver(Honest)


@pytest.mark.slow
def test_the_command_runs_the_same(report: Report) -> None:
    assert report.ok, str(report)
    assert not report.broken
    assert [result.clause for result in report.results] == list(CLAUSES)
    for result in report.results:
        claimed = result.clause.startswith("D")  # it has no key operations
        assert result.outcome == ("passed" if claimed else "skipped")


@pytest.mark.slow
def test_the_table_shows_every_clause(report: Report) -> None:
    lines = str(report).splitlines()
    assert lines[0] == "driver honest: keeps the contract"
    assert [line.split()[0] for line in lines[1:] if line[:4].strip()] == list(CLAUSES)
