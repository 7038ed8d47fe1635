"""
Whether time tells two kinds of input apart: Welch's t of their times, as dudect computes it.

The kinds come in an order drawn by chance, so that what the machine does hits both. Slow samples
are left out at several bounds, since they are the machine's, and the greatest t counts. Oscar
Reparaz, Josep Balasch and Ingrid Verbauwhede, "Dude, is my code constant time?", 2017.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence

LEAK = 10.0
"""A t beyond this is a leak without a doubt; up to 4.5 there is none to be seen."""

BOUNDS = (0.5, 0.75, 0.9, 0.99, 1.0)
"""Which part of the samples counts, the quickest first."""

WARMING = 200

Call = Callable[[], object]


def t_of(one: Sequence[Call], other: Sequence[Call], samples: int) -> float:
    """Return the greatest t of the times of two kinds of calls, of so many samples together."""
    kinds = (one, other)
    draw = random.Random(0)
    order = [draw.randrange(2) for _ in range(samples + WARMING)]
    picks = [draw.choice(kinds[kind]) for kind in order]
    times: list[tuple[int, int]] = []
    clock = time.perf_counter_ns
    collecting = gc.isenabled()
    gc.disable()
    try:
        for kind, call in zip(order, picks, strict=True):
            start = clock()
            call()
            times.append((clock() - start, kind))
    finally:
        if collecting:
            gc.enable()
    times = sorted(times[WARMING:])
    return max((welch(times[: int(len(times) * part)]) for part in BOUNDS), key=abs)


def welch(times: Sequence[tuple[int, int]]) -> float:
    """Return Welch's t of two kinds' times."""
    one = [took for took, kind in times if not kind]
    other = [took for took, kind in times if kind]
    if min(len(one), len(other)) < 2:
        return float("inf")  # one kind alone is among the quick ones
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    difference = statistics.fmean(one) - statistics.fmean(other)
    return float(difference / spread**0.5) if spread else 0.0
