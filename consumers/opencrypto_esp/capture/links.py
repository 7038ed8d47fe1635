"""
Where the IP packet is in a frame, by its link type; and the same frame around another packet.

Pure functions over bytes. A finder returns a `Place`, or the name of what the frame holds instead.
Sources: draft-ietf-opsawg-pcaplinktype and the pages it cites; IEEE 802.1Q and 802.3; RFC 1042
(SNAP), RFC 1661 (PPP), RFC 2516 (PPPoE), RFC 3032 (MPLS).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias

from opencrypto_esp.capture import names

RAW: Final = 101
RUNT: Final = "too short for its link layer"

_IPV4: Final = b"\x08\x00"
_IPV6: Final = b"\x86\xdd"
_VLAN: Final = frozenset({b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00", b"\x93\x00"})
_MPLS: Final = frozenset({b"\x88\x47", b"\x88\x48"})
_PPPOE: Final = b"\x88\x64"
# LLC to and from SNAP, unnumbered; then Ethernet's space of types, or bridges' (802.1H).
_SNAP: Final = frozenset({b"\xaa\xaa\x03\x00\x00\x00", b"\xaa\xaa\x03\x00\x00\xf8"})
_LONGEST_802_3: Final = 1500
"""Greater ones are no lengths but ethertypes."""

_AF_INET: Final = 2
# Each BSD gave IPv6 a number of its own: NetBSD and OpenBSD, FreeBSD, Darwin; and Linux.
_AF_INET6: Final = frozenset({24, 28, 30, 10})
_AF_INET6_DARWIN: Final = 30
_AF_INET6_OPENBSD: Final = 24

Type: TypeAlias = "tuple[int, bytes, bytes]"
"""Where the link layer says which IP it is, and what it says for IPv4 and for IPv6."""
Size: TypeAlias = "tuple[int, int, int]"
"""Where the link layer has a length, what it counts from, and its greatest; in **bytes**."""


class Place(NamedTuple):
    """
    Where the IP packet of a frame is, in **bytes** from its start, and what says so.

    Attributes:
        at: Where it begins.
        version: 4 or 6, as the link layer has it; where that says nothing, as the packet has it.
        types: What is to be changed if the IP version is.
        sizes: What is to be changed if the packet's length is.
    """

    at: int
    version: int
    types: tuple[Type, ...] = ()
    sizes: tuple[Size, ...] = ()


Found: TypeAlias = Place | str
Finder: TypeAlias = Callable[[bytes], Found]


def reframe(place: Place, frame: bytes, packet: bytes) -> bytes | None:
    """
    Return the frame with another packet in it, its types and lengths right.

    What followed the packet, padding of the link layer, is left out. None if the packet is too long
    for a frame of this kind.
    """
    version = packet[0] >> 4
    if version == place.version and not place.sizes:
        return frame[: place.at] + packet
    head = bytearray(frame[: place.at])
    if version != place.version:
        for at, four, six in place.types:
            value = four if version == 4 else six
            head[at : at + len(value)] = value
    for at, start, most in place.sizes:
        size = len(head) - start + len(packet)
        if size > most:
            return None
        head[at : at + 2] = size.to_bytes(2)
    return bytes(head) + packet


# What follows an ethertype.


def _typed(frame: bytes, type_at: int, at: int, sizes: tuple[Size, ...] = ()) -> Found:
    """Follow an ethertype at `type_at`, whose payload is at `at`, to the IP packet."""
    while True:
        kind = frame[type_at : type_at + 2]
        if kind in (_IPV4, _IPV6):
            return Place(at, 4 if kind == _IPV4 else 6, ((type_at, _IPV4, _IPV6),), sizes)
        if kind in _VLAN:
            type_at, at = at + 2, at + 4
        elif kind in _MPLS:
            return _mpls(frame, at, sizes)
        elif kind == _PPPOE:
            return _pppoe(frame, at, sizes)
        elif len(kind) < 2:
            return RUNT
        elif (number := int.from_bytes(kind)) > _LONGEST_802_3:
            return names.ethertype(number)
        elif frame[at : at + 6] in _SNAP:
            sizes = (*sizes, (type_at, at, _LONGEST_802_3))
            type_at, at = at + 6, at + 8
        else:
            return _llc(frame, at)


def _llc(frame: bytes, at: int) -> str:
    return names.llc(frame[at]) if len(frame) > at else RUNT


def _mpls(frame: bytes, at: int, sizes: tuple[Size, ...]) -> Found:
    """Go past the labels. Nothing says what follows them, so its first four bits are asked."""
    while True:
        label = frame[at : at + 4]
        at += 4
        if len(label) < 4:
            return RUNT
        if label[2] & 1:  # the bottom of the stack
            break
    version = frame[at] >> 4 if len(frame) > at else 0
    if version not in (4, 6):
        return "MPLS"
    types: tuple[Type, ...] = ()
    if not label[0] and not label[1] and label[2] >> 4 in (0, 2):
        # Explicit null: label 0 is for IPv4, 2 for IPv6 (RFC 3032 §2.1).
        low = label[2] & 15
        types = ((at - 2, bytes((low,)), bytes((0x20 | low,))),)
    return Place(at, version, types, sizes)


def _pppoe(frame: bytes, at: int, sizes: tuple[Size, ...]) -> Found:
    if frame[at : at + 2] != b"\x11\x00":  # version and type 1, code 0: a session's data
        return "PPPoE"
    return _ppp(frame, at + 6, (*sizes, (at + 4, at + 6, 0xFFFF)))


def _ppp(frame: bytes, at: int, sizes: tuple[Size, ...]) -> Found:
    kind = frame[at : at + 2]
    if not kind:
        return RUNT
    if kind[0] & 1:
        # The first byte, zero, may be compressed away; an odd one is the last (RFC 1661 §2).
        kind = kind[:1]
    elif len(kind) < 2:
        return RUNT
    number = int.from_bytes(kind)
    size = len(kind)
    if number in (0x21, 0x57):
        types = ((at, (0x21).to_bytes(size), (0x57).to_bytes(size)),)
        return Place(at + size, 4 if number == 0x21 else 6, types, sizes)
    if number in (0x281, 0x283):
        return _mpls(frame, at + size, sizes)
    return names.ppp(number)


# Link types.

_ETHERNET4: Final = Place(14, 4, ((12, _IPV4, _IPV6),))
_ETHERNET6: Final = Place(14, 6, ((12, _IPV4, _IPV6),))
_RAW4: Final = Place(0, 4)
_RAW6: Final = Place(0, 6)


def _ethernet(frame: bytes) -> Found:
    kind = frame[12:14]
    if kind == _IPV4:
        return _ETHERNET4
    if kind == _IPV6:
        return _ETHERNET6
    return _typed(frame, 12, 14)


def _cooked(frame: bytes) -> Found:
    return _protocol(frame, 14, 16)


def _cooked2(frame: bytes) -> Found:
    return _protocol(frame, 0, 20)


def _protocol(frame: bytes, type_at: int, at: int) -> Found:
    """Follow the protocol of a "cooked" frame: an ethertype, or one of Linux's own numbers."""
    if len(frame) < at:
        return RUNT
    number = int.from_bytes(frame[type_at : type_at + 2])
    if number > _LONGEST_802_3:
        return _typed(frame, type_at, at)
    if number != 4:
        return f"Linux protocol {number:#06x}"
    return _typed(frame, at + 6, at + 8) if frame[at : at + 6] in _SNAP else _llc(frame, at)


