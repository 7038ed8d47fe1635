"""
`Esp`: packets in, packets out, every bad one counted.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from opencrypto import Framework, UsageError
from opencrypto.driver import renew_after_fork
from opencrypto_esp import ip, nat_t
from opencrypto_esp.channel import Job
from opencrypto_esp.ends import ReceivingEnd, SendingEnd
from opencrypto_esp.inbound import Inbound
from opencrypto_esp.outbound import Outbound
from opencrypto_esp.policy import Policy
from opencrypto_esp.receivers import Receivers
from opencrypto_esp.results import Counters, Drop, Flow, Reason, Result
from opencrypto_esp.sa import NAT_T_PORT, Direction, SecurityAssociation
from opencrypto_esp.state import Keeper, Numbers, State
from opencrypto_esp.together import check_readable, check_sendable, check_together

DEPTH: Final = 64
"""How many packets `Esp.protect_many` and `Esp.unprotect_many` keep in flight."""

Packet: TypeAlias = bytes | bytearray | memoryview
_End: TypeAlias = SendingEnd | ReceivingEnd
_Started: TypeAlias = tuple[_End, Job] | Result


class Esp:
    """
    IPsec ESP over the sessions of a framework. A context manager; threads may share it.

    No packet raises: what cannot be handed on is a `Result` with a reason, and counted.

    Args:
        framework: An open framework. It is not closed with this.
        sas: The associations, each for one direction: none is received on that is sent by. Of
            those to send by, the first whose selectors match a packet is taken.
        batch: Let the framework gather requests (``CRYPTO_F_BATCH``), for drivers that gain by
            it; only the ``_many`` calls then have more than one in flight.
        state: A file in which sequence numbers and windows are kept from run to run: see
            `opencrypto_esp.state.State`; or who keeps them, which is not closed with this. None
            begins anew each time.
        test_keys: Send by counter modes with keys out of a file too, which nothing depends on.
        old_ciphers: Receive on SAs with ciphers that are there to read old captures.
        unverified: Receive on SAs that give no more than the length of the ICV: nothing is
            verified, and anybody may have made the packets.

    Raises:
        UsageError: there are no SAs, one that does not say its direction, two of one direction
            with one SPI and the same addresses, two of different ones with the same keys, one
            that sends by a counter mode with keys that a file has each time, or one that wants
            `old_ciphers` or `unverified`; or the state is damaged, of other SAs, or another
            user's.
        BusyError: another process has the state.
    """

    def __init__(
        self,
        framework: Framework,
        sas: Iterable[SecurityAssociation],
        *,
        batch: bool = False,
        state: str | os.PathLike[str] | Keeper | None = None,
        test_keys: bool = False,
        old_ciphers: bool = False,
        unverified: bool = False,
    ) -> None:
        self.sas = tuple(sas)
        check_together(self.sas)
        check_readable(self.sas, old_ciphers=old_ciphers, unverified=unverified)
        if not test_keys:
            check_sendable(self.sas)
        self._state: State | None = None
        keep: Callable[[SecurityAssociation], Numbers] = Numbers
        if isinstance(state, str | os.PathLike):
            self._state = State(Path(state), self.sas)
            keep = self._state.numbers
        elif state is not None:
            keep = state.numbers
        self._outbound = [
            Outbound(framework, sa, keep(sa), batch=batch)
            for sa in self.sas
            if sa.direction is Direction.OUT
        ]
        self._inbound = Receivers(
            Inbound(framework, sa, keep(sa), batch=batch)
            for sa in self.sas
            if sa.direction is Direction.IN
        )
        self.udp_ports = frozenset(
            {NAT_T_PORT}.union(
                *({sa.encap_source_port, sa.encap_destination_port} for sa in self.sas if sa.encap)
            )
        )
        """The UDP ports on which packets with ESP are received (NAT-T)."""
        self._policy = Policy([(end.sa, end) for end in self._outbound])
        self._lock = threading.Lock()  # guards both; they count packets that belong to no SA
        self._stray_out = Flow()
        self._stray_in = Flow()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Renew the lock in a forked child; each channel sees to its own."""
        self._lock = threading.Lock()

    # One packet.

    def protect(self, packet: Packet) -> Result:
        """Return an IP packet with ESP, or why there is none."""
        return self._finish(self._start_out(bytes(packet)))

    def unprotect(self, packet: Packet) -> Result:
        """Return the IP packet that an ESP packet protects, or why there is none."""
        return self._finish(self._start_in(bytes(packet)))

    def _start_out(self, packet: bytes) -> _Started:
        end = None
        try:
            end = self._policy.find(packet)
            if end is None:
                raise Drop(Reason.NO_SA)
            return end, end.submit(packet)
        except Drop as drop:
            return self._dropped(drop.reason, end, self._stray_out)

    def _start_in(self, packet: bytes) -> _Started:
        end = None
        try:
            place = ip.locate(packet)
            if packet[place.nh_at] != ip.ESP:
                packet, place = self._out_of_udp(packet, place)
            if place.end - place.head < 8:
                raise Drop(Reason.TRUNCATED)
            spi = int.from_bytes(packet[place.head : place.head + 4])
            end = self._inbound.find(packet, spi)
            if end is None:
                raise Drop(Reason.UNKNOWN_SPI)
            return end, end.submit(packet, place)
        except Drop as drop:
            return self._dropped(drop.reason, end, self._stray_in)

    def _out_of_udp(self, packet: bytes, place: ip.Place) -> tuple[bytes, ip.Place]:
        """Return a packet without the UDP around its ESP; every SA is received on either way."""
        if packet[place.nh_at] != ip.UDP or self.udp_ports.isdisjoint(nat_t.ports(packet, place)):
            raise Drop(Reason.NOT_ESP)
        return nat_t.strip(packet, place)

    def _finish(self, started: _Started) -> Result:
        if isinstance(started, Result):
            return started
        end, job = started
        try:
            return end.finish(job)
        except Drop as drop:
            return self._dropped(drop.reason, end, end.flow)

    def _dropped(self, reason: Reason, end: _End | None, stray: Flow) -> Result:
        if end is None:
            with self._lock:
                stray.dropped[reason] += 1
            return Result(None, reason)
        with end.channel.lock:
            end.flow.dropped[reason] += 1
        return Result(None, reason, end.sa)

    # Many packets.

    def protect_many(self, packets: Iterable[Packet], depth: int = DEPTH) -> Iterator[Result]:
        """
        Protect packets, with up to `depth` of them in flight; results in the order of the packets.

        With synchronous drivers nothing is gained by a depth, and nothing lost.
        """
        return self._pipeline((self._start_out(bytes(packet)) for packet in packets), depth)

    def unprotect_many(self, packets: Iterable[Packet], depth: int = DEPTH) -> Iterator[Result]:
        """Unprotect packets, with up to `depth` of them in flight; results in order."""
        return self._pipeline((self._start_in(bytes(packet)) for packet in packets), depth)

    def _pipeline(self, starting: Iterator[_Started], depth: int) -> Iterator[Result]:
        flying: deque[_Started] = deque()
        try:
            for started in starting:
                flying.append(started)
                if len(flying) >= depth:
                    yield self._finish(flying.popleft())
            while flying:
                yield self._finish(flying.popleft())
        finally:
            # Whoever stops half way must not leave requests behind.
            for started in flying:
                self._finish(started)

    # What happened.

    def counters(self, spi: int | None = None) -> Counters:
        """
        Return a snapshot of the counts of an SPI's SAs, or of all and of what belongs to none.

        Raises:
            UsageError: there is no SA with this SPI.
        """
        if spi is not None and spi not in {sa.spi for sa in self.sas}:
            raise UsageError(f"there is no SA with SPI {spi:#x}")
        out, back = Flow(), Flow()
        if spi is None:
            with self._lock:
                out.add(self._stray_out)
                back.add(self._stray_in)
        for end in self._ends():
            if spi is None or end.sa.spi == spi:
                with end.channel.lock:
                    (out if isinstance(end, SendingEnd) else back).add(end.flow)
        return Counters(out, back)

    def _ends(self) -> Iterator[_End]:
        yield from self._outbound
        yield from self._inbound

    # Beginning and end.

    def open(self) -> None:
        """
        Open the sessions now, to hear at once if there is no driver for them.

        Raises:
            NoDriverError: no driver serves an SA's algorithms; the message says which and why.
        """
        for end in self._ends():
            end.channel.open()

    def close(self) -> None:
        """
        Free all sessions and requests, and leave the state to others. Closing again does nothing.

        A packet that comes later opens its session anew; sequence numbers and windows go on. With
        a state none is handed on any more.

        Raises:
            CryptoError: the state cannot be saved; what was reserved counts as used.
        """
        for end in self._ends():
            end.channel.close()
        if self._state is not None:
            for end in self._ends():
                with end.channel.lock:
                    end.numbers.stop()
            self._state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Esp {', '.join(sa.label for sa in self.sas)}>"
