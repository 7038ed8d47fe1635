"""
IPComp (RFC 3173) with DEFLATE (RFC 2394): payloads made smaller, before anybody encrypts them.

What would not become smaller goes as it is, without a header of ours (RFC 3173 §2.2): so the
receiver takes both. Nothing here is secret or authenticated.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from opencrypto import (
    CRD_F_COMP,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_DEFLATE_COMP_NOGROW,
    Cryptodesc,
    Cryptoini,
    Framework,
    Mbuf,
)
from opencrypto_esp import ip
from opencrypto_esp.channel import Job
from opencrypto_esp.ends import ReceivingEnd, SendingEnd
from opencrypto_esp.results import Drop, Reason, Result
from opencrypto_esp.sa import Mode, SecurityAssociation
from opencrypto_esp.state import Numbers
from opencrypto_esp.tunnel import outer_header

_HEADER: Final = Struct("!BBH")
"""Next header, flags, CPI (§3.3)."""


class CompOutbound(SendingEnd):
    """The end that compresses. Of a job's `seq` it makes how much there is to compress."""

    def __init__(
        self, framework: Framework, sa: SecurityAssociation, numbers: Numbers, *, batch: bool
    ) -> None:
        self._outer = outer_header(sa, ip.IPCOMP) if sa.mode is Mode.TUNNEL else None
        inis = [Cryptoini(CRYPTO_DEFLATE_COMP_NOGROW)]
        super().__init__(framework, sa, numbers, inis, batch=batch)

    def _fill(self, desc: Sequence[Cryptodesc]) -> None:
        desc[0].ini = Cryptoini(CRYPTO_DEFLATE_COMP_NOGROW)
        desc[0].flags = CRD_F_COMP

    def submit(self, packet: bytes) -> Job:
        """Have the payload of a packet compressed, or in a tunnel the packet."""
        if self._outer is None:
            place = ip.locate(packet)
        else:
            # What is in a tunnel begins at 0, and its number comes with its version.
            place = ip.Place(0, 0, ip.length(packet))
        job = self.channel.take()
        job.packet = packet
        job.place = place
        job.octets = place.end
        crp = job.crp
        crp.buf = self._buffer(job)
        crp.ilen = crp.desc[0].len = job.seq = place.end - place.head
        if job.seq:
            self.channel.start(job)
        return job

    def _buffer(self, job: Job) -> bytearray:
        return bytearray(job.packet[job.place.head : job.place.end])

    def finish(self, job: Job) -> Result:
        """Wait for the compressed payload, and return the packet with it if it is smaller."""
        channel = self.channel
        try:
            if not job.seq:
                return self._unserved(job.packet[: job.octets], job.octets)
            channel.wait(job)
            packet = self._packet(job)
            with channel.lock:
                channel.count(job.crp, job.octets, len(packet))
            return Result(packet, None, self.sa)
        finally:
            channel.give(job)

    def _packet(self, job: Job) -> bytes:
        packet, place, size = job.packet, job.place, job.crp.olen
        smaller = size + _HEADER.size < place.end - place.head
        if self._outer is None:
            if not smaller:
                return packet[: place.end]
            following = packet[place.nh_at]
            head = ip.rewrite(packet, place, ip.IPCOMP, _HEADER.size + size)
        else:
            following = ip.IPV4_IN if packet[0] >> 4 == 4 else ip.IPV6_IN
            if not smaller:
                return self._bare(packet[: place.end], following)
            head = self._outer(packet, _HEADER.size + size)
        assert isinstance(job.crp.buf, bytearray)
        return b"".join((head, _HEADER.pack(following, 0, self.sa.spi), job.crp.buf[:size]))

    def _bare(self, packet: bytes, following: int) -> bytes:
        """Return a packet in a tunnel without compression: IP in IP."""
        assert self._outer is not None
        head = self._outer(packet, len(packet))
        version4 = head[0] >> 4 == 4
        place = ip.Place(len(head), 9 if version4 else 6, len(head))
        return ip.rewrite(head, place, following, len(packet)) + packet


class CompInbound(ReceivingEnd):
    """The end that decompresses. Of a job's `seq` it makes the protocol that came."""

    number = ip.IPCOMP

    def __init__(
        self, framework: Framework, sa: SecurityAssociation, numbers: Numbers, *, batch: bool
    ) -> None:
        inis = [Cryptoini(CRYPTO_DEFLATE_COMP, limit=ip.MAX_PACKET)]
        super().__init__(framework, sa, numbers, inis, batch=batch)

    def _fill(self, desc: Sequence[Cryptodesc]) -> None:
        desc[0].ini = Cryptoini(CRYPTO_DEFLATE_COMP)

    def submit(self, packet: bytes, place: ip.Place) -> Job:
        """Have the payload of a packet decompressed, if it is compressed."""
        job = self.channel.take()
        job.packet = packet
        job.place = place
        job.seq = packet[place.nh_at]
        if job.seq != ip.IPCOMP:
            return job
        if place.end - place.head <= _HEADER.size:
            self.channel.give(job)
            raise Drop(Reason.TRUNCATED)
        job.crp.buf = self._buffer(job)
        job.crp.ilen = job.crp.desc[0].len = place.end - place.head - _HEADER.size
        self.channel.start(job)
        return job

    def _buffer(self, job: Job) -> Mbuf:
        at = job.place.head + _HEADER.size
        return Mbuf([bytearray(job.packet[at : job.place.end])])

    def finish(self, job: Job) -> Result:
        """Wait for the payload, and return the packet with it."""
        channel = self.channel
        try:
            if job.seq != ip.IPCOMP:
                left = self.bare(job.packet).packet or b""
                return self._unserved(left, job.place.end)
            self._wait(job)
            packet, place = job.packet, job.place
            assert isinstance(job.crp.buf, Mbuf)
            payload = bytes(job.crp.buf)
            inner = self._original(packet, place, packet[place.head], payload)
            self._agree(inner)
            with channel.lock:
                channel.count(job.crp, place.end, len(inner))
            return Result(inner, None, self.sa)
        finally:
            channel.give(job)

    def _wait(self, job: Job) -> None:
        try:
            self.channel.wait(job)
        except Drop as drop:
            damaged = drop.reason in (Reason.BAD_ICV, Reason.FAILED)
            raise Drop(Reason.BAD_COMPRESSION if damaged else drop.reason) from None

    def bare(self, packet: bytes) -> Result:
        """Take a packet that was left uncompressed, since it would not have become smaller."""
        packet = packet[: ip.length(packet)]
        number, _ = ip.protocol(packet)
        if self._tunnels(number):
            place = ip.locate(packet)
            packet = self._original(packet, place, number, packet[place.head :])
        self._agree(packet)
        return Result(packet, None, self.sa)