def _raw(frame: bytes) -> Found:
    version = frame[0] >> 4 if frame else 0
    if version == 4:
        return _RAW4
    if version == 6:
        return _RAW6
    return "not IP" if frame else RUNT


def _raw4(frame: bytes) -> Found:
    return _RAW4 if frame else RUNT


def _raw6(frame: bytes) -> Found:
    return _RAW6 if frame else RUNT


def _family(number: int, at: int, types: tuple[Type, ...]) -> Found:
    """Return the place by a BSD address family."""
    if number == _AF_INET:
        return Place(at, 4, types)
    if number in _AF_INET6:
        return Place(at, 6, types)
    return f"address family {number}"


def _null(frame: bytes) -> Found:
    """Find it behind a family in the byte order of whichever host recorded the frame."""
    return _host_order(frame, 4, _AF_INET6_DARWIN)


def _enc(frame: bytes) -> Found:
    """Find it behind OpenBSD's ``struct enchdr``: family, SPI, flags."""
    return _host_order(frame, 12, _AF_INET6_OPENBSD)


def _host_order(frame: bytes, at: int, six: int) -> Found:
    if len(frame) < at:
        return RUNT
    # Families are small: whichever way round gives the small number is the host's.
    big = int.from_bytes(frame[:4])
    little = int.from_bytes(frame[:4], "little")
    order: Literal["little", "big"] = "little" if little <= big else "big"
    types = ((0, _AF_INET.to_bytes(4, order), six.to_bytes(4, order)),)
    return _family(min(little, big), at, types)


