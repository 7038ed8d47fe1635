"""
From an IP packet that carries ESP to the one that was protected (RFC 4303 §3.4).

The order is the RFC's: the window is asked, the ICV verified and only then the payload decrypted
(one chain, in which a mismatch ends the request), the window moved, the padding looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opencrypto import CRD_F_VERIFY, Cryptodesc, Framework
from opencrypto_esp import ip
from opencrypto_esp.channel import Job
from opencrypto_esp.ends import ReceivingEnd
from opencrypto_esp.layout import Layout
from opencrypto_esp.nat_t import with_checksum
from opencrypto_esp.outbound import PADDING
from opencrypto_esp.results import Drop, Reason, Result
from opencrypto_esp.sa import Mode, SecurityAssociation
from opencrypto_esp.state import Numbers

_new: Final = tuple.__new__  # makes a named tuple at a third of its own call's cost


class Inbound(ReceivingEnd):
    """The receiving end of an ESP SA."""

    number = ip.ESP

    def __init__(
        self, framework: Framework, sa: SecurityAssociation, numbers: Numbers, *, batch: bool
    ) -> None:
        self._layout = layout = Layout(sa)
        inis = [layout.tag_ini(key=True), layout.cipher_ini(key=True)]
        super().__init__(framework, sa, numbers, inis, batch=batch)
        self._align = sa.cipher.align
        # What a NAT has done to addresses, checksums in the payload do not know (RFC 3948 §3.1.2).
        self._mends = bool(sa.encap) and sa.mode is Mode.TRANSPORT

    def _fill(self, desc: Sequence[Cryptodesc]) -> None:
        """Fill in what no packet changes."""
        layout = self._layout
        rest = iter(desc)
        if (cri := layout.tag_ini(key=False)) is not None:
            crd = next(rest)
            crd.ini = cri
            crd.flags = CRD_F_VERIFY
            crd.len = layout.aad
        if (cri := layout.cipher_ini(key=False)) is not None:
            crd = next(rest)
            crd.ini = cri
            crd.skip = layout.payload_at
            crd.inject = layout.iv_at

    def submit(self, packet: bytes, place: ip.Place) -> Job:
        """
        Send a packet's ESP, found at `place`, through the framework.

        Raises:
            Drop: why that cannot be.
        """
        layout = self._layout
        size = place.end - place.head - layout.overhead
        if size < 2:
            raise Drop(Reason.TRUNCATED)
        if size % self._align:
            raise Drop(Reason.BAD_LENGTH)
        seq = self._check(int.from_bytes(packet[place.head + 4 : place.head + 8]))
        job = self.channel.take()
        job.packet = packet
        job.place = place
        job.seq = seq
        end = layout.payload_at + size
        crp = job.crp
        desc = crp.desc
        if layout.verified:
            tag = desc[0]
            tag.inject = end
            if layout.high_last:
                tag.inject = tag.len = end + 4
            if not layout.aad and not layout.high_last:
                tag.len = end
        if layout.hides:
            desc[-1].len = size
        crp.buf = buf = self._buffer(job)
        crp.ilen = len(buf)
        self.channel.start(job)
        return job

    def _buffer(self, job: Job) -> bytearray:
        """Take a packet's ESP, with the whole sequence number where it is authenticated."""
        buf = bytearray(job.packet[job.place.head : job.place.end])
        if self._layout.high_first:
            buf[4:4] = (job.seq >> 32).to_bytes(4)
        elif self._layout.high_last:
            at = job.crp.desc[0].inject - 4
            buf[at:at] = (job.seq >> 32).to_bytes(4)
        return buf

    def finish(self, job: Job) -> Result:
        """
        Wait for a packet's verification and decryption, and return what was protected.

        Raises:
            Drop: why it must not be handed on.
        """
        channel = self.channel
        try:
            channel.wait(job)
            self._accept(job.seq)
            packet = self._restore(job)
            with channel.lock:
                channel.count(job.crp, job.place.end, len(packet))
            return _new(Result, (packet, None, self.sa))
        finally:
            channel.give(job)

    def _restore(self, job: Job) -> bytes:
        layout, buf = self._layout, job.crp.buf
        # Behind it are only the ICV and, in front of that, what a long sequence number adds.
        end = len(buf) - layout.icv - (4 if layout.high_last else 0)
        pad, following = buf[end - 2], buf[end - 1]
        stop = end - 2 - pad
        if stop < layout.payload_at or buf[stop : end - 2] != PADDING[pad]:
            raise Drop(Reason.BAD_PADDING)
        if following == ip.DUMMY:
            raise Drop(Reason.DUMMY)
        payload = buf[layout.payload_at : stop]
        packet = self._original(job.packet, job.place, following, payload)
        if self._mends:
            packet = with_checksum(packet)
        self._agree(packet)
        return packet
