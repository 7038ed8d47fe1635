"""
The pcapng format (draft-ietf-opsawg-pcapng): blocks, in sections that each have a byte order.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import IO, Final, Literal

from opencrypto_esp.capture.errors import CaptureError, Damage
from opencrypto_esp.capture.model import (
    MAX_FRAME,
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

MAGIC: Final = b"\x0a\x0d\x0d\x0a"
"""The type of a section header, the same in either byte order."""
MAX_BLOCK: Final = 16 << 20
"""The most **bytes** of a block, Wireshark's too; so much memory a damaged length can cost."""

_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_OLD_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_PACKET: Final = 6

_END: Final = 0
_DROPPED: Final = 4
_FLAGS: Final = 2
_HASH: Final = 3
_RESOLUTION: Final = 9
_FCS: Final = 13
_OFFSET: Final = 14
_NOT_TO_BE_COPIED: Final = frozenset({19372, 19373})
"""Custom options that are not for whoever changes a capture."""
_FCS_OF_PACKET: Final = 0x1E0
"""The bits of a packet's flags that have the length of its FCS, in bytes."""
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
"""What fills up to four bytes, by the length modulo 4."""


_new: Final = tuple.__new__  # makes a named tuple at a third of its own call's cost


class _Order:
    """What depends on a section's byte order."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.name: Literal["little", "big"] = "little" if order == "<" else "big"
        self.start = Struct(f"{order}II")
        self.word = Struct(f"{order}I")
        self.section = Struct(f"{order}IHHq")
        self.interface = Struct(f"{order}HHI")
        self.packet = Struct(f"{order}IIIII")
        self.old_packet = Struct(f"{order}HHIIII")
        self.option = Struct(f"{order}HH")
        self.whole_packet = Struct(f"{order}IIIIIII")

    def options(self, raw: bytes) -> Iterator[tuple[int, bytes]]:
        """
        Yield each option's code and value.

        Raises:
            Damage: one is longer than what holds it.
        """
        at = 0
        while at + 4 <= len(raw):
            code, size = self.option.unpack_from(raw, at)
            if code == _END:
                return
            value = raw[at + 4 : at + 4 + size]
            if len(value) < size:
                raise Damage("an option is longer than its block")
            yield code, value
            at += 4 + (size + 3 & ~3)

    def packed(self, code: int, value: bytes) -> bytes:
        """Return an option as it stands in a file."""
        return self.option.pack(code, len(value)) + value + _PADDING[len(value) & 3]

    def block(self, kind: int, body: bytes) -> bytes:
        """Return a block; its body is a multiple of 4 bytes."""
        size = len(body) + 12
        return b"".join((self.start.pack(kind, size), body, self.word.pack(size)))


_ORDERS: Final = {order: _Order(order) for order in "<>"}
_BY_MAGIC: Final = {b"\x4d\x3c\x2b\x1a": _ORDERS["<"], b"\x1a\x2b\x3c\x4d": _ORDERS[">"]}


class PcapngReader(CaptureReader):
    """
    A pcapng capture, being read; see `CaptureReader`.

    Raises:
        CaptureError: also if its first section is not of version 1.
    """

    format = "pcapng"
    HEADER = 28
    UNIT = "block"

    def __init__(self, source: Source, start: bytes) -> None:
        super().__init__(source, start)
        self._interfaces: list[Interface] = []
        try:
            self._order = _order_of(self._data, 0)
            _version(self._order, self._data, 0)
        except Damage as damage:
            raise CaptureError(f"{source.name} is no pcapng that can be read: {damage}") from None

    def _take(self, data: bytes, items: list[Item]) -> tuple[int, int]:
        at, end = 0, len(data)
        order = self._order
        while at + 12 <= end:
            kind, size = order.start.unpack_from(data, at)
            if kind == _SECTION:
                self._order = order = _order_of(data, at)
                (size,) = order.word.unpack_from(data, at + 4)
            if size < 12 or size & 3 or size > MAX_BLOCK:
                raise Damage(f"a block says that it has {size} bytes")
            stop = at + size
            if stop > end:
                return at, size
            if order.word.unpack_from(data, stop - 4)[0] != size:
                raise Damage("a block's two lengths differ")
            if kind == _PACKET:
                items.append(self._packet(data, at + 8, stop - 4))
            else:
                items.append(self._other(kind, data, at, stop))
            at = stop
        return at, 12

    def _packet(self, data: bytes, at: int, stop: int) -> Frame:
        """Return the frame of an enhanced packet block whose body is from `at` to `stop`."""
        begin = at + 20
        if begin > stop:
            raise Damage("a packet block is too short")
        number, high, low, kept, length = self._order.packet.unpack_from(data, at)
        end = begin + kept
        # Most have their data and nothing else.
        if kept <= length and stop - end < 4 and end <= stop and number < len(self._interfaces):
            interface = self._interfaces[number]
            if not interface.fcs and kept <= MAX_FRAME:
                ticks = high << 32 | low
                return _new(Frame, (interface, ticks, data[begin:end], length, b""))
        return self._frame(data, begin, stop, number, high << 32 | low, kept, length)

    def _frame(
        self, data: bytes, begin: int, stop: int, number: int, ticks: int, kept: int, length: int,
        dropped: bytes = b"",
    ) -> Frame:  # fmt: skip
        length = whole_length(kept, length)
        end = begin + kept
        if end > stop:
            raise _longer_than_its_block(kept)
        interface = self._interface(number)
        fcs = interface.fcs
        options = data[begin + (kept + 3 & ~3) : stop]
        if options:
            options, fcs = self._kept_options(options, fcs)
        if dropped:
            options = dropped + (options or self._order.packed(_END, b""))
        frame = data[begin:end]
        if fcs:
            frame, length = trimmed(frame, length, fcs)
        return Frame(interface, ticks, frame, length, options)

    def _interface(self, number: int) -> Interface:
        try:
            return self._interfaces[number]
        except IndexError:
            raise Damage(f"a packet is of interface {number}, which is not described") from None

    def _kept_options(self, raw: bytes, fcs: int) -> tuple[bytes, int]:
        """Return the options that stay true of a packet when it changes; and its FCS's length."""
        order = self._order
        kept = []
        for code, value in order.options(raw):
            if code == _HASH or code in _NOT_TO_BE_COPIED:
                continue
            if code == _FLAGS and len(value) == 4:
                (flags,) = order.word.unpack(value)
                fcs = (flags & _FCS_OF_PACKET) >> 5 or fcs
                value = order.word.pack(flags & ~_FCS_OF_PACKET)
            kept.append(order.packed(code, value))
        return (b"".join((*kept, order.packed(_END, b""))) if kept else b""), fcs

    def _other(self, kind: int, data: bytes, at: int, stop: int) -> Item:
        """Return what a block is that is no enhanced packet block."""
        body = data[at + 8 : stop - 4]
        if kind == _SECTION:
            _version(self._order, data, at)
            self._interfaces = []
            return Section(self._order.order, body[16:])
        if kind == _INTERFACE:
            made = self._described(body)
            self._interfaces.append(made)
            return made
        if kind == _SIMPLE_PACKET:
            return self._simple(body)
        if kind == _OLD_PACKET:
            return self._old(body)
        return Block(kind, data[at:stop])

    def _described(self, body: bytes) -> Interface:
        order = self._order
        if len(body) < 8:
            raise Damage("an interface's block is too short")
        linktype, _, snaplen = order.interface.unpack_from(body)
        made = Interface(len(self._interfaces), linktype, order.order, snaplen=snaplen)
        kept = []
        for code, value in order.options(body[8:]):
            if code == _RESOLUTION and len(value) == 1:
                # The highest bit says whether it is a power of two or of ten.
                made.per_second = (2 if value[0] & 0x80 else 10) ** (value[0] & 0x7F)
            elif code == _OFFSET and len(value) == 8:
                made.offset = int.from_bytes(value, order.name, signed=True)
            elif code == _FCS and len(value) == 1:
                # In bits; who wrote less than any FCS has meant bytes.
                made.fcs = value[0] >> 3 if value[0] > 8 else value[0]
                continue
            elif code in _NOT_TO_BE_COPIED:
                continue
            kept.append(order.packed(code, value))
        if kept:
            made.options = b"".join((*kept, order.packed(_END, b"")))
        return made

    def _simple(self, body: bytes) -> Frame:
        """Return a frame without time, of the first interface, whose snap length it was cut to."""
        interface = self._interface(0)
        if len(body) < 4:
            raise Damage("a packet block is too short")
        (length,) = self._order.word.unpack_from(body)
        kept = min(length, interface.snaplen or length)
        whole_length(kept, length)
        if kept > len(body) - 4:
            raise _longer_than_its_block(kept)
        frame, length = trimmed(body[4 : 4 + kept], length, interface.fcs)
        return Frame(interface, None, frame, length)

    def _old(self, body: bytes) -> Frame:
        """Return the frame of a packet block as they were before the enhanced ones."""
        order = self._order
        if len(body) < 20:
            raise Damage("a packet block is too short")
        number, lost, high, low, kept, length = order.old_packet.unpack_from(body)
        dropped = b""
        if 0 < lost < 0xFFFF:
            dropped = order.packed(_DROPPED, lost.to_bytes(8, order.name))
        ticks = high << 32 | low
        return self._frame(body, 20, len(body), number, ticks, kept, length, dropped)


