"""
Which SA a packet is for, by its addresses: the smallest useful part of RFC 4301's SPD.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final, Generic, TypeVar

from opencrypto_esp import ip
from opencrypto_esp.sa import Mode, SecurityAssociation

_CACHED: Final = 4096
"""Address pairs remembered; real traffic has few, and a scan must not fill the memory."""

T = TypeVar("T")


def matches(sa: SecurityAssociation, pair: bytes) -> bool:
    """Tell whether an SA is for packets with these addresses (`ip.addresses`)."""
    half = len(pair) // 2
    source, destination = ip_address(pair[:half]), ip_address(pair[half:])
    return (not sa.source or any(source in network for network in sa.source)) and (
        not sa.destination or any(destination in network for network in sa.destination)
    )


def joins(sa: SecurityAssociation, pair: bytes) -> bool:
    """Tell whether an ESP packet with these addresses goes from one end of an SA to the other."""
    if sa.mode is Mode.TRANSPORT:
        return matches(sa, pair)
    half = len(pair) // 2
    ends = (sa.tunnel_source, pair[:half]), (sa.tunnel_destination, pair[half:])
    return all(end is None or end.packed == address for end, address in ends)


class Policy(Generic[T]):
    """
    Finds what belongs to the first SA, in the order of the file, that a packet matches.

    Args:
        entries: SAs, each with what is to be found for it.
        match: Whether an SA is for packets with some addresses.
    """

    def __init__(
        self,
        entries: Sequence[tuple[SecurityAssociation, T]],
        match: Callable[[SecurityAssociation, bytes], bool] = matches,
    ) -> None:
        self._entries = entries
        self._match = match
        self._cache: dict[bytes, T | None] = {}
        sa = entries[0][0] if entries else None
        every = sa is not None and match is matches and not (sa.source or sa.destination)
        self._only = entries[0][1] if every else None

    def find(self, packet: bytes) -> T | None:
        """
        Return what belongs to a packet's SA, or None if no SA is for it.

        Raises:
            Drop: it is no IP packet.
        """
        if self._only is not None:
            return self._only
        ip.length(packet)
        pair = ip.addresses(packet)
        try:
            return self._cache[pair]
        except KeyError:
            pass
        found = next((entry for sa, entry in self._entries if self._match(sa, pair)), None)
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        self._cache[pair] = found
        return found
