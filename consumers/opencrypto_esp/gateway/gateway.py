"""
`Gateway`: from a TUN device to peers and back, a batch at a time, until it is told to stop.

One thread, one loop. Whatever has packets is emptied as far as a batch goes, so that what waiting,
and a driver that answers late, cost is shared by many.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from opencrypto import CryptoError, Framework
from opencrypto_esp.gateway import icmp
from opencrypto_esp.gateway.associations import GRACE, Associations
from opencrypto_esp.gateway.counts import PREFIX, Counts, branch
from opencrypto_esp.gateway.journal import Journal
from opencrypto_esp.gateway.nat import Nat
from opencrypto_esp.gateway.outer import Outer
from opencrypto_esp.gateway.room import LEAST6, may_be_cut
from opencrypto_esp.gateway.tun import Tun
from opencrypto_esp.gateway.wire import Wire
from opencrypto_esp.policy import Policy
from opencrypto_esp.results import Drop, Result
from opencrypto_esp.sa import Direction, Mode, SecurityAssociation

BATCH: Final = 64
"""How many packets are taken from one side before the other one has its turn."""

ANSWERS: Final = 100
"""How many ICMP answers are given in a second (RFC 1812 §4.3.2.8)."""

KEEPALIVE: Final = 20.0
"""Seconds after which a peer in UDP that was sent nothing is sent a keep-alive (RFC 3948 §4)."""

_IDLE: Final = 5.0
"""Seconds after which the loop looks for what is due, at the latest."""


class Gateway:
    """
    A gateway at work. A context manager, which closes what it has opened: its associations.

    It counts on the framework's tree, below ``esp.gateway``: one gateway to a framework.

    Args:
        framework: An open framework.
        tun: The inner side.
        outer: The outer side.
        sas: The associations, each with a direction.
        journal: Keeps their sequence numbers and windows.
        reload: Returns the associations that are to replace these, when `renew_soon` has asked.
        say: Is told, in a sentence, what became of that.
        test_keys: Send by counter modes with keys out of a file too.
        grace: Seconds that associations which were replaced are received on.

    Raises:
        UsageError: as `Esp`; or an SA is not of ESP, or wants a socket that is not there.
        NoDriverError: no driver serves an SA's algorithms.
    """

    def __init__(
        self,
        framework: Framework,
        tun: Tun,
        outer: Outer,
        sas: Sequence[SecurityAssociation],
        journal: Journal,
        *,
        reload: Callable[[], Sequence[SecurityAssociation]],
        say: Callable[[str], None],
        test_keys: bool = False,
        grace: float = GRACE,
    ) -> None:
        outer.check(sas)
        self.counts = Counts()
        self.associations = Associations(
            framework, sas, journal, time.monotonic, test_keys=test_keys, grace=grace
        )
        self._tun = tun
        self._outer = outer
        self._journal = journal
        self._reload = reload
        self._say = say
        self._stopping = False
        self._renewing = False
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._answers = float(ANSWERS)
        self._answered_at = time.monotonic()
        self._take_ways()
        framework.sysctl.graft(lambda: branch(self.associations, self._counted()), f"{PREFIX}.")

    def _take_ways(self) -> None:
        sas = [sa for sa in self.associations.sas if sa.direction is Direction.OUT]
        self._ways = [self._outer.way(sa) for sa in sas]
        self._policy = Policy(list(zip(sas, self._ways, strict=True)))

    def _counted(self) -> Counts:
        counts = self.counts
        wires = self._outer.wires
        counts.not_sent = sum(wire.refused for wire in wires)
        counts.ike = sum(wire.ike for wire in wires if isinstance(wire, Nat))
        counts.keepalives = sum(wire.keepalives for wire in wires if isinstance(wire, Nat))
        return counts

    # The loop.

    def run(self) -> None:
        """
        Carry packets until `stop` is called.

        Raises:
            OSError: the device or a socket is not there any more.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ, self._heed)
            selector.register(self._tun, selectors.EVENT_READ, self._out)
            for wire in self._outer.wires:
                selector.register(wire, selectors.EVENT_READ, self._receiving(wire))
            while not self._stopping:
                for key, _ in selector.select(self._due()):
                    key.data()
                self._journal.look_ahead()

    def stop(self) -> None:
        """End `run`, soon. Signal handlers and other threads may call it."""
        self._stopping = True
        self._ring()

    def renew_soon(self) -> None:
        """Replace the associations, soon. Signal handlers and other threads may call it."""
        self._renewing = True
        self._ring()

    def _ring(self) -> None:
        try:
            self._wake.send(b"\0")
        except OSError:
            pass  # it has been rung often enough, or the loop has ended

    def _heed(self) -> None:
        self._woken.recv(4096)
        if self._renewing:
            self._renewing = False
            self._renew()

    def _renew(self) -> None:
        try:
            sas = self._reload()
            self._outer.check(sas)
            self.associations.renew(sas)
        except (CryptoError, OSError) as error:
            self.counts.refused_files += 1
            problem = error.strerror or str(error)
            named = f"{error.filename}: " if error.filename else ""
            self._say(f"the SAs stay as they are: {named}{problem}")
            return
        self._take_ways()
        self._say(f"{len(self.associations.sas)} SAs took over")

    def _due(self) -> float:
        """Do what is due, and return how long there is nothing more."""
        now = time.monotonic()
        next_end = self.associations.expire()
        for way in self._ways:
            way.keep_warm(now, KEEPALIVE)
        return _IDLE if next_end is None else min(_IDLE, max(next_end - now, 0.0))

    # Out.

    def _out(self) -> None:
        """Take a batch from the host, protect it, and send it."""
        packets = self._tun.receive(BATCH)
        smallest = min((way.room() for way in self._ways), default=0)
        if any(len(packet) > smallest for packet in packets):
            packets = [packet for packet in packets if self._fits(packet)]
        results = self.associations.protect(packets)
        self._outer.send([result.packet for result in results if result.packet is not None])

    def _fits(self, packet: bytes) -> bool:
        """Tell whether a packet can go on; if it is too big for its path, its sender hears so."""
        try:
            way = self._policy.find(packet)
            if way is None or len(packet) <= (room := way.room(packet)) or may_be_cut(packet):
                return True
        except Drop:
            return True  # it is dropped and counted where all are that are no packets
        self.counts.too_big += 1
        # Smaller ones of IPv6 may be cut, and no sender takes less for an answer.
        answer = icmp.too_big(packet, room if packet[0] >> 4 == 4 else max(room, LEAST6))
        if answer is not None and self._may_answer():
            self.counts.answered += 1
            self._tun.send([answer])
        return False

    def _may_answer(self) -> bool:
        now = time.monotonic()
        earned = (now - self._answered_at) * ANSWERS
        self._answers = min(self._answers + earned, float(ANSWERS))
        self._answered_at = now
        if self._answers < 1:
            return False
        self._answers -= 1
        return True

    # In.

    def _receiving(self, wire: Wire) -> Callable[[], None]:
        return lambda: self._in(wire)

    def _in(self, wire: Wire) -> None:
        """Take a batch from peers, unprotect it, and hand it to the host."""
        packets = wire.receive(BATCH)
        results = list(self.associations.unprotect(packets))
        found = [result.packet for result in results if result.packet is not None]
        # Whatever ends us from here on: none of them is taken a second time.
        self._journal.note()
        self.counts.not_delivered += self._tun.send(found)
        if isinstance(wire, Nat):
            _learn(wire, packets, results)

    # The end.

    def close(self) -> None:
        """Free the sessions. Closing again does nothing."""
        self.associations.close()
        self._wake.close()
        self._woken.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _learn(wire: Nat, packets: Iterable[bytes], results: Iterable[Result]) -> None:
    """See where peers are whose packets have verified."""
    for packet, result, origin in zip(packets, results, wire.origins, strict=True):
        sa = result.sa
        if result.packet is None or sa is None:
            continue
        if sa.mode is not Mode.TUNNEL:
            wire.learn(packet[12:16] if packet[0] >> 4 == 4 else packet[8:24], origin)
        elif sa.tunnel_source is not None:
            wire.learn(sa.tunnel_source.packed, origin)
