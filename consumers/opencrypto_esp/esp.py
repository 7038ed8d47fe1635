"""
`Esp`: packets in, packets out, every bad one counted.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from opencrypto import Framework, UsageError
from opencrypto.driver import renew_after_fork
from opencrypto_esp import ip, nat_t
from opencrypto_esp.ah import AhInbound, AhOutbound
from opencrypto_esp.bundle import ReceivingBundle, SendingBundle, chains
from opencrypto_esp.ends import ReceivingEnd, SendingEnd, spi_of
from opencrypto_esp.forms import NUMBERS, Forms
from opencrypto_esp.inbound import Inbound
from opencrypto_esp.ipcomp import CompInbound, CompOutbound
from opencrypto_esp.outbound import Outbound
from opencrypto_esp.policy import Policy
from opencrypto_esp.receivers import Receiver, Receivers
from opencrypto_esp.results import Counters, Drop, Flow, Reason, Result
from opencrypto_esp.sa import Direction, Protocol, SecurityAssociation
from opencrypto_esp.state import Keeper, Numbers, State
from opencrypto_esp.together import check_readable, check_sendable, check_together

DEPTH: Final = 64
"""How many packets `Esp.protect_many` and `Esp.unprotect_many` keep in flight."""

Packet: TypeAlias = bytes | bytearray | memoryview
_Sender: TypeAlias = SendingEnd | SendingBundle
_End: TypeAlias = _Sender | Receiver
_Started: TypeAlias = tuple[_End, Any] | Result

_SENDING: Final[Mapping[Protocol, type[Outbound | AhOutbound | CompOutbound]]] = {
    Protocol.ESP: Outbound,
    Protocol.AH: AhOutbound,
    Protocol.IPCOMP: CompOutbound,
}
_RECEIVING: Final[Mapping[Protocol, type[Inbound | AhInbound | CompInbound]]] = {
    Protocol.ESP: Inbound,
    Protocol.AH: AhInbound,
    Protocol.IPCOMP: CompInbound,
}


class Esp:
    """
    IPsec ESP over the sessions of a framework, and AH and IPComp where SAs say so.

    A context manager; threads may share it.

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
        UsageError: there are no SAs; one does not say its direction; two of one direction have
            one SPI and the same addresses, or two of different ones the same keys; a `then` names
            no other SA of its direction; one sends by a counter mode with keys that a file has
            each time, or wants `old_ciphers` or `unverified`; or the state is damaged, of other
            SAs, or another user's.
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
        numbered = [sa for sa in self.sas if sa.numbered]
        self._state: State | None = None
        if isinstance(state, str | os.PathLike):
            self._state = State(Path(state), numbered)
            self._keeper: Keeper | None = self._state
        else:
            self._keeper = state
        self._sending: list[SendingEnd] = [
            _SENDING[sa.protocol](framework, sa, self._numbers(sa), batch=batch)
            for sa in self.sas
            if sa.direction is Direction.OUT
        ]
        self._receiving: list[ReceivingEnd] = [
            _RECEIVING[sa.protocol](framework, sa, self._numbers(sa), batch=batch)
            for sa in self.sas
            if sa.direction is Direction.IN
        ]
        self._outbound: list[_Sender] = [
            SendingBundle(chain) if len(chain) > 1 else chain[0] for chain in chains(self._sending)
        ]
        self._inbound: list[Receiver] = [
            ReceivingBundle(chain) if len(chain) > 1 else chain[0]
            for chain in chains(self._receiving)
        ]
        self.forms = Forms.of(end.sa for end in self._inbound)
        """What packets look like that are received."""
        self._receivers = {
            NUMBERS[protocol]: Receivers(
                end for end in self._inbound if end.sa.protocol is protocol
            )
            for protocol in Protocol
        }
        self._esp = self._receivers[ip.ESP]
        self._policy = Policy([(end.sa, end) for end in self._outbound])
        self._lock = threading.Lock()  # guards both; they count packets that belong to no SA
        self._stray_out = Flow()
        self._stray_in = Flow()
        renew_after_fork(self)

    def _numbers(self, sa: SecurityAssociation) -> Numbers:
        """Return where an SA's numbers are kept."""
        return Numbers(sa) if self._keeper is None or not sa.numbered else self._keeper.numbers(sa)

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
            if packet[place.nh_at] == ip.ESP:
                if place.end - place.head < 8:
                    raise Drop(Reason.TRUNCATED)
                spi = int.from_bytes(packet[place.head : place.head + 4])
                end = self._esp.find(packet, spi)
            else:
                packet, place, end = self._find_other(packet, place)
            if end is None:
                raise Drop(Reason.UNKNOWN_SPI)
            return end, end.submit(packet, place)
        except Drop as drop:
            return self._dropped(drop.reason, end, self._stray_in)

    def _find_other(
        self, packet: bytes, place: ip.Place
    ) -> tuple[bytes, ip.Place, Receiver | None]:
        """Find the end of ESP in UDP, AH, IPComp, or what that has left as it is."""
        number = packet[place.nh_at]
        # Every SA is received on in UDP too: RFC 7296 §2.23.
        if number == ip.UDP and not self.forms.udp_ports.isdisjoint(nat_t.ports(packet, place)):
            packet, place = nat_t.strip(packet, place)
            number = ip.ESP
        if number in self.forms.protocols:
            spi = spi_of(number, packet, place)
            return packet, place, self._receivers[number].find(packet, spi)
        end = self._receivers[ip.IPCOMP].find_by_addresses(packet) if self.forms.bare else None
        if end is None:
            raise Drop(Reason.NOT_ESP)
        return packet, place, end

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
        # Of SAs that packets go through together the bundle counts, or all packets count twice.
        senders = self._outbound if spi is None else self._sending
        receivers = self._inbound if spi is None else self._receiving
        for sender in senders:
            if spi in (None, sender.sa.spi):
                out.add(sender.snapshot())
        for receiver in receivers:
            if spi in (None, receiver.sa.spi):
                back.add(receiver.snapshot())
        return Counters(out, back)

    def _ends(self) -> Iterator[SendingEnd | ReceivingEnd]:
        yield from self._sending
        yield from self._receiving

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
