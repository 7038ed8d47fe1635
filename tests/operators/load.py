"""A load to watch: threads that dispatch requests and count what came back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping

from opencrypto import (
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
    Capability,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
)
from opencrypto.driver import Process

SIZES = (64, 100, 1024, 4096, 65536)


class Instant(Driver):
    """A driver that does nothing, at once, and so verifies nothing."""

    selftest = False
    flags = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_SYNC
    capabilities: Mapping[int, Capability] = {
        CRYPTO_NULL_CBC: Capability(),
        CRYPTO_NULL_HMAC: Capability(),
    }

    def __init__(self, name: str = "instant") -> None:
        self.name = name

    def newsession(self, ini: object) -> int | tuple[int, Process]:
        """Open a session whose requests are done when they come."""
        done = self.done

        def process(crp: Cryptop, hint: int) -> int:
            done(crp)
            return 0

        return self.newlid(), process


class Hardware(Instant):
    """The same, as if it were a device."""

    flags = CRYPTOCAP_F_SYNC


class Load:
    """
    Threads that dispatch, each on a session of its own, until told to stop. A context manager.

    Attributes:
        sent: How many requests were dispatched, by size; complete when the load has stopped.
        errors: How many of them came back with an error.
    """

    def __init__(
        self,
        framework: Framework,
        threads: int = 16,
        *,
        pause: float = 0.0,
        flags: int = CRYPTO_F_CBIMM,
    ) -> None:
        self.sent: Counter[int] = Counter()
        self.errors = 0
        self._framework = framework
        self._pause = pause
        self._flags = flags
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(n,), name=f"load-{n}") for n in range(threads)
        ]

    @property
    def ops(self) -> int:
        """How many requests were dispatched in all."""
        return self.sent.total()

    @property
    def native_ids(self) -> list[int]:
        """The threads' numbers, as the system has them; while they run."""
        return [thread.native_id or 0 for thread in self._threads]

    @property
    def bytes(self) -> int:
        """The sum of their sizes."""
        return sum(size * count for size, count in self.sent.items())

    def _run(self, n: int) -> None:
        framework, size = self._framework, SIZES[n % len(SIZES)]
        alg = CRYPTO_NULL_HMAC if n % 2 else CRYPTO_NULL_CBC
        sid = framework.newsession(Cryptoini(alg))
        sent = errors = 0
        answered = threading.Semaphore(0)

        def callback(crp: Cryptop) -> None:
            answered.release()

        while not self._stop.is_set():
            for _ in range(50):
                crp = framework.getreq(1)
                if crp is None:
                    time.sleep(0.001)
                    break
                crp.sid, crp.flags, crp.ilen, crp.callback = sid, self._flags, size, callback
                framework.dispatch(crp)
                sent += 1
                answered.acquire()
                if crp.etype:
                    errors += 1
                    sid = crp.sid
                framework.freereq(crp)
            if self._pause:
                time.sleep(self._pause)
        framework.freesession(sid)
        with self._lock:
            self.sent[size] += sent
            self.errors += errors

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop and wait; then the counts are final."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
