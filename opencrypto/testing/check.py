"""
The contract without a test file, and without pytest: what ``opencrypto check`` prints.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opencrypto.driver import Driver
from opencrypto.testing.clauses import CLAUSES, ContractBroken, Fate, Outcome, Trial, tried
from opencrypto.testing.contract import DriverContract

PATIENCE = 5.0
"""Seconds to wait for anything, before it counts as never."""


@dataclass(slots=True)
class Result:
    """
    What became of one clause.

    Attributes:
        clause: Its id.
        title: What it says, in one sentence.
        passed: How many trials it passed.
        excused: How many failed as a deviation says.
        skipped: How many the driver offers no ground for.
        failures: For each trial that failed, the test, the trial, and what broke.
        blamed: How many tests, of whatever clause, found this one broken.
    """

    clause: str
    title: str
    passed: int = 0
    excused: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    blamed: int = 0

    @property
    def outcome(self) -> str:
        """``failed``, ``excused``, ``passed`` or ``skipped``, in that order of precedence."""
        if self.failures or self.blamed:
            return "failed"
        if self.excused:
            return "excused"
        return "passed" if self.passed else "skipped"


@dataclass(frozen=True, slots=True)
class Report:
    """The clauses of the contract with what became of each, in order."""

    driver: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether no clause is broken, deviations apart."""
        return all(result.outcome != "failed" for result in self.results)

    @property
    def broken(self) -> frozenset[str]:
        """The clauses that tests found broken: the rules, not the tests that found out."""
        return frozenset(result.clause for result in self.results if result.blamed)

    @property
    def document(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "driver": self.driver,
            "ok": self.ok,
            "clauses": [
                {
                    "clause": each.clause,
                    "title": each.title,
                    "outcome": each.outcome,
                    "passed": each.passed,
                    "excused": each.excused,
                    "skipped": each.skipped,
                    "failures": each.failures,
                }
                for each in self.results
            ],
        }

    def __str__(self) -> str:
        lines = [f"driver {self.driver}: {'keeps' if self.ok else 'breaks'} the contract"]
        for each in self.results:
            lines.append(f"{each.clause:>4}  {each.outcome:<8} {each.passed:>4}  {each.title}")
            lines += [f"      {failure}" for failure in each.failures]
        return "\n".join(lines)


def check_driver(
    driver_class: type[Driver],
    *,
    make_driver: Callable[[], Driver] | None = None,
    deviations: Mapping[str, str] | None = None,
    clauses: Collection[str] = (),
    patience: float = PATIENCE,
) -> Report:
    """
    Run the contract on a driver and report clause by clause.

    Args:
        driver_class: The driver.
        make_driver: What makes one, if the class itself, called without arguments, does not.
        deviations: As those of `DriverContract`.
        clauses: Run only the tests of these; all if empty.
        patience: Seconds to wait for anything, before it counts as never.

    Raises:
        UsageError: a clause named does not exist.
    """
    unknown = sorted(set(clauses) - set(CLAUSES))
    if unknown:
        from opencrypto.exceptions import UsageError

        raise UsageError(f"no clauses {', '.join(unknown)}; there are {', '.join(CLAUSES)}")
    make = make_driver or driver_class
    contract = type(
        f"{driver_class.__name__}Contract",
        (DriverContract,),
        {
            "driver_class": driver_class,
            "deviations": deviations or {},
            "patience": patience,
            "make_driver": lambda self: make(),
        },
    )
    results = {ident: Result(ident, title) for ident, title in CLAUSES.items()}
    for name, test in _tests(contract):
        if clauses and test.clause not in clauses:
            continue
        for trial in _trials(contract(), test):
            outcome = tried(test, contract(), trial)
            where = name if trial is None else f"{name}[{trial.id}]"
            _count(results[test.clause], where, outcome)
            if outcome.fate is Fate.BROKEN:
                results[_blamed(test, outcome)].blamed += 1
    return Report(driver_class.name, tuple(results.values()))


def _tests(contract: type[DriverContract]) -> Iterator[tuple[str, Any]]:
    """Give the tests of each clause, in the order of the clauses."""
    found = [(name, getattr(contract, name)) for name in sorted(dir(contract))]
    tests = [(name, test) for name, test in found if name.startswith("test_") and _marked(test)]
    order = list(CLAUSES)
    yield from sorted(tests, key=lambda each: order.index(each[1].clause))


def _marked(test: Any) -> bool:
    return hasattr(test, "clause")


def _trials(contract: DriverContract, test: Any) -> list[Trial | None]:
    return [None] if test.each is None else list(contract.trials(test))


def _blamed(test: Any, outcome: Outcome) -> str:
    """Return the clause that is broken, which need not be the one that was tried."""
    error = outcome.error
    return error.clause if isinstance(error, ContractBroken) else str(test.clause)


def _count(result: Result, where: str, outcome: Outcome) -> None:
    """Add the outcome of a trial to what is known of its clause."""
    match outcome.fate:
        case Fate.KEPT:
            result.passed += 1
        case Fate.EXCUSED:
            result.excused += 1
        case Fate.UNTRIED:
            result.skipped += 1
        case Fate.BROKEN | Fate.STALE:
            result.failures.append(f"{where}: {outcome.reason.splitlines()[0]}")
