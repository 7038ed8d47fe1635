"""
Sessions, memory, leaving: D15 to D20, D22. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from opencrypto import Cryptoini, Cryptop
from opencrypto.chain import gather, scatter, segments
from opencrypto.driver import Process
from opencrypto.exceptions import CryptoError, UsageError
from opencrypto.testing.faults.fault import Fault
from opencrypto.xform import FACTS

__all__ = [
    "DiesInAFork",
    "FreesOnlyOnce",
    "KeepsTheRequest",
    "LastKeyForAll",
    "LeavesAThread",
    "LogsKeys",
    "NeverForgets",
    "RaisesAtClose",
    "SharesAScratch",
    "ShowsKeys",
    "TellsKeys",
]


class KeepsTheRequest(Fault):
    """Remembers the last request."""

    clause = "D15"

    def finish(self, crp: Cryptop) -> None:
        """Remember it."""
        self.last = crp
        super().finish(crp)


class LastKeyForAll(Fault):
    """Uses the newest session of a kind for all of that kind."""

    clause = "D16"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Keep the process by the chain's algorithms."""
        answer = super().newsession(ini)
        if isinstance(answer, int):
            return answer
        lid, own = answer
        newest: dict[Any, tuple[int, Process]] = self.__dict__.setdefault("_newest", {})
        chain = tuple((cri.alg, cri.klen) for cri in ini)
        newest[chain] = (lid, own)

        def process(crp: Cryptop, hint: int) -> int:
            return newest.get(chain, (lid, own))[1](crp, hint)

        return lid, process

    def freesession(self, lid: int) -> None:
        """Forget it, if it is the newest."""
        newest: dict[Any, tuple[int, Process]] = self.__dict__.setdefault("_newest", {})
        for chain, (number, _) in list(newest.items()):
            if number == lid:
                del newest[chain]
        super().freesession(lid)


class SharesAScratch(Fault):
    """Has one scratch buffer for all threads."""

    clause = "D17"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Pass the data through the scratch buffer."""
        with suppress(CryptoError):
            parts = segments(crp.buf)
            self._scratch = gather(parts)
            time.sleep(0.0002)
            if len(self._scratch) == sum(map(len, parts)):
                scatter(parts, self._scratch)
        return super().serve(process, crp, hint)


class NeverForgets(Fault):
    """Does nothing when a session is freed."""

    clause = "D18"

    def freesession(self, lid: int) -> None:
        """Keep it."""


class FreesOnlyOnce(Fault):
    """Raises for a session that it does not have."""

    clause = "D18"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Note the number."""
        answer = super().newsession(ini)
        lids: set[int] = self.__dict__.setdefault("_lids", set())
        lids.add(answer if isinstance(answer, int) else answer[0])
        return answer

    def freesession(self, lid: int) -> None:
        """Raise KeyError the second time."""
        self.__dict__.setdefault("_lids", set()).remove(lid)
        super().freesession(lid)


class LeavesAThread(Fault):
    """Has a thread that outlives it."""

    clause = "D19"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Start it with the first session."""
        if "_worker" not in self.__dict__:
            wait = threading.Event().wait
            self._worker = threading.Thread(target=wait, args=(30,), name="left", daemon=True)
            self._worker.start()
        return super().newsession(ini)


class RaisesAtClose(Fault):
    """Cannot leave while it has ever had a session."""

    clause = "D19"
    _used = False

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Note that."""
        self._used = True
        return super().newsession(ini)

    def close(self) -> None:
        """Raise."""
        super().close()
        if self._used:
            raise RuntimeError("still in use")


class ShowsKeys(Fault):
    """Has the last key in its repr."""

    clause = "D20"
    _last = ""

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Note it."""
        self._last = bytes(ini[0].key or b"").hex()
        return super().newsession(ini)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._last}>"


class LogsKeys(Fault):
    """Logs each key, for debugging."""

    clause = "D20"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Log it."""
        logging.getLogger("opencrypto.faulty").debug("session with %r", bytes(ini[0].key or b""))
        return super().newsession(ini)


class TellsKeys(Fault):
    """Quotes the key in the message of a refusal."""

    clause = "D20"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Refuse keys of lengths that there are not."""
        for cri in ini:
            key = bytes(cri.key or b"")
            if not FACTS[cri.alg].key_ok(len(key)):
                raise UsageError(f"not a key: {key.hex()}")
        return super().newsession(ini)


class DiesInAFork(Fault):
    """Waits, in a forked child, for a thread that did not come along."""

    clause = "D22"
    _home: ClassVar[int] = os.getpid()

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Wait for ever."""
        if os.getpid() != self._home:
            threading.Event().wait()
        return super().serve(process, crp, hint)
