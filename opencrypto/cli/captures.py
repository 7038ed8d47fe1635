"""
Packet captures: pcap and pcapng in, pcap out, by dpkt; and the IP packet in each frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import dpkt

from opencrypto import files
from opencrypto.exceptions import OperationError

Time: TypeAlias = float | Decimal
"""Seconds since 1970; Decimal where the file counts nanoseconds."""

RAW: Final = 101
_PCAPNG: Final = b"\x0a\x0d\x0d\x0a"
_SNAPLEN: Final = 262144
_IPV4: Final = b"\x08\x00"
_IPV6: Final = b"\x86\xdd"
_IP: Final = (_IPV4, _IPV6)
_VLAN: Final = (b"\x81\x00", b"\x88\xa8")

_Finder: TypeAlias = Callable[[bytes], "tuple[int, int]"]
"""``find(frame) -> (where the IP packet begins, where its type stands)``; -1 for none."""


def _ethernet(frame: bytes) -> tuple[int, int]:
    at = 12
    while frame[at : at + 2] in _VLAN:
        at += 4
    return (at + 2, at) if frame[at : at + 2] in _IP else (-1, -1)


def _cooked(frame: bytes) -> tuple[int, int]:
    return (16, 14) if frame[14:16] in _IP else (-1, -1)


def _cooked2(frame: bytes) -> tuple[int, int]:
    return (20, 0) if frame[:2] in _IP and len(frame) >= 20 else (-1, -1)


def _raw(frame: bytes) -> tuple[int, int]:
    return (0, -1) if frame and frame[0] >> 4 in (4, 6) else (-1, -1)


_LINKS: Final[dict[int, tuple[str, _Finder, int]]] = {
    # Link type in the file: its name, where IP is, link type of what we write.
    1: ("Ethernet", _ethernet, 1),
    101: ("raw IP", _raw, RAW),
    # What some systems write for raw IP, and types of one version: a tunnel may change that.
    12: ("raw IP", _raw, RAW),
    14: ("raw IP", _raw, RAW),
    228: ("raw IPv4", _raw, RAW),
    229: ("raw IPv6", _raw, RAW),
    113: ("Linux cooked", _cooked, 113),
    276: ("Linux cooked v2", _cooked2, 276),
}


class CaptureError(OperationError):
    """A capture cannot be read."""


class Capture:
    """
    A capture being read: an iterable of (time, frame).

    Of a pcapng file with several interfaces, all are taken to be of the first one's link type.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        magic = file.read(4)
        file.seek(0)
        try:
            self._reader = dpkt.pcapng.Reader(file) if magic == _PCAPNG else dpkt.pcap.Reader(file)
            linktype = int(self._reader.datalink())
        except (ValueError, dpkt.Error, OverflowError):
            raise CaptureError(
                f"{name} is neither pcap nor pcapng; record one with: tcpdump -w FILE"
            ) from None
        if linktype not in _LINKS:
            known = ", ".join(dict.fromkeys(name for name, _, _ in _LINKS.values()))
            raise CaptureError(
                f"{name} has link type {linktype}, which is not supported ({known} are); "
                "convert it, or record on another interface"
            )
        _, self.find, self.linktype = _LINKS[linktype]
        self.nano = getattr(self._reader, "_divisor", None) == Decimal("1E9")

    def __iter__(self) -> Iterator[tuple[Time, bytes]]:
        frames = iter(self._reader)
        number = 0
        while True:
            try:
                time, frame = next(frames)
            except StopIteration:
                return
            except (ValueError, dpkt.Error, OverflowError, MemoryError):
                raise CaptureError(
                    f"{self._name} is damaged after packet {number}; "
                    "repair it, for example with: editcap IN OUT"
                ) from None
            number += 1
            yield time, bytes(frame)

    def position(self) -> int:
        """Return how many bytes of the file have been read."""
        return self._file.tell()

    def packet(self, frame: bytes) -> bytes | None:
        """Return the IP packet of a frame, or None if there is none in it."""
        at, _ = self.find(frame)
        return None if at < 0 else frame[at:]

    def reframe(self, frame: bytes, packet: bytes) -> bytes:
        """Return the frame with another packet in it, its type changed if the IP version is."""
        at, type_at = self.find(frame)
        if type_at < 0:
            return packet
        kind = _IPV6 if packet[0] >> 4 == 6 else _IPV4
        return b"".join((frame[:type_at], kind, frame[type_at + 2 : at], packet))


@contextmanager
def reading(path: Path) -> Iterator[Capture]:
    """
    Open a capture.

    Raises:
        CaptureError: it is none, or of a link type that is not supported.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        yield Capture(file, str(path))


@contextmanager
def writing(path: Path, capture: Capture) -> Iterator[Callable[[bytes, Time], None]]:
    """
    Write a pcap file for frames of a capture; yields ``write(frame, time)``.

    It is for its owner alone, and written as `opencrypto.files.writing` says.
    """
    with files.writing(path, files.PRIVATE) as file:
        writer = dpkt.pcap.Writer(
            file, snaplen=_SNAPLEN, linktype=capture.linktype, nano=capture.nano
        )
        yield writer.writepkt_time
