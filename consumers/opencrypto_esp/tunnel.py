"""
The outer header of tunnel mode, and what it says about the inner packet.

RFC 4301 §5.1.2: the hop limit is the SA's; DSCP is copied unless the SA says otherwise; DF is
copied from IPv4 and set for IPv6, whose packets no router may fragment; the flow label is 0. ECN
is RFC 6040's normal mode. The inner packet is not touched: its hop limit is for the router that
forwards it to decrease, and ESP is not that router.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from struct import Struct
from typing import Final, TypeAlias

from opencrypto_esp import ip
from opencrypto_esp.results import Drop, Reason
from opencrypto_esp.sa import SecurityAssociation

_IPV4: Final = Struct("!BBHHHBBH8s")
_IPV6: Final = Struct("!IHBB32s")

NOT_ECT: Final = 0
ECT_1: Final = 1
CE: Final = 3

OuterHeader: TypeAlias = Callable[[bytes, int], bytes]
"""``header(inner packet, bytes that follow) -> outer header``."""


def outer_header(sa: SecurityAssociation, protocol: int) -> OuterHeader:
    """Return what makes the outer headers of an SA, each followed by a protocol."""
    source, destination = sa.tunnel_source, sa.tunnel_destination
    assert source is not None
    assert destination is not None
    pair = source.packed + destination.packed
    make = _outer4 if source.version == 4 else _outer6
    return make(sa, protocol, pair)


def _outer_class(sa: SecurityAssociation, inner: bytes) -> int:
    value = ip.traffic_class(inner)
    return value if sa.dscp is None else sa.dscp << 2 | value & 3


def _outer4(sa: SecurityAssociation, protocol: int, pair: bytes) -> OuterHeader:
    # Identifications repeat after 65536 packets, as RFC 6864 allows for packets that have DF set.
    idents = itertools.count(1)

    def header(inner: bytes, size: int) -> bytes:
        total = 20 + size
        if total > ip.MAX_PACKET:
            raise Drop(Reason.TOO_BIG)
        fragmentable = inner[0] >> 4 == 4 and not inner[6] & 0x40
        made = bytearray(
            _IPV4.pack(
                0x45, _outer_class(sa, inner), total, next(idents) & 0xFFFF,
                0 if fragmentable else 0x4000, sa.hop_limit, protocol, 0, pair,
            )
        )  # fmt: skip
        ip.set_checksum(made)
        return bytes(made)

    return header


def _outer6(sa: SecurityAssociation, protocol: int, pair: bytes) -> OuterHeader:
    def header(inner: bytes, size: int) -> bytes:
        if size > ip.MAX_PACKET:
            raise Drop(Reason.TOO_BIG)
        first = 6 << 28 | _outer_class(sa, inner) << 20
        return _IPV6.pack(first, size, protocol, sa.hop_limit, pair)

    return header


def decapsulate(outer: bytes, inner: bytes) -> bytes:
    """
    Return the inner packet with what happened to the outer one on its way (RFC 6040 §4.2).

    Only a mark that a router put there changes anything, so an unmarked packet is as it was.

    Raises:
        Drop: the outer packet met congestion, and the inner one cannot say so.
    """
    mark = ip.traffic_class(outer) & 3
    value = ip.traffic_class(inner)
    ecn = value & 3
    if mark == ecn or mark not in (ECT_1, CE) or ecn == CE:
        return inner
    if ecn == NOT_ECT:
        if mark == CE:
            raise Drop(Reason.CONGESTION)
        return inner
    return ip.with_traffic_class(inner, value & ~3 | mark)


def inner_packet(payload: bytes | bytearray, following: int) -> bytes:
    """
    Return the packet in a tunnel, without the padding for traffic flow (RFC 4303 §2.7).

    Raises:
        Drop: there is none, or it is not what the number before it says.
    """
    if following not in (ip.IPV4_IN, ip.IPV6_IN):
        raise Drop(Reason.BAD_NEXT_HEADER)
    inner = bytes(payload)
    try:
        end = ip.length(inner)
    except Drop:
        raise Drop(Reason.BAD_INNER) from None
    if (inner[0] >> 4 == 4) != (following == ip.IPV4_IN):
        raise Drop(Reason.BAD_INNER)
    return inner[:end]
