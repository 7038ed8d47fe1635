"""
Segmentation offload: many packets of one flow as one, each way across a TUN device.

With its virtio-net header (VIRTIO 1.2 §5.1.6, Linux's ``linux/virtio_net.h``) the device hands a
TCP stream over in pieces of up to 64 KiB, which are cut into packets here, as a network card would;
and takes packets that follow each other put together again. Both save a system call, and a walk
through the kernel, for each packet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

from opencrypto_esp import ip
from opencrypto_esp.gateway.checksum import ONES, complement, pseudo, total

HEADER: Final = Struct("=BBHHHH")
"""Flags, kind of segmentation, length of headers, of a segment, place of the checksum, where in
what begins there."""

PLAIN: Final = bytes(HEADER.size)
"""The header of a packet with which nothing remains to be done."""

NEEDS_CHECKSUM: Final = 1
TCP4: Final = 1
TCP6: Final = 4
_ECN: Final = 0x80

_TCP: Final = 6
_UDP: Final = 17
_FIN_PSH: Final = 0x09
_PSH: Final = 0x08
_ACK: Final = 0x10
_CWR: Final = 0x80
_LONGEST: Final = 65535

_WORD: Final = Struct("!H").pack_into
_LONG: Final = Struct("!I").pack_into


class BadFrame(ValueError):
    """What the device handed over is not what its header says."""


def packets(frame: bytes) -> list[bytes]:
    """
    Return the IP packets in what a device hands over, their checksums right.

    Raises:
        BadFrame: the header names places that are not there, or a kind nobody asked for.
    """
    flags, kind, _, size, start, at = HEADER.unpack_from(frame)
    packet = frame[HEADER.size :]
    if kind:
        return _segments(packet, kind & ~_ECN, size)
    if flags & NEEDS_CHECKSUM:
        return [_with_checksum(packet, start, start + at)]
    return [packet]


def _with_checksum(packet: bytes, start: int, at: int) -> bytes:
    """Finish a checksum in whose place the sum of the pseudo-header stands."""
    if start > at or at + 2 > len(packet):
        raise BadFrame("a checksum beyond the packet")
    # UDP has 0 for "none", and all ones for a checksum of 0 (RFC 768), which to others are alike.
    value = complement(total(packet[start:])) or (ONES if at - start == 6 else 0)
    return b"".join((packet[:at], value.to_bytes(2), packet[at + 2 :]))


def _segments(packet: bytes, kind: int, size: int) -> list[bytes]:
    """Cut a TCP packet into those of `size` bytes of payload (RFC 9293 §3.8.3)."""
    head, four = _tcp_at(packet, kind)
    payload_at = head + (packet[head + 12] >> 4 << 2)
    if not size or payload_at > len(packet) or payload_at < head + 20:
        raise BadFrame("segments of no size, or a header beyond the packet")
    header = bytearray(packet[:payload_at])
    sequence = int.from_bytes(header[head + 4 : head + 8])
    ident = int.from_bytes(header[4:6])
    last_flags = header[head + 13]
    flags = last_flags & ~_FIN_PSH
    # All words but those that differ from segment to segment.
    header[head + 4 : head + 8] = bytes(4)
    header[head + 13] = 0
    header[head + 16 : head + 18] = bytes(2)
    if four:
        header[2:6] = bytes(4)
        header[10:12] = bytes(2)
    outer = total(header[:head])
    inner = total(header[head:]) + pseudo(ip.addresses(packet), _TCP, 0)
    made = []
    for number, begin in enumerate(range(payload_at, len(packet), size)):
        part = packet[begin : begin + size]
        at = sequence + begin - payload_at & 0xFFFFFFFF
        if begin + size >= len(packet):
            flags |= last_flags & _FIN_PSH
        length = payload_at + len(part)
        if four:
            _WORD(header, 2, length)
            _WORD(header, 4, ident + number & ONES)
            _WORD(header, 10, complement(outer + length + (ident + number & ONES)))
        else:
            _WORD(header, 4, length - 40)
        _LONG(header, head + 4, at)
        header[head + 13] = flags
        _WORD(
            header, head + 16,
            complement(inner + length - head + (at >> 16) + (at & ONES) + flags + total(part)),
        )  # fmt: skip
        made.append(bytes(header) + part)
        flags &= ~_CWR  # it is for the first alone (RFC 3168 §6.1.2)
    return made


def _tcp_at(packet: bytes, kind: int) -> tuple[int, bool]:
    """Return where TCP begins, and whether in IPv4."""
    if kind not in (TCP4, TCP6) or not packet or packet[0] >> 4 != (4 if kind == TCP4 else 6):
        raise BadFrame(f"segments of kind {kind}")
    if kind == TCP6:
        # Extension headers in front of TCP are left to the kernel, which does not cut such packets.
        if len(packet) < 60 or packet[6] != _TCP:
            raise BadFrame("no TCP in what is to be cut")
        return 40, False
    head = (packet[0] & 15) << 2
    if head < 20 or len(packet) < head + 20 or packet[9] != _TCP:
        raise BadFrame("no TCP in what is to be cut")
    return head, True


def joined(packets: Sequence[bytes]) -> Iterator[list[bytes | memoryview]]:
    """
    Put packets that follow each other in their TCP streams together, as few frames as may be.

    Each frame is a list of the parts to write: the device's header first. Packets of one flow
    stay in their order. What is put together has had its checksums verified: the kernel
    believes us.
    """
    runs: dict[bytes, _Run] = {}
    for packet in packets:
        key = _flow(packet)
        run = runs.get(key) if key else None
        if run is not None:
            if run.take(packet):
                continue
            yield run.frame()
            del runs[key]
        new = _Run.begin(packet) if key else None
        if new is None:
            yield [PLAIN, packet]
        else:
            runs[key] = new
    for run in runs.values():
        yield run.frame()


def _flow(packet: bytes) -> bytes:
    """Return what tells a packet's TCP stream from others; nothing for other packets."""
    if len(packet) >= 60 and packet[0] == 0x60 | packet[0] & 15 and packet[6] == _TCP:
        return packet[8:44]
    if len(packet) >= 40 and packet[0] == 0x45 and packet[9] == _TCP:
        return packet[12:24]
    return b""


