"""
What shows in the long run: D15, D18 and D24. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from typing import ClassVar

from opencrypto import Cryptoini, Cryptop
from opencrypto.chain import region, segments
from opencrypto.constants import CRD_F_ENCRYPT
from opencrypto.driver import Process
from opencrypto.exceptions import CryptoError
from opencrypto.testing.faults.fault import Fault
from opencrypto.xform import FACTS, Kind

__all__ = [
    "EachFiveThousandthWrong",
    "EachThousandthWrong",
    "GivesNoRoomBack",
    "KeepsADescriptor",
    "KeepsAThread",
    "KeepsCounts",
    "KeepsMemory",
    "KeepsMemoryOfRequests",
    "RemembersRefusals",
]


class EachThousandthWrong(Fault):
    """Gets one answer in a thousand wrong."""

    clause = "D24"
    each: ClassVar[int] = 1000
    _long = 0

    def finish(self, crp: Cryptop) -> None:
        """Flip a bit of what was encrypted or authenticated."""
        crd = crp.desc[0] if crp.desc else None
        if not crp.etype and crd is not None and (crd.flags & CRD_F_ENCRYPT):
            self._long += 1
            if self._long % self.each == 0 and crd.len:
                region(segments(crp.buf), crd.skip, 1)[0][0] ^= 0x04
        super().finish(crp)


class EachFiveThousandthWrong(EachThousandthWrong):
    """Gets one answer in five thousand wrong."""

    clause = "D24"
    each = 5000


class KeepsCounts(Fault):
    """Notes the length of each request in a list, for statistics that nobody reads."""

    clause = "D15"

    def finish(self, crp: Cryptop) -> None:
        """Note it."""
        self.__dict__.setdefault("lengths", []).append(len(crp.desc))
        super().finish(crp)


def _lose(count: int) -> None:
    """Allocate memory as C code does, and lose it."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    ctypes.memset(libc.malloc(ctypes.c_size_t(count)), 1, count)


class KeepsMemoryOfRequests(Fault):
    """Loses four kilobytes of a C library's memory with each request."""

    clause = "D15"

    def finish(self, crp: Cryptop) -> None:
        """Lose it."""
        _lose(4096)
        super().finish(crp)


class KeepsMemory(Fault):
    """Loses a context of a C library with each session."""

    clause = "D18"

    def freesession(self, lid: int) -> None:
        """Lose it."""
        _lose(16384)
        super().freesession(lid)


class KeepsADescriptor(Fault):
    """Opens a descriptor for each session, and closes them when it leaves."""

    clause = "D18"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Open one."""
        answer = super().newsession(ini)
        self.__dict__.setdefault("_opened", []).append(os.open(os.devnull, os.O_RDONLY))
        return answer

    def close(self) -> None:
        """Close them."""
        for descriptor in self.__dict__.pop("_opened", []):
            os.close(descriptor)
        super().close()


class KeepsAThread(Fault):
    """Starts a thread for each session, and ends them when it leaves."""

    clause = "D18"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Start one."""
        end: threading.Event = self.__dict__.setdefault("_end", threading.Event())
        threads: list[threading.Thread] = self.__dict__.setdefault("_workers", [])
        answer = super().newsession(ini)
        threads.append(threading.Thread(target=end.wait, name="session", daemon=True))
        threads[-1].start()
        return answer

    def close(self) -> None:
        """End them."""
        self.__dict__.setdefault("_end", threading.Event()).set()
        for thread in self.__dict__.pop("_workers", []):
            thread.join()
        super().close()


class RemembersRefusals(Fault):
    """Keeps a record of each session before it finds that it cannot have it."""

    clause = "D18"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Make the record, and take it out if all went well."""
        records: list[int] = self.__dict__.setdefault("records", [])
        records.append(len(ini))
        answer = super().newsession(ini)
        records.pop()
        return answer


class GivesNoRoomBack(Fault):
    """Has twenty sessions at a time, it says; in truth, some more in a lifetime."""

    clause = "D18"
    max_sessions = 20
    _opened = 0

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Count up; nobody counts down."""
        plain = len(ini) == 1 and FACTS[ini[0].alg].kind is Kind.CIPHER
        if plain and self._opened >= 2 * self.max_sessions - 5:
            raise CryptoError("all sessions are in use")
        answer = super().newsession(ini)
        self._opened += plain
        return answer
