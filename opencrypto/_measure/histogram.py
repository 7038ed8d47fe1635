"""
Histograms of times: sixteen buckets an octave, so that a time read off one is at most 3.2 % wrong.

The scale is that of the upper bits of a floating-point number, which are its exponent and the
first digits behind its point: they grow with the number, by steps that are as wide as it is large.
Such scales are called log-linear, and are what HDR histograms have.
"""

from __future__ import annotations

import itertools
import sys
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Final

STEPS: Final = 16
"""How many buckets an octave has."""

LEAST: Final = 1 << 6
"""What is less, in **nanoseconds**, goes together into the first bucket."""

OCTAVES: Final = 30
"""From `LEAST` on; what is more goes together into the last bucket."""

_RISING: Final = itertools.product(range(OCTAVES), range(STEPS))
BOUNDS: Final = (*((LEAST << up) * (STEPS + n) // STEPS for up, n in _RISING), LEAST << OCTAVES)
"""What the buckets but the last end below, in **nanoseconds**: 64 ns to 69 s."""

BUCKETS: Final = len(BOUNDS) + 1

_COARSE: Final = 4
_FIRST: Final = 1 << 10

COARSE_BOUNDS: Final = BOUNDS[BOUNDS.index(_FIRST) : BOUNDS.index(1 << 34) + 1 : STEPS // _COARSE]
"""Four an octave from 1 us to 17 s: as many as a time series database bears."""

_UPPER: Final = slice(3 if sys.byteorder == "little" else 0, None, 4)


def _places(samples: Sequence[int]) -> memoryview:
    """Return the upper 16 bits of each as a float of 64: sign, exponent, and what tells a step."""
    return memoryview(array("d", samples)).cast("B").cast("H")[_UPPER]


_BASE: Final = _places([LEAST])[0] - 1
_LAST: Final = BUCKETS - 1


def count_in(histogram: list[int], samples: Sequence[int]) -> None:
    """Count samples, in **nanoseconds** from 0 on, into the buckets of a histogram."""
    for place, count in Counter(_places(samples)).items():
        histogram[min(max(place - _BASE, 0), _LAST)] += count


def quantile(histogram: Sequence[int], part: float) -> int:
    """
    Tell the time, in **nanoseconds**, that a part (0 to 1) of the samples does not exceed.

    It is the middle of the bucket in which that sample is; 0 if there is none.
    """
    rank = max(1.0, part * sum(histogram))
    for place, below in enumerate(itertools.accumulate(histogram)):
        if below >= rank:
            return _middle(place)
    return 0


def _middle(place: int) -> int:
    if place == _LAST:
        return BOUNDS[-1]
    return (BOUNDS[place] + (BOUNDS[place - 1] if place else 0)) // 2


def coarse(histogram: Sequence[int]) -> list[int]:
    """Count together what lies below each of `COARSE_BOUNDS`, and above the one before."""
    totals = list(itertools.accumulate(histogram))
    below = [totals[BOUNDS.index(bound)] for bound in COARSE_BOUNDS]
    return [
        *(upper - lower for lower, upper in zip([0, *below], below, strict=False)),
        totals[-1] - below[-1],
    ]
