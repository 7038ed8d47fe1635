"""
ESP in UDP (RFC 3948), as a wire: for peers behind a translator of addresses (NAT-T).

Packets of one size to one peer go to the kernel as one, which cuts them (``UDP_SEGMENT``), and come
from it as one (``UDP_GRO``): a system call for many.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final, TypeAlias

from opencrypto_esp import ip
from opencrypto_esp.gateway.wire import Mtu, Socket, head4, head6
from opencrypto_esp.nat_t import KEEP_ALIVE, UDP_SIZE, Content, content

# linux/in.h, udp.h: what Python has no names for, or not in every version.
_IP_PKTINFO: Final = 8
_IP_MTU_DISCOVER: Final = 10
_IP_RECVTOS: Final = 13
_PMTUDISC_DONT: Final = 0
_PMTUDISC_DO: Final = 2
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104

_MOST_SEGMENTS: Final = 64
_MOST_OCTETS: Final = 65000
_LONGEST: Final = 65535
_CONTROL: Final = 256

_INFO4: Final = Struct("=I4s4s")
_INFO6: Final = Struct("=16sI")
_INT: Final = Struct("=i")
_HALF: Final = Struct("=H")

Address: TypeAlias = tuple[str, int]
Control: TypeAlias = tuple[int, int, bytes]


class Nat(Socket):
    """
    A UDP socket on which ESP is spoken.

    Args:
        version: The outer IP version, 4 or 6.
        port: The UDP port here; 0 for any. Peers that have not been heard of have the one that
            packets say.
        mark: The routing mark of what is sent; 0 for none.

    Attributes:
        ike: Datagrams for a key exchange daemon, which is not here.
        keepalives: Those that keep a translator's table warm.
        origins: Where each of the packets is from that `receive` has returned last.
        port: The port that it is bound to.
    """

    def __init__(self, version: int, port: int, mark: int = 0) -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        super().__init__(family, socket.SOCK_DGRAM, 0, mark)
        self.version = version
        self.ike = 0
        self.keepalives = 0
        self.origins: list[Address] = []
        self._peers: dict[bytes, Address] = {}
        self._last: dict[bytes, float] = {}  # when each was sent something
        self._whole = True  # whether the socket now sets "do not fragment"
        self._segments = True
        try:
            self._prepare(port)
        except BaseException:
            self.close()
            raise
        self.port: int = self.socket.getsockname()[1]

    def _prepare(self, port: int) -> None:
        made = self.socket
        made.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
        if self.version == 4:
            made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            made.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
            made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)
            made.bind(("0.0.0.0", port))  # noqa: S104 - peers send to whichever address SAs name
            return
        for option in (socket.IPV6_V6ONLY, socket.IPV6_RECVPKTINFO, socket.IPV6_RECVTCLASS):
            made.setsockopt(socket.IPPROTO_IPV6, option, 1)
        made.bind(("::", port))

    # In.

    def receive(self, most: int) -> list[bytes]:
        """Return the ESP packets that wait, each with the IP header that it had without UDP."""
        found: list[bytes] = []
        self.origins.clear()
        head = head4 if self.version == 4 else head6
        try:
            while len(found) < most:
                data, control, _, address = self.socket.recvmsg(_LONGEST, _CONTROL)
                size = _segment_size(control) or len(data) or 1  # an empty one has no packet
                origin = address[:2]
                for at in range(0, len(data), size):
                    payload = data[at : at + size]
                    if self._is_esp(payload):
                        found.append(head(control, address[0], len(payload)) + payload)
                        self.origins.append(origin)
        except OSError as error:
            self.too_long |= error.errno == errno.EMSGSIZE
        return found

    def _is_esp(self, payload: bytes) -> bool:
        kind = content(payload)
        self.ike += kind is Content.IKE
        self.keepalives += kind is Content.KEEP_ALIVE
        return kind is Content.ESP

    def learn(self, peer: bytes, origin: Address) -> None:
        """
        Send to where a peer's last packet has come from, once that has verified.

        A translator may change address and port at any time, and the peer does not know.
        """
        self._peers[peer] = origin

    # Out.

    def send(self, packets: Iterable[bytes], mtu: Mtu) -> None:
        """
        Send IP packets with ESP in UDP; those that their path does not take whole in fragments.

        Both headers are made anew by the kernel, and so are the fragments.
        """
        run: list[bytes] = []
        key: tuple[bytes, bytes, int] | None = None
        room, fits = 0, True
        for packet in packets:
            # Addresses and ports; class; "do not fragment".
            this = (
                (packet[12:24], packet[1:2], packet[6])
                if self.version == 4
                else (packet[8:44], packet[:2], 0)
            )
            if run and not (this == key and len(packet) <= len(run[-1]) == len(run[0]) and room):
                self._flush(run, fits=fits)
                run = []
            if not run:
                key = this
                # One that is to be cut into fragments goes alone.
                fits = len(packet) <= mtu(packet[16:20] if self.version == 4 else packet[24:40])
                most = min(_MOST_SEGMENTS, _MOST_OCTETS // len(packet))
                room = most if fits and self._segments else 0
            run.append(packet)
            room = max(room - 1, 0)
        if run:
            self._flush(run, fits=fits)

    def _flush(self, run: Sequence[bytes], *, fits: bool) -> None:
        """Send packets to one peer that differ in nothing but what is in them."""
        control, peer, head = self._way(run[0], fits=fits)
        parts = [memoryview(packet)[head:] for packet in run]
        if len(parts) > 1:
            size = _HALF.pack(len(parts[0]))
            if self.put(parts, [*control, (socket.IPPROTO_UDP, _UDP_SEGMENT, size)], peer):
                return
            if not self.cannot_cut:
                self.refused += len(parts)
                return
            self._segments = False  # this kernel, or the device below, cannot: one by one, then
        for part in parts:
            self.refused += not self.put([part], control, peer)

    def _way(self, packet: bytes, *, fits: bool) -> tuple[list[Control], tuple[object, ...], int]:
        """Return what tells the kernel a packet's headers, where it goes, and their size."""
        at = 20 if self.version == 4 else 40
        port = int.from_bytes(packet[at + 2 : at + 4])
        pair = ip.addresses(packet)
        source, destination = pair[: len(pair) // 2], pair[len(pair) // 2 :]
        self._last[destination] = time.monotonic()
        known = self._peers.get(destination)
        if self.version == 6:
            return (
                [
                    (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _INFO6.pack(source, 0)),
                    (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INT.pack(ip.traffic_class(packet))),
                ],
                known or (socket.inet_ntop(socket.AF_INET6, destination), port),
                at + UDP_SIZE,
            )
        whole = fits and bool(packet[6] & 0x40)
        if whole is not self._whole:
            value = _PMTUDISC_DO if whole else _PMTUDISC_DONT
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, value)
            self._whole = whole
        return (
            [
                (socket.IPPROTO_IP, _IP_PKTINFO, _INFO4.pack(0, source, bytes(4))),
                (socket.IPPROTO_IP, socket.IP_TOS, _INT.pack(packet[1])),
            ],
            known or (socket.inet_ntoa(destination), port),
            at + UDP_SIZE,
        )

    def keep_warm(
        self, source: bytes, destination: bytes, port: int, now: float, after: float
    ) -> None:
        """Send a peer that was sent nothing for some seconds what keeps tables warm."""
        if now - self._last.setdefault(destination, now) >= after:
            head = bytes((0x45, 0, 0, 0, 0, 0, 0x40)) + bytes(5)
            if self.version == 6:
                head = b"\x60" + bytes(7)
            udp = bytes(2) + port.to_bytes(2) + bytes(4)
            self._flush([head + source + destination + udp + KEEP_ALIVE], fits=True)


def _segment_size(control: Sequence[tuple[int, int, bytes]]) -> int:
    """Return the size of the datagrams that the kernel has put together, if it has."""
    for level, kind, data in control:
        if level == socket.IPPROTO_UDP and kind == _UDP_GRO:
            size: int = _INT.unpack(data[:4])[0]
            return size
    return 0
