"""A driver of the tests' that takes messages in pieces, and says what became of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from opencrypto import (
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_CBC,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTOCAP_F_SOFTWARE,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
)
from opencrypto.chain import Plan
from opencrypto.constants import CRD_F_MORE
from tests.toy import SYNC, Toy

BEGINS = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT


class Piecewise(Toy):
    """
    The toy cipher, whose key changes by one from piece to piece: a whole message is another thing.

    Attributes:
        streams: Every stream it has begun.
        etypes: What the next pieces end with, oldest first; 0 once there is none.
    """

    def __init__(self, name: str = "toy", *, hold: bool = False, flags: int = SYNC) -> None:
        super().__init__(name, hold=hold, flags=flags if not hold else CRYPTOCAP_F_SOFTWARE)
        self.streams: list[Pieces] = []
        self.etypes: deque[int] = deque()
        self.waiting: deque[tuple[Pieces, Cryptop]] = deque()

    def newstream(self, lid: int, done: Callable[[Cryptop], None]) -> Pieces:
        stream = Pieces(self, self.keys[lid], done)
        self.streams.append(stream)
        return stream

    def answer_piece(self) -> None:
        """Complete the piece that has waited longest."""
        stream, crp = self.waiting.popleft()
        stream.work(crp)


class Pieces:
    """One message; wiped counts how often it was."""

    def __init__(self, driver: Piecewise, key: int, done: Callable[[Cryptop], None]) -> None:
        self.driver = driver
        self.key = key
        self.done = done
        self.sizes: list[int] = []
        self.wiped = 0
        self.last = False

    def piece(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        assert not self.last
        self.last = last
        self.sizes.append(sum(step.length for step in plan.steps))
        if self.driver.hold:
            self.driver.waiting.append((self, crp))
        else:
            self.work(crp)

    def work(self, crp: Cryptop) -> None:
        etype = self.driver.etypes.popleft() if self.driver.etypes else 0
        if etype:
            crp.fail(etype)
        else:
            self.key = (self.key + 1) & 0xFF
            crp.buf[:] = bytes(byte ^ self.key for byte in crp.buf)
        self.done(crp)

    def wipe(self) -> None:
        self.wiped += 1


def toy_piece(
    sid: int,
    callback: Callable[[Cryptop], object],
    opaque: Any = None,
    *,
    more: bool = True,
    flags: int = CRYPTO_F_CBIMM,
    size: int = 16,
) -> Cryptop:
    """Make a piece of the toy cipher."""
    crd = Cryptodesc(0, size, flags=CRD_F_MORE if more else 0, alg=CRYPTO_NULL_CBC)
    return Cryptop(sid, bytearray(size), [crd], callback, flags, opaque=opaque)


def cbc_piece(
    sid: int, callback: Callable[[Cryptop], object], opaque: Any = None, *,
    more: bool = True, begins: bool = False, size: int = 16,
) -> Cryptop:  # fmt: skip
    """Make a piece of AES-CBC, which brings an IV if it begins a message."""
    flags = 1 | (CRD_F_MORE if more else 0) | (BEGINS if begins else 0)
    iv = bytes(16) if begins else None
    crd = Cryptodesc(0, size, 0, flags, alg=CRYPTO_AES_CBC, iv=iv)
    return Cryptop(sid, bytearray(size), [crd], callback, CRYPTO_F_CBIMM, opaque=opaque)


def cbc_session(fw: Framework, **options: Any) -> int:
    """Open a session of AES-CBC."""
    return fw.newsession(Cryptoini(CRYPTO_AES_CBC, bytes(16)), **options)
