"""A whole capture goes through in the memory of one read, and at once what has come at once."""

from __future__ import annotations

import io
import tracemalloc

import pytest

from opencrypto_esp.capture import FORMATS, Passage, Reader, read_capture
from opencrypto_esp.results import Result
from tests.consumers.esp.capture.files import ETHERNET, interface, packet, pcap, section
from tests.consumers.esp.packets import ipv4

FRAME = ETHERNET + b"\x08\x00" + ipv4(bytes(1372))


class Endless(io.RawIOBase):
    """A capture of as many equal frames as one likes, which is never in memory as a whole."""

    def __init__(self, head: bytes, frame: bytes, many: int) -> None:
        super().__init__()
        self._left = many * len(frame)
        self._head, self._frame = head, frame
        self._at = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        size = min(size, self._left)
        start = self._at % len(self._frame)
        self._at += size
        self._left -= size
        return (self._frame * (size // len(self._frame) + 2))[start : start + size]


class Nowhere(io.RawIOBase):
    """What takes everything and keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return 0


def peak(kind: str, many: int) -> int:
    """Return the most **bytes** that are held while a capture goes through."""
    if kind == "pcap":
        head, frame = pcap(), pcap(FRAME)[24:]
    else:
        head, frame = section() + interface(), packet(FRAME)
    reader: Reader = read_capture(Endless(head, frame, many), "in")  # type: ignore[arg-type]  # all that is asked of a file
    writer = FORMATS[kind](Nowhere(), "out")  # type: ignore[arg-type]  # all that is asked of a file
    passage = Passage(writer, Result, inbound=False, pass_others=False)
    tracemalloc.start()
    try:
        passage.run(reader.batches())
        assert passage.frames == many
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_memory_does_not_grow_with_the_capture(kind: str) -> None:
    short, long = peak(kind, 1000), peak(kind, 8000)
    assert long < 1.2 * short < 8 << 20
