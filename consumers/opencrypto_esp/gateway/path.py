"""
What paths take: the kernel knows, from its routes and from what routers have told it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from opencrypto_esp.gateway.room import LEAST4, LEAST6
from opencrypto_esp.gateway.wire import mark_of

FRESH: Final = 0.5
"""Seconds that an answer is believed."""

UNKNOWN: Final = 1500
"""Bytes that a path without a route is taken to have; what is sent there is refused anyway."""

_IP_MTU: Final = 14
_IPV6_MTU: Final = 24
_DISCARD: Final = 9


class Paths:
    """
    The sizes that paths to peers take, asked for again now and then.

    Args:
        mark: The routing mark of what is sent; 0 for none.
        clock: Tells the time in seconds.
    """

    def __init__(self, mark: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[float, int]] = {}
        # Nothing is ever sent by these: connecting one has the kernel look for the route.
        self._asked = {4: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)}
        try:
            try:
                self._asked[16] = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            except OSError:
                pass  # a kernel without IPv6
            for each in self._asked.values():
                mark_of(each, mark)
        except BaseException:
            self.close()
            raise

    def mtu(self, destination: bytes) -> int:
        """Return the size, in **bytes**, of the largest packet to an address, its 4 or 16 bytes."""
        now = self._clock()
        known = self._known.get(destination)
        if known is not None and now < known[0]:
            return known[1]
        found = self._ask(destination)
        self._known[destination] = now + FRESH, found
        return found

    def doubt(self) -> None:
        """Believe no answer any more: a packet was too long."""
        self._known.clear()

    def _ask(self, destination: bytes) -> int:
        asked = self._asked.get(len(destination))
        if asked is None:
            return UNKNOWN
        try:
            if len(destination) == 4:
                asked.connect((socket.inet_ntoa(destination), _DISCARD))
                return max(asked.getsockopt(socket.IPPROTO_IP, _IP_MTU), LEAST4)
            asked.connect((socket.inet_ntop(socket.AF_INET6, destination), _DISCARD))
            return max(asked.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU), LEAST6)
        except OSError:
            return UNKNOWN

    def close(self) -> None:
        """Close the sockets."""
        for each in self._asked.values():
            each.close()
