"""
Outer fragments: an ESP packet that its path does not take whole (RFC 791 §3.2, RFC 8200 §4.5).

Only what may be cut comes here: see `room`. The other end's kernel puts the fragments together
before ESP sees them.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from typing import Final

from opencrypto_esp import ip

_MORE: Final = 0x2000

_idents: Final = itertools.count(secrets.randbits(32))


def fragments(packet: bytes, mtu: int) -> Iterator[bytes]:
    """
    Cut an IP packet.

    Args:
        packet: A whole packet; in IPv6 without extension headers.
        mtu: The size, in **bytes**, that no fragment exceeds: 68 at least, in IPv6 1280.
    """
    return _fragments4(packet, mtu) if packet[0] >> 4 == 4 else _fragments6(packet, mtu)


def _fragments4(packet: bytes, mtu: int) -> Iterator[bytes]:
    head = (packet[0] & 15) << 2
    most = mtu - head & ~7
    # 0 would have the kernel give each fragment an identification of its own.
    ident = next(_idents) % 0xFFFF + 1
    for at in range(head, len(packet), most):
        part = packet[at : at + most]
        header = bytearray(packet[:head])
        header[2:4] = (head + len(part)).to_bytes(2)
        header[4:6] = ident.to_bytes(2)
        more = _MORE if at + most < len(packet) else 0
        header[6:8] = (more | (at - head) >> 3).to_bytes(2)
        ip.set_checksum(header)
        yield bytes(header) + part


def _fragments6(packet: bytes, mtu: int) -> Iterator[bytes]:
    most = mtu - 48 & ~7
    ident = (next(_idents) & 0xFFFFFFFF).to_bytes(4)
    for at in range(40, len(packet), most):
        part = packet[at : at + most]
        header = bytearray(packet[:40])
        header[4:6] = (8 + len(part)).to_bytes(2)
        header[6] = ip.FRAGMENT
        more = 1 if at + most < len(packet) else 0
        place = (at - 40 | more).to_bytes(2)
        yield b"".join((header, packet[6:7], b"\0", place, ident, part))
