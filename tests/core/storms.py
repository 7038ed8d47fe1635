"""
Storms: signal handlers that come again and again while a test works, what they do, and its toys.

``make storm SECONDS=60`` has each storm last that long, and prints its counts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from types import FrameType

import pytest

from opencrypto import (
    CRK_MOD_EXP,
    CRYPTO_ASYMQ,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTO_SYMQ,
    ERESTART,
    Cryptkop,
    Cryptoini,
    Cryptop,
)
from tests.toy import KEY, Toy

FLAGS = (CRYPTO_F_BATCH, 0, CRYPTO_F_CBIMM, CRYPTO_F_BATCH | CRYPTO_F_CBIMM)
SECONDS = float(os.environ.get("OPENCRYPTO_STORM_SECONDS", "1.5"))
NESTED = 3
"""How many handlers are on top of each other at most."""
HANGS = 30.0
"""Seconds after which a storm that does not end says where all threads are, and dies."""


MARKS = [
    pytest.mark.alone,
    # By signals it would take a late alarm of the storm's for its own.
    pytest.mark.timeout(180, method="thread"),
    # Where a signal handler raises in a finalizer, Python can but say so.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("no_log", "no_hanging"),
]
"""What the tests of a storm are marked with."""


class Pacer:
    """Interrupts as Ctrl-C does, while it is armed, and at moments that nothing here decides."""

    def __init__(self) -> None:
        self.armed = False
        self.hits = 0

    def __call__(self) -> None:
        if self.armed:
            self.armed = False
            self.hits += 1
            raise KeyboardInterrupt

    def __enter__(self) -> None:
        self.armed = True

    def __exit__(self, *_: object) -> None:
        self.armed = False


@contextlib.contextmanager
def alarms(interval: float, handle: Callable[[], object]) -> Iterator[list[int]]:
    """Have a signal handler run in the main thread again and again."""
    count = [0]
    depth = [0]

    def handler(_signal: int, _frame: FrameType | None) -> None:
        if depth[0] >= NESTED:
            return
        count[0] += 1
        depth[0] += 1
        try:
            handle()
        finally:
            depth[0] -= 1

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, interval, interval)
        yield count
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # drops one that is on its way
        signal.signal(signal.SIGALRM, before)


def until(true: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait until something is so; tell whether it is."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    return bool(true())


def least_time(work: Callable[[], object]) -> float:
    """Return how many seconds something takes, of three times the least."""
    times = []
    for _ in range(3):
        start = time.monotonic()
        work()
        times.append(time.monotonic() - start)
    return min(times)


def say(capsys: pytest.CaptureFixture[str], **counts: object) -> None:
    """Print the counts of a storm."""
    with capsys.disabled():
        if "OPENCRYPTO_STORM_SECONDS" in os.environ:
            print("\n   ", ", ".join(f"{name} {value}" for name, value in counts.items()))


ALGS = (CRYPTO_NULL_CBC,)
XORED = bytes([KEY[0]]) * 16


class CToy(Toy):
    """A toy in whose newsession and freesession an interrupt comes before or after, not between."""

    def __init__(self, name: str = "toy", algs: Collection[int] = ALGS) -> None:
        super().__init__(name, algs=algs)
        self.freesession = self.keys.pop  # type: ignore[method-assign, assignment]

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        key = ini[0].key[0] if ini[0].key else 0
        lid = self.newlid()
        self.keys[lid] = key
        return lid


class KeyToy(Toy):
    """A toy that answers key requests at once, or refuses them now and then."""

    keyops = (CRK_MOD_EXP,)
    asked = 0

    def __init__(self, name: str = "toy") -> None:
        super().__init__(name, algs=ALGS)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        self.asked += 1
        if self.asked % 7 == 0:
            self.unblock(CRYPTO_ASYMQ)
            return ERESTART
        self.kdone(krp)
        return 0


class Stubborn(CToy):
    """A toy that takes no key request ever: they wait for it."""

    keyops = (CRK_MOD_EXP,)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        return ERESTART


class Refusing(Toy):
    """A toy that now and then takes nothing until later."""

    def process(self, crp: Cryptop, hint: int) -> int:
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked % 7 == 0:
            self.unblock(CRYPTO_SYMQ)  # sooner than the refusal
            return ERESTART
        key = self.keys[crp.lid]
        crp.buf[:] = bytes(byte ^ key for byte in crp.buf)
        self.done(crp)
        return 0


BOTH = (CRYPTO_NULL_CBC, CRYPTO_NULL_HMAC)
"""A chain that one toy serves, or two do together."""


def chain_of(algs: Sequence[int]) -> list[Cryptoini]:
    """Return the parameters of a session of some of these."""
    return [Cryptoini(alg, KEY if alg == CRYPTO_NULL_CBC else b"") for alg in algs]
