"""
Failures: requests that ended with an error, counted by chain and errno, with what was said last.

The rows are bounded, whatever a program or a driver does: a chain that came late, and an errno
that nobody knows, have the row `OTHER`.
"""

from __future__ import annotations

from collections import defaultdict
from errno import errorcode
from time import time
from typing import Final, NamedTuple

from opencrypto.exceptions import ERRNO_CLASSES, OperationError, sentence

OTHER: Final = -1
"""Stands for every chain, key operation or errno that has no row of its own."""

LONGEST: Final = 300
"""How many characters of a sentence are shown."""


class Failure(NamedTuple):
    """
    What came to pass with one errno.

    Attributes:
        counts: How often, by the number of the chain or the key operation.
        at: When for the last time, in seconds since 1970.
        text: What was said of it then: a sentence without content.
    """

    counts: dict[int, int]
    at: float
    text: str

    @property
    def total(self) -> int:
        """How often in all."""
        return sum(self.counts.values())


class Failures:
    """The failures that one thread counts, or a sum of several. Only the owner writes."""

    __slots__ = ("_counts", "_lasts")

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._lasts: dict[tuple[int, int], tuple[float, str]] = {}

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self._counts.copy().values())

    def count(self, what: int, code: object, text: str) -> None:
        """
        Count one.

        Args:
            what: The number of the chain, or the key operation.
            code: What the request ended with; anything, where a driver is at fault.
            text: The sentence to it, if there is one.
        """
        key = what, code if type(code) is int and code in errorcode else OTHER
        self._lasts[key] = time(), text
        self._counts[key] += 1

    def add(self, other: Failures) -> None:
        """Add another's to these."""
        # Each copy is one step: the other's thread may be counting.
        for key, count in other._counts.copy().items():
            self._counts[key] += count
        for key, last in other._lasts.copy().items():
            self._lasts[key] = max(last, self._lasts.get(key, last))

    def by_code(self) -> dict[int, Failure]:
        """Return what came to pass, by errno."""
        counts: dict[int, dict[int, int]] = {}
        lasts: dict[int, tuple[float, str]] = {}
        for (what, code), count in self._counts.copy().items():
            counts.setdefault(code, {})[what] = count
            last = self._lasts[what, code]
            lasts[code] = max(last, lasts.get(code, last))
        return {code: Failure(counts[code], *lasts[code]) for code in sorted(counts)}

    def of(self, what: int) -> Failures:
        """Return those of one chain, or one key operation."""
        made = Failures()
        for key, count in self._counts.copy().items():
            if key[0] == what:
                made._counts[key] = count
                made._lasts[key] = self._lasts[key]
        return made

    def kinds(self) -> set[int]:
        """Return the chains, or key operations, of which there are some."""
        return {what for what, _ in self._counts.copy()}


def code_name(code: int) -> str:
    """Name an errno as errno(3) does; ``other`` for what is none."""
    return errorcode.get(code, "other")


def code_class(code: int) -> str:
    """Name the class of errors that `Cryptop.check` makes of an errno."""
    return ERRNO_CLASSES.get(code, OperationError).__name__


def said(code: int, failure: Failure) -> str:
    """Return the last sentence of a failure, or the general one of its errno, fit to be shown."""
    general = "a driver ended it with what is no errno" if code == OTHER else sentence(code)
    return str(failure.text or general)[:LONGEST]
