"""
Batches and hints: D7, D8, D9, D22 and D23. See `opencrypto.testing.faults`.

Each is right as long as requests come one by one.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import ClassVar

from opencrypto import Cryptop
from opencrypto.chain import region, scatter, segments
from opencrypto.constants import CRD_F_VERIFY, CRYPTO_HINT_MORE
from opencrypto.driver import Process
from opencrypto.exceptions import CryptoError
from opencrypto.testing.faults.fault import Fault
from opencrypto.xform import FACTS, Kind

__all__ = [
    "CollectsInAFork",
    "ForgetsTheSeventh",
    "HoldsALockOverABatch",
    "MacOfTheLastAlone",
    "MixesUpSessions",
    "RaisesInBatchedChains",
    "StopsAtAForgery",
]


class InBatches(Fault):
    """Knows which requests come in a batch: those with CRYPTO_HINT_MORE, and the next."""

    _before = 0
    _number = 0

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Tell the two kinds apart."""
        batched = hint & CRYPTO_HINT_MORE or self._before & CRYPTO_HINT_MORE
        self._number = self._number + 1 if self._before & CRYPTO_HINT_MORE else 1
        self._before = hint
        if batched:
            return self.in_a_batch(process, crp, hint)
        return super().serve(process, crp, hint)

    def in_a_batch(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Carry out a request of a batch, by default rightly."""
        return process(crp, hint)


class ForgetsTheSeventh(InBatches):
    """Has room for six requests in a batch, and takes the seventh without ever answering it."""

    clause = "D7"

    def in_a_batch(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Take it."""
        return 0 if self._number == 7 else process(crp, hint)


class HoldsALockOverABatch(InBatches):
    """Holds a lock from the first request of a batch on while it calls done."""

    clause = "D8"

    def in_a_batch(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Guard what needs no guard."""
        lock: threading.Lock = self.__dict__.setdefault("_batch_lock", threading.Lock())
        with lock:
            return process(crp, hint)


class RaisesInBatchedChains(InBatches):
    """Unpacks one descriptor of a request that comes in a batch."""

    clause = "D9"

    def in_a_batch(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Raise ValueError for a chain."""
        kinds = {FACTS[crd.alg].kind for crd in crp.desc if crd.alg in FACTS}
        if kinds == {Kind.CIPHER, Kind.MAC}:
            (_,) = crp.desc
        return process(crp, hint)


class MacOfTheLastAlone(InBatches):
    """Has one place for the MAC, which the last request of a batch has filled."""

    clause = "D23"

    def finish(self, crp: Cryptop) -> None:
        """Put zeros where the MAC of the others goes."""
        if self._before & CRYPTO_HINT_MORE and not crp.etype:
            for crd in crp.desc:
                kind = FACTS[crd.alg].kind
                if kind in (Kind.MAC, Kind.HASH) and not crd.flags & CRD_F_VERIFY:
                    with suppress(CryptoError):
                        scatter(region(segments(crp.buf), crd.inject, 4), bytes(4))
        super().finish(crp)


class MixesUpSessions(InBatches):
    """Carries a whole batch out by the session of its first request."""

    clause = "D23"

    def in_a_batch(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Keep the process of the first; of another chain it cannot be used."""
        algs = [crd.alg for crd in crp.desc]
        if self._number == 1 or self.__dict__.get("_algs") != algs:
            self._first, self._algs = process, algs
        return self._first(crp, hint)

    def freesession(self, lid: int) -> None:
        """Forget it."""
        self.__dict__.pop("_first", None)
        self.__dict__.pop("_algs", None)
        super().freesession(lid)


class StopsAtAForgery(InBatches):
    """Ends the rest of a batch with EBADMSG when one of it does not verify."""

    clause = "D23"
    _stopped = False

    def in_a_batch(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Refuse what comes behind a forgery."""
        if self._number == 1:
            self._stopped = False
        if self._stopped:
            crp.fail(errno.EBADMSG, "the batch does not verify")
            self.done(crp)
            return 0
        return process(crp, hint)

    def finish(self, crp: Cryptop) -> None:
        """Note a forgery."""
        self._stopped |= crp.etype == errno.EBADMSG
        super().finish(crp)


class CollectsInAFork(Fault):
    """Leaves what comes in a batch to its thread, which is not there in a forked child."""

    clause = "D22"
    _home: ClassVar[int] = os.getpid()

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Have nobody answer it."""
        if os.getpid() != self._home and hint & CRYPTO_HINT_MORE:
            return 0
        return super().serve(process, crp, hint)
