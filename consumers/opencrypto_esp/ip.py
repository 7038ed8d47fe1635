"""
Where ESP goes in an IP packet, and the header that is right around it.

IPv4 (RFC 791) with its options, IPv6 (RFC 8200) with its extension headers. Pure functions over
bytes; `Drop` where a packet cannot be used.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from opencrypto_esp.results import Drop, Reason

TCP: Final = 6
UDP: Final = 17
ESP: Final = 50
AH: Final = 51
IPCOMP: Final = 108
IPV4_IN: Final = 4
IPV6_IN: Final = 41
DUMMY: Final = 59
"""IPv6's "no next header"; in ESP, a packet to be dropped (RFC 4303 §2.6)."""

HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
DESTINATION: Final = 60

MAX_PACKET: Final = 65535

_HEADER4: Final = Struct("!HHIHHQ")
"""Version and class, length, identification and offset, TTL and protocol, checksum, addresses."""
_new: Final = tuple.__new__  # makes a named tuple at a third of its own call's cost


class Place(NamedTuple):
    """
    Where a packet's payload stands, in **bytes** from its start.

    Attributes:
        head: Where the headers end that stay in front of ESP.
        nh_at: Where the number of the next protocol is.
        end: Where the packet ends; what follows is padding of the link layer.
    """

    head: int
    nh_at: int
    end: int


def length(packet: bytes) -> int:
    """
    Return how many bytes of a buffer are the IP packet, by its own header.

    Raises:
        Drop: it is not IP, is shorter than it says, has impossible lengths, or has none.
    """
    if not packet:
        raise Drop(Reason.NOT_IP)
    first = packet[0]
    if first >> 4 == 4:
        if len(packet) < 20:
            raise Drop(Reason.TRUNCATED)
        end = packet[2] << 8 | packet[3]
        head = (first & 15) << 2
        if not end:
            raise Drop(Reason.NO_LENGTH)
        if head < 20 or end < head:
            raise Drop(Reason.MALFORMED)
    elif first >> 4 == 6:
        if len(packet) < 40:
            raise Drop(Reason.TRUNCATED)
        end = 40 + (packet[4] << 8 | packet[5])
        if end == 40 < len(packet) and says_no_length(packet):
            raise Drop(Reason.NO_LENGTH)
    else:
        raise Drop(Reason.NOT_IP)
    if end > len(packet):
        raise Drop(Reason.TRUNCATED)
    return end


def says_no_length(packet: bytes) -> bool:
    """
    Tell whether an IPv6 header leaves the packet's length open.

    So do jumbograms (RFC 2675), and what a host records before its network card has cut it up.
    """
    return not packet[4] and not packet[5] and packet[6] != DUMMY


def protocol(packet: bytes) -> tuple[int, int]:
    """
    Return the number of what an IP packet or a fragment of one carries, and where that begins.

    It begins at 0, nowhere, in a fragment that is not the first.

    Raises:
        Drop: the headers are not whole.
    """
    if not packet:
        raise Drop(Reason.NOT_IP)
    if packet[0] >> 4 == 4:
        if len(packet) < 20:
            raise Drop(Reason.TRUNCATED)
        later = packet[6] & 0x1F or packet[7]
        return packet[9], 0 if later else (packet[0] & 15) << 2
    if len(packet) < 40:
        raise Drop(Reason.TRUNCATED)
    at, following = 40, packet[6]
    while following in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION):
        if at + 8 > len(packet):
            raise Drop(Reason.TRUNCATED)
        if following == FRAGMENT and (packet[at + 2] or packet[at + 3] & 0xF8):
            return packet[at], 0
        size = 8 if following == FRAGMENT else (packet[at + 1] + 1) << 3
        following, at = packet[at], at + size
    return following, at


