"""Sixteen threads of load, watched by all views at once: nothing is lost, or slow."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opencrypto import Framework
from opencrypto.control import Client
from tests.operators.live_process import ROOT
from tests.operators.load import Hardware, Instant, Load
from tests.operators.test_commands import COMMAND
from tests.operators.test_metrics import Server, registry
from tests.operators.test_top import Terminal
from tests.support import require_module

prometheus = require_module("prometheus_client", "prometheus-client")

WINDOWS = 4
"""How many times the rate is taken with views and without, in turns, so that both see the same."""


def poll(path: Path, stop: threading.Event) -> None:
    """Read the whole tree twice a second, as a program with a dashboard of its own would."""
    with Client(path) as client:
        while not stop.wait(0.5):
            client.get()


@contextlib.contextmanager
def every_view(framework: Framework, folder: Path) -> Iterator[None]:
    """Top in a terminal, stat, a poller on the socket, and a Prometheus that scrapes."""
    path = framework.control_path
    assert path is not None
    folder.mkdir()
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/drivers:{ROOT}/consumers"}
    stop = threading.Event()
    http, thread = prometheus.start_http_server(0, addr="127.0.0.1", registry=registry(framework))
    poller = threading.Thread(target=poll, args=(path, stop))
    python = f"{sys.executable} -c 'from opencrypto.cli import main; main()'"
    with contextlib.ExitStack() as stack:
        stack.callback(thread.join)
        stack.callback(http.server_close)
        stack.callback(http.shutdown)
        server = Server(folder, http.server_address[1], interval="1s")
        stack.callback(server.close)
        terminal = Terminal(
            folder,
            80,
            24,
            f"cd {ROOT}; PYTHONPATH=.:drivers:consumers {python} top --socket {path}",
        )
        stack.callback(terminal, "kill-server")
        stat = subprocess.Popen(
            [*COMMAND, "stat", "-w", "1", "--socket", str(path)],
            env=env,
            stdout=subprocess.DEVNULL,
        )
        stack.callback(stat.wait)
        stack.callback(stat.terminate)
        poller.start()
        stack.callback(poller.join)
        stack.callback(stop.set)
        terminal.wait_for("rate/s")  # all have started: what that costs is not the framework's
        server.wait_for("up == 1")
        yield
        assert stat.poll() is None
        assert "rate/s" in terminal.screen()


def rate(ops: Callable[[], int], seconds: float) -> float:
    """Return how many requests a second were dispatched."""
    before, start = ops(), time.perf_counter()
    time.sleep(seconds)
    return (ops() - before) / (time.perf_counter() - start)


@pytest.mark.slow  # the short one too: starting the views under load takes most of a minute
@pytest.mark.alone
@pytest.mark.parametrize("seconds", [pytest.param(8, id="short"), pytest.param(60, id="minute")])
def test_sixteen_threads_watched_by_all_views(tmp_path: Path, seconds: int) -> None:
    """Sums are exact at the end; what the views take of the rate is printed, not asserted."""
    window = seconds / WINDOWS / 2
    watched: list[float] = []
    alone: list[float] = []
    plugins = [Hardware("hw"), Instant("a"), Instant("b")]
    with Framework(plugins=plugins, control=tmp_path / "it.sock") as framework:

        def ops() -> int:
            return framework.stats.ops

        with Load(framework, threads=16) as load:
            time.sleep(0.5)
            for turn in range(WINDOWS):
                alone.append(rate(ops, window))
                with every_view(framework, tmp_path / str(turn)):
                    watched.append(rate(ops, window))
                if turn == 0:
                    framework.detach("hw")  # and the load goes on with the others
        tree = framework.sysctl
        rest = sum(tree.integer(f"opencrypto.rest.{each}.ops") for each in ("departed", "strays"))
        by_driver = framework.stats.drivers.values()
        assert tree["opencrypto.stats.ops"] == load.ops
        assert sum(each.ops for each in by_driver) + rest == load.ops
        assert tree["opencrypto.sizes.bytes"] == load.bytes
        assert tree["opencrypto.stats.errs"] == load.errors
        sizes = tree["opencrypto.sizes.ops"]
        assert isinstance(sizes, tuple)
        assert sum(sizes) == load.ops
    share = statistics.median(watched) / statistics.median(alone)
    print(
        f"\n{load.ops} requests; alone {statistics.median(alone):.0f}/s, watched {share:.2f} of it"
    )
