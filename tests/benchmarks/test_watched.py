"""
What it costs a loaded process to be watched: its rate with all views on, and with none, in turns.

The load is on one processor and the views on another, as they would be; what is left is what the
process itself does to answer them. No timing, no trace, no watching of sessions.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from tests.benchmarks.measure import table
from tests.operators.views import every_view
from tests.operators.watched_load import check_sums, loaded

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

TURNS = 10
SECONDS = 6.0
"""How long each turn of either kind is: a minute of each in all."""


@pytest.mark.parametrize("threads", [1, 4])
def test_watched_by_all_views(tmp_path: Path, threads: int) -> None:
    """The sums are asserted, the rate is measured: at least 0.95 of the unwatched is wanted."""
    socket = tmp_path / "it.sock"
    pairs = []
    with loaded(socket, threads=threads, idle=1000, cpu=1) as it:
        with every_view(socket, it.port, tmp_path / "views", cpu=0) as views:
            for turn in range(TURNS):
                rates = {}
                for watched in (True, False) if turn % 2 else (False, True):
                    (views.go_on if watched else views.pause)()
                    rates[watched] = it.rate(SECONDS)
                pairs.append((rates[False], rates[True]))
        check_sums(it.ask("end"))
    alone, watched = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    table(
        "Watched by all views",
        ["threads of load", "requests/s alone", "watched", "ratio"],
        [[str(threads), f"{alone:.0f}", f"{watched:.0f}", f"{ratio:.3f}"]],
    )
