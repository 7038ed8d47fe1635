"""
What came of asking a driver by collections of vectors: right, wrong, refused and why, as a table.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from opencrypto.driver import Driver
from opencrypto.exceptions import CryptoError, UsageError
from opencrypto.testing.suites import acvp, wycheproof
from opencrypto.testing.suites.case import NOT_AS_PUBLISHED, Case
from opencrypto.testing.suites.subject import (
    PATIENCE,
    RefusedError,
    Subject,
    UnansweredError,
    WrongError,
)

SHOWN: Final = 20
"""So many wrong answers of one file are told one by one; the others are counted."""

REASONS: Final = 3
"""So many reasons for refusing are told of one file; JSON has them all."""

HANGS: Final = 3
"""After so many cases in a row without an answer, the driver is asked no more."""


@dataclass(slots=True)
class SuiteRow:
    """
    What came of the cases of one file.

    Attributes:
        suite: ``wycheproof`` or ``acvp``.
        file: The file, below the folder that was named.
        algorithm: As the file calls it.
        right: How many answers were right.
        wrong: How many were not.
        refused: How many the driver does not do, or nobody can ask it.
        reasons: Why, and how often.
        failures: What was wrong, case by case; the first `SHOWN` of them.
    """

    suite: str
    file: str
    algorithm: str
    right: int = 0
    wrong: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """
    The files with what came of each, in order.

    Attributes:
        driver: Its name.
        rows: One for each file that has cases.
        seconds: How long it took.
    """

    driver: str
    rows: tuple[SuiteRow, ...]
    seconds: float

    @property
    def right(self) -> int:
        """How many answers were right."""
        return sum(row.right for row in self.rows)

    @property
    def wrong(self) -> int:
        """How many were wrong."""
        return sum(row.wrong for row in self.rows)

    @property
    def refused(self) -> int:
        """How many cases were refused."""
        return sum(row.refused for row in self.rows)

    @property
    def ok(self) -> bool:
        """Whether no answer was wrong, and any was given: who refuses all has shown nothing."""
        return self.right > 0 and not self.wrong

    @property
    def document(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "driver": self.driver,
            "ok": self.ok,
            "right": self.right,
            "wrong": self.wrong,
            "refused": self.refused,
            "seconds": round(self.seconds, 3),
            "files": [
                {
                    "suite": row.suite,
                    "file": row.file,
                    "algorithm": row.algorithm,
                    "right": row.right,
                    "wrong": row.wrong,
                    "refused": row.refused,
                    "reasons": dict(row.reasons),
                    "failures": row.failures,
                }
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        if not self.right + self.wrong:
            verdict = "has answered nothing"
        else:
            verdict = "answers wrongly" if self.wrong else "answers rightly"
        lines = [
            f"driver {self.driver}: {verdict}: {self.right} right, {self.wrong} wrong, "
            f"{self.refused} refused, in {self.seconds:.1f} s"
        ]
        lines.append(f"{'right':>7} {'wrong':>7} {'refused':>7}  algorithm, file")
        idle: Counter[str] = Counter()
        for row in self.rows:
            if not row.right + row.wrong:
                idle += row.reasons
                continue
            counts = f"{row.right:>7} {row.wrong:>7} {row.refused:>7}"
            lines.append(f"{counts}  {row.algorithm}, {row.suite} {row.file}")
            lines += [f"{'':>26}wrong: {each}" for each in row.failures]
            if row.wrong > len(row.failures):
                lines.append(f"{'':>26}wrong: {row.wrong - len(row.failures)} more")
            listed = row.reasons.most_common()
            lines += [f"{'':>26}refused {n}: {why}" for why, n in listed[:REASONS]]
            if len(listed) > REASONS:
                others = sum(n for _, n in listed[REASONS:])
                lines.append(f"{'':>26}refused {others}: {len(listed) - REASONS} other reasons")
        if idle:
            lines.append(f"{sum(idle.values()):>23}  in files of which nothing was answered")
            lines += [f"{'':>26}refused {n}: {why}" for why, n in idle.most_common()]
        return "\n".join(lines)


def check_suites(
    make_driver: Callable[[], Driver],
    *,
    wycheproof_folder: Path | None = None,
    acvp_folder: Path | None = None,
    patience: float = PATIENCE,
) -> SuiteReport:
    """
    Ask a driver all that collections of vectors ask, and compare its answers with theirs.

    Args:
        make_driver: What makes the driver, not yet attached.
        wycheproof_folder: A folder with Wycheproof's JSON files, in whatever folders below it.
        acvp_folder: A folder with ACVP's ``prompt`` and ``expectedResults`` files, likewise.
        patience: Seconds to wait for an answer.

    Raises:
        UsageError: a folder has no such files, one is no JSON, or the driver cannot be attached.
    """
    cases: list[Case] = []
    if wycheproof_folder is not None:
        cases += wycheproof.cases(wycheproof_folder)
    if acvp_folder is not None:
        cases += acvp.cases(acvp_folder)
    if not cases:
        raise UsageError("no vectors were named; give the folder of one collection or of both")
    begun = time.monotonic()
    driver = make_driver()
    try:
        subject = Subject(driver, patience)
    except CryptoError as error:
        with suppress(Exception):  # it is not attached, and closing it is all that is left
            driver.close()
        raise UsageError(f"driver {driver.name} cannot be attached: {error.strerror}") from error
    with subject:
        rows = _ask(subject, cases)
    return SuiteReport(driver.name, rows, time.monotonic() - begun)


def _ask(subject: Subject, cases: Iterable[Case]) -> tuple[SuiteRow, ...]:
    rows: dict[tuple[str, str], SuiteRow] = {}
    hangs = 0
    for case in cases:
        row = rows.setdefault(
            (case.suite, case.file), SuiteRow(case.suite, case.file, case.algorithm)
        )
        try:
            if hangs >= HANGS:
                raise RefusedError(f"not asked: the driver hung {HANGS} times in a row")
            subject.call(case.ask, subject.patience * case.work)
            row.right += 1
            hangs = 0
        except RefusedError as error:
            row.refused += 1
            row.reasons[str(error)] += 1
        except NOT_AS_PUBLISHED as error:
            row.refused += 1
            row.reasons[f"is not built as such cases are ({type(error).__name__})"] += 1
        except WrongError as error:
            hangs = hangs + 1 if isinstance(error, UnansweredError) else 0
            _note(row, f"{case.ident}: {error}")
        except CryptoError as error:
            hangs = 0
            _note(row, f"{case.ident}: {error.strerror or type(error).__name__}")
    return tuple(rows.values())


def _note(row: SuiteRow, failure: str) -> None:
    row.wrong += 1
    if len(row.failures) < SHOWN:
        row.failures.append(failure)
