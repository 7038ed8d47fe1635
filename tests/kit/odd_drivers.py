"""
Drivers that are right and unusual: few sessions, one request at a time, late, out of the ordinary.

Each differs in one thing from `tests.kit.correct_drivers`; the kit must find nothing wrong in any.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import ClassVar

from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_HINT_MORE,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SOFTWARE,
    BusyError,
    Capability,
    Cryptkop,
    CryptoError,
    Cryptoini,
    Cryptop,
    DriverUnavailable,
    Profile,
)
from opencrypto.driver import Pace, Process, renew_after_fork
from opencrypto.exceptions import UsageError
from tests.kit.correct_drivers import HonestKeys, HonestLean, HonestThreaded


class FourSessionsUnsaid(HonestLean):
    """Has four, and says so only when they are in use."""

    name = "unsaid"

    def __init__(self) -> None:
        super().__init__()
        self.lids: set[int] = set()

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        if len(self.lids) >= 4:
            raise BusyError("all sessions are in use; free one")
        answer = super().newsession(ini)
        self.lids.add(answer if isinstance(answer, int) else answer[0])
        return answer

    def freesession(self, lid: int) -> None:
        self.lids.discard(lid)
        super().freesession(lid)


class FourSessions(FourSessionsUnsaid):
    """Has four sessions at a time, and says so."""

    name = "four"
    max_sessions = 4

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        if len(self.lids) >= self.max_sessions:
            raise BusyError(f"all {self.max_sessions} sessions are in use; free one")
        return super().newsession(ini)


class OneSession(FourSessions):
    """Has one."""

    name = "one"
    max_sessions = 1


class OneAtATime(HonestThreaded):
    """Has one request in flight; ERESTART to the next."""

    name = "depth-one"
    room = 1
    capabilities = HonestLean.capabilities


class Exclusive(HonestLean):
    """Can be opened once at a time, and says so."""

    name = "exclusive"
    exclusive = True
    opened: ClassVar[list[int]] = []

    def __init__(self) -> None:
        if self.opened:
            raise DriverUnavailable("somebody has the card open")
        super().__init__()
        self.opened.append(os.getpid())

    def close(self) -> None:
        if self.opened:
            self.opened.pop()
        super().close()


class SlowWithAReason(HonestLean):
    """Takes 30 ms for a packet in the caller's thread, and says why."""

    name = "slow"
    pace = Pace(0.060, 0.300, "the token's bus is slow, and has no interrupt")

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        answer = super().newsession(ini)
        assert isinstance(answer, tuple)
        lid, process = answer

        def slowly(crp: Cryptop, hint: int) -> int:
            if crp.desc and 1300 < crp.desc[0].len < 1450:
                time.sleep(0.030)
            return process(crp, hint)

        return lid, slowly


class Late(HonestThreaded):
    """Answers some milliseconds later."""

    name = "late"
    room = 64
    capabilities = HonestLean.capabilities

    def run(self) -> None:
        while (job := self.work.get()) is not None:
            process, crp = job
            del job
            time.sleep(0.001)
            process(crp, 0)
            del process, crp
            with self.lock:
                self.taken -= 1
                free, self.full = self.full and self.taken < self.room, False
            if free:
                self.unblock(CRYPTO_SYMQ)


class Collecting(HonestLean):
    """Collects what comes with CRYPTO_HINT_MORE, and waits no longer than two milliseconds."""

    name = "collecting"
    flags = CRYPTOCAP_F_SOFTWARE

    def __init__(self) -> None:
        super().__init__()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self.kept: deque[tuple[Process, Cryptop]] = deque()
        self.wake = threading.Event()
        self.leaving = False
        self.start = threading.Lock()  # guards thread
        self.thread: threading.Thread | None = None

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        answer = super().newsession(ini)
        assert isinstance(answer, tuple)
        lid, process = answer

        def collect(crp: Cryptop, hint: int) -> int:
            self.kept.append((process, crp))
            with self.start:
                if self.thread is None:
                    self.thread = threading.Thread(target=self.run, name="opencrypto-collecting")
                    self.thread.daemon = True
                    self.thread.start()
            if not hint & CRYPTO_HINT_MORE or len(self.kept) >= 8:
                self.wake.set()
            return 0

        return lid, collect

    def run(self) -> None:
        while not self.leaving:
            self.wake.wait(0.002)
            self.wake.clear()
            while self.kept:
                process, crp = self.kept.popleft()
                process(crp, 0)
                del process, crp

    def close(self) -> None:
        self.leaving = True
        self.wake.set()
        if self.thread is not None:
            self.thread.join()
        super().close()


class Workers(HonestLean):
    """Has three threads that the base manages, for all that is longer than a kilobyte."""

    name = "workers"
    workers = 3
    threads_from = 1024


class OneAlgorithmEach(HonestLean):
    """Takes no chains."""

    name = "single"

    def refusal(self, ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
        return "takes one algorithm in a session" if self.many(ini) else ""

    @staticmethod
    def many(ini: Sequence[Cryptoini]) -> bool:
        plain = {CRYPTO_AES_CBC, CRYPTO_SHA2_256_HMAC}
        return (len(ini) > 1 and any(cri.alg in plain for cri in ini)) or len(ini) > 2

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        if self.many(ini):
            raise UsageError("takes one algorithm in a session")
        return super().newsession(ini)


class ShortRegions(HonestLean):
    """Takes 2 KiB at a time."""

    name = "short"
    capabilities: Mapping[int, Capability] = {
        alg: Capability(each.keys, maxlen=2048) for alg, each in HonestLean.capabilities.items()
    }


class CachesASession(HonestLean):
    """Remembers, in a table that is bounded, which chains there were lately."""

    name = "caching"
    lately: ClassVar[int] = 64

    def __init__(self) -> None:
        super().__init__()
        self.seen: OrderedDict[int, int] = OrderedDict()
        self.count = 0

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        self.count += 1
        self.seen[self.count] = len(ini)
        if len(self.seen) > self.lately:
            self.seen.popitem(last=False)
        return super().newsession(ini)


class NotInAChild(HonestLean):
    """Serves no forked child: it refuses there, and says why."""

    name = "parent-only"

    def __init__(self) -> None:
        super().__init__()
        self.home = os.getpid()

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        if os.getpid() != self.home:
            raise CryptoError("the card belongs to the parent")
        answer = super().newsession(ini)
        assert isinstance(answer, tuple)
        lid, process = answer

        def at_home(crp: Cryptop, hint: int) -> int:
            if os.getpid() != self.home:
                crp.fail(errno.EIO, "the card belongs to the parent")
                self.done(crp)
                return 0
            return process(crp, hint)

        return lid, at_home


class HandsKeysBack(HonestKeys):
    """Is busy at every third key operation, and hands it back with EAGAIN, as it may."""

    name = "busy-keys"
    asked = 0

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        self.asked += 1
        if self.asked % 3 == 0:
            krp.fail(errno.EAGAIN, "busy")
            self.kdone(krp)
            return 0
        return super().kprocess(krp, hint)


ODD = (
    FourSessions, OneSession, FourSessionsUnsaid, OneAtATime, Exclusive, SlowWithAReason, Late,
    Collecting, Workers, OneAlgorithmEach, ShortRegions, CachesASession, NotInAChild, HandsKeysBack,
)  # fmt: skip
"""All of them."""
