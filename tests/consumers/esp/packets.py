"""What the tests of ESP share: associations with test keys, packets, and strategies for both."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from hypothesis import strategies as st

from opencrypto_esp import ENCRYPTIONS, INTEGRITIES, Mode, SecurityAssociation

SPI = 0x1001
TUNNELS = {
    4: {"tunnel_source": ip_address("192.0.2.1"), "tunnel_destination": ip_address("192.0.2.2")},
    6: {
        "tunnel_source": ip_address("2001:db8::1"),
        "tunnel_destination": ip_address("2001:db8::2"),
    },
}
"""Outer addresses by IP version."""

SUITES = [
    (encryption, integrity)
    for encryption, suite in ENCRYPTIONS.items()
    if not suite.old
    for integrity in ([""] if suite.icv else INTEGRITIES)
]
"""Every encryption to send by, with every integrity that goes with it."""


def key(length: int, start: int = 1) -> bytes:
    """Return a key in which no two bytes are equal."""
    return bytes((start + n * 7) & 0xFF for n in range(length))


def make_sa(
    encryption: str = "aes-cbc", integrity: str | None = None, *, tunnel: int = 0, **changes: Any
) -> SecurityAssociation:
    """Return an association with keys of the greatest length; `tunnel` is 0, 4 or 6."""
    suite = ENCRYPTIONS[encryption]
    if integrity is None:
        integrity = "" if suite.icv else "hmac-sha1-96"
    settings: dict[str, Any] = {
        "spi": SPI,
        "encryption": encryption,
        "encryption_key": key(max(suite.keys)),
        "integrity": integrity,
        "integrity_key": key(INTEGRITIES[integrity].key, 3) if integrity else b"",
    }
    if tunnel:
        settings |= {"mode": Mode.TUNNEL, **TUNNELS[tunnel]}
    return SecurityAssociation(**settings | changes)


def checksum(data: bytes) -> int:
    """Compute the Internet checksum as RFC 1071 writes it, unlike the code under test."""
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return int(~words & 0xFFFF)


def ipv4(
    payload: bytes, *, protocol: int = 17, options: bytes = b"", tos: int = 0, frag: int = 0,
    source: str = "10.0.0.1", destination: str = "10.0.0.2",
) -> bytes:  # fmt: skip
    """Return an IPv4 packet; `options` are a multiple of 4 bytes."""
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45 + len(options) // 4, tos, 20 + len(options) + len(payload),
        0x1234, frag, 63, protocol, 0, ip_address(source).packed, ip_address(destination).packed,
    ) + options  # fmt: skip
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(
    payload: bytes, *, following: int = 17, extensions: bytes = b"", tclass: int = 0,
    source: str = "2001:db8:1::1", destination: str = "2001:db8:2::2",
) -> bytes:  # fmt: skip
    """Return an IPv6 packet; `following` is the type of the first extension, if there are any."""
    return (
        struct.pack(
            "!IHBB", 6 << 28 | tclass << 20 | 0xABCDE, len(extensions + payload), following, 63
        )
        + ip_address(source).packed
        + ip_address(destination).packed
        + extensions
        + payload
    )


ROUTING = 43


def extension(kind: int, following: int) -> bytes:
    """Return an IPv6 extension header: a route of one address (type 2), or options to skip."""
    if kind == ROUTING:
        return bytes((following, 2, 2, 1)) + bytes(4) + ip_address("2001:db8:3::3").packed
    # A length of its own for each kind, so that a slip in the arithmetic shows.
    length = 8 if kind == 0 else 16
    return bytes((following, length // 8 - 1, 1, length - 4)) + bytes(length - 4)


payloads = st.binary(max_size=200)
traffic = st.integers(0, 255)

ipv4_packets = st.builds(
    ipv4,
    payloads,
    protocol=st.sampled_from([1, 6, 17, 50, 58]),
    options=st.integers(0, 10).map(lambda words: b"\x01" * (4 * words)),
    tos=traffic,
    frag=st.sampled_from([0, 0x4000]),
)

ipv6_packets = st.builds(
    ipv6,
    payloads,
    following=st.sampled_from([6, 17, 58]),
    tclass=traffic,
)

EXTENSION_CHAINS = [
    # (types of the extensions in order, how many of them stay in front of ESP)
    ((0,), 1),
    ((43,), 1),
    ((60,), 0),
    ((0, 60), 1),
    ((0, 43), 2),
    ((0, 60, 43), 3),
    ((0, 43, 60), 2),
    ((0, 60, 43, 60), 3),
]


def chained(types: tuple[int, ...], payload: bytes, last: int = 17) -> bytes:
    """Return an IPv6 packet with these extension headers."""
    nexts = (*types[1:], last)
    extensions = b"".join(map(extension, types, nexts))
    return ipv6(payload, following=types[0], extensions=extensions)


extended_packets = st.builds(
    chained, st.sampled_from([types for types, _ in EXTENSION_CHAINS]), payloads
)

packets = st.one_of(ipv4_packets, ipv6_packets, extended_packets)
