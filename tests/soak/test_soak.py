"""
Everything at once, as long as asked: ``make soak`` for ten minutes, a minute in CI, else seconds.

Drivers come and go, one of them answering from threads; sixteen consumers open, use and free
sessions of every algorithm in every mode of completion. Every answer is checked against a
published one, and at the end nothing is left: no session, no thread, no memory.
"""

import errno
import gc
import os
import random
import threading
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
)
from opencrypto.driver import Process, WorkerPool
from opencrypto.selftest import Answer, _requests, answers
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind
from opencrypto_null import opencrypto_drivers as null_drivers
from opencrypto_openssl import opencrypto_drivers as openssl_drivers
from opencrypto_swcrypto import opencrypto_drivers as swcrypto_drivers

SECONDS = float(os.environ.get("OPENCRYPTO_SOAK_SECONDS", "60" if os.environ.get("CI") else "4"))
CONSUMERS = 16
MODES = (CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC, 0, CRYPTO_F_BATCH)
GROWTH = 8 << 20
"""Bytes that the second half of the time may add to what the first half left."""


def late_driver() -> Driver:
    """Make a driver that answers from threads of its own, and blocks when they have enough."""
    inner = swcrypto_drivers()[0]

    class Late(Driver):
        name = "late"
        flags = CRYPTOCAP_F_SOFTWARE
        capabilities = inner.capabilities

        def __init__(self) -> None:
            self.pool = WorkerPool(self.name, self._room, size=2, depth=16)

        def _room(self) -> None:
            self.unblock(CRYPTO_SYMQ)

        def newsession(self, ini: object) -> tuple[int, Process]:
            inner.done = self.done
            opened = inner.newsession(ini)  # type: ignore[arg-type]
            assert isinstance(opened, tuple)
            lid, work = opened

            def process(crp: Cryptop, hint: int) -> int:
                return 0 if self.pool.submit(lambda: work(crp, 0)) else ERESTART

            return lid, process

        def freesession(self, lid: int) -> None:
            inner.freesession(lid)

        def close(self) -> None:
            self.pool.close()
            inner.close()

    return Late()


MAKERS = {
    "openssl": lambda: openssl_drivers()[0],
    "swcrypto": lambda: swcrypto_drivers()[0],
    "null": lambda: null_drivers()[0],
    "late": late_driver,
}


class Consumer(threading.Thread):
    """Opens sessions of random algorithms, asks for known answers, frees them, sometimes early."""

    def __init__(self, fw: Framework, number: int, until: threading.Event) -> None:
        super().__init__(name=f"consumer-{number}")
        self.fw, self.until = fw, until
        self.rng = random.Random(number)
        self.done = self.moved = self.stranded = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        pool = list(answers().values())
        while not self.until.is_set():
            answer = self.rng.choice(pool)
            partner = self._partner(answer)
            inis = [Cryptoini(answer.alg, answer.key)]
            if partner is not None:
                inis.append(Cryptoini(partner, answer.key))
            sid = self.fw.newsession(inis)
            for _ in range(self.rng.randrange(1, 20)):
                for crp, expected in _requests(answer, partner):
                    sid = self._ask(crp, sid, expected, answer.alg.name)
            self.fw.freesession(sid)

    def _partner(self, answer: Answer) -> int | None:
        if FACTS[answer.alg].kind is not Kind.AEAD:
            return None
        halves = sorted(AEAD_PARTNERS[answer.alg])
        return next(half for half in halves if FACTS[half].key_ok(len(answer.key)))

    def _ask(self, crp: Cryptop, sid: int, expected: bytes, name: str) -> int:
        calls: list[int] = []
        bell = threading.Semaphore(0)

        def callback(crp: Cryptop) -> None:
            calls.append(crp.etype)
            bell.release()

        crp.callback, crp.flags = callback, self.rng.choice(MODES)
        while True:
            crp.sid = sid
            self.fw.dispatch(crp)
            if not bell.acquire(timeout=30):
                self.wrong.append(f"{name}: lost")
                return sid
            if calls.pop() != errno.EAGAIN:
                break
            self.moved += 1
            sid = crp.sid
        self.done += 1
        if crp.etype:
            self.wrong.append(f"{name}: {crp.error}")
        elif bytes(crp.buf) != expected:
            self.wrong.append(f"{name}: a wrong answer")
        if calls:
            self.wrong.append(f"{name}: called back twice")
        return sid


def churn(fw: Framework, until: threading.Event) -> None:
    """Detach and attach random drivers; swcrypto, which has everything, stays with one or other."""
    rng = random.Random(0)
    while not until.wait(rng.uniform(0.001, 0.05)):
        name = rng.choice(["openssl", "null", "late", "swcrypto"])
        there = {info.name for info in fw.drivers if info.hid is not None}
        if name not in there:
            fw.attach(MAKERS[name](), selftest=False)
        elif name != "swcrypto" or "late" in there:
            if name == "late" and "swcrypto" not in there:
                continue
            fw.detach(name)


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 120)
@pytest.mark.usefixtures("traced")
def test_soak() -> None:
    """Every answer is right and comes once, and nothing is left behind."""
    until = threading.Event()
    with Framework(plugins=False) as fw:
        for make in MAKERS.values():
            fw.attach(make(), selftest=False)
        consumers = [Consumer(fw, number, until) for number in range(CONSUMERS)]
        churner = threading.Thread(target=churn, args=(fw, until), name="churn")
        for thread in (churner, *consumers):
            thread.start()
        time.sleep(SECONDS / 2)
        gc.collect()
        half = tracemalloc.get_traced_memory()[0]
        time.sleep(SECONDS / 2)
        until.set()
        for thread in (churner, *consumers):
            thread.join()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - half
        wrong = [line for consumer in consumers for line in consumer.wrong]
        assert not wrong, wrong[:5]
        stats = fw.stats
        done = sum(consumer.done for consumer in consumers)
        moved = sum(consumer.moved for consumer in consumers)
        print(
            f"{done} answers, {moved} migrated requests, memory {grown:+} bytes in the second half"
        )
        assert stats.driver_bugs == stats.callback_errors == 0
        assert stats.errs == moved
        assert moved > 0
        assert grown < GROWTH
        assert not fw._sessions.table
