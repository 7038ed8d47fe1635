"""
Real work for real drivers: what a busy program asks of them. Run as a program it is one to watch.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from opencrypto import CRK_MOD_EXP, AuthenticationError, Cryptkop, Framework
from opencrypto.client import Session
from tests.operators.live_process import ROOT

WORK: Final = (
    ("aes-128-gcm", (16,), 1400, None),
    ("aes-256-gcm", (32,), 16384, None),
    ("chacha20-poly1305", (32,), 1400, None),
    ("aes-256-cbc+hmac-sha2-256", (32, 32), 4096, "swcrypto"),
    ("aes-128-ctr+hmac-sha1", (16, 20), 512, "swcrypto"),
)
"""Chains by name, the lengths of their keys, the size of messages, and who must do it."""


class RealLoad:
    """A thread for each line of `WORK`, one for key operations, one that is sent forgeries."""

    def __init__(self, framework: Framework, pause: float = 0.002) -> None:
        self._framework = framework
        self._pause = pause
        self._told = threading.Event()
        works: list[Callable[[], None]] = [self._worker(*line) for line in WORK]
        self._threads = [
            threading.Thread(target=work)
            for work in (*works, self._exponentiate, self._refuse_forgeries)
        ]

    def __enter__(self) -> RealLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._told.set()
        for thread in self._threads:
            thread.join()

    def _open(self, name: str, lengths: tuple[int, ...], driver: str | None = None) -> Session:
        keys = tuple(os.urandom(length) for length in lengths)
        return self._framework.session(name, keys if len(keys) > 1 else keys[0], driver=driver)

    def _worker(
        self, name: str, lengths: tuple[int, ...], size: int, driver: str | None
    ) -> Callable[[], None]:
        def work() -> None:
            data = os.urandom(size)
            with self._open(name, lengths, driver) as session:
                while not self._told.wait(self._pause):
                    assert session.open(session.seal(data)) == data

        return work

    def _exponentiate(self) -> None:
        modulus = (1 << 1024) - 105
        answered = threading.Event()
        while not self._told.wait(self._pause * 20):
            answered.clear()
            krp = Cryptkop.of(
                CRK_MOD_EXP, [3, modulus - 1, modulus], [1024], lambda krp: answered.set()
            )
            self._framework.kdispatch(krp)
            answered.wait()

    def _refuse_forgeries(self) -> None:
        with self._open("aes-128-gcm", (16,)) as session:
            while not self._told.wait(self._pause * 10):
                forged = bytearray(session.seal(b"a message"))
                forged[-1] ^= 1
                with contextlib.suppress(AuthenticationError):
                    session.open(bytes(forged))


@contextlib.contextmanager
def at_work(socket: Path) -> Iterator[None]:
    """Start a process with the installed drivers at work; end it in the end."""
    path = os.pathsep.join(str(ROOT / part) for part in (".", "drivers", "consumers"))
    env = os.environ | {"PYTHONPATH": path, "OPENCRYPTO_CONTROL": str(socket)}
    call = [sys.executable, "-m", "tests.operators.real_load"]
    with subprocess.Popen(
        call, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip() == str(socket)
            yield
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def main() -> None:
    """Be the process."""
    with Framework() as framework, RealLoad(framework):
        print(framework.control_path, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