def _loop(frame: bytes) -> Found:
    if len(frame) < 4:
        return RUNT
    types = ((0, _AF_INET.to_bytes(4), _AF_INET6_OPENBSD.to_bytes(4)),)
    return _family(int.from_bytes(frame[:4]), 4, types)


def _point_to_point(frame: bytes) -> Found:
    # Address and control, unless they were compressed away (RFC 1661 §6.6).
    return _ppp(frame, 2 if frame[:2] == b"\xff\x03" else 0, ())


def _pflog(frame: bytes) -> Found:
    """Find it behind ``struct pfloghdr``, which says its length, and is padded to four bytes."""
    if len(frame) < 4:
        return RUNT
    at = frame[0] + 3 & ~3
    if at < 4 or len(frame) < at:
        return RUNT
    return _family(frame[1], at, ((1, bytes((_AF_INET,)), bytes((_AF_INET6_OPENBSD,))),))


class Link(NamedTuple):
    """A link type that is understood: its name, its finder, and the type of what is written."""

    name: str
    find: Finder
    written: int


LINKS: Final[dict[int, Link]] = {
    0: Link("BSD loopback", _null, 0),
    1: Link("Ethernet", _ethernet, 1),
    9: Link("PPP", _point_to_point, 9),
    # What some systems write for raw IP, and types of one version: a tunnel may change that.
    12: Link("raw IP", _raw, RAW),
    14: Link("raw IP", _raw, RAW),
    101: Link("raw IP", _raw, RAW),
    228: Link("raw IPv4", _raw4, RAW),
    229: Link("raw IPv6", _raw6, RAW),
    108: Link("OpenBSD loopback", _loop, 108),
    109: Link("OpenBSD enc", _enc, 109),
    113: Link("Linux cooked", _cooked, 113),
    117: Link("pflog", _pflog, 117),
    276: Link("Linux cooked v2", _cooked2, 276),
}
"""The link types that are understood, by their numbers."""


def link_name(linktype: int) -> str:
    """Name a link type as the registry does, or as reserved."""
    return names.LINK_TYPES.get(linktype, "not assigned")


def unsupported(linktype: int) -> str:
    """Say that a link type is not supported, and which are."""
    known = ", ".join(dict.fromkeys(link.name for link in LINKS.values()))
    return (
        f"link type {linktype} ({link_name(linktype)}) is not supported ({known} are); "
        "convert it, or record on another interface"
    )


def finder(linktype: int) -> Finder:
    """Return what finds the IP packet in a frame; of an unsupported type all are something else."""
    link = LINKS.get(linktype)
    if link is not None:
        return link.find
    named = f"link type {linktype} ({link_name(linktype)})"
    return lambda _: named
