"""
What became of the contract, trial by trial and clause by clause, and what people read of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from opencrypto.testing.clauses import CLAUSES, Fate

SHOWN = 4
"""Names shown of trials that were skipped."""


@dataclass(slots=True)
class Result:
    """
    What became of one clause.

    Attributes:
        clause: Its id.
        title: What it says, in one sentence.
        passed: How many trials it passed.
        excused: How many failed as a deviation says.
        skips: Why trials were skipped: each reason, with the tests and trials.
        failures: For each trial that failed, the test, the trial, and what broke.
        absent: Why it could not be tried at all, or no more: the driver was not there.
        blamed: How many tests, of whatever clause, found this one broken.
        left_out: How many trials were left out because it had to be quick.
    """

    clause: str
    title: str
    passed: int = 0
    excused: int = 0
    skips: dict[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    absent: str = ""
    blamed: int = 0
    left_out: int = 0

    @property
    def skipped(self) -> int:
        """How many trials were skipped, for whatever reason."""
        return sum(map(len, self.skips.values()))

    @property
    def outcome(self) -> str:
        """
        What became of the clause in a word: the first of these that is true.

        ``failed``, ``not tried`` (the driver was not there), ``excused``, ``passed``, ``skipped``,
        or ``not asked`` for.
        """
        if self.failures or self.blamed:
            return "failed"
        if self.absent:
            return "not tried"
        if self.excused:
            return "excused"
        if self.passed:
            return "passed"
        return "skipped" if self.skips else "not asked"

    @property
    def document(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "clause": self.clause,
            "title": self.title,
            "outcome": self.outcome,
            "passed": self.passed,
            "excused": self.excused,
            "skipped": self.skipped,
            "skips": self.skips,
            "failures": self.failures,
            "absent": self.absent,
            "left_out": self.left_out,
        }

    def lines(self) -> Iterator[str]:
        """Give the lines of a report."""
        yield f"{self.clause:>4}  {self.outcome:<9} {self.passed:>4}  {self.title}"
        yield from (f"      {failure}" for failure in self.failures)
        if self.absent:
            yield f"      {self.absent}"
        for reason, names in self.skips.items():
            yield f"      skipped, {reason}: {_some(names)}"
        if self.left_out:
            yield f"      left out, to be quick: {self.left_out} trials"


def _some(names: list[str]) -> str:
    """Name the tests, each with some of its trials."""
    tests: dict[str, list[str]] = {}
    for name in names:
        test, _, trial = name.rstrip("]").partition("[")
        tests.setdefault(test, []).append(trial)
    return "; ".join(test + _shortened(trials) for test, trials in tests.items())


def _shortened(trials: list[str]) -> str:
    if trials in ([""], ["none"]):  # a test without trials, or with no ground for any
        return ""
    more = f" and {len(trials) - SHOWN} more" if len(trials) > SHOWN else ""
    return f"[{', '.join(trials[:SHOWN])}{more}]"


@dataclass(frozen=True, slots=True)
class Report:
    """
    The clauses of the contract with what became of each, in order.

    Attributes:
        driver: The driver's name.
        results: What became of each clause.
        left_behind: The trials that hung: a thread of each may still be in the driver.
    """

    driver: str
    results: tuple[Result, ...]
    left_behind: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all that there is ground for was tried, and no clause is broken."""
        return self.verdict == "keeps the contract"

    @property
    def verdict(self) -> str:
        """``keeps`` or ``breaks the contract``, or ``not tried`` and why."""
        if any(result.outcome == "failed" for result in self.results):
            return "breaks the contract"
        absent = [result.absent for result in self.results if result.absent]
        if absent:
            return absent[0]
        if not any(result.passed or result.excused for result in self.results):
            reasons = [reason for result in self.results for reason in result.skips]
            return f"not tried: {(reasons or ['there is nothing to try'])[0]}"
        return "keeps the contract"

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
            "verdict": self.verdict,
            "clauses": [each.document for each in self.results],
            "left_behind": list(self.left_behind),
        }

    def __str__(self) -> str:
        lines = [f"driver {self.driver}: {self.verdict}"]
        for result in self.results:
            if result.outcome != "not asked":
                lines += result.lines()
        if self.left_behind:
            lines.append(
                f"left behind: {len(self.left_behind)} threads that hang in the driver, of "
                + ", ".join(self.left_behind)
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Tried:
    """
    What became of one trial, in words that go from one process to another.

    Attributes:
        clause: The clause that was tried.
        where: The test, and the trial in brackets.
        fate: What became of it: the value of a `Fate`.
        reason: Why it was not tried, or may be broken, or what is wrong.
        blamed: The clause that is broken, which need not be the one that was tried.
        hung: Whether a thread was left behind.
    """

    clause: str
    where: str
    fate: str
    reason: str = ""
    blamed: str = ""
    hung: bool = False


class Tally:
    """Makes a report of what became of each trial."""

    def __init__(self, driver: str) -> None:
        self._driver = driver
        self._results = {ident: Result(ident, title) for ident, title in CLAUSES.items()}
        self._left_behind: list[str] = []

    def add(self, one: Tried) -> None:
        """Add what became of one trial."""
        result = self._results[one.clause]
        if one.hung:
            self._left_behind.append(one.where)
        match Fate(one.fate):
            case Fate.KEPT:
                result.passed += 1
            case Fate.EXCUSED:
                result.excused += 1
            case Fate.UNTRIED:
                result.skips.setdefault(one.reason, []).append(one.where)
            case Fate.ABSENT:
                result.absent = result.absent or one.reason
            case Fate.BROKEN | Fate.STALE:
                result.failures.append(f"{one.where}: {one.reason}")
        if one.blamed:
            self._results[one.blamed].blamed += 1

    def leave_out(self, clause: str, count: int) -> None:
        """Add trials that were left out because it had to be quick."""
        self._results[clause].left_out += count

    def report(self) -> Report:
        """Make the report."""
        return Report(self._driver, tuple(self._results.values()), tuple(self._left_behind))
