"""Drivers as a consumer may meet them: one answers from a thread after a moment, one hands back."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence

from opencrypto import CRYPTO_SYMQ, CRYPTOCAP_F_SOFTWARE, ERESTART, Cryptoini, Cryptop
from opencrypto.driver import Process, WorkerPool
from opencrypto_swcrypto._driver import SwcryptoDriver

MOMENT = 0.001
"""Seconds that a late driver lets pass before it answers."""


class Late(SwcryptoDriver):
    """The software driver, whose every answer comes from a thread, a moment after `process`."""

    flags = CRYPTOCAP_F_SOFTWARE

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._workers = WorkerPool(name, self._room, size=2, depth=64)

    def _room(self) -> None:
        self.unblock(CRYPTO_SYMQ)

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Open a session without a way of its own, so that all its requests come to `process`."""
        opened = super().newsession(ini)
        return opened[0] if isinstance(opened, tuple) else opened

    def process(self, crp: Cryptop, hint: int) -> int:
        """Take the request; a worker answers it."""

        def work() -> None:
            time.sleep(MOMENT)
            self.serve(crp)

        return 0 if self._workers.submit(work) else ERESTART

    def serve(self, crp: Cryptop) -> None:
        """Do what was asked, and answer."""
        super().process(crp, 0)

    def close(self) -> None:
        """Answer what was taken, and end the workers."""
        self._workers.close()
        super().close()


class Unwilling:
    """
    How often drivers hand requests back before they serve one.

    Attributes:
        times: How often still.
        tries: How many requests they have had.
    """

    def __init__(self, times: int) -> None:
        self.times = times
        self.tries = 0

    def hands_back(self, crp: Cryptop) -> bool:
        """Note a try; tell whether it is handed back, after saying so in the request."""
        self.tries += 1
        if self.tries > self.times:
            return False
        crp.fail(errno.EAGAIN)
        return True


class HandsBackLate(Late):
    """A late driver that is unwilling."""

    def __init__(self, name: str, unwilling: Unwilling) -> None:
        super().__init__(name)
        self._unwilling = unwilling

    def serve(self, crp: Cryptop) -> None:
        """Hand the request back, or do what was asked."""
        if self._unwilling.hands_back(crp):
            self.done(crp)
        else:
            super().serve(crp)


class HandsBackAtOnce(HandsBackLate):
    """An unwilling driver that answers within `process`."""

    def process(self, crp: Cryptop, hint: int) -> int:
        """Hand the request back, or do what was asked."""
        self.serve(crp)
        return 0
