"""
The outer side: ESP packets sent to peers and received from them, as IP packets or in UDP.

Every wire takes and gives whole IP packets, as `Esp` has them; what the kernel keeps to itself of
a header is put together again from what it says beside the packet.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final, Protocol, TypeAlias

from opencrypto_esp import ip
from opencrypto_esp.gateway.fragments import fragments

BUFFER: Final = 4 << 20
"""Bytes that a socket may hold for us, while Python is busy elsewhere."""

PATIENCE: Final = 0.1
"""Seconds that a full socket is waited for, which is what slows the sender down."""

Mtu: TypeAlias = Callable[[bytes], int]
"""Returns what the path to an address, its 4 or 16 bytes, takes, in **bytes**."""

_LONGEST: Final = 65535
_CONTROL: Final = 256

# linux/in.h, in6.h, socket.h: what Python has no names for, or not in every version.
_SO_RCVBUFFORCE: Final = 33
_SO_SNDBUFFORCE: Final = 32
_SO_MARK: Final = 36
_IP_PKTINFO: Final = 8
_IPV6_RECVERR: Final = 25
_IPV6_HDRINCL: Final = 36

_INT: Final = Struct("=i")
_HEAD4: Final = Struct("!BBHHHBBH4s4s")
_HEAD6: Final = Struct("!IHBB16s16s")


class Wire(Protocol):
    """
    A socket to peers.

    Attributes:
        refused: Packets that the kernel did not take.
        too_long: Whether it refused one for its size since this was last set to False: the path
            takes less than was believed.
    """

    refused: int
    too_long: bool

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""

    def receive(self, most: int) -> list[bytes]:
        """Return the IP packets with ESP that wait, about `most`, without waiting."""

    def send(self, packets: Iterable[bytes], mtu: Mtu) -> None:
        """
        Send IP packets with ESP; those that their path does not take whole in fragments.

        Whoever calls has sent back what may not be cut.
        """

    def close(self) -> None:
        """Close the socket."""


class Socket:
    """What all wires have in common."""

    def __init__(self, family: int, kind: int, protocol: int, mark: int) -> None:
        self.refused = 0
        self.too_long = False
        self.cannot_cut = False
        self.socket = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        try:
            mark_of(self.socket, mark)
            for forced, plain in (
                (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
                (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
            ):
                try:
                    self.socket.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
                except PermissionError:
                    self.socket.setsockopt(socket.SOL_SOCKET, plain, BUFFER)
        except BaseException:
            self.socket.close()
            raise

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def put(
        self,
        parts: Sequence[bytes | memoryview],
        control: Sequence[tuple[int, int, bytes]],
        address: tuple[object, ...],
    ) -> bool:
        """
        Send one datagram, and wait for room if the socket is full; tell whether it was taken.

        An error can be of an earlier packet, which the kernel tells by this one's: so once more.
        """
        for _ in range(2):
            try:
                self.socket.sendmsg(parts, control, 0, address)
                return True
            except BlockingIOError:
                select.select([], [self.socket], [], PATIENCE)
            except OSError as error:
                self.too_long |= error.errno == errno.EMSGSIZE
                self.cannot_cut = error.errno in {errno.EINVAL, errno.EIO, errno.EOPNOTSUPP}
        return False


def mark_of(made: socket.socket, mark: int) -> None:
    if mark:
        made.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)


class Raw4(Socket):
    """ESP as a protocol of IPv4: whole packets each way."""

    def __init__(self, mark: int = 0) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_RAW, ip.ESP, mark)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)

    def receive(self, most: int) -> list[bytes]:
        found = []
        receive = self.socket.recv
        try:
            for _ in range(most):
                found.append(receive(_LONGEST))  # noqa: PERF401 - the last one raises
        except OSError as error:
            self.too_long |= error.errno == errno.EMSGSIZE
        return found

    def send(self, packets: Iterable[bytes], mtu: Mtu) -> None:
        for packet in packets:
            peer = packet[16:20]
            most = mtu(peer)
            parts = [packet] if len(packet) <= most else fragments(packet, most)
            address = (socket.inet_ntoa(peer), 0)
            self.refused += not all(self.put([part], (), address) for part in parts)


class Raw6(Socket):
    """ESP as a protocol of IPv6: whole packets out; the kernel keeps headers of those that come."""

    def __init__(self, mark: int = 0) -> None:
        super().__init__(socket.AF_INET6, socket.SOCK_RAW, ip.ESP, mark)
        for option, value in (
            (_IPV6_HDRINCL, 1),
            (socket.IPV6_RECVPKTINFO, 1),
            (socket.IPV6_RECVTCLASS, 1),
            # Without it the kernel does not learn from routers what paths of raw sockets take.
            (_IPV6_RECVERR, 1),
        ):
            self.socket.setsockopt(socket.IPPROTO_IPV6, option, value)

    def receive(self, most: int) -> list[bytes]:
        found: list[bytes] = []
        receive = self.socket.recvmsg
        try:
            for _ in range(most):
                payload, control, _, address = receive(_LONGEST, _CONTROL)
                found.append(head6(control, address[0], len(payload)) + payload)
        except OSError as error:
            if not found or not isinstance(error, BlockingIOError):
                self._hear()
        return found

    def _hear(self) -> None:
        """Take in what routers have said, which would else wake us for ever."""
        try:
            while True:
                self.socket.recv(1, socket.MSG_ERRQUEUE)
                self.too_long = True
        except OSError:
            pass  # that was all

    def send(self, packets: Iterable[bytes], mtu: Mtu) -> None:
        for packet in packets:
            peer = packet[24:40]
            most = mtu(peer)
            parts = [packet] if len(packet) <= most else fragments(packet, most)
            address = (socket.inet_ntop(socket.AF_INET6, peer), 0, 0, 0)
            self.refused += not all(self.put([part], (), address) for part in parts)


def head6(control: Sequence[tuple[int, int, bytes]], source: str, size: int) -> bytes:
    """Make the IPv6 header of an ESP packet from what the kernel says of it."""
    destination, traffic = bytes(16), 0
    for level, kind, data in control:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            destination = data[:16]
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_TCLASS:
            traffic = _INT.unpack(data)[0]
    begin = socket.inet_pton(socket.AF_INET6, source.partition("%")[0])
    return _HEAD6.pack(6 << 28 | traffic << 20, size, ip.ESP, 64, begin, destination)


def head4(control: Sequence[tuple[int, int, bytes]], source: str, size: int) -> bytes:
    """Make the IPv4 header of an ESP packet from what the kernel says of it."""
    destination, traffic = bytes(4), 0
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            destination = data[8:12]
        elif level == socket.IPPROTO_IP and kind == socket.IP_TOS:
            traffic = data[0]
    header = bytearray(
        _HEAD4.pack(
            0x45,
            traffic,
            20 + size,
            0,
            0x4000,
            64,
            ip.ESP,
            0,
            socket.inet_aton(source),
            destination,
        )
    )
    ip.set_checksum(header)
    return bytes(header)