def locate(packet: bytes) -> Place:
    """
    Find where ESP goes in transport mode, or where it is (RFC 4303 §3.1.1).

    For IPv4 after the header and its options. For IPv6 after hop-by-hop and routing headers, and
    those destination options that a routing header follows; others are for the last destination
    and so are protected.

    Raises:
        Drop: as `length`; also for fragments, which ESP takes only whole (§3.3.4).
    """
    end = length(packet)
    if packet[0] >> 4 == 4:
        # More fragments, or an offset. "Do not fragment" is no obstacle.
        if packet[6] & 0x3F or packet[7]:
            raise Drop(Reason.FRAGMENT)
        return _new(Place, ((packet[0] & 15) << 2, 9, end))
    return _locate6(packet, end)


def _locate6(packet: bytes, end: int) -> Place:
    head = at = 40
    nh_at = pending = 6
    following = packet[6]
    while following in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION):
        if at + 8 > end:
            raise Drop(Reason.MALFORMED)
        size = 8 if following == FRAGMENT else (packet[at + 1] + 1) << 3
        if at + size > end:
            raise Drop(Reason.MALFORMED)
        # An atomic fragment (offset 0, no more) is a whole packet (RFC 6946).
        if following == FRAGMENT and (packet[at + 2] or packet[at + 3] & 0xF9):
            raise Drop(Reason.FRAGMENT)
        kind, following, pending = following, packet[at], at
        at += size
        if kind != DESTINATION or following in (ESP, AH, IPCOMP):
            head, nh_at = at, pending
    return Place(head, nh_at, end)


def rewrite(packet: bytes, place: Place, protocol: int, size: int) -> bytes:
    """
    Return the headers of a packet whose payload is replaced: right in protocol, length, checksum.

    Args:
        packet: Where the headers are taken from.
        place: From `locate`.
        protocol: The number of what follows the headers now.
        size: **Bytes** that follow them now.

    Raises:
        Drop: the packet would be too long.
    """
    head, nh_at, _ = place
    if packet[0] >> 4 == 4:
        return _rewrite4(packet, head, protocol, head + size)
    total = head - 40 + size
    if total > MAX_PACKET:
        raise Drop(Reason.TOO_BIG)
    header = bytearray(packet[:head])
    header[nh_at] = protocol
    header[4:6] = total.to_bytes(2)
    return bytes(header)


def _rewrite4(packet: bytes, head: int, protocol: int, total: int) -> bytes:
    """Do so by numbers: each field counts in the checksum modulo 2**16 - 1, whatever its size."""
    if total > MAX_PACKET:
        raise Drop(Reason.TOO_BIG)
    first, _, ident, ttl, _, pair = _HEADER4.unpack_from(packet)
    ttl = ttl & 0xFF00 | protocol
    options = packet[20:head]
    words = first + total + ident + ttl + pair + int.from_bytes(options)
    made = _HEADER4.pack(first, total, ident, ttl, (0xFFFF - words % 0xFFFF) % 0xFFFF, pair)
    return made + options if options else made


def set_checksum(header: bytearray) -> None:
    """
    Put the checksum of an IPv4 header into it.

    The one's complement sum of 16-bit words is the header as one number modulo 2**16 - 1; it is
    never 0 modulo that without being 0xffff, since the first byte is not 0.
    """
    header[10] = header[11] = 0
    header[10:12] = ((0xFFFF - int.from_bytes(header) % 0xFFFF) % 0xFFFF).to_bytes(2)


def addresses(packet: bytes) -> bytes:
    """Return source and destination, as they stand in the header."""
    return packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]


def traffic_class(packet: bytes) -> int:
    """Return DSCP and ECN as one byte."""
    if packet[0] >> 4 == 4:
        return packet[1]
    return (packet[0] & 15) << 4 | packet[1] >> 4


def with_traffic_class(packet: bytes, value: int) -> bytes:
    """Return the packet with another DSCP and ECN byte, its checksum right."""
    changed = bytearray(packet)
    if packet[0] >> 4 == 4:
        header = bytearray(packet[: (packet[0] & 15) << 2])
        header[1] = value
        set_checksum(header)
        changed[: len(header)] = header
    else:
        changed[0] = 0x60 | value >> 4
        changed[1] = (value & 15) << 4 | packet[1] & 15
    return bytes(changed)