class _Run:
    """Packets of one TCP stream, each of which follows the one before it."""

    __slots__ = (
        "_first", "_head", "_next", "_open", "_parts", "_payload_at", "_same", "_size", "_total",
    )  # fmt: skip

    def __init__(self, packet: bytes, head: int, payload_at: int) -> None:
        self._first = packet
        self._head = head
        self._payload_at = payload_at
        self._size = len(packet) - payload_at
        self._total = len(packet)
        self._parts: list[bytes | memoryview] = []
        sequence = int.from_bytes(packet[head + 4 : head + 8])
        self._next = sequence + self._size & 0xFFFFFFFF
        self._same = _common(packet, head, payload_at)
        self._open = not packet[head + 13] & _PSH

    @classmethod
    def begin(cls, packet: bytes) -> _Run | None:
        """Return a run that begins with a packet, if others may follow it."""
        head = 20 if packet[0] >> 4 == 4 else 40
        payload_at = _payload_at(packet, head)
        if not payload_at or payload_at == len(packet) or packet[head + 13] & ~_PSH != _ACK:
            return None
        return cls(packet, head, payload_at)

    def take(self, packet: bytes) -> bool:
        """Take another packet into the run, if it follows."""
        head, payload_at = self._head, self._payload_at
        size = len(packet) - payload_at
        if (
            not self._open
            or not 0 < size <= self._size
            or int.from_bytes(packet[head + 4 : head + 8]) != self._next
            or self._total + size > _LONGEST
            or _common(packet, head, payload_at) != self._same
            or packet[head + 13] & ~_PSH != _ACK
            or not _payload_at(packet, head)
        ):
            return False
        if not self._parts and not _payload_at(self._first, head):
            return False
        self._parts.append(memoryview(packet)[payload_at:])
        self._total += size
        self._next = self._next + size & 0xFFFFFFFF
        if size < self._size or packet[head + 13] & _PSH:
            self._open = False
            self._first = b"".join(
                (self._first[: head + 13], packet[head + 13 : head + 14], self._first[head + 14 :])
            )
        return True

    def frame(self) -> list[bytes | memoryview]:
        """Return the parts of the one packet that they are."""
        if not self._parts:
            return [PLAIN, self._first]
        head, payload_at = self._head, self._payload_at
        header = bytearray(self._first[:payload_at])
        four = head == 20
        if four:
            _WORD(header, 2, self._total)
            _WORD(header, 10, 0)
            _WORD(header, 10, complement(total(header[:head])))
        else:
            _WORD(header, 4, self._total - 40)
        partial = pseudo(ip.addresses(self._first), _TCP, self._total - head) % ONES
        _WORD(header, head + 16, partial)
        kind = TCP4 if four else TCP6
        start = HEADER.pack(NEEDS_CHECKSUM, kind, payload_at, self._size, head, 16)
        return [start + header, memoryview(self._first)[payload_at:], *self._parts]


def _common(packet: bytes, head: int, payload_at: int) -> tuple[bytes, bytes]:
    """Return what is the same in all packets of a run: IP's fields, acknowledgement and options."""
    if head == 20:
        return packet[1:2] + packet[6:9], packet[28:33] + packet[34:36] + packet[38:payload_at]
    return packet[:4] + packet[7:8], packet[48:53] + packet[54:56] + packet[58:payload_at]


def _payload_at(packet: bytes, head: int) -> int:
    """Return where a packet's payload begins; 0 if it is damaged, or a fragment."""
    payload_at = head + (packet[head + 12] >> 4 << 2)
    if not head + 20 <= payload_at <= len(packet):
        return 0
    if head == 20:
        if packet[6] & 0x3F or packet[7] or total(packet[:20]) or packet[2:4] != _size(packet):
            return 0
    elif packet[4:6] != (len(packet) - 40).to_bytes(2):
        return 0
    sound = pseudo(ip.addresses(packet), _TCP, len(packet) - head) + total(packet[head:])
    return 0 if sound % ONES else payload_at


def _size(packet: bytes) -> bytes:
    return len(packet).to_bytes(2)
