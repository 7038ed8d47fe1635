"""Virtual sessions while the drivers of their parts come and go, with threads."""

import errno
import random
import threading
import time
from collections.abc import Sequence

import pytest

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_CBC,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA1_HMAC,
    ERESTART,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
)
from opencrypto.constants import CRYPTO_SYMQ
from opencrypto.driver import Process, WorkerPool
from tests.core.virtual.support import ETM, driver

ENDS = {0, errno.EAGAIN, errno.ENODEV, errno.ENOENT}


def pooled(name: str, *algs: int) -> Driver:
    """Make a driver that answers from threads of its own, and refuses when they are busy."""
    inner = driver(name, *algs)
    pool = WorkerPool(name, lambda: inner.unblock(CRYPTO_SYMQ), size=2, depth=4)
    opened, closed = inner.newsession, inner.close

    def newsession(ini: Sequence[Cryptoini]) -> tuple[int, Process]:
        answer = opened(ini)
        assert isinstance(answer, tuple)
        lid, process = answer

        def later(crp: Cryptop, hint: int) -> int:
            return 0 if pool.submit(lambda: process(crp, 0)) else ERESTART

        return lid, later

    def close() -> None:
        pool.close()
        closed()

    inner.newsession = newsession  # type: ignore[method-assign]  # a stand-in
    inner.close = close  # type: ignore[method-assign]  # a stand-in
    return inner


def expected() -> bytes:
    """Return what the chain makes of 32 zeros."""
    with Framework(plugins=False) as framework:
        framework.attach(driver("whole", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        crp = request(framework.newsession(ETM))
        crp.callback = lambda crp: None
        framework.dispatch(crp)
        return bytes(crp.buf)


def request(sid: int) -> Cryptop:
    """Make a request to encrypt 32 zeros and make a MAC of that."""
    flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
    cipher = Cryptodesc(0, 32, 0, flags, alg=CRYPTO_AES_CBC, iv=bytes(16))
    mac = Cryptodesc(0, 32, 32, alg=CRYPTO_SHA1_HMAC)
    return Cryptop(sid, bytearray(52), [cipher, mac], flags=CRYPTO_F_CBIMM)


class Consumer(threading.Thread):
    """Keeps one virtual session busy and checks every answer."""

    def __init__(self, framework: Framework, stop: threading.Event, want: bytes) -> None:
        super().__init__()
        self.framework, self.stop, self.want = framework, stop, want
        self.bad: list[str] = []
        self.good = 0
        self.calls = 0

    def run(self) -> None:
        """Open, use, free, over and over."""
        try:
            while not self.stop.is_set():
                self._session()
        except Exception as error:
            self.bad.append(repr(error))

    def _session(self) -> None:
        try:
            sid = self.framework.newsession(ETM)
        except CryptoError:
            time.sleep(0.001)  # nobody there for the moment
            return
        for _ in range(20):
            sid = self._request(sid)
        self.framework.freesession(sid)

    def _request(self, sid: int) -> int:
        crp = request(sid)
        event = threading.Event()

        def called(crp: Cryptop) -> None:
            self.calls += 1
            event.set()

        crp.callback = called
        before = self.calls
        self.framework.dispatch(crp)
        if not event.wait(30):
            self.bad.append(f"lost: {crp!r}")
        if self.calls != before + 1:
            self.bad.append("called back twice")
        if crp.etype not in ENDS:
            self.bad.append(f"{crp.etype} {crp.error}")
        if crp.etype == errno.EAGAIN and any(crp.buf):
            self.bad.append("EAGAIN, and the buffer has changed")
        if not crp.etype:
            self.good += 1
            if crp.buf != self.want:
                self.bad.append("wrong bytes")
        return crp.sid


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_parts_come_and_go(seed: int) -> None:
    """Each request ends once, with the right bytes or an errno; in the end nothing is open."""
    chance = random.Random(seed)
    want = expected()
    with Framework(plugins=False) as framework:
        stop = threading.Event()
        consumers = [Consumer(framework, stop, want) for _ in range(4)]
        for consumer in consumers:
            consumer.start()
        here: dict[int, list[Driver]] = {CRYPTO_AES_CBC: [], CRYPTO_SHA1_HMAC: []}
        deadline = time.monotonic() + 2
        count = 0
        while time.monotonic() < deadline:
            alg = chance.choice(list(here))
            if len(here[alg]) < 2:
                count += 1
                make = chance.choice((driver, pooled))
                here[alg].append(make(f"d{count}", alg))
                framework.attach(here[alg][-1])
            else:
                framework.detach(here[alg].pop(0))
            time.sleep(chance.random() / 20)
        stop.set()
        for consumer in consumers:
            consumer.join(60)
        assert not [bad for consumer in consumers for bad in consumer.bad]
        assert all(consumer.good for consumer in consumers)
        assert not [info for info in framework.drivers if info.sessions]
        assert not framework._sessions.table
        assert framework.stats.driver_bugs == 0
