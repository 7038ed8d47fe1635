"""A process to watch from outside: run as a program, it prints its socket and works until told."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def watched(
    socket: Path, *, threads: int = 2, seconds: float = 120, more: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Start a process under load with a control socket; end it in the end."""
    path = os.pathsep.join(str(ROOT / part) for part in (".", "drivers", "consumers"))
    env = os.environ | {"PYTHONPATH": path, "OPENCRYPTO_CONTROL": str(socket)}
    call = [sys.executable, "-m", "tests.operators.live_process", str(threads), str(seconds), more]
    with subprocess.Popen(
        call, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline().strip() == str(socket)
            yield process
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def main() -> None:
    """Be the process."""
    from opencrypto import CRYPTO_NULL_CBC, Cryptoini, Framework
    from tests.operators.load import Hardware, Instant, Load

    threads, seconds, more = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3].split()
    plugins = [Hardware("hw"), Instant("sw"), *map(Instant, more)]
    with Framework(plugins=plugins) as framework, Load(framework, threads, pause=0.002):
        sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
        print(framework.control_path, flush=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            line = sys.stdin.readline()
            if not line:
                break
            if line == "getreq\n":
                print(framework.getreq(1) is not None, flush=True)
            elif line == "newsession\n":
                hard = framework.sysctl.integer("kern.cryptodevallowsoft")
                framework.freesession(sid)
                sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC), hard=hard)
                print(framework.drivers[(sid >> 32) - 1].name, flush=True)
        framework.freesession(sid)


if __name__ == "__main__":
    main()
