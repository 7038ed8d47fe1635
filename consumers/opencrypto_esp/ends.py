"""
What the ends of all SAs have, whatever their protocol: sequence numbers, a channel, counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from opencrypto import Cryptodesc, Cryptoini, Framework, Mbuf
from opencrypto_esp import ip
from opencrypto_esp.channel import Channel, Job
from opencrypto_esp.policy import Policy
from opencrypto_esp.results import Drop, Flow, Reason, Result
from opencrypto_esp.sa import Mode, SecurityAssociation
from opencrypto_esp.state import Numbers
from opencrypto_esp.tunnel import decapsulate, inner_packet

_IP: Final = (ip.IPV4_IN, ip.IPV6_IN)


class End(ABC):
    """
    One end of an SA.

    Args:
        framework: Where its session is opened.
        sa: The SA.
        numbers: Its sequence numbers.
        inis: The session's chain; None where the SA has no such step.
        batch: Dispatch with ``CRYPTO_F_BATCH``.
    """

    def __init__(
        self,
        framework: Framework,
        sa: SecurityAssociation,
        numbers: Numbers,
        inis: Iterable[Cryptoini | None],
        *,
        batch: bool,
    ) -> None:
        self.sa = sa
        self.numbers = numbers
        self.flow = Flow()
        chain = [cri for cri in inis if cri is not None]
        self.channel = Channel(framework, chain, self._fill, self._buffer, self.flow, batch=batch)

    @abstractmethod
    def _fill(self, desc: Sequence[Cryptodesc]) -> None:
        """Fill in what no packet changes."""

    @abstractmethod
    def _buffer(self, job: Job) -> bytearray | Mbuf:
        """Make a request's buffer of what its job has of the packet."""

    @abstractmethod
    def finish(self, job: Job) -> Result:
        """
        Wait for a packet's request, and return what became of it.

        Raises:
            Drop: why it must not be handed on.
        """

    def _unserved(self, packet: bytes, octets: int) -> Result:
        """Return a packet that no driver had to do with, and count it."""
        with self.channel.lock:
            self.flow.packets += 1
            self.flow.octets_in += octets
            self.flow.octets_out += len(packet)
        return Result(packet, None, self.sa)

    def snapshot(self) -> Flow:
        """Return the counts as they are now."""
        flow = Flow()
        with self.channel.lock:
            flow.add(self.flow)
        return flow


class SendingEnd(End):
    """The end that sends."""

    @abstractmethod
    def submit(self, packet: bytes) -> Job:
        """
        Send a packet through the framework.

        Raises:
            Drop: why that cannot be.
        """

    def _next(self) -> int:
        """Take the next sequence number."""
        numbers = self.numbers
        with self.channel.lock:
            seq = numbers.top + 1
            if seq > numbers.reserved:
                if seq > self.sa.last_sequence:
                    raise Drop(Reason.SEQUENCE_EXHAUSTED)
                numbers.reserve(seq)
            numbers.top = seq
        return seq


class ReceivingEnd(End):
    """
    The end that receives, with its window, and the selectors that what comes out must match.

    Attributes:
        number: The protocol's number in IP.
    """

    number: ClassVar[int]

    def __init__(
        self,
        framework: Framework,
        sa: SecurityAssociation,
        numbers: Numbers,
        inis: Iterable[Cryptoini | None],
        *,
        batch: bool,
    ) -> None:
        super().__init__(framework, sa, numbers, inis, batch=batch)
        self.window = numbers.window
        self._policy = Policy([(sa, True)]) if sa.source or sa.destination else None

    @abstractmethod
    def submit(self, packet: bytes, place: ip.Place) -> Job:
        """
        Send what stands at `place` of a packet through the framework.

        Raises:
            Drop: why that cannot be.
        """

    def receive(self, packet: bytes) -> Result:
        """
        Receive what has come out of another SA.

        Raises:
            Drop: why it must not be handed on.
        """
        try:
            place = ip.locate(packet)
        except Drop:
            return self.bare(packet)
        if packet[place.nh_at] != self.number:
            return self.bare(packet)
        if spi_of(self.number, packet, place) != self.sa.spi:
            raise Drop(Reason.UNKNOWN_SPI)
        return self.finish(self.submit(packet, place))

    def bare(self, packet: bytes) -> Result:
        """
        Receive a packet that is not of this protocol, if that may be.

        Raises:
            Drop: it may not.
        """
        raise Drop(Reason.POLICY)

    def _original(
        self, packet: bytes, place: ip.Place, following: int, payload: bytes | bytearray
    ) -> bytes:
        """
        Return the packet that was protected.

        Args:
            packet: The one that came.
            place: Where this protocol stood in it.
            following: The number of what it protected.
            payload: What it protected.

        Raises:
            Drop: that is no packet, in a tunnel, or it would be too long.
        """
        if self._tunnels(following):
            return decapsulate(packet, inner_packet(payload, following))
        return b"".join((ip.rewrite(packet, place, following, len(payload)), payload))

    def _tunnels(self, following: int) -> bool:
        """Tell whether what has this number came through a tunnel."""
        mode = self.sa.mode
        return mode is Mode.TUNNEL or (mode is Mode.EITHER and following in _IP)

    def _agree(self, packet: bytes) -> None:
        """See that what came out is what the SA is for (RFC 4301 §5.2)."""
        if self._policy is not None and not self._policy.find(packet):
            raise Drop(Reason.POLICY)

    def _check(self, low: int) -> int:
        """Return the whole sequence number, if the window has room for it."""
        with self.channel.lock:
            seq = self.window.infer(low)
            reason = self.window.check(seq)
        if reason is not None:
            raise Drop(reason)
        return seq

    def _accept(self, seq: int) -> None:
        """Take note of a number that has verified, in the state first if there is one."""
        with self.channel.lock:
            if seq > self.numbers.reserved:
                self.numbers.reserve(seq)
            reason = self.window.update(seq)
        if reason is not None:
            raise Drop(reason)


def spi_of(number: int, packet: bytes, place: ip.Place) -> int:
    """
    Return the SPI of ESP, AH or IPComp, whose SPI is its CPI; `number` says which of them it is.

    Raises:
        Drop: the packet ends before it.
    """
    at = place.head
    start, size, least = _SPIS[number]
    if place.end - at < least:
        raise Drop(Reason.TRUNCATED)
    return int.from_bytes(packet[at + start : at + start + size])


_SPIS: Final = {ip.ESP: (0, 4, 8), ip.AH: (4, 4, 12), ip.IPCOMP: (2, 2, 4)}
"""Where each protocol has it, how long it is, and how long its header is at least."""
