"""
The outer side: one wire for each IP version, and the way that each association's packets go.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final, Self, TypeAlias

from opencrypto import CryptoError, UsageError
from opencrypto_esp import ip
from opencrypto_esp.gateway.nat import Nat
from opencrypto_esp.gateway.path import UNKNOWN, Paths
from opencrypto_esp.gateway.room import LEAST6, room
from opencrypto_esp.gateway.wire import Raw4, Raw6, Wire
from opencrypto_esp.sa import UDP_ENCAP, Direction, Mode, Protocol, SecurityAssociation

_ABSENT: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_LARGEST: Final = 65535

Kind: TypeAlias = tuple[int, int]
"""Of a socket: its IP version, and the number of what follows the IP header."""


def in_udp(sas: Iterable[SecurityAssociation], port: int) -> list[SecurityAssociation]:
    """Return the SAs with ESP in UDP, from and to a port where they do not name one."""
    return [
        sa
        if sa.encap or sa.protocol is not Protocol.ESP
        else replace(sa, encap=UDP_ENCAP, encap_source_port=port, encap_destination_port=port)
        for sa in sas
    ]


def udp_port(sas: Iterable[SecurityAssociation]) -> int | None:
    """Return the UDP port that the first SA sends from which goes in UDP, if one does."""
    ports = (sa.encap_source_port for sa in sas if sa.encap and sa.direction is Direction.OUT)
    return next(ports, None)


class Outer:
    """
    The sockets to peers, of both IP versions. A context manager.

    Args:
        udp: Have a socket on this UDP port too (NAT-T); None for none.
        mark: The routing mark of what is sent (``ip rule ... fwmark``); 0 for none.

    Attributes:
        wires: The sockets.
        udp: The UDP port, if there is one.

    Raises:
        CryptoError: a socket cannot be had; the message says what to do.
    """

    def __init__(self, *, udp: int | None = None, mark: int = 0) -> None:
        self.udp = udp
        self._wires: dict[Kind, Wire] = {}
        self._paths = Paths(mark, time.monotonic)
        try:
            for version in (4, 6):
                self._open(version, mark)
        except OSError as error:
            self.close()
            raise _refused(error, udp) from None
        self.wires: Sequence[Wire] = tuple(self._wires.values())

    def _open(self, version: int, mark: int) -> None:
        try:
            self._wires[version, ip.ESP] = Raw4(mark) if version == 4 else Raw6(mark)
            if self.udp is not None:
                self._wires[version, ip.UDP] = Nat(version, self.udp, mark)
        except OSError as error:
            if version == 4 or error.errno not in _ABSENT:
                raise
            # A host without IPv6: an SA that wants it is refused when it comes.

    def check(self, sas: Iterable[SecurityAssociation]) -> None:
        """
        Refuse SAs that cannot be served by these sockets.

        Raises:
            UsageError: one is not of ESP alone, wants an IP version that this host has not, or a
                UDP port that is not open.
        """
        for sa in sas:
            if sa.protocol is not Protocol.ESP or sa.then:
                raise UsageError(
                    f"SA {sa.label}: the gateway carries ESP alone, without AH and IPComp"
                )
            end = sa.tunnel_destination or sa.tunnel_source
            if end is not None and (end.version, ip.ESP) not in self._wires:
                raise UsageError(f"SA {sa.label} goes over IPv6, which this host has not")
            if sa.direction is Direction.OUT and sa.encap and sa.encap_source_port != self.udp:
                raise UsageError(
                    f"SA {sa.label} goes in UDP from port {sa.encap_source_port}, which is not "
                    "open; all share one port, and it is opened at the beginning"
                )

    def way(self, sa: SecurityAssociation) -> Way:
        """Return the way of the packets that an SA sends."""
        return Way(sa, self._wires, self._paths)

    def fitting(self, sas: Sequence[SecurityAssociation]) -> int:
        """
        Return the MTU, in **bytes**, with which all packets fit that SAs send.

        It is at least what IPv6 needs; where that is too much, outer fragments are sent.
        """
        rooms = [self.way(sa).room() for sa in sas if sa.direction is Direction.OUT]
        return min(max(min(rooms, default=UNKNOWN), LEAST6), _LARGEST)

    def send(self, packets: Iterable[bytes]) -> None:
        """Send packets with ESP, some of it in UDP."""
        by_kind: dict[Kind, list[bytes]] = {}
        for packet in packets:
            four = packet[0] >> 4 == 4
            # With options or extension headers it goes as it is: only there they are kept.
            plain = packet[0] == 0x45 or not four
            kind = (4, packet[9]) if four else (6, packet[6])
            if not plain or kind not in self._wires:
                kind = (kind[0], ip.ESP)
            by_kind.setdefault(kind, []).append(packet)
        for kind, some in by_kind.items():
            wire = self._wires[kind]
            wire.send(some, self._paths.mtu)
            if wire.too_long:
                wire.too_long = False
                self._paths.doubt()

    def close(self) -> None:
        """Close the sockets."""
        for wire in self._wires.values():
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
        wires: The sockets.
        paths: What paths take.
    """

    def __init__(self, sa: SecurityAssociation, wires: Mapping[Kind, Wire], paths: Paths) -> None:
        self._sa = sa
        self._paths = paths
        self._source, self._destination = _ends(sa)
        wire = wires.get((6 if len(self._destination) == 16 else 4, ip.UDP)) if sa.encap else None
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
            found = room(self._sa, path, version)
            self._rooms[path, version] = found
        return found

    def keep_warm(self, now: float, after: float) -> None:
        """Send a peer in UDP a keep-alive if it was sent nothing for some seconds."""
        if self._nat is not None and self._source and self._destination:
            port = self._sa.encap_destination_port
            self._nat.keep_warm(self._source, self._destination, port, now, after)


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
