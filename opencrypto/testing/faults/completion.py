"""
Completion: D7 to D11. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from contextlib import suppress

from opencrypto import Cryptoini, Cryptop
from opencrypto.constants import (
    CRYPTO_HINT_MORE,
    ERESTART,
)
from opencrypto.driver import Process
from opencrypto.exceptions import CryptoError
from opencrypto.testing.faults.fault import Fault

__all__ = [
    "Blocks",
    "DoneTwice",
    "ForgetsDone",
    "HoldsALockOverDone",
    "NeverUnblocks",
    "Raises",
    "ReturnsNonsense",
    "WaitsForMore",
]


class DoneTwice(Fault):
    """Completes each request twice."""

    clause = "D7"

    def finish(self, crp: Cryptop) -> None:
        """Once more, to be sure."""
        super().finish(crp)
        with suppress(CryptoError):
            super().finish(crp)


class ForgetsDone(Fault):
    """Does not complete what did not verify."""

    clause = "D7"

    def finish(self, crp: Cryptop) -> None:
        """Return early on the error path."""
        if crp.etype != errno.EBADMSG:
            super().finish(crp)


class HoldsALockOverDone(Fault):
    """Calls done with its lock held."""

    clause = "D8"

    def finish(self, crp: Cryptop) -> None:
        """Guard what needs no guard."""
        lock = self.__dict__.setdefault("_lock", threading.Lock())
        with lock:
            super().finish(crp)


class Raises(Fault):
    """Raises what should have gone into etype."""

    clause = "D9"

    def finish(self, crp: Cryptop) -> None:
        """Raise instead of reporting."""
        if crp.etype == errno.EBADMSG:
            raise ValueError("MAC check failed")
        super().finish(crp)


class ReturnsNonsense(Fault):
    """Returns a count from process."""

    clause = "D9"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Return 1."""
        process(crp, hint)
        return 1


class Blocks(Fault):
    """Waits for more data when a region is empty; until it is closed."""

    clause = "D9"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Wait in the caller's thread."""
        if len(crp.desc) == 1 and crp.desc[0].len == 0:
            self._event().wait()
        return super().serve(process, crp, hint)

    def _event(self) -> threading.Event:
        event: threading.Event = self.__dict__.setdefault("_closed", threading.Event())
        return event

    def close(self) -> None:
        """End the waiting."""
        self._event().set()
        super().close()


class NeverUnblocks(Fault):
    """Answers ERESTART from the hundredth request on, and never unblocks."""

    clause = "D10"
    _taken = 0

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Take a hundred."""
        self._taken += 1
        return ERESTART if self._taken > 100 else super().serve(process, crp, hint)


class WaitsForMore(Fault):
    """Believes CRYPTO_HINT_MORE, and keeps the request until the next one comes."""

    clause = "D11"
    _open = 0

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Count sessions: it collects for a single one only."""
        self._open += 1
        return super().newsession(ini)

    def freesession(self, lid: int) -> None:
        """Count sessions."""
        self._open -= 1
        super().freesession(lid)

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Keep it, or carry out all that is kept."""
        kept: list[Cryptop] = self.__dict__.setdefault("_kept", [])
        kept.append(crp)
        if not (hint & CRYPTO_HINT_MORE and self._open == 1):
            while kept:
                process(kept.pop(0), 0)
        return 0
