"""A card that falls ill: the software driver's mathematics, given out as a device, with moods."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opencrypto import (
    CRK_MOD_EXP,
    CRYPTO_AES_CBC,
    CRYPTO_ASYMQ,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SYMQ,
    ERESTART,
    Capability,
    Cryptkop,
    Cryptoini,
    Cryptop,
    UsageError,
)
from opencrypto.driver import Process
from opencrypto_swcrypto._driver import SwcryptoDriver

WORKERS: Final = 8
SLOW: Final = 0.02
"""Seconds that each request takes while the card is slow."""


class Card(SwcryptoDriver):
    """
    A card with threads of its own.

    Attributes:
        mood: ``well``; ``slow``: each request takes `SLOW` longer; ``full``: it takes none, and
            never says that it does again; ``silent``: it takes them and does not answer; ``busy``:
            key operations wait until there is nothing else to do, which is never; ``broken``: it
            raises at every other request.
    """

    name = "card"
    flags = 0
    keyops = frozenset({CRK_MOD_EXP})
    capabilities: Mapping[int, Capability] = {
        alg: SwcryptoDriver.capabilities[alg] for alg in (CRYPTO_AES_CBC, CRYPTO_SHA2_256_HMAC)
    }

    def __init__(self) -> None:
        super().__init__()
        self.mood = "well"
        self._turns = itertools.count()
        self._jobs: deque[Callable[[], object]] = deque()
        self._kept: deque[Callable[[], object]] = deque()
        self._there = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._work, name=f"card-{n}") for n in range(WORKERS)
        ]
        for thread in self._threads:
            thread.start()

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Open a session whose requests a thread carries out, if the card is in the mood."""
        opened: Any = super().newsession(ini)
        lid, carry_out = opened

        def process(crp: Cryptop, hint: int) -> int:
            if self.mood == "full":
                return ERESTART
            if self.mood == "broken" and next(self._turns) % 2:
                raise RuntimeError("a driver should not")
            if self.mood == "silent":
                self._kept.append(lambda: carry_out(crp, hint))
                return 0
            self._give(lambda: carry_out(crp, hint))
            return 0

        return lid, process

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Have a thread carry out a key operation, or keep it."""
        work = super().kprocess
        if self.mood == "busy":
            self._kept.append(lambda: work(krp, hint))
        else:
            self._give(lambda: work(krp, hint))
        return 0

    def heal(self) -> None:
        """Be well, and answer what was kept."""
        self.mood = "well"
        while self._kept:
            self._give(self._kept.popleft())
        with contextlib.suppress(UsageError):  # it was detached, as the page says
            self.unblock(CRYPTO_SYMQ | CRYPTO_ASYMQ)

    def _give(self, job: Callable[[], object]) -> None:
        self._jobs.append(job)
        self._there.release()

    def _work(self) -> None:
        while True:
            self._there.acquire()
            try:
                job = self._jobs.popleft()
            except IndexError:
                return  # closed
            if self.mood == "slow":
                time.sleep(SLOW)
            job()

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._there.release()
        for thread in self._threads:
            thread.join()
        super().close()


class WrongCard(Card):
    """A card whose AES is broken: the first byte of whatever it enciphers is another."""

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Open a session that answers wrongly if it has AES."""
        opened: Any = super().newsession(ini)
        lid, process = opened
        if all(cri.alg != CRYPTO_AES_CBC for cri in ini):
            return lid, process

        def wrong(crp: Cryptop, hint: int) -> int:
            view = memoryview(crp.buf)
            view[crp.desc[0].skip] ^= 1
            answer: int = process(crp, hint)
            return answer

        return lid, wrong
