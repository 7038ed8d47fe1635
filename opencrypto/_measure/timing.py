"""
How long requests take, while ``opencrypto.timing`` is 1: four phases of each, as BSD measures them.

Nothing of this runs while the value is 0: requests then keep to the straight path, which does not
know of it (see `opencrypto._measure.watcher`). Each thread measures into its own `Times`.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from typing import Final

PHASES: Final = {
    "invoke": "from dispatch until the driver is called",
    "done": "from the driver's call until its done",
    "cb": "from done until the callback starts",
    "finis": "in the callback",
}
"""What each phase lasts, in the order of time. ``cb`` is the wait on the return queue."""

BOUNDS: Final = tuple(
    step * 10**power for power in range(3, 11) for step in (1, 2, 5) if step * 10**power <= 10**10
)
"""Upper bounds of the histograms' buckets, in **nanoseconds**: 1 µs to 10 s by 1, 2, 5."""

BUCKETS: Final = len(BOUNDS) + 1
FRESH: Final = 256
"""How many samples a thread collects before it works them in, which costs 0.3 µs a request."""

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

    def add(self, other: Phase) -> None:
        """Add another's samples to these."""
        self.histogram = [a + b for a, b in zip(self.histogram, other.histogram, strict=True)]
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)

    def sort_in(self, samples: list[int]) -> None:
        """Add samples, many at a time: sorted, they cost a fraction of one look-up each."""
        samples.sort()
        below = 0
        for place, bound in enumerate(BOUNDS):
            under = bisect.bisect_right(samples, bound, below)
            self.histogram[place] += under - below
            below = under
            if below == len(samples):
                break
        self.histogram[-1] += len(samples) - below
        self.total += sum(samples)
        self.low = min(self.low, samples[0])
        self.high = max(self.high, samples[-1])

    def quantile(self, part: float) -> int:
        """Estimate the time that a part (0 to 1) of the samples stays under, in nanoseconds."""
        return max(min(quantile(self.histogram, part), self.high), self.low % NEVER)


def quantile(histogram: list[int] | tuple[int, ...], part: float) -> int:
    """Estimate a quantile from a histogram over `BOUNDS`, between the bounds of its bucket."""
    rank = part * sum(histogram)
    below = 0
    for place, count in enumerate(histogram):
        if count and below + count >= rank:
            low = BOUNDS[place - 1] if place else 0
            high = BOUNDS[min(place, len(BOUNDS) - 1)]
            return low + int((high - low) * (rank - below) / count)
        below += count
    return 0


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
    result = tuple(Phase() for _ in PHASES)
    columns = list(zip(*fresh, strict=True))
    for place, (old, new) in enumerate(zip(phases, result, strict=True)):
        new.add(old)
        if columns:
            new.sort_in(list(map(operator.sub, columns[place + 1], columns[place])))
    return result


def next_epoch() -> int:
    """Number a new run of timing: samples of an earlier one are not mixed in."""
    return next(_epochs)
