"""
A process in trouble: run as a program with an incident's name, it prints its socket when the
incident is there, and ends when its input does.

The names are those of the pages in docs/runbook.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from opencrypto import (
    CRD_F_ENCRYPT,
    CRK_MOD_EXP,
    CRYPTO_AES_CBC,
    CRYPTO_F_CBIMM,
    Cryptkop,
    Cryptoini,
    Cryptop,
    Framework,
)
from tests.operators.incidents.card import Card, WrongCard

ROOT: Final = Path(__file__).parents[3]
SIZE: Final = 1024
KEY: Final = bytes(range(16))


class Load:
    """Threads that encipher by one driver, each with some requests in flight."""

    def __init__(
        self,
        framework: Framework,
        driver: str | None,
        *,
        threads: int = 2,
        depth: int = 2,
        flags: int = CRYPTO_F_CBIMM,
        callback: Callable[[], object] = lambda: None,
        pause: float = 0.001,
    ) -> None:
        self._framework = framework
        self._driver = driver
        self._depth = depth
        self._flags = flags
        self._callback = callback
        self._pause = pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        framework = self._framework
        sid = framework.newsession(Cryptoini(CRYPTO_AES_CBC, key=KEY), driver=self._driver)
        room = threading.Semaphore(self._depth)

        def callback(crp: Cryptop) -> None:
            nonlocal sid
            if crp.etype == errno.EAGAIN:
                sid = crp.sid  # it has moved
            try:
                self._callback()
            finally:
                framework.freereq(crp)
                room.release()

        while not self._stop.is_set():
            room.acquire()
            crp = framework.getreq(1)
            if crp is None:  # over the limit of the return queue
                room.release()
            else:
                crp.sid, crp.flags, crp.ilen, crp.callback = sid, self._flags, SIZE, callback
                crp.buf = bytearray(SIZE + 16)
                crd = crp.desc[0]
                crd.alg, crd.flags, crd.skip, crd.len = CRYPTO_AES_CBC, CRD_F_ENCRYPT, 16, SIZE
                framework.dispatch(crp)
            time.sleep(self._pause)
        for _ in range(self._depth):
            room.acquire()
        framework.freesession(sid)


@contextlib.contextmanager
def _ill(framework: Framework, mood: str) -> Iterator[Card]:
    """A card that is everybody's first choice and, when all goes well, falls ill."""
    card = Card()
    framework.attach(card)
    with Load(framework, None), Load(framework, "swcrypto"):
        time.sleep(0.2)
        card.mood = mood
        try:
            yield card
        finally:
            card.heal()


@contextlib.contextmanager
def _slow_driver(framework: Framework) -> Iterator[None]:
    with _ill(framework, "slow"):
        yield


@contextlib.contextmanager
def _blocked_driver(framework: Framework) -> Iterator[None]:
    with _ill(framework, "full"):
        _until(lambda: framework.sysctl["opencrypto.drivers.card.blocked"])
        time.sleep(1.5)  # a blocked driver is nothing to speak of before a second is over
        yield


@contextlib.contextmanager
def _silent_driver(framework: Framework) -> Iterator[None]:
    with _ill(framework, "silent"):
        _until(lambda: framework.sysctl.integer("opencrypto.drivers.card.inflight") == 4)
        time.sleep(1.5)
        yield


@contextlib.contextmanager
def _failed_selftest(framework: Framework) -> Iterator[None]:
    framework.attach(WrongCard())
    with Load(framework, None):
        yield


@contextlib.contextmanager
def _slow_callbacks(framework: Framework) -> Iterator[None]:
    """What is answered waits: each callback sleeps, and there is one thread for all of them."""
    framework.attach(Card())
    with Load(framework, "card", depth=8, flags=0, callback=lambda: time.sleep(0.03), pause=0):
        yield


@contextlib.contextmanager
def _full_return_queue(framework: Framework) -> Iterator[None]:
    framework.sysctl["opencrypto.crypto_ret_q.maxlen"] = 4
    framework.attach(Card())
    with Load(framework, "card", depth=16, flags=0, callback=lambda: time.sleep(0.03), pause=0.001):
        _until(lambda: framework.sysctl["opencrypto.crypto_ret_q.drops"])
        yield


@contextlib.contextmanager
def _missing_plugin(framework: Framework) -> Iterator[None]:
    """The plugin is installed by `environment`, and asks for a library that is not."""
    with Load(framework, None):
        yield


@contextlib.contextmanager
def _starving_keys(framework: Framework) -> Iterator[None]:
    card = Card()
    framework.attach(card)
    card.mood = "busy"
    for _ in range(3):
        krp = Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], lambda krp: None)
        framework.kdispatch(krp, driver="card")
    with Load(framework, "card"):
        time.sleep(1.5)
        try:
            yield
        finally:
            card.heal()


@contextlib.contextmanager
def _failing_requests(framework: Framework) -> Iterator[None]:
    with _ill(framework, "broken"):
        yield


@contextlib.contextmanager
def _leaking_sessions(framework: Framework) -> Iterator[None]:
    """A server that opens a session for each connection, and frees those that end well."""
    stop = threading.Event()

    def serve() -> None:
        while not stop.wait(0.02):
            framework.newsession(Cryptoini(CRYPTO_AES_CBC, key=KEY))

    server = threading.Thread(target=serve)
    server.start()
    try:
        with Load(framework, "swcrypto"):
            time.sleep(1)
            yield
    finally:
        stop.set()
        server.join()


INCIDENTS: Final[Mapping[str, Callable[[Framework], contextlib.AbstractContextManager[None]]]] = {
    "slow-driver": _slow_driver,
    "failed-selftest": _failed_selftest,
    "slow-callbacks": _slow_callbacks,
    "blocked-driver": _blocked_driver,
    "silent-driver": _silent_driver,
    "full-return-queue": _full_return_queue,
    "missing-plugin": _missing_plugin,
    "starving-keys": _starving_keys,
    "failing-requests": _failing_requests,
    "leaking-sessions": _leaking_sessions,
}


def _until(true: Callable[[], object]) -> None:
    while not true():
        time.sleep(0.01)


def environment(incident: str, folder: Path) -> dict[str, str]:
    """Return what a process in this trouble has in its environment; `folder` is for its files."""
    path = [str(ROOT / part) for part in (".", "drivers", "consumers")]
    if incident == "missing-plugin":
        path.append(str(_broken_plugin(folder / "site")))
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path),
        "XDG_RUNTIME_DIR": str(folder),
        "OPENCRYPTO_CONTROL": "1",
    }


def _broken_plugin(site: Path) -> Path:
    """Install a plugin for a card whose library has gone, as after half an upgrade."""
    info = site / "opencrypto_card-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: opencrypto-card\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[opencrypto]\ncard = opencrypto_card\n")
    (site / "opencrypto_card.py").write_text("import libcard  # the vendor's\n")
    return site


@contextlib.contextmanager
def in_trouble(incident: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """Start a process, wait until it is in trouble, and yield the environment to look from."""
    env = environment(incident, folder)
    call = [sys.executable, "-m", "tests.operators.incidents.process", incident]
    with subprocess.Popen(
        call, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip().endswith(".sock")
            yield env | {"PID": str(process.pid)}
        finally:
            process.stdin.close()
            process.wait(timeout=30)
    assert process.returncode == 0


def main() -> None:
    """Be the process."""
    name = sys.argv[1]
    plugins = True if name == "missing-plugin" else ["swcrypto"]
    with Framework(plugins=plugins, trace_sessions=True) as framework, INCIDENTS[name](framework):
        print(framework.control_path, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
