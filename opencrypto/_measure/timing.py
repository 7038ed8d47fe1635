"""
How long requests take, while ``opencrypto.timing`` is 1: four phases of each, as BSD measures them.

Nothing of this runs while the value is 0: requests then keep to the straight path, which does not
know of it (see `opencrypto._measure.watcher`). Each thread measures into its own `Times`.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Final

from opencrypto._measure.histogram import BUCKETS, count_in, quantile

PHASES: Final = {
    "invoke": "from dispatch until the driver is called",
    "done": "from the driver's call until its done",
    "cb": "from done until the callback starts",
    "finis": "in the callback",
}
"""What each phase lasts, in the order of time. ``cb`` is the wait on the return queue."""

FRESH: Final = 512
"""How many samples a thread collects before it works them in, which costs 0.5 µs a request."""

NEVER: Final = 1 << 62
"""Stands for the shortest time while there is no sample: any sample is shorter."""

_epochs: Final = itertools.count(1)


class Phase:
    """The samples of one phase, in nanoseconds: how they spread, their sum, the extremes."""

    __slots__ = ("high", "histogram", "low", "total")

    def __init__(self) -> None:
        self.histogram = [0] * BUCKETS
        self.total = 0
        self.low = NEVER
        self.high = 0

    @property
    def count(self) -> int:
        """How many samples there are."""
        return sum(self.histogram)

    def copy(self) -> Phase:
        """Return one that has the same samples."""
        made = Phase()
        made.histogram = self.histogram[:]
        made.total, made.low, made.high = self.total, self.low, self.high
        return made

    def add(self, other: Phase) -> None:
        """Add another's samples to these."""
        self.histogram = list(map(operator.add, self.histogram, other.histogram))
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)

    def count_in(self, samples: Sequence[int]) -> None:
        """Add samples, many at a time: together they cost a fraction of one look-up each."""
        count_in(self.histogram, samples)
        self.total += sum(samples)
        low, high = min(samples), max(samples)
        self.low = min(self.low, low)
        self.high = max(self.high, high)

    def quantile(self, part: float) -> int:
        """Tell the time that a part (0 to 1) of the samples stays under, in nanoseconds."""
        return max(min(quantile(self.histogram, part), self.high), self.low % NEVER)


Moments = tuple[int, int, int, int, int]
"""Of one request: dispatched, driver called, done, callback started, callback ended."""


class Times:
    """
    The four phases, as one thread, or all of them together, saw them for one driver.

    A sample is appended to `fresh`; when there are many they are worked into the phases at once.
    Both are replaced by one assignment, so that a reader in another thread never misses samples,
    nor sees any twice. Only the owner writes.
    """

    __slots__ = ("_state", "epoch", "fresh")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.fresh: list[Moments] = []
        self._state = (tuple(Phase() for _ in PHASES), self.fresh)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases, all samples included. In the order of `PHASES`."""
        phases, fresh = self._state
        return _worked_in(phases, fresh[:])

    def fold(self) -> None:
        """Work the fresh samples into the phases."""
        phases, fresh = self._state
        self.fresh = []
        self._state = (_worked_in(phases, fresh), self.fresh)

    def add(self, other: Times) -> None:
        """Add another's samples to these, if they are as recent."""
        if other.epoch == self.epoch:
            self.fold()
            for mine, theirs in zip(self._state[0], other.phases, strict=True):
                mine.add(theirs)


def _worked_in(phases: tuple[Phase, ...], fresh: list[Moments]) -> tuple[Phase, ...]:
    result = tuple(phase.copy() for phase in phases)
    columns = list(zip(*fresh, strict=True))
    for place, new in enumerate(result):
        if columns:
            new.count_in(list(map(operator.sub, columns[place + 1], columns[place])))
    return result


def next_epoch() -> int:
    """Number a new run of timing: samples of an earlier one are not mixed in."""
    return next(_epochs)
