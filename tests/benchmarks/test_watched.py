"""
What it costs a loaded process to be watched by all views: its rate, and its rate while the same
views watch another process, in turns.

So the machine has the same to do in both, and what is left is what the process does to answer. No
timing, no trace, no watching of sessions. The load is on one processor, all else on another.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from tests.benchmarks.measure import table
from tests.operators.views import every_view
from tests.operators.watched_load import check_sums, loaded

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

IDLE = 1000
"""Sessions that are open beside those of the load, and are looked at."""

TURNS = 12
SECONDS = 5.0
"""How long each turn is: a minute of being watched in all."""


@pytest.mark.parametrize("threads", [1, 4])
def test_watched_by_all_views(tmp_path: Path, threads: int) -> None:
    """The sums are asserted, the rate is measured: at least 0.95 of the unwatched is wanted."""
    path, elsewhere = tmp_path / "it.sock", tmp_path / "twin.sock"
    pairs: list[tuple[tuple[float, float], tuple[float, float]]] = []
    with (
        loaded(path, threads=threads, idle=IDLE, cpu=1) as it,
        loaded(elsewhere, threads=0, idle=IDLE, cpu=0) as twin,
    ):
        with (
            every_view(path, it.port, tmp_path / "a", again=5, cpu=0) as views,
            every_view(elsewhere, twin.port, tmp_path / "b", again=5, cpu=0) as others,
        ):
            for _ in range(TURNS):
                views.pause()
                others.go_on()
                alone = it.rates(SECONDS)
                others.pause()
                views.go_on()
                pairs.append((alone, it.rates(SECONDS)))
        check_sums(it.ask("end"))
    rows = []
    for of, place in (("second", 0), ("second of its processor", 1)):
        rates = [(alone[place], watched[place]) for alone, watched in pairs]
        alone, watched = (statistics.median(each) for each in zip(*rates, strict=True))
        ratio = statistics.median(watched / alone for alone, watched in rates)
        rows.append([str(threads), of, f"{alone:.0f}", f"{watched:.0f}", f"{ratio:.3f}"])
    heads = ["threads of load", "requests a", "alone", "watched", "ratio"]
    table("Watched by all views", heads, rows)
