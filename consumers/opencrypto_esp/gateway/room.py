"""
How large an inner packet may be, for its ESP packet to fit into what a path takes.
"""

from __future__ import annotations

from typing import Final

from opencrypto_esp import ip
from opencrypto_esp.nat_t import UDP_SIZE
from opencrypto_esp.sa import Mode, SecurityAssociation

LEAST4: Final = 68
"""What every IPv4 path takes (RFC 791)."""

LEAST6: Final = 1280
"""What every IPv6 path takes (RFC 8200 §5)."""


def room(sa: SecurityAssociation, path: int, version: int) -> int:
    """
    Return the size, in **bytes**, of the largest inner packet.

    Args:
        sa: The association it is sent by.
        path: The largest outer packet, in **bytes**.
        version: The outer IP version, 4 or 6.
    """
    head = 20 if version == 4 else 40
    left = path - head - (UDP_SIZE if sa.encap else 0) - 8 - sa.cipher.iv - sa.icv
    payload = left // sa.cipher.align * sa.cipher.align - 2
    return payload if sa.mode is Mode.TUNNEL else payload + head


def may_be_cut(packet: bytes) -> bool:
    """
    Tell whether an inner packet that does not fit may go on in outer fragments.

    IPv4 says so itself. In IPv6 it may if it is no larger than any path must take: its sender
    need not make smaller ones (RFC 8200 §5).
    """
    if packet[0] >> 4 == 4:
        return not packet[6] & 0x40
    return ip.length(packet) <= LEAST6
