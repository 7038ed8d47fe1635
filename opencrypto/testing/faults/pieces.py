"""Messages in pieces gone wrong: D26. See `opencrypto.testing.faults`."""

from __future__ import annotations

from collections.abc import Callable

from opencrypto import Cryptop
from opencrypto.chain import Plan
from opencrypto.constants import CRD_F_MORE
from opencrypto.driver import DriverStream, Process
from opencrypto.testing.faults.fault import Fault

__all__ = ["GoesOnWithTheLastMessage", "LeavesAPieceOut", "TakesPiecesForMessages"]


class _LeavingOut:
    """A stream that does nothing with its second piece."""

    def __init__(self, stream: DriverStream, done: Callable[[Cryptop], None]) -> None:
        self._stream = stream
        self._done = done
        self._count = 0

    def piece(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        """Carry it out, or say so only."""
        self._count += 1
        if self._count == 2 and not last:
            self._done(crp)
        else:
            self._stream.piece(crp, plan, last)

    def wipe(self) -> None:
        """Let it go."""
        self._stream.wipe()


class LeavesAPieceOut(Fault):
    """Loses one piece among others."""

    clause = "D26"

    def newstream(self, lid: int, done: Callable[[Cryptop], None]) -> DriverStream:
        """Begin a message that loses one."""
        return _LeavingOut(super().newstream(lid, done), done)


class _Lasting:
    """A stream that no end wipes."""

    def __init__(self, stream: DriverStream) -> None:
        self.piece = stream.piece

    def wipe(self) -> None:
        """Leave it as it is."""


class GoesOnWithTheLastMessage(Fault):
    """Keeps what was of a message for the session's next one."""

    clause = "D26"

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[int, DriverStream] = {}

    def newstream(self, lid: int, done: Callable[[Cryptop], None]) -> DriverStream:
        """Begin a message where the last one ended."""
        if lid not in self._kept:
            self._kept[lid] = _Lasting(super().newstream(lid, done))
        return self._kept[lid]


class TakesPiecesForMessages(Fault):
    """Does not know the flag, and takes each piece for a message."""

    clause = "D26"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Serve the piece without it."""
        flags = [crd.flags for crd in crp.desc]
        for crd in crp.desc:
            crd.flags &= ~CRD_F_MORE
        try:
            return super().serve(process, crp, hint)
        finally:
            for crd, each in zip(crp.desc, flags, strict=True):
                crd.flags = each
