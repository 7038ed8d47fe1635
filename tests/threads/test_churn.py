"""Many consumers while drivers come and go: nothing lost, nothing twice, every answer right."""

import errno
import itertools
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from Crypto.Cipher import AES

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_CBC,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
)
from opencrypto_openssl import opencrypto_drivers as openssl_drivers
from opencrypto_swcrypto import opencrypto_drivers as swcrypto_drivers

CONSUMERS = 8
KEY = bytes(range(16))
IV = bytes(16)
PLAIN = bytes(range(64))
CIPHER = AES.new(KEY, AES.MODE_CBC, iv=IV).encrypt(PLAIN)
MODES = (CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC, 0, CRYPTO_F_BATCH, CRYPTO_F_BATCH | CRYPTO_F_CBIMM)
WINDOW = 8
"""Requests that each consumer keeps in flight."""


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """Let threads change places a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


class Consumer(threading.Thread):
    """Keeps a window of requests in flight until its share is done; counts what comes back."""

    def __init__(self, fw: Framework, requests: int) -> None:
        super().__init__(name="consumer")
        self.fw = fw
        self.left = itertools.count(1 - requests)
        self.requests = requests
        self.sid = fw.newsession(Cryptoini(CRYPTO_AES_CBC, KEY))
        self.answers = itertools.count()
        self.wrong: list[str] = []
        self.moved = 0
        self.idle = threading.Semaphore(0)

    def run(self) -> None:
        window = [self._request(number) for number in range(WINDOW)]
        for number in range(self.requests):
            if number >= WINDOW:
                self.idle.acquire()
                crp = self.ready.pop()
            else:
                crp = window[number]
            crp.buf[:] = PLAIN
            crp.sid = self.sid
            crp.flags = MODES[number % len(MODES)]
            self.fw.dispatch(crp)
        for _ in range(WINDOW):
            self.idle.acquire()

    def _request(self, number: int) -> Cryptop:
        self.ready: list[Cryptop] = getattr(self, "ready", [])
        flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
        crd = Cryptodesc(0, len(PLAIN), 0, flags, alg=CRYPTO_AES_CBC, iv=IV)
        return Cryptop(0, bytearray(PLAIN), [crd], self._done)

    def _done(self, crp: Cryptop) -> None:
        if crp.etype == errno.EAGAIN:
            if crp.buf != PLAIN:
                self.wrong.append("EAGAIN touched the buffer")
            self.moved += 1
            self.sid = crp.sid
            self.fw.dispatch(crp)
            return
        if crp.etype:
            self.wrong.append(crp.error)
        elif crp.buf != CIPHER:
            self.wrong.append("a wrong answer")
        next(self.answers)
        self.ready.append(crp)
        self.idle.release()


def churn(fw: Framework, stop: threading.Event) -> int:
    """Detach and attach two drivers in turn, every few milliseconds; one is always there."""
    changes = 0
    makers = itertools.cycle((openssl_drivers, swcrypto_drivers))
    names = itertools.cycle(("openssl", "swcrypto"))
    while not stop.is_set():
        fw.detach(next(names))
        fw.attach(next(makers)()[0], selftest=False)
        changes += 1
        time.sleep(0.003)
    return changes


@pytest.mark.slow
def test_200_000_requests_survive_drivers_that_come_and_go() -> None:
    """Eight consumers, 200 000 requests, drivers changing all the time: each answered once."""
    _churn_under_load(200_000)


def test_some_thousand_requests_survive_drivers_that_come_and_go() -> None:
    """The same for the everyday loop."""
    _churn_under_load(12_000)


def _churn_under_load(requests: int) -> None:
    stop = threading.Event()
    changes: list[int] = []
    with Framework(plugins=False) as fw:
        fw.attach(openssl_drivers()[0])
        fw.attach(swcrypto_drivers()[0])
        consumers = [Consumer(fw, requests // CONSUMERS) for _ in range(CONSUMERS)]
        churner = threading.Thread(target=lambda: changes.append(churn(fw, stop)), name="churn")
        for thread in (churner, *consumers):
            thread.start()
        for consumer in consumers:
            consumer.join()
        stop.set()
        churner.join()
        for consumer in consumers:
            assert not consumer.wrong, consumer.wrong[:3]
            assert next(consumer.answers) == requests // CONSUMERS
            fw.freesession(consumer.sid)
        moved = sum(consumer.moved for consumer in consumers)
        assert changes[0] > 1
        assert moved > 0
        stats = fw.stats
        assert stats.driver_bugs == stats.callback_errors == 0
        assert stats.ops == requests + moved
        assert stats.errs == moved
        assert not fw._sessions.table
        assert all(info.sessions == 0 for info in fw.drivers)
