"""Many requests, threads and sessions at once, while things go away: none lost, none done twice."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import hashlib
import random
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from opencrypto import Alg, Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
)
from opencrypto_afalg import AfalgDriver
from tests.drivers.afalg import modules
from tests.drivers.afalg.support import attached, open_on, run
from tests.drivers.rig import crd

pytestmark = pytest.mark.kernel

FLAGS = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
KEY = bytes(range(16))
IV = bytes(16)
MANY = 10_000


def encryption(size: int) -> Cryptodesc:
    return crd(Alg.AES_CBC, 0, size, 0, FLAGS, IV)


class Flood:
    """Many requests on a few sessions, followed wherever their sessions go."""

    def __init__(self, framework: Framework, sids: list[int], size: int) -> None:
        self.framework = framework
        self.size = size
        self.outcomes: Counter[int] = Counter()
        self.calls: Counter[int] = Counter()
        self.migrated = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.requests = [
            Cryptop(sids[n % len(sids)], bytearray(size), [encryption(size)], self._done,
                    CRYPTO_F_BATCH | (CRYPTO_F_CBIMM if n % 2 else 0), opaque=n)
            for n in range(MANY)
        ]  # fmt: skip

    def _done(self, crp: Cryptop) -> None:
        if crp.etype == errno.EAGAIN:
            with self._lock:
                self.migrated += 1
            self.framework.dispatch(crp)
            return
        with self._lock:
            self.outcomes[crp.etype] += 1
            self.calls[crp.opaque] += 1
            if len(self.calls) == MANY:
                self._ended.set()

    def dispatch(self) -> None:
        for crp in self.requests:
            self.framework.dispatch(crp)

    def _lost(self) -> str:
        """Say what became of those that did not come back, for who has to find out why."""
        lost = [crp for crp in self.requests if crp.opaque not in self.calls]
        faulthandler.dump_traceback()
        states = Counter((crp.state, crp.etype, hex(crp.sid)) for crp in lost)
        return f"{len(lost)} lost: {states}; {self.framework.drivers}; {self.framework.stats}"

    def check(self) -> None:
        assert self._ended.wait(60), self._lost()
        time.sleep(0.05)
        assert max(self.calls.values()) == 1, "completed twice"
        assert self.outcomes == {0: MANY}
        wanted = bytearray(self.size)
        sid = self.framework.newsession(Cryptoini(Alg.AES_CBC, KEY), driver="swcrypto")
        assert run(self.framework, sid, wanted, encryption(self.size)).etype == 0
        assert all(crp.buf == wanted for crp in self.requests)


def flood(
    driver: AfalgDriver,
    disturb: Callable[[Framework], object],
    size: int = 4096,
    ended: Callable[[], object] = lambda: None,
) -> Flood:
    """Dispatch ten thousand requests and disturb them when a part has been done."""
    with attached(driver, fallback=True) as framework:
        ini = Cryptoini(Alg.AES_CBC, KEY)
        sids = [open_on(framework, ini, driver.name) for _ in range(8)]
        flood = Flood(framework, sids, size)
        flood.dispatch()
        while sum(flood.outcomes.values()) < MANY // 20:
            time.sleep(0.001)
        disturb(framework)
        flood.check()
        ended()
    assert not driver.descriptors.sockets
    return flood


def test_detached_under_load() -> None:
    """The driver is detached with ten thousand requests in flight: they move to swcrypto."""
    done = flood(AfalgDriver(inline_ns=1), lambda framework: framework.detach("afalg"))
    assert done.migrated > 0


def test_few_descriptors() -> None:
    """RLIMIT_NOFILE is 64, then less than what is open: the driver lives with what it gets."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
        driver = AfalgDriver(inline_ns=1)
        assert driver.descriptors.limit == 16
        flood(
            driver,
            lambda _: resource.setrlimit(resource.RLIMIT_NOFILE, (20, before[1])),
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_no_descriptors_at_all() -> None:
    """Without a descriptor to be had the sessions go elsewhere, with a reason, and none is lost."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    driver = AfalgDriver(inline_ns=1)

    def disturb(framework: Framework) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        driver.descriptors.evict(everything=True)

    try:
        assert flood(driver, disturb).migrated > 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_signals_in_every_receive() -> None:
    """Signals come to each of the driver's threads all the time: no answer is short or lost."""
    caught: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: caught.append(number))
    stop = threading.Event()
    driver = AfalgDriver(inline_ns=1)
    sent: Counter[str] = Counter()

    def pester() -> None:
        # By the thread's own id: a receive of the kernel's is ended only by a signal of its own.
        while not stop.wait(0.0005):
            for thread in threading.enumerate():
                if thread.name.startswith("opencrypto-afalg-") and thread.ident is not None:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pthread_kill(thread.ident, signal.SIGUSR1)
                        sent[thread.name] += 1

    pesterer = threading.Thread(target=pester)

    def ended() -> None:
        # Before the driver's threads are: nobody may be sent a signal who is not there any more.
        stop.set()
        pesterer.join()

    pesterer.start()
    try:
        done = flood(driver, lambda _: None, 4096, ended)
    finally:
        ended()
        signal.signal(signal.SIGUSR1, before)
    assert done.migrated == 0
    assert len(sent) > 1
    assert min(sent.values()) > 20
    assert caught


