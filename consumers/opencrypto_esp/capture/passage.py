"""
The way of a whole capture through ESP: what becomes of each frame, and how many went which way.

Nothing goes on in clear unless that was asked for: what cannot be protected, or was not, is left
out and counted by what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from opencrypto_esp import ip, nat_t
from opencrypto_esp.capture import names
from opencrypto_esp.capture.links import reframe
from opencrypto_esp.capture.model import Block, Frame, Interface, Item, Section
from opencrypto_esp.forms import Forms
from opencrypto_esp.results import Drop, Reason, Result

_STATISTICS = 5
_NEVER_COPIED = 0x40000BAD


ESP_ALONE = Forms()


class Sink(Protocol):
    """What takes the frames: a writer of any format."""

    def section(self, section: Section) -> None:
        """Begin a section."""

    def interface(self, interface: Interface) -> None:
        """Describe an interface."""

    def block(self, block: Block) -> bool:
        """Keep a block that is no packet, or return False."""

    def frame(
        self, interface: Interface, ticks: int | None, data: bytes, length: int, options: bytes
    ) -> None:
        """Write a frame."""

    def flush(self) -> None:
        """Write what has gathered."""


class Passage:
    """
    Takes the frames of a capture to ESP and those it makes to a writer.

    Args:
        sink: The writer.
        work: `Esp.protect` or `Esp.unprotect`.
        inbound: Whether it is the latter: then IP that is not ESP is not for it either.
        pass_others: Pass what is not for ESP on in clear, instead of leaving it out.
        forms: What packets look like that are for ESP (`Esp.forms`).

    Attributes:
        frames: Frames that came.
        passed: Those passed on in clear, by what they are.
        left: Those left out, by what they are.
        blocks: Blocks of pcapng left out that are no packets, by what they are.
        dropped: Those that had an IP packet which could not be given to ESP, by reason.
    """

    def __init__(
        self,
        sink: Sink,
        work: Callable[[bytes], Result],
        *,
        inbound: bool,
        pass_others: bool,
        forms: Forms = ESP_ALONE,
    ) -> None:
        self.frames = 0
        self.passed: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.blocks: Counter[str] = Counter()
        self.dropped: Counter[Reason] = Counter()
        self._sink = sink
        self._work = work
        self._inbound = inbound
        self._pass_others = pass_others
        self._forms = forms

    @property
    def lost(self) -> int:
        """How many frames did not go on, of those that were never given to ESP."""
        return self.left.total() + self.dropped.total()

    def run(self, batches: Iterable[Sequence[Item]]) -> None:
        """
        Take a capture through; what each batch made is written before the next one is waited for.

        Raises:
            CaptureError: a frame cannot be written.
        """
        for batch in batches:
            self.take(batch)
            self._sink.flush()

    def take(self, items: Iterable[Item]) -> None:
        """Take some items through."""
        work, write, inbound = self._work, self._sink.frame, self._inbound
        for item in items:
            if not isinstance(item, Frame):
                self._besides(item)
                continue
            self.frames += 1
            interface, ticks, data, length, options = item
            place = interface.find(data)
            if isinstance(place, str):
                self._other(item, place)
                continue
            packet = data[place.at :]
            if not packet or packet[0] >> 4 != place.version or length != len(data):
                reason = _unfit(packet, place.version, length - len(data))
                if reason is not None:
                    self.dropped[reason] += 1
                    continue
            if inbound and (kind := clear_kind(packet, self._forms)):
                self._other(item, kind)
                continue
            made = work(packet).packet
            if made is None:
                continue
            framed = reframe(place, data, made)
            if framed is None:
                self.dropped[Reason.TOO_BIG] += 1
            else:
                write(interface, ticks, framed, len(framed), options)

    def _other(self, frame: Frame, kind: str) -> None:
        """Pass a frame on that is not for ESP, or leave it out."""
        if self._pass_others:
            self.passed[kind] += 1
            self._sink.frame(*frame)
        else:
            self.left[kind] += 1

    def _besides(self, item: Section | Interface | Block) -> None:
        if isinstance(item, Section):
            self._sink.section(item)
        elif isinstance(item, Interface):
            self._sink.interface(item)
        elif not self._keep(item):
            self.blocks[names.block(item.kind)] += 1

    def _keep(self, block: Block) -> bool:
        """
        Write a block that is no packet, if it may be.

        Statistics are numbers. Others have names, keys, or what nobody here knows: clear text.
        """
        may = block.kind == _STATISTICS or (self._pass_others and block.kind != _NEVER_COPIED)
        return may and self._sink.block(block)


def _unfit(packet: bytes, version: int, cut: int) -> Reason | None:
    """Say why a frame's payload, of which so many bytes were cut off, is no packet for ESP."""
    if not packet:
        return Reason.TRUNCATED if cut else Reason.MALFORMED
    if packet[0] >> 4 != version:
        return Reason.MALFORMED
    # Cut off behind its header, one that does not say how long it is looks like a whole one.
    if cut and version == 6 and len(packet) >= 40 and ip.says_no_length(packet):
        return Reason.NO_LENGTH
    return None


def clear_kind(packet: bytes, forms: Forms) -> str:
    """
    Name what an IP packet is that is not ESP; empty if it is, or too damaged to tell.

    Args:
        packet: The packet.
        forms: What is for ESP; on its UDP ports IKE comes too, which is not.
    """
    try:
        protocol, at = ip.protocol(packet)
    except Drop:
        return ""
    if protocol in forms.protocols:
        return ""
    if protocol == ip.UDP and at:
        ports = {int.from_bytes(packet[n : n + 2]) for n in (at, at + 2)}
        if not ports.isdisjoint(forms.udp_ports):
            kind = nat_t.content(packet[at + nat_t.UDP_SIZE :])
            return "IKE" if kind is nat_t.Content.IKE else ""
        if 500 in ports:
            return "IKE"
    return "" if forms.bare else names.ip_protocol(protocol)
