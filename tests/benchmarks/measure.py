"""
Measuring cases against each other: in one process, in turns, so that a slow minute hits all alike.

Times are medians over rounds; ratios are medians of the ratios within each round, which is what
remains true on another machine.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

ROUNDS = 15
ROUND_S = 0.012
"""Seconds that one case runs in one round."""

Case = Callable[[], object]


class Result:
    """What the cases took: microseconds a call, round by round."""

    def __init__(self, times: Mapping[str, Sequence[float]]) -> None:
        self.times = times

    def us(self, case: str) -> float:
        """Return the median, in microseconds."""
        return statistics.median(self.times[case])

    def ratio(self, case: str, base: str) -> float:
        """Return how many times as fast as `base` a case is."""
        pairs = zip(self.times[base], self.times[case], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    def excess(self, case: str, base: str) -> float:
        """Return how many microseconds more than `base` a case takes."""
        pairs = zip(self.times[case], self.times[base], strict=True)
        return statistics.median(ours - theirs for ours, theirs in pairs)

    def best_of(self, *cases: str) -> str:
        """Return the quickest of some cases."""
        return min(cases, key=self.us)


def compare(cases: Mapping[str, Case], rounds: int = ROUNDS, seconds: float = ROUND_S) -> Result:
    """
    Time each case in each round, in an order that rotates.

    Args:
        cases: What is timed.
        rounds: How often.
        seconds: How long one case runs in one round. Many short rounds see less of a busy machine.
    """
    counts = {name: _calls_in_a_round(case, seconds) for name, case in cases.items()}
    times: dict[str, list[float]] = {name: [] for name in cases}
    order = list(cases)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            order.append(order.pop(0))
            for name in order:
                times[name].append(_time(cases[name], counts[name]) * 1e6)
    finally:
        if collecting:
            gc.enable()
    return Result(times)


def _time(case: Case, count: int) -> float:
    calls = range(count)
    start = time.perf_counter()
    for _ in calls:
        case()
    return (time.perf_counter() - start) / count


def _calls_in_a_round(case: Case, seconds: float) -> int:
    case()
    once = max(_time(case, 3), 1e-8)
    return max(3, int(seconds / once))


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in markdown."""
    print(f"\n\n### {title}\n")
    print("| " + " | ".join(heads) + " |")
    print("| --- |" + " ---: |" * (len(heads) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def size_name(size: int) -> str:
    """Name a size in bytes."""
    if size >= 1 << 20:
        return f"{size >> 20} MiB"
    return f"{size >> 10} KiB" if size % 1024 == 0 and size >= 4096 else f"{size} B"