def _longer_than_its_block(kept: int) -> Damage:
    return Damage(f"{kept} bytes of a packet are announced, and its block has fewer")


def _order_of(data: bytes, at: int) -> _Order:
    try:
        return _BY_MAGIC[data[at + 8 : at + 12]]
    except KeyError:
        raise Damage("a section has no byte order") from None


def _version(order: _Order, data: bytes, at: int) -> None:
    (size,) = order.word.unpack_from(data, at + 4)
    if size < 28:
        raise Damage("a section's header is too short")
    _, major, minor, _ = order.section.unpack_from(data, at + 8)
    if major != 1:
        raise Damage(f"a section has version {major}.{minor}, and only 1 is known")


class PcapngWriter(CaptureWriter):
    """
    A pcapng capture, being written; see `CaptureWriter`.

    Interfaces keep their order and so their numbers, their options, and how they count time; how
    many bytes of a frame may be kept is left open, since frames grow.
    """

    format = "pcapng"

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__(file, name)
        self._order: _Order | None = None

    def section(self, section: Section) -> None:
        """Begin a section."""
        self._order = order = _ORDERS[section.order]
        head = order.section.pack(0x1A2B3C4D, 1, 0, -1)
        self._parts.append(order.block(_SECTION, head + section.options))

    def interface(self, interface: Interface) -> None:
        """Describe the next interface of the section."""
        if self._order is None:
            self.section(Section(interface.order, b""))
        assert self._order is not None
        order, options = self._order, interface.options
        if not options and interface.per_second == NANO:
            options = order.packed(_RESOLUTION, b"\x09") + order.packed(_END, b"")
        body = order.interface.pack(interface.written, 0, 0) + options
        self._parts.append(order.block(_INTERFACE, body))

    def block(self, block: Block) -> bool:
        """Write a block as it was; say that it is kept."""
        self._parts.append(block.raw)
        return True

    def frame(
        self, interface: Interface, ticks: int | None, data: bytes, length: int, options: bytes
    ) -> None:
        """Write a frame of an interface of this section."""
        order = self._order
        assert order is not None
        kept = len(data)
        if ticks is None:
            if kept == length and not interface.number:
                body = order.word.pack(length) + data + _PADDING[kept & 3]
                self._parts.append(order.block(_SIMPLE_PACKET, body))
                return
            ticks = 0  # a simple packet block cannot say that something was cut off
        padding = _PADDING[kept & 3]
        size = 32 + kept + len(padding) + len(options)
        self._parts += (
            order.whole_packet.pack(
                _PACKET, size, interface.number, ticks >> 32, ticks & 0xFFFFFFFF, kept, length
            ),
            data,
            padding + options + order.word.pack(size),
        )

    def _begin(self) -> None:
        if self._order is None:
            self.section(Section("<", b""))
