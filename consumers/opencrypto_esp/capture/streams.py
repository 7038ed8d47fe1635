"""
What reading and writing have in common, whichever format a capture has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import IO, ClassVar

from opencrypto_esp.capture.errors import CaptureError, Damage
from opencrypto_esp.capture.model import MAX_FRAME, SURPLUS, Item
from opencrypto_esp.capture.source import Source


class CaptureReader(ABC):
    """
    A capture, being read.

    Args:
        source: Its bytes.
        start: Those that were read already.

    Attributes:
        cut: Why it ended before its end, once it has; empty for a whole capture.

    Raises:
        CaptureError: its header is not whole, or of a kind that is not supported.
    """

    format: ClassVar[str]
    HEADER: ClassVar[int]
    """How many **bytes** must be there at least."""
    UNIT: ClassVar[str]
    """What it is a row of."""

    def __init__(self, source: Source, start: bytes) -> None:
        self.source = source
        self.cut = ""
        self._data = start = source.more(start, self.HEADER)
        if len(start) < self.HEADER:
            raise CaptureError(f"{source.name} is cut short inside its header; record it again")

    def batches(self) -> Iterator[list[Item]]:
        """
        Yield what the capture is made of, as much at a time as has come.

        Raises:
            OSError: it cannot be read.
        """
        data, self._data = self._data, b""
        at, wanted = 0, 1
        while True:
            items: list[Item] = []
            try:
                at, wanted = self._take(data, items)
            except Damage as damage:
                self.cut = str(damage)
            if items:
                yield items
            if self.cut:
                return
            data = self.source.more(data[at:], wanted)
            if len(data) < wanted:
                self.cut = self.source.damage or (f"it ends inside a {self.UNIT}" if data else "")
                return

    @abstractmethod
    def _take(self, data: bytes, items: list[Item]) -> tuple[int, int]:
        """
        Add what is whole; return where that ends, and how many bytes are wanted from there.

        Raises:
            Damage: from here on it is damaged; what was added is right.
        """


def whole_length(kept: int, length: int) -> int:
    """
    Return how many **bytes** a frame had, of which so many are announced to be kept.

    Raises:
        Damage: no frame has so many, or not this one.
    """
    if kept > MAX_FRAME or kept > length + SURPLUS:
        raise Damage(f"{kept} bytes of a packet of {length} are announced")
    return max(kept, length)


class CaptureWriter(ABC):
    """
    A capture, being written.

    Args:
        file: Opened for writing bytes; flushed whenever something is complete.
        name: What to call it in an error.
    """

    format: ClassVar[str]

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._parts: list[bytes] = []

    def flush(self) -> None:
        """Write what has gathered."""
        if self._parts:
            self._file.write(b"".join(self._parts))
            self._file.flush()
            self._parts.clear()

    def finish(self) -> None:
        """Write all that is left."""
        self._begin()
        self.flush()

    @abstractmethod
    def _begin(self) -> None:
        """See that there is a header, also where there is nothing else."""
