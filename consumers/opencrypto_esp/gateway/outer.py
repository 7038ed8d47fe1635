"""
The outer side: one wire for each IP version, and the way that each association's packets go.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from opencrypto import CryptoError, UsageError
from opencrypto_esp import ip
from opencrypto_esp.gateway.nat import Nat
from opencrypto_esp.gateway.path import UNKNOWN, Paths
from opencrypto_esp.gateway.room import LEAST6, room
from opencrypto_esp.gateway.wire import Raw4, Raw6, Wire
from opencrypto_esp.sa import Direction, Mode, SecurityAssociation

_ABSENT: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_LARGEST: Final = 65535


class Outer:
    """
    The sockets to peers, of both IP versions. A context manager.

    Args:
        udp: Speak ESP in UDP (NAT-T), on this port; None for ESP as a protocol of IP.
        mark: The routing mark of what is sent (``ip rule ... fwmark``); 0 for none.

    Attributes:
        wires: The sockets.
        udp: Whether ESP goes in UDP.

    Raises:
        CryptoError: a socket cannot be had; the message says what to do.
    """

    def __init__(self, *, udp: int | None = None, mark: int = 0) -> None:
        self.udp = udp is not None
        self._by_version: dict[int, Wire] = {}
        self._paths = Paths(mark, time.monotonic)
        try:
            self._open(4, udp, mark)
            try:
                self._open(6, udp, mark)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                # A host without IPv6: an SA that wants it is refused when it comes.
        except OSError as error:
            self.close()
            raise _refused(error, udp) from None
        self.wires: Sequence[Wire] = tuple(self._by_version.values())

    def _open(self, version: int, udp: int | None, mark: int) -> None:
        wire: Wire
        if udp is not None:
            wire = Nat(version, udp, mark)
        else:
            wire = Raw4(mark) if version == 4 else Raw6(mark)
        self._by_version[version] = wire

    def way(self, sa: SecurityAssociation) -> Way:
        """
        Return the way of the packets that an SA sends.

        Raises:
            UsageError: it wants an IP version that this host has not.
        """
        if sa.tunnel_destination is not None and sa.tunnel_destination.version == 6:
            if 6 not in self._by_version:
                raise UsageError(f"SA {sa.label} goes over IPv6, which this host has not")
        return Way(sa, self._by_version, self._paths)

    def fitting(self, sas: Sequence[SecurityAssociation]) -> int:
        """
        Return the MTU, in **bytes**, with which all packets fit that SAs send.

        It is at least what IPv6 needs; where that is too much, outer fragments are sent.
        """
        rooms = [self.way(sa).room() for sa in sas if sa.direction is Direction.OUT]
        return min(max(min(rooms, default=UNKNOWN), LEAST6), _LARGEST)

    def send(self, packets: Mapping[int, Sequence[bytes]]) -> None:
        """Send ESP packets, by their IP version."""
        for version, some in packets.items():
            if not some:
                continue
            wire = self._by_version[version]
            wire.send(some, self._paths.mtu)
            if wire.too_long:
                wire.too_long = False
                self._paths.doubt()

    def close(self) -> None:
        """Close the sockets."""
        for wire in self._by_version.values():
            wire.close()
        self._paths.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Way:
    """
    The way of the packets that one SA sends.

    Args:
        sa: The SA.
        wires: The sockets, by IP version.
        paths: What paths take.
    """

    def __init__(self, sa: SecurityAssociation, wires: Mapping[int, Wire], paths: Paths) -> None:
        self._sa = sa
        self._paths = paths
        self._source, self._destination = _ends(sa)
        version = 6 if len(self._destination) == 16 else 4
        wire = wires.get(version)
        self._nat = wire if isinstance(wire, Nat) else None
        self._rooms: dict[tuple[int, int], int] = {}

    def room(self, packet: bytes | None = None) -> int:
        """Return the size, in **bytes**, of the largest inner packet that fits now."""
        destination = self._destination
        if packet is not None and self._sa.mode is Mode.TRANSPORT:
            destination = ip.addresses(packet)
            destination = destination[len(destination) // 2 :]
        path = self._paths.mtu(destination) if destination else UNKNOWN
        version = 6 if len(destination) == 16 else 4
        found = self._rooms.get((path, version))
        if found is None:
            found = room(self._sa, path, version, udp=self._nat is not None)
            self._rooms[path, version] = found
        return found

    def keep_warm(self, now: float, after: float) -> None:
        """Send a peer in UDP a keep-alive if it was sent nothing for some seconds."""
        if self._nat is not None and self._source and self._destination:
            self._nat.keep_warm(self._source, self._destination, now, after)


def _ends(sa: SecurityAssociation) -> tuple[bytes, bytes]:
    """Return the outer addresses, as far as an SA says them."""
    if sa.tunnel_source is not None and sa.tunnel_destination is not None:
        return sa.tunnel_source.packed, sa.tunnel_destination.packed
    ends = []
    for networks in (sa.source, sa.destination):
        alone = len(networks) == 1 and networks[0].num_addresses == 1
        ends.append(networks[0].network_address.packed if alone else b"")
    return ends[0], ends[1]


def _refused(error: OSError, udp: int | None) -> CryptoError:
    number = error.errno or errno.EIO
    if number in {errno.EPERM, errno.EACCES}:
        remedy = "run it as root, or with CAP_NET_RAW (with a mark, CAP_NET_ADMIN too)"
    elif number == errno.EADDRINUSE:
        remedy = f"another process has UDP port {udp}, a key exchange daemon perhaps; name another"
    else:
        remedy = "see: dmesg"
    return CryptoError(f"no socket for ESP: {error.strerror}; {remedy}", errno=number)
