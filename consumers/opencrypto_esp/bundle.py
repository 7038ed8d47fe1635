"""
SAs that packets go through one after the other (RFC 4301 §4.1): IPComp inside ESP, ESP inside AH.

An SA names the next one (`then`). From outside a bundle is like the end of one SA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from opencrypto_esp import ip
from opencrypto_esp.channel import Job
from opencrypto_esp.ends import End, ReceivingEnd, SendingEnd
from opencrypto_esp.results import Drop, Flow, Result

E = TypeVar("E", bound=End)


class Step(NamedTuple):
    """A packet in flight: the request of one end, and the **bytes** that the packet came with."""

    job: Job
    octets: int


class _Bundle(Generic[E]):
    """What both directions have: the ends in order, and counts of packets that went through all."""

    def __init__(self, ends: Sequence[E]) -> None:
        self.ends = tuple(ends)
        self.sa = ends[0].sa
        self.channel = ends[0].channel
        self.flow = Flow()

    def snapshot(self) -> Flow:
        """Return the counts: packets through the whole, requests of all ends."""
        whole = Flow()
        for end in self.ends:
            part = end.snapshot()
            whole.resubmitted += part.resubmitted
            whole.migrations += part.migrations
            whole.drivers.update(part.drivers)
        with self.channel.lock:
            whole.add(self.flow)
        return whole

    def _count(self, octets: int, result: Result) -> Result:
        assert result.packet is not None
        with self.channel.lock:
            self.flow.packets += 1
            self.flow.octets_in += octets
            self.flow.octets_out += len(result.packet)
        return Result(result.packet, None, self.sa)


def _dropped(end: End, drop: Drop) -> Drop:
    """Count a drop for the SA that it is of; whoever asked the bundle counts it for that."""
    with end.channel.lock:
        end.flow.dropped[drop.reason] += 1
    return drop


class SendingBundle(_Bundle[SendingEnd]):
    """The ends that a packet is sent by, the first one first."""

    def submit(self, packet: bytes) -> Step:
        """Take a packet through all ends but the last, and start with that."""
        octets = ip.length(packet)
        *before, last = self.ends
        for end in before:
            try:
                packet = end.finish(end.submit(packet)).packet or b""
            except Drop as drop:
                raise _dropped(end, drop) from None
        try:
            return Step(last.submit(packet), octets)
        except Drop as drop:
            raise _dropped(last, drop) from None

    def finish(self, step: Step) -> Result:
        """Wait for the last end."""
        last = self.ends[-1]
        try:
            return self._count(step.octets, last.finish(step.job))
        except Drop as drop:
            raise _dropped(last, drop) from None


class ReceivingBundle(_Bundle[ReceivingEnd]):
    """The ends that a packet is received on, the outermost one first."""

    def submit(self, packet: bytes, place: ip.Place) -> Step:
        """Start with the first end."""
        first = self.ends[0]
        try:
            return Step(first.submit(packet, place), place.end)
        except Drop as drop:
            raise _dropped(first, drop) from None

    def finish(self, step: Step) -> Result:
        """Wait for the first end, and take what comes of it through the others."""
        end = self.ends[0]
        try:
            result = end.finish(step.job)
            for end in self.ends[1:]:
                result = end.receive(result.packet or b"")
        except Drop as drop:
            raise _dropped(end, drop) from None
        return self._count(step.octets, result)


def chains(ends: Sequence[E]) -> list[tuple[E, ...]]:
    """
    Return the ends in the order that their SAs name: each alone, or followed by others.

    `check_together` has seen that the names are there, and that nothing goes round in circles.
    """
    named: Mapping[str, E] = {end.sa.label: end for end in ends}
    later = {end.sa.then for end in ends if end.sa.then}
    made = []
    for end in ends:
        if end.sa.label in later:
            continue
        chain = [end]
        while chain[-1].sa.then:
            chain.append(named[chain[-1].sa.then])
        made.append(tuple(chain))
    return made
