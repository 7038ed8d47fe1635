"""
Calls that do not come back, or late: D3, D9, D18, D19. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import ClassVar

from opencrypto import Cryptoini, Cryptop
from opencrypto.driver import Process, Profile
from opencrypto.testing.faults.fault import Fault

__all__ = [
    "HangsInClose",
    "HangsInFreesession",
    "HangsInNewsession",
    "HangsInRefusal",
    "SleepsNowAndThen",
    "TakesItsTime",
]


class Hangs(Fault):
    """Waits where it should not, for ever; or until a test lets all of its kind go."""

    freed: ClassVar[threading.Event]

    def __init_subclass__(cls) -> None:
        """Give each kind an event of its own."""
        super().__init_subclass__()
        if "clause" in vars(cls):
            cls.freed = threading.Event()

    @classmethod
    def let_go(cls) -> None:
        """End the waiting of all that wait, and wait no more from now on."""
        cls.freed.set()


class HangsInNewsession(Hangs):
    """Waits in newsession for a device that is busy."""

    clause = "D3"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Wait."""
        self.freed.wait()
        return super().newsession(ini)


class HangsInRefusal(Hangs):
    """Asks a device that is busy whether it could."""

    clause = "D3"

    def refusal(self, ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
        """Wait, if two are asked for."""
        if len(ini) > 1:
            self.freed.wait()
        return super().refusal(ini, profile, named)


class HangsInFreesession(Hangs):
    """Waits in freesession for requests that are none of this session."""

    clause = "D18"

    def freesession(self, lid: int) -> None:
        """Wait."""
        self.freed.wait()
        super().freesession(lid)


class HangsInClose(Hangs):
    """Waits for its thread, which waits for it."""

    clause = "D19"
    _used = False

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Note that there was one."""
        self._used = True
        return super().newsession(ini)

    def close(self) -> None:
        """Wait."""
        if self._used:
            self.freed.wait()
        super().close()


def _a_packet(crp: Cryptop) -> bool:
    """Tell whether a request is of one packet; tests of other things have shorter ones."""
    return bool(crp.desc) and 1300 < max(crd.len for crd in crp.desc) < 1450


class TakesItsTime(Fault):
    """Works on a packet for 30 ms in its caller's thread."""

    clause = "D9"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Sleep."""
        if _a_packet(crp):
            time.sleep(0.030)
        return super().serve(process, crp, hint)


class SleepsNowAndThen(Fault):
    """Keeps the caller for 150 ms at every twentieth packet, while it collects its garbage."""

    clause = "D9"
    _packets = 0

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Sleep."""
        if _a_packet(crp):
            self._packets += 1
            if self._packets % 20 == 0:
                time.sleep(0.150)
        return super().serve(process, crp, hint)
