"""
The pcap format (draft-ietf-opsawg-pcap): a header, and frames with their times.
"""

from __future__ import annotations

from struct import Struct
from typing import IO, Final

from opencrypto_esp.capture.errors import CaptureError
from opencrypto_esp.capture.links import LINKS, unsupported
from opencrypto_esp.capture.model import (
    MAX_FRAME,
    MICRO,
    NANO,
    Block,
    Frame,
    Interface,
    Item,
    Section,
    trimmed,
)
from opencrypto_esp.capture.source import Source
from opencrypto_esp.capture.streams import CaptureReader, CaptureWriter, whole_length

_NUMBERS: Final = {MICRO: 0xA1B2C3D4, NANO: 0xA1B23C4D}
MAGICS: Final = {
    number.to_bytes(4, "little" if order == "<" else "big"): (order, per_second)
    for per_second, number in _NUMBERS.items()
    for order in "<>"
}
"""What a file begins with, by byte order and how a second is divided."""
MODIFIED: Final = (b"\x34\xcd\xb2\xa1", b"\xa1\xb2\xcd\x34")
"""A patched libpcap's, with longer headers of its packets."""

_HEADER: Final = {order: Struct(f"{order}4sHHIIII") for order in "<>"}
_RECORD: Final = {order: Struct(f"{order}IIII") for order in "<>"}
_LATEST: Final = 0xFFFFFFFF
_WITH_FCS: Final = 1 << 26
"""In the field of the link type: bits 28 to 31 have the length of the FCS, in units of 16 bits."""


class PcapReader(CaptureReader):
    """
    A pcap capture, being read; see `CaptureReader`.

    Raises:
        CaptureError: also if it is of a version or link type that is not supported.
    """

    format = "pcap"
    HEADER = 24
    UNIT = "packet"

    def __init__(self, source: Source, start: bytes) -> None:
        super().__init__(source, start)
        start = self._data
        self._order, per_second = MAGICS[start[:4]]
        _, major, minor, _, _, snaplen, link = _HEADER[self._order].unpack_from(start)
        if (major, minor) != (2, 4):
            raise CaptureError(
                f"{source.name} is pcap of version {major}.{minor}, and only 2.4 is supported; "
                "convert it: editcap -F pcap IN OUT"
            )
        linktype = link & 0xFFFF
        if linktype not in LINKS:
            raise CaptureError(f"{source.name}: {unsupported(linktype)}")
        self._interface = Interface(
            0,
            linktype,
            order=self._order,
            fcs=2 * (link >> 28) if link & _WITH_FCS else 0,
            snaplen=snaplen,
            per_second=per_second,
        )
        self._begun = False

    def _take(self, data: bytes, items: list[Item]) -> tuple[int, int]:
        at, end = 0, len(data)
        if not self._begun:
            self._begun = True
            items.append(self._interface)
            at = self.HEADER
        unpack = _RECORD[self._order].unpack_from
        interface = self._interface
        new_frame = tuple.__new__  # makes a named tuple at a third of its own call's cost
        per_second, fcs = interface.per_second, interface.fcs
        while at + 16 <= end:
            seconds, part, kept, length = unpack(data, at)
            length = whole_length(kept, length)
            stop = at + 16 + kept
            if stop > end:
                return at, 16 + kept
            frame = data[at + 16 : stop]
            at = stop
            if fcs:
                frame, length = trimmed(frame, length, fcs)
            ticks = seconds * per_second + part
            items.append(new_frame(Frame, (interface, ticks, frame, length, b"")))
        return at, 16


class PcapWriter(CaptureWriter):
    """A pcap capture, being written; see `CaptureWriter`."""

    format = "pcap"

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__(file, name)
        self._first: Interface | None = None
        self._per_second = MICRO
        self._pack = _RECORD["<"].pack

    def section(self, section: Section) -> None:
        """Count nanoseconds from here on: of what pcapng may have, as much as pcap can hold."""
        self._per_second = NANO

    def interface(self, interface: Interface) -> None:
        """
        Begin with the first interface; refuse those that pcap cannot hold beside it.

        Raises:
            CaptureError: it has another link type.
        """
        if self._first is None:
            self._first = interface
            if interface.per_second > MICRO:
                self._per_second = NANO
            order = interface.order
            self._pack = _RECORD[order].pack
            magic = next(m for m, what in MAGICS.items() if what == (order, self._per_second))
            self._parts.append(_HEADER[order].pack(magic, 2, 4, 0, 0, MAX_FRAME, interface.written))
        elif interface.written != self._first.written:
            raise CaptureError(
                f"{self._name}: pcap holds one link type, and there are {self._first.written} and "
                f"{interface.written}; write it with: --format pcapng"
            )

    def block(self, block: Block) -> bool:
        """Say that a block is not kept: pcap has nothing but packets."""
        return False

    def frame(
        self, interface: Interface, ticks: int | None, data: bytes, length: int, options: bytes
    ) -> None:
        """
        Write a frame; its options are lost.

        Raises:
            CaptureError: its time is beyond what pcap can hold.
        """
        per_second = self._per_second
        if interface.per_second == per_second and not interface.offset:
            ticks = ticks or 0
            seconds = ticks // per_second
            part = ticks - seconds * per_second
        else:
            seconds, part = interface.seconds(ticks or 0, per_second)
        if not 0 <= seconds <= _LATEST:
            raise CaptureError(
                f"{self._name}: pcap holds times from 1970 to 2106, and one lies "
                f"{seconds} s from 1970; write it with: --format pcapng"
            )
        self._parts += (self._pack(seconds, part, len(data), length), data)

    def _begin(self) -> None:
        if self._first is None:
            self.interface(Interface(0, 1))  # of no packets, any link type is right
