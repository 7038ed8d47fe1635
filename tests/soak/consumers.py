"""Those who ask in the soak: each in a thread of its own, one request after the other."""

import errno
import random
import threading
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    Cryptkop,
    Cryptop,
    Framework,
)
from opencrypto._core.virtual import HID
from opencrypto.bsd import CRYPTO_SESID2HID
from tests.soak.jobs import Job
from tests.soak.keywork import KeyAsk, KeyWork

MODES = (CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC, 0, CRYPTO_F_BATCH)
PATIENCE = 60.0
"""Seconds after which an answer counts as lost."""


class Asker(threading.Thread):
    """
    A consumer.

    Attributes:
        wrong: What was not as it must be.
        served: How many right answers there were, by algorithm or operation.
        answers: How many answers there were, wrong ones and refusals too.
        moved: How many requests were handed back with EAGAIN.
        refused: How many ended with an error, as they must.
        together: How many requests were made to a virtual session.
    """

    def __init__(self, fw: Framework, number: int, until: threading.Event) -> None:
        super().__init__(name=f"{type(self).__name__}-{number}")
        self.fw, self.until = fw, until
        self.rng = random.Random(number)
        self.wrong: list[str] = []
        self.served: Counter[int] = Counter()
        self.answers = self.moved = self.refused = self.together = 0

    def run(self) -> None:
        """Ask until told to stop; whatever goes wrong is noted and not lost with the thread."""
        try:
            self.work()
        except Exception as error:
            self.wrong.append(f"{self.name}: {error!r}")

    @abstractmethod
    def work(self) -> None:
        """Ask until `until` is set."""


class Consumer(Asker):
    """Opens sessions of everything in turn, asks, checks, and frees them."""

    families: Mapping[str, Sequence[Job]] = {}

    def work(self) -> None:
        """Walk through all families over and over, each time in another order."""
        names = sorted(self.families)
        while True:
            self.rng.shuffle(names)
            for name in names:
                if self.until.is_set():
                    return
                self._session(self.rng.choice(self.families[name]))

    def _session(self, job: Job) -> None:
        sid = self.fw.newsession(job.inis)
        for _ in range(self.rng.randrange(1, 8)):
            sid = self._ask(job, sid)
        self.fw.freesession(sid)

    def _ask(self, job: Job, sid: int) -> int:
        ask = self.rng.choice(job.asks)
        crp, complaint = ask.request(self.rng.choice(ask.kinds))
        calls: list[int] = []
        bell = threading.Semaphore(0)

        def callback(crp: Cryptop) -> None:
            calls.append(crp.etype)
            bell.release()

        crp.callback, crp.flags = callback, self.rng.choice(MODES)
        while True:
            crp.sid = sid
            self.together += CRYPTO_SESID2HID(sid) == HID
            self.fw.dispatch(crp)
            if not bell.acquire(timeout=PATIENCE):
                self.wrong.append(f"{job.name}: lost")
                return sid
            if calls.pop() != errno.EAGAIN:
                break
            self.moved += 1
            sid = crp.sid
        self.answers += 1
        self.refused += ask.etype != 0
        reason = complaint() or ("called back twice" if calls else "")
        if reason:
            self.wrong.append(f"{job.name}: {reason}")
        else:
            self.served.update(job.algs)
        return sid


class KeyConsumer(Asker):
    """Asks for key operations, several at once."""

    keys: KeyWork
    AT_ONCE = 4

    def work(self) -> None:
        """Keep some requests under way, and check each when it comes back."""
        asks = self.keys.asks(self.rng)
        while not self.until.is_set():
            batch = [next(asks) for _ in range(self.AT_ONCE)]
            bell = threading.Semaphore(0)
            calls: Counter[int] = Counter()

            def callback(
                krp: Cryptkop, bell: threading.Semaphore = bell, calls: Counter[int] = calls
            ) -> None:
                calls[krp.opaque] += 1
                bell.release()

            under_way = []
            for number, ask in enumerate(batch):
                flags = self.rng.choice((0, CRYPTO_F_CBIMM))
                krp = Cryptkop.of(ask.op, ask.inputs, ask.outputs, callback, flags)
                krp.opaque = number
                under_way.append(krp)
                self.fw.kdispatch(krp)
            for _ in batch:
                if not bell.acquire(timeout=PATIENCE):
                    self.wrong.append(f"lost: {[a.op.name for a in batch]}")
                    return
            for number, (ask, krp) in enumerate(zip(batch, under_way, strict=True)):
                self._check(ask, krp, calls[number])

    def _check(self, ask: KeyAsk, krp: Cryptkop, calls: int) -> None:
        self.answers += 1
        if krp.status or not ask.right(krp):
            self.wrong.append(f"{ask.op.name}: {krp.status} {krp.error}")
        elif calls != 1:
            self.wrong.append(f"{ask.op.name}: called back {calls} times")
        else:
            self.served[int(ask.op)] += 1
