"""
What of IP headers routers change, and AH does not authenticate (RFC 4302 §3.3.3, Appendix A).

Pure functions over the headers that stand before an AH.
"""

from __future__ import annotations

from typing import Final

from opencrypto_esp import ip
from opencrypto_esp.results import Drop, Reason

_END: Final = 0
_NO_OPERATION: Final = 1
_LOOSE_ROUTE: Final = 131
_STRICT_ROUTE: Final = 137

_SAME4: Final = frozenset({130, 133, 134, 148, 149})
"""IPv4 options that stay as they are: security, router alert, multi-destination (A.1)."""

_PAD1: Final = 0
_MAY_CHANGE: Final = 0x20
"""In the type of an IPv6 option: its data may change on the way (RFC 8200 §4.2)."""

_SOURCE_ROUTE: Final = 0
_MOBILE_ROUTE: Final = 2


def zeroed(head: bytes) -> bytes:
    """
    Return the headers before an AH, as they are authenticated.

    Args:
        head: An IPv4 header with its options, or an IPv6 one with its extension headers; the
            length and protocol in it count the AH in.

    Raises:
        Drop: options or extensions are malformed, or nobody can tell what comes of them.
    """
    return _zeroed4(head) if head[0] >> 4 == 4 else _zeroed6(head)


def _zeroed4(head: bytes) -> bytes:
    same = bytearray(head)
    same[1] = 0  # DSCP and ECN
    same[6:8] = bytes(2)  # flags and offset
    same[8] = 0  # TTL
    same[10:12] = bytes(2)  # checksum
    if len(head) > 20:
        _clear_options(same)
    return bytes(same)


def _clear_options(head: bytearray) -> None:
    """Clear those that may change; of a route the last address is the destination's."""
    at = 20
    while at < len(head) and head[at] != _END:
        if head[at] == _NO_OPERATION:
            at += 1
            continue
        size = head[at + 1] if at + 1 < len(head) else 0
        if size < 2 or at + size > len(head):
            raise Drop(Reason.MALFORMED)
        if head[at] in (_LOOSE_ROUTE, _STRICT_ROUTE) and size >= 7 and head[at + 2] <= size:
            head[16:20] = head[at + size - 4 : at + size]
        if head[at] not in _SAME4:
            head[at : at + size] = bytes(size)
        at += size


def _zeroed6(head: bytes) -> bytes:
    same = bytearray(head)
    same[0:4] = b"\x60\x00\x00\x00"  # traffic class and flow label
    same[7] = 0  # hop limit
    at, following = 40, head[6]
    while at < len(head):
        size = (head[at + 1] + 1) << 3
        if following == ip.FRAGMENT:
            # AH takes whole packets, and the header of a fragment comes and goes behind its back.
            raise Drop(Reason.FRAGMENT)
        if following == ip.ROUTING:
            _go_the_route(same, at, size)
        else:
            _clear_options6(same, at, at + size)
        at, following = at + size, head[at]
    return bytes(same)


def _clear_options6(head: bytearray, at: int, end: int) -> None:
    """Clear the data of those options that may change, of a hop-by-hop or destination header."""
    at += 2
    while at < end:
        if head[at] == _PAD1:
            at += 1
            continue
        size = 2 + head[at + 1] if at + 1 < end else end
        if at + size > end:
            raise Drop(Reason.MALFORMED)
        if head[at] & _MAY_CHANGE:
            head[at + 2 : at + size] = bytes(size - 2)
        at += size


def _go_the_route(head: bytearray, at: int, size: int) -> None:
    """Put a routing header as it is at the last destination (§3.3.3.1.2.2)."""
    kind, left = head[at + 2], head[at + 3]
    if not left:
        return
    if kind not in (_SOURCE_ROUTE, _MOBILE_ROUTE):
        raise Drop(Reason.UNKNOWN_ROUTE)
    count = (size - 8) // 16
    if size % 16 != 8 or left > count:
        raise Drop(Reason.MALFORMED)
    # Each hop changes the destination for the next address; so does this for all that are left.
    destination = bytes(head[24:40])
    start = at + 8 + 16 * (count - left)
    left_over = bytes(head[start : at + size])
    head[24:40] = left_over[-16:]
    head[start : at + size] = destination + left_over[:-16]
    head[at + 3] = 0
