"""
A loaded process to be watched by all views: run as a program, it prints its socket and the port of
its metrics, answers ``ops`` with what it has done, and ``end`` with all sums, and ends.
"""

from __future__ import annotations

import contextlib
import json
import operator
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.operators.live_process import ROOT

NAMES = (
    "opencrypto.stats.ops", "opencrypto.stats.errs", "opencrypto.sizes.ops",
    "opencrypto.sizes.bytes", "opencrypto.rest.departed.ops", "opencrypto.rest.strays.ops",
    "opencrypto.sessions.active",
)  # fmt: skip


class Loaded(NamedTuple):
    """The process, as who started it sees it."""

    process: subprocess.Popen[str]
    port: int

    def ask(self, word: str) -> Any:
        """Ask it for something."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def rates(self, seconds: float) -> Rates:
        """Measure it for so long."""
        before = self.ask("ops")
        time.sleep(seconds)
        ops, wall, load, all_threads = map(operator.sub, self.ask("ops"), before)
        return Rates(ops / wall, ops / load, (all_threads - load) / wall)


class Rates(NamedTuple):
    """
    What it does.

    Attributes:
        wall: Requests a second.
        load: Requests a second of processor time of the threads that dispatch them.
        views: Seconds of processor time a second that its other threads take: those that answer.
    """

    wall: float
    load: float
    views: float


@contextlib.contextmanager
def loaded(
    socket: Path, *, threads: int, idle: int = 0, cpu: int | None = None
) -> Iterator[Loaded]:
    """Start it, with so many threads of load and sessions that do nothing; on one processor."""
    path = os.pathsep.join(str(ROOT / part) for part in (".", "drivers", "consumers"))
    env = os.environ | {"PYTHONPATH": path, "OPENCRYPTO_CONTROL": str(socket)}
    call = [sys.executable, "-m", "tests.operators.watched_load", *map(str, (threads, idle))]
    if cpu is not None:
        call += [str(cpu)]
    with subprocess.Popen(
        call, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Loaded(process, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(timeout=60)


def check_sums(sums: dict[str, Any]) -> None:
    """Assert that nothing was lost and nothing counted twice, whatever looked on."""
    tree = sums["tree"]
    assert tree["opencrypto.stats.ops"] == sums["sent"] > 0
    assert sum(tree["opencrypto.sizes.ops"]) == sums["sent"]
    assert tree["opencrypto.sizes.bytes"] == sums["bytes"]
    assert tree["opencrypto.stats.errs"] == sums["errors"]
    rest = tree["opencrypto.rest.departed.ops"] + tree["opencrypto.rest.strays.ops"]
    assert sum(sums["by driver"].values()) + rest == sums["sent"]
    assert tree["opencrypto.sessions.active"] == sums["idle"]


def processor_time(threads: Iterable[int]) -> float:
    """Return how many seconds of a processor these threads have used: proc(5), schedstat."""
    files = (Path(f"/proc/self/task/{thread}/schedstat") for thread in threads)
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def main() -> None:
    """Be the process."""
    from opencrypto import CRYPTO_NULL_CBC, Cryptoini, Framework
    from opencrypto.metrics import serving
    from tests.operators.load import Hardware, Instant, Load

    threads, idle = int(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    plugins = [Hardware("hw"), Instant("a"), Instant("b")]
    with Framework(plugins=plugins) as framework, serving(framework, 0) as port:
        for _ in range(idle):
            framework.newsession(Cryptoini(CRYPTO_NULL_CBC), driver="b")
        with Load(framework, threads) as load:
            print(json.dumps(port), flush=True)
            for line in sys.stdin:
                if line == "ops\n":
                    used = processor_time(load.native_ids)
                    clocks = time.perf_counter(), used, time.process_time()
                    print(json.dumps([framework.stats.ops, *clocks]), flush=True)
                elif line == "detach\n":
                    framework.detach("hw")  # and the load goes on with the others
                    print("true", flush=True)
                else:
                    break
        tree = framework.sysctl
        sums = {
            "sent": load.ops,
            "bytes": load.bytes,
            "errors": load.errors,
            "idle": idle,
            "by driver": {name: each.ops for name, each in framework.stats.drivers.items()},
            "tree": {name: tree[name] for name in NAMES},
        }
        print(json.dumps(sums), flush=True)


if __name__ == "__main__":
    main()
