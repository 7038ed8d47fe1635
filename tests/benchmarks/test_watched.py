"""
What it costs a loaded process to be watched by all views: its rate, and its rate while the same
views watch another process, in turns.

So the machine has the same to do in both, and what is left is what the process does to answer. No
timing, no trace, no watching of sessions. The load is on one processor, all else on another.

Where the process does not have its processor for itself, its rate says little. What remains true
is what a request takes of the load's own threads, and what those that answer take of a second.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.measure import table
from tests.operators.views import every_view
from tests.operators.watched_load import Rates, check_sums, loaded

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
    pairs: list[tuple[Rates, Rates]] = []
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
    heads = ["threads of load", "alone, requests/s", "watched", "of the load's own time", "views"]
    shares = [
        median(watched.wall / alone.wall for alone, watched in pairs),
        median(watched.load / alone.load for alone, watched in pairs),
        median(watched.views - alone.views for alone, watched in pairs),
    ]
    rate = f"{median(alone.wall for alone, _ in pairs):.0f}"
    table("Watched by all views", heads, [[str(threads), rate, *map(share, shares)]])


def share(part: float) -> str:
    """Write a part of a whole."""
    return f"{part:.1%}"
