"""
Drivers and frameworks for the tests of the core: what happens, and when, is the test's to say.

The cipher is a toy on purpose (each byte xor the key's first): a wrong answer shows at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opencrypto import (
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
    ERESTART,
    Capability,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
)
from opencrypto._core.slots import Session
from opencrypto.testing import ManualInterrupt

SYNC = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_SYNC
ALGS = (CRYPTO_NULL_CBC, CRYPTO_NULL_HMAC)
KEY = b"\x5a-the-key-of-the-toy-cipher"


class Toy(Driver):
    """
    A driver that xors, remembers, and obeys.

    Attributes:
        hold: Whether requests are kept in `held` until `answer` is called.
        full: Whether process answers ERESTART.
        keys: Its open sessions: number to the first byte of the key.
        seen: What process was called with and took: ``opaque`` of the request, and the hint.
        refused: ``opaque`` of what it answered ERESTART.
        opened: The numbers of the sessions it ever opened.
        freed: The numbers that freesession was called with.
        closed: How often close was called.
    """

    def __init__(
        self,
        name: str = "toy",
        *,
        flags: int = SYNC,
        algs: Collection[int] = ALGS,
        hold: bool = False,
    ) -> None:
        self.name = name
        self.flags = flags
        self.capabilities = {alg: Capability() for alg in algs}
        self.hold = hold
        self.full = False
        self.keys: dict[int, int] = {}
        self.seen: list[tuple[Any, int]] = []
        self.refused: list[Any] = []
        self.held: deque[Cryptop] = deque()
        self.opened: list[int] = []
        self.freed: list[int] = []
        self.closed = 0

    def newsession(self, ini: Sequence[Cryptoini]) -> Any:
        lid = self.newlid()
        self.keys[lid] = ini[0].key[0] if ini[0].key else 0
        self.opened.append(lid)
        return lid

    def freesession(self, lid: int) -> None:
        del self.keys[lid]
        self.freed.append(lid)

    def process(self, crp: Cryptop, hint: int) -> int:
        if self.full:
            self.refused.append(crp.opaque)
            return ERESTART
        self.seen.append((crp.opaque, hint))
        if self.hold:
            self.held.append(crp)
            return 0
        self.work(crp)
        self.done(crp)
        return 0

    def work(self, crp: Cryptop) -> None:
        """Xor each region with the key's first byte."""
        key = self.keys[crp.lid]
        for crd in crp.desc:
            region = crp.buf[crd.skip : crd.skip + crd.len]
            crp.buf[crd.skip : crd.skip + crd.len] = bytes(byte ^ key for byte in region)

    def answer(self, number: int = -1, etype: int = 0) -> None:
        """Complete held requests, oldest first: so many, or all."""
        while self.held and number:
            number -= 1
            crp = self.held.popleft()
            if etype:
                crp.fail(etype)
            else:
                self.work(crp)
            self.done(crp)

    def close(self) -> None:
        self.closed += 1


class Log:
    """A callback that keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, int, int]] = []
        self.event = threading.Event()

    def __call__(self, crp: Cryptop) -> None:
        self.calls.append((crp.opaque, crp.etype, crp.sid))
        self.event.set()

    @property
    def order(self) -> list[Any]:
        """What was called back, in order."""
        return [opaque for opaque, _, _ in self.calls]

    @property
    def etypes(self) -> list[int]:
        """How each ended."""
        return [etype for _, etype, _ in self.calls]


@contextmanager
def stepped(*drivers: Driver) -> Iterator[Framework]:
    """A framework without threads, with the drivers attached."""
    with Framework(plugins=False, interrupt=ManualInterrupt) as fw:
        for driver in drivers:
            fw.attach(driver)
        yield fw


@contextmanager
def threaded(*drivers: Driver) -> Iterator[Framework]:
    """A framework with its threads, with the drivers attached."""
    with Framework(plugins=False) as fw:
        for driver in drivers:
            fw.attach(driver)
        yield fw


def step(fw: Framework) -> None:
    """Run both interrupts until neither has work."""
    requests, returns = fw._requests, fw._returns
    assert isinstance(requests, ManualInterrupt)
    assert isinstance(returns, ManualInterrupt)
    while requests.step() | returns.step():
        pass


def newsession(fw: Framework, key: bytes = KEY, **options: Any) -> int:
    """Open a session of the toy cipher."""
    return fw.newsession(Cryptoini(CRYPTO_NULL_CBC, key), **options)


def request(
    sid: int,
    callback: Callable[[Cryptop], object],
    opaque: Any = None,
    *,
    flags: int = CRYPTO_F_CBIMM,
    buf: Any = None,
    **fields: Any,
) -> Cryptop:
    """Make a request of one descriptor of the toy cipher over the whole buffer."""
    buf = bytearray(16) if buf is None else buf
    crd = Cryptodesc(0, len(buf), alg=CRYPTO_NULL_CBC)
    return Cryptop(sid, buf, [crd], callback, flags, opaque=opaque, **fields)


def the_session(fw: Framework, sid: int) -> Session:
    """Return the session behind a SID."""
    return fw._sessions.table[sid]


def nothing_left(fw: Framework) -> bool:
    """Tell whether no session, name, request or driver is left in a framework."""
    slots = list(fw._drivers)
    busy = any(slot.sym.sessions or len(slot.sym.queue) for slot in slots)
    return not fw._sessions.table and not busy and not len(fw._dispatcher.returns)
