"""
What the clauses share: the driver under test, and the trials its capabilities give ground for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from opencrypto.driver import Capability, Driver
from opencrypto.exceptions import DriverUnavailable
from opencrypto.testing._rig import Rig
from opencrypto.testing._samples import Case, Layout, all_cases, some_length, usual_cases
from opencrypto.testing.clauses import Trial, Unclaimed

NO_GROUND = "not claimed by this driver"


@dataclass(frozen=True)
class Chosen:
    """A case, as a trial of one of several kinds (`kind` is a buffer kind, or a direction)."""

    case: Case
    kind: str

    @property
    def id(self) -> str:
        """The case and the kind."""
        return f"{self.case.id}-{self.kind}"


class ContractBase:
    """See `opencrypto.testing.DriverContract`, which is this with all clauses."""

    driver_class: type[Driver]
    deviations: ClassVar[Mapping[str, str]] = {}
    patience: float = 5.0

    def make_driver(self) -> Driver:
        """Make a driver, not yet attached; override it if the class takes arguments."""
        return self.driver_class()

    def capabilities(self) -> Mapping[int, Capability]:
        """Read what a driver claims, from one that is made for that."""
        driver = self.make_driver()
        try:
            return dict(driver.capabilities)
        finally:
            driver.close()

    def keyops(self) -> frozenset[int]:
        """Read which key operations a driver claims, likewise."""
        driver = self.make_driver()
        try:
            return frozenset(driver.keyops)
        finally:
            driver.close()

    def rig(self, driver: Driver | None = None) -> Rig:
        """Attach a new driver, or the one given, to a new framework."""
        return Rig(driver or self.make_driver(), self.patience)

    @contextlib.contextmanager
    def session(self, case: Case, blocks: int = 3) -> Iterator[tuple[Rig, int, Layout]]:
        """Have a bench, a session on it, and the layout of an ordinary request for that."""
        with self.rig() as rig:
            yield rig, rig.open(case.inis()), self.layout(case, blocks)

    def layout(self, case: Case, blocks: int = 3) -> Layout:
        """Lay out an ordinary request, of no more bytes than the driver takes."""
        return case.layout(some_length(case, self.maxlen(case), blocks))

    def maxlen(self, case: Case) -> int:
        """Return the longest region that the driver takes for a case, 0 for no limit."""
        limits = [
            capability.maxlen
            for alg, capability in self.capabilities().items()
            if alg in (case.alg, case.partner) and capability.maxlen
        ]
        return min(limits, default=0)

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Have pytest run each test once for each of its trials."""
        if "case" not in metafunc.fixturenames:
            return
        found = self.trials(metafunc.function)
        metafunc.parametrize("case", found, ids=[trial.id for trial in found])

    def trials(self, test: Any) -> list[Trial]:
        """Return the trials of a test, as this driver's capabilities have it."""
        try:
            return list(test.each(self)) or [Unclaimed("none", NO_GROUND)]
        except DriverUnavailable as error:
            return [Unclaimed("unavailable", error.reason)]


# Where the trials of a test come from: functions of the contract, given to `clause(each=...)`.


def each_algorithm(contract: ContractBase) -> Iterator[Case]:
    """Give each algorithm once."""
    yield from usual_cases(contract.capabilities())


def each_key(contract: ContractBase) -> Iterator[Case]:
    """Give each algorithm with each key length to try."""
    yield from all_cases(contract.capabilities())


def each_cipher(contract: ContractBase) -> Iterator[Case]:
    """Give each algorithm that changes its region."""
    yield from (case for case in each_algorithm(contract) if case.ciphers)


def each_with_iv(contract: ContractBase) -> Iterator[Case]:
    """Give each cipher whose requests carry an IV."""
    yield from (case for case in each_cipher(contract) if case.ivlen)


def each_verifying(contract: ContractBase) -> Iterator[Case]:
    """Give each algorithm that has a MAC, digest or tag to verify."""
    yield from (case for case in each_algorithm(contract) if case.mac)


def a_few(contract: ContractBase) -> Iterator[Case]:
    """Give one algorithm of each kind, for clauses that no algorithm is special to."""
    kinds: dict[object, Case] = {}
    for case in each_algorithm(contract):
        best = kinds.get(case.facts.kind)
        if best is None or (case.keyed and not best.keyed):
            kinds[case.facts.kind] = case
    yield from kinds.values()