def test_a_module_goes_away_under_load() -> None:
    """algif_skcipher is unloaded with ten thousand requests in flight, and cannot be loaded."""
    driver = AfalgDriver(modules.GatedKernel(), inline_ns=1)
    driver.probe()  # loads what there is
    with modules.no_loading():
        try:
            done = flood(driver, lambda _: modules.remove("algif_skcipher", driver))
        finally:
            modules.load("algif_skcipher")
    assert done.migrated > 0


def test_little_socket_memory() -> None:
    """optmem_max falls to nothing in the middle: ENOMEM, and the sessions migrate."""
    path = Path("/proc/sys/net/core/optmem_max")
    before = path.read_text()
    try:
        done = flood(AfalgDriver(inline_ns=1), lambda _: path.write_text("0"), 20_000 & -16)
    finally:
        path.write_text(before)
    assert done.migrated > 0


def test_eight_threads_on_one_session() -> None:
    """Each answer is its own request's, though all are of one session and its sockets."""
    with attached(AfalgDriver()) as framework:
        sid = framework.newsession(Cryptoini(Alg.SHA2_256))
        wrong: list[int] = []

        def work(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(400):
                data = rng.randbytes(rng.choice([0, 10, 100, 3000, 70_000]))
                digest = bytearray(32)
                desc = crd(Alg.SHA2_256, 0, len(data))
                crp = run(framework, sid, bytearray(data), desc, mac=digest)
                if crp.etype or digest != hashlib.sha256(data).digest():
                    wrong.append(crp.etype)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_blocks_at_its_bound_and_goes_on() -> None:
    """More than waits for threads is refused with ERESTART and comes again: order and all."""
    driver = AfalgDriver(inline_ns=1)
    with attached(driver) as framework:
        sid = framework.newsession(Cryptoini(Alg["3DES_CBC"], bytes(range(24))))
        count, bell, done = 1500, threading.Event(), Counter[int]()

        def callback(crp: Cryptop) -> None:
            done[crp.etype] += 1
            if sum(done.values()) == count:
                bell.set()

        for _ in range(count):
            desc = crd(Alg["3DES_CBC"], 0, 4096, 0, FLAGS, bytes(8))
            framework.dispatch(Cryptop(sid, bytearray(4096), [desc], callback, CRYPTO_F_CBIMM))
        assert bell.wait(60)
        assert done == {0: count}


@pytest.mark.timeout(600)  # 42 s alone, on an emulated kernel
def test_a_hundred_thousand_sessions() -> None:
    """Opened, used now and then, and freed: no descriptor, lock or thread is left of any."""
    driver = AfalgDriver()
    with attached(driver) as framework:
        rng = random.Random(0)
        live: list[int] = []
        for n in range(100_000):
            live.append(framework.newsession(Cryptoini(Alg.AES_CBC, KEY)))
            if n % 50 == 0:
                buf = bytearray(16)
                assert run(framework, rng.choice(live), buf, encryption(16)).etype == 0
            if len(live) > 500:
                framework.freesession(live.pop(rng.randrange(len(live))))
        assert len(driver.descriptors.sockets) <= driver.descriptors.limit + 8
        for sid in live:
            framework.freesession(sid)
        assert not driver.descriptors.sockets
