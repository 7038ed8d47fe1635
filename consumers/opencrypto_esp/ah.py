"""
The Authentication Header (RFC 4302): packets in clear, of which every byte that stays the same on
the way is authenticated.

The request's buffer is the packet as RFC 4302 §3.3.3 wants it authenticated: what routers change
is zero, and so is the ICV's place. Behind it comes the upper half of an extended sequence number,
and behind that the ICV, where the request makes it or finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from opencrypto import CRD_F_VERIFY, Cryptodesc, Cryptoini, Framework
from opencrypto_esp import ip, mutable
from opencrypto_esp.channel import Job
from opencrypto_esp.ends import ReceivingEnd, SendingEnd
from opencrypto_esp.results import Drop, Reason, Result
from opencrypto_esp.sa import Mode, SecurityAssociation
from opencrypto_esp.state import Numbers
from opencrypto_esp.tunnel import outer_header

FIXED: Final = 12
"""Next header, length, reserved, SPI, sequence number (§2)."""

_AH: Final = Struct("!BBHII")


def header_size(icv: int, version: int) -> int:
    """Return the **bytes** of an AH: a multiple of 4 in IPv4, of 8 in IPv6 (§2.6)."""
    unit = 4 if version == 4 else 8
    return FIXED + icv + -(FIXED + icv) % unit


def _tag_ini(sa: SecurityAssociation, *, key: bool) -> Cryptoini:
    assert sa.authenticator is not None
    alg = sa.authenticator.alg
    return Cryptoini(alg, sa.integrity_key, mlen=sa.icv) if key else Cryptoini(alg)


class AhOutbound(SendingEnd):
    """The sending end of an AH SA."""

    def __init__(
        self, framework: Framework, sa: SecurityAssociation, numbers: Numbers, *, batch: bool
    ) -> None:
        self._outer = outer_header(sa, ip.AH) if sa.mode is Mode.TUNNEL else None
        super().__init__(framework, sa, numbers, [_tag_ini(sa, key=True)], batch=batch)

    def _fill(self, desc: Sequence[Cryptodesc]) -> None:
        desc[0].ini = _tag_ini(self.sa, key=False)

    def submit(self, packet: bytes) -> Job:
        """Put an AH before a packet, or into it, and have its ICV made."""
        if self._outer is None:
            place = ip.locate(packet)
            payload, following = packet[place.head : place.end], packet[place.nh_at]
            size = header_size(self.sa.icv, packet[0] >> 4)
            head = ip.rewrite(packet, place, ip.AH, size + len(payload))
            octets = place.end
        else:
            assert self.sa.tunnel_source is not None
            octets = ip.length(packet)
            payload = packet[:octets]
            following = ip.IPV4_IN if packet[0] >> 4 == 4 else ip.IPV6_IN
            size = header_size(self.sa.icv, self.sa.tunnel_source.version)
            head = self._outer(packet, size + len(payload))
        same = mutable.zeroed(head)
        seq = self._next()
        job = self.channel.take()
        fields = _AH.pack(following, size // 4 - 2, 0, self.sa.spi, seq & 0xFFFFFFFF)
        job.head = head
        job.octets = octets
        job.seq = seq
        job.made = (same, fields, bytes(size - FIXED), payload)
        crp = job.crp
        crp.buf = buf = self._buffer(job)
        crp.ilen = len(buf)
        tag = crp.desc[0]
        tag.len = tag.inject = len(buf) - self.sa.icv
        self.channel.start(job)
        return job

    def _buffer(self, job: Job) -> bytearray:
        high = (job.seq >> 32).to_bytes(4) if self.sa.esn else b""
        return bytearray().join((*job.made, high, bytes(self.sa.icv)))

    def finish(self, job: Job) -> Result:
        """Wait for a packet's ICV, and return it with that."""
        channel = self.channel
        try:
            channel.wait(job)
            _, fields, room, payload = job.made
            icv = job.crp.buf[-self.sa.icv :]
            packet = b"".join((job.head, fields, icv, room[len(icv) :], payload))
            with channel.lock:
                channel.count(job.crp, job.octets, len(packet))
            return Result(packet, None, self.sa)
        finally:
            channel.give(job)


class AhInbound(ReceivingEnd):
    """The receiving end of an AH SA."""

    number = ip.AH

    def __init__(
        self, framework: Framework, sa: SecurityAssociation, numbers: Numbers, *, batch: bool
    ) -> None:
        super().__init__(framework, sa, numbers, [_tag_ini(sa, key=True)], batch=batch)

    def _fill(self, desc: Sequence[Cryptodesc]) -> None:
        desc[0].ini = _tag_ini(self.sa, key=False)
        desc[0].flags = CRD_F_VERIFY

    def submit(self, packet: bytes, place: ip.Place) -> Job:
        """Have a packet's ICV verified."""
        size = self._size(packet, place)
        seq = self._check(int.from_bytes(packet[place.head + 8 : place.head + FIXED]))
        same = mutable.zeroed(packet[: place.head])
        job = self.channel.take()
        job.packet = packet
        job.place = place
        job.seq = seq
        job.octets = size
        at = place.head + FIXED
        # Of the AH all but the ICV is authenticated, what pads it to a whole word too.
        icv = packet[at : at + self.sa.icv]
        rest = packet[at + len(icv) : place.end]
        job.made = (same, packet[place.head : at], bytes(len(icv)), rest, icv)
        crp = job.crp
        crp.buf = buf = self._buffer(job)
        crp.ilen = len(buf)
        tag = crp.desc[0]
        tag.len = tag.inject = len(buf) - self.sa.icv
        self.channel.start(job)
        return job

    def _size(self, packet: bytes, place: ip.Place) -> int:
        """Return the AH's size, which may be more than we would make it: Linux pads to 8 bytes."""
        size = (packet[place.head + 1] + 2) << 2
        if size < FIXED + self.sa.icv:
            raise Drop(Reason.BAD_LENGTH)
        if size > place.end - place.head:
            raise Drop(Reason.TRUNCATED)
        return size

    def _buffer(self, job: Job) -> bytearray:
        *before, icv = job.made
        high = (job.seq >> 32).to_bytes(4) if self.sa.esn else b""
        return bytearray().join((*before, high, icv))

    def finish(self, job: Job) -> Result:
        """Wait for a packet's verification, and return it without its AH."""
        channel = self.channel
        try:
            channel.wait(job)
            self._accept(job.seq)
            packet = self._restore(job)
            with channel.lock:
                channel.count(job.crp, job.place.end, len(packet))
            return Result(packet, None, self.sa)
        finally:
            channel.give(job)

    def _restore(self, job: Job) -> bytes:
        packet, place = job.packet, job.place
        following = packet[place.head]
        payload = packet[place.head + job.octets : place.end]
        inner = self._original(packet, place, following, payload)
        self._agree(inner)
        return inner
