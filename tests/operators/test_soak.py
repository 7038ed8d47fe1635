"""Threads of load, watched by all views at once: nothing is lost, nothing counted twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.operators.views import every_view, polled
from tests.operators.watched_load import check_sums, loaded


@pytest.mark.slow  # starting the views under load takes half a minute
@pytest.mark.alone
def test_sums_are_exact_whoever_watches(tmp_path: Path) -> None:
    """Sixteen threads, and a driver that leaves in the midst; tests/benchmarks has the rates."""
    socket = tmp_path / "it.sock"
    with loaded(socket, threads=16, idle=100) as it:
        with every_view(socket, it.port, tmp_path / "views") as views, polled(socket):
            time.sleep(3)
            views.pause()
            assert it.ask("detach")
            views.go_on()
            time.sleep(3)
        check_sums(it.ask("end"))
