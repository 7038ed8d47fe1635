"""
ESP in UDP, which gets through NATs (RFC 3948), beside IKE on the same port.

Of a datagram's first bytes four zeroes say IKE, since no SPI is 0, and a lone 0xff a keep-alive.
Pure functions over bytes.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import Final

from opencrypto_esp import ip
from opencrypto_esp.results import Drop, Reason

UDP_SIZE: Final = 8
NON_ESP_MARKER: Final = bytes(4)
"""What stands before an IKE message, where an SPI would (§2.2)."""

KEEP_ALIVE: Final = b"\xff"
"""The whole payload of a packet that keeps a NAT's mapping alive (§2.3)."""

_UDP: Final = Struct("!HHHH")


class Content(Enum):
    """What a datagram on the port of NAT-T holds."""

    ESP = "ESP"
    IKE = "IKE"
    KEEP_ALIVE = "keep-alive"


def content(payload: bytes | bytearray | memoryview) -> Content:
    """Say what the payload of a UDP datagram is; one too short for ESP counts as ESP."""
    if len(payload) == 1 and payload[0] == KEEP_ALIVE[0]:
        return Content.KEEP_ALIVE
    return Content.IKE if payload[:4] == NON_ESP_MARKER else Content.ESP


class UdpHeader:
    """
    Puts ESP into UDP.

    Args:
        source: The source port.
        destination: The destination port.
    """

    def __init__(self, source: int, destination: int) -> None:
        self._source = source
        self._destination = destination

    def wrap(self, head: bytes, esp: bytes | bytearray) -> bytes:
        """Return a packet of its IP headers, which already say UDP, and its ESP."""
        size = UDP_SIZE + len(esp)
        header = _UDP.pack(self._source, self._destination, size, 0)
        if head[0] >> 4 == 6:
            # Over IPv4 it is 0 (§2.1). IPv6 wants one, and so do hosts (RFC 8200 §8.1).
            addresses = head[8:40]
            checksum = _checksum(addresses, ip.UDP, header, esp) or 0xFFFF
            header = header[:6] + checksum.to_bytes(2)
        return b"".join((head, header, esp))


def ports(packet: bytes, place: ip.Place) -> tuple[int, int]:
    """Return source and destination port of the UDP at a place of a packet; 0 if it is short."""
    at = place.head
    if place.end - at < UDP_SIZE:
        return 0, 0
    return int.from_bytes(packet[at : at + 2]), int.from_bytes(packet[at + 2 : at + 4])


def strip(packet: bytes, place: ip.Place) -> tuple[bytes, ip.Place]:
    """
    Return a packet without the UDP header around its ESP, and where that is then.

    The checksum is not looked at: what is authenticated has an ICV.

    Raises:
        Drop: it holds something else, or is damaged.
    """
    at = place.head + UDP_SIZE
    end = place.head + int.from_bytes(packet[place.head + 4 : place.head + 6])
    if not at <= end <= place.end:
        raise Drop(Reason.MALFORMED)
    kind = content(packet[at:end])
    if kind is Content.KEEP_ALIVE:
        raise Drop(Reason.KEEP_ALIVE)
    if kind is Content.IKE:
        raise Drop(Reason.IKE)
    stripped = packet[: place.head] + packet[at:end]
    return stripped, ip.Place(place.head, place.nh_at, len(stripped))


def with_checksum(packet: bytes) -> bytes:
    """
    Return a packet with the checksum of its TCP or UDP right for its addresses (§3.1.2).

    A NAT has changed them while the checksum was under ESP. What has verified is not damaged, so
    nothing is lost by computing it anew; one that was left out over IPv4 stays so.
    """
    protocol, at = ip.protocol(packet)
    end = ip.length(packet)
    where = {ip.TCP: at + 16, ip.UDP: at + 6}.get(protocol, end)
    if not at or where + 2 > end:
        return packet
    if protocol == ip.UDP and packet[0] >> 4 == 4 and packet[where : where + 2] == bytes(2):
        return packet
    segment = packet[at:where] + bytes(2) + packet[where + 2 : end]
    checksum = _checksum(ip.addresses(packet), protocol, segment)
    if protocol == ip.UDP:
        checksum = checksum or 0xFFFF
    return packet[:where] + checksum.to_bytes(2) + packet[where + 2 :]


def _checksum(addresses: bytes, protocol: int, *parts: bytes | bytearray) -> int:
    """
    Return the Internet checksum of a datagram, with the pseudo header before it.

    As a number each part counts modulo 2**16 - 1, if it begins at an even byte.
    """
    size = sum(map(len, parts))
    total = int.from_bytes(addresses) + protocol + size
    *whole, last = parts
    for part in whole:
        total += int.from_bytes(part)
    total += int.from_bytes(last) << (8 if len(last) & 1 else 0)
    return 0xFFFF - (total % 0xFFFF or 0xFFFF)
