"""
What the clauses share: the driver under test, and the trials its capabilities give ground for.
"""

from __future__ import annotations

import contextlib
import threading
import unittest
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from opencrypto.driver import Capability, Driver, KeyCapability, renew_after_fork
from opencrypto.exceptions import DriverUnavailable
from opencrypto.testing._bounded import at_once
from opencrypto.testing._rig import Rig
from opencrypto.testing._samples import Case, Layout, all_cases, some_length, usual_cases
from opencrypto.testing.clauses import Absent, Trial, Unclaimed

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


@dataclass(frozen=True)
class Claimed:
    """
    What a driver says of itself.

    Attributes:
        capabilities: What it can do with each algorithm that it has both ways.
        one_way: The same of those that it has one way alone.
        keyops: Its key operations, with their bounds if it says any.
        exclusive: Whether only one may be open at a time.
        max_sessions: How many sessions it has at a time; None if it does not say.
        unasked: The algorithms that it has, and that this run was not asked to try.
    """

    capabilities: Mapping[int, Capability]
    one_way: Mapping[int, Capability]
    keyops: Mapping[int, KeyCapability]
    exclusive: bool
    max_sessions: int | None
    unasked: frozenset[int] = frozenset()


class _Turns:
    """The locks of exclusive drivers, by class: whoever has one open holds its."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Have new ones in a forked child, where nobody has a driver open."""
        self._locks: dict[type[Driver], threading.Lock] = {}

    def of(self, driver: type[Driver]) -> threading.Lock:
        """Return the lock of a class."""
        return self._locks.setdefault(driver, threading.Lock())


_turns: Final = _Turns()


def _claims(driver: Driver, only: Collection[int]) -> Claimed:
    wanted = [pair for pair in driver.capabilities.items() if not only or pair[0] in only]
    bounds = driver.keyops if isinstance(driver.keyops, Mapping) else {}
    return Claimed(
        {alg: each for alg, each in wanted if not each.direction},
        {alg: each for alg, each in wanted if each.direction},
        {op: bounds.get(op) or KeyCapability() for op in ([] if only else driver.keyops)},
        exclusive=driver.exclusive,
        max_sessions=driver.max_sessions or None,
        unasked=frozenset(driver.capabilities) - frozenset(only) if only else frozenset(),
    )


class ContractBase:
    """See `opencrypto.testing.DriverContract`, which is this with all clauses."""

    driver_class: type[Driver]
    deviations: ClassVar[Mapping[str, str]] = {}
    may_be_absent: str = ""
    algorithms: Collection[int] = ()
    patience: float = 5.0
    soak: float = 0.0
    quick: bool = False

    _read: Claimed | None = None  # what the driver claims, once it was read

    def make_driver(self) -> Driver:
        """Make a driver, not yet attached; override it if the class takes arguments."""
        return self.driver_class()

    @property
    def seen(self) -> bool:
        """Whether the driver has been there, in this run."""
        return self._read is not None

    def claimed(self) -> Claimed:
        """Read what a driver claims, once for all, from one that is made for that."""
        cls = type(self)
        if "_read" not in vars(cls):
            with self.bare() as driver:
                cls._read = _claims(driver, self.algorithms)
        assert cls._read is not None
        return cls._read

    def capabilities(self) -> Mapping[int, Capability]:
        """Return what the driver can do with each algorithm that it has both ways."""
        return self.claimed().capabilities

    def keyops(self) -> Mapping[int, KeyCapability]:
        """Return which key operations the driver claims, and within which bounds."""
        return self.claimed().keyops

    def needs_sessions(self, count: int) -> None:
        """Skip a test that has so many sessions at a time, if the driver has not."""
        most = self.claimed().max_sessions
        if most is not None and most < count:
            raise unittest.SkipTest(f"the driver has {most} sessions at a time, this needs {count}")

    @contextlib.contextmanager
    def bare(self) -> Iterator[Driver]:
        """Have a driver that is not attached, and is closed at the end."""
        with self._alone():
            driver = self._made()
            try:
                yield driver
            finally:
                at_once(self.patience, "D19", "close", driver.close)

    def rig(self, adapt: Callable[[Driver], object] = lambda driver: None) -> Rig:
        """Attach a new driver to a new framework; `adapt` gets to see it before."""
        turn = contextlib.ExitStack()
        turn.enter_context(self._alone())
        try:
            driver = self._made()
            adapt(driver)
            return Rig(driver, self.patience, turn.close)
        except BaseException:
            turn.close()
            raise

    def _made(self) -> Driver:
        return at_once(self.patience, "D1", "making the driver", self.make_driver)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until an exclusive driver is nobody else's in this process."""
        if not self.driver_class.exclusive:
            yield
            return
        lock = _turns.of(self.driver_class)
        if not lock.acquire(timeout=self.patience):
            raise DriverUnavailable("it is exclusive, and an earlier trial has not let it go")
        try:
            yield
        finally:
            lock.release()

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
            return [Absent("unavailable", error.reason)]


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
