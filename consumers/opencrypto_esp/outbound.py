"""
From an IP packet to one that carries ESP (RFC 4303 §3.3).

The request's buffer is the ESP packet alone, without the IP header: so the places of IV, payload
and first byte to authenticate are the same in every packet of an SA.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from opencrypto import CRD_F_ENCRYPT, Cryptodesc, Framework
from opencrypto_esp import ip
from opencrypto_esp.channel import Job
from opencrypto_esp.ends import SendingEnd
from opencrypto_esp.layout import Layout
from opencrypto_esp.nat_t import UDP_SIZE, UdpHeader
from opencrypto_esp.results import Drop, Reason, Result
from opencrypto_esp.sa import Mode, SecurityAssociation
from opencrypto_esp.state import Numbers
from opencrypto_esp.tunnel import outer_header

_new: Final = tuple.__new__  # makes a named tuple at a third of its own call's cost

PADDING: Final = tuple(bytes(range(1, n + 1)) for n in range(256))
"""What padding of each length must be (RFC 4303 §2.4)."""


class Outbound(SendingEnd):
    """The sending end of an ESP SA."""

    def __init__(
        self, framework: Framework, sa: SecurityAssociation, numbers: Numbers, *, batch: bool
    ) -> None:
        self._layout = layout = Layout(sa)
        inis = [layout.cipher_ini(key=True), layout.tag_ini(key=True)]
        super().__init__(framework, sa, numbers, inis, batch=batch)
        # SPI, sequence number, room for the IV.
        self._start = Struct(f"!{'IQ' if layout.high_first else 'II'}{sa.cipher.iv}x").pack
        ports = sa.encap_source_port, sa.encap_destination_port
        self._udp = UdpHeader(*ports) if sa.encap else None
        self._protocol = ip.UDP if sa.encap else ip.ESP
        self._overhead = layout.overhead + (UDP_SIZE if sa.encap else 0)
        self._outer = outer_header(sa, self._protocol) if sa.mode is Mode.TUNNEL else None
        self._tfc_padding = sa.tfc_padding
        self._trailers: dict[int, bytes] = {}
        self._align = sa.cipher.align
        self._spi = sa.spi

    def _fill(self, desc: Sequence[Cryptodesc]) -> None:
        """Fill in what no packet changes."""
        layout = self._layout
        rest = iter(desc)
        if (cri := layout.cipher_ini(key=False)) is not None:
            crd = next(rest)
            crd.ini = cri
            crd.flags = CRD_F_ENCRYPT
            crd.skip = layout.payload_at
            crd.inject = layout.iv_at
        if (cri := layout.tag_ini(key=False)) is not None:
            crd = next(rest)
            crd.ini = cri
            crd.len = layout.aad

    def submit(self, packet: bytes) -> Job:
        """
        Make a packet's ESP and send it through the framework.

        Raises:
            Drop: why that cannot be.
        """
        if self._outer is None:
            place = ip.locate(packet)
            payload = packet[place.head : place.end]
            octets = place.end
            following = packet[place.nh_at]
            if following == ip.DUMMY:
                raise Drop(Reason.NO_PAYLOAD)
        else:
            place = None
            payload = packet[: ip.length(packet)]
            octets = len(payload)
            if octets < self._tfc_padding:
                payload = payload.ljust(self._tfc_padding, b"\0")
            following = ip.IPV4_IN if packet[0] >> 4 == 4 else ip.IPV6_IN
        layout = self._layout
        size = len(payload) + 2
        pad = -size % self._align
        size += pad
        if place is None:
            assert self._outer is not None
            head = self._outer(packet, self._overhead + size)
        else:
            head = ip.rewrite(packet, place, self._protocol, self._overhead + size)
        trailer = self._trailers.get(pad << 8 | following) or self._trailer(pad, following)
        seq = self._next()
        job = self.channel.take()
        job.head = head
        job.octets = octets
        start = self._start(self._spi, seq if layout.high_first else seq & 0xFFFFFFFF)
        job.made = (start, payload, trailer)
        job.seq = seq
        crp = job.crp
        end = layout.payload_at + size
        desc = crp.desc
        if layout.hides:
            desc[0].len = size
        if layout.icv:
            tag = desc[-1]
            tag.inject = end
            if layout.high_last:
                tag.len = end + 4
            elif not layout.aad:
                tag.len = end
        crp.buf = buf = self._buffer(job)
        crp.ilen = len(buf)
        self.channel.start(job)
        return job

    def _buffer(self, job: Job) -> bytearray:
        """Put a packet's parts together, as the request wants them."""
        buf = bytearray().join(job.made)
        if self._layout.high_last:
            # It is authenticated where the ICV then overwrites it.
            end = job.crp.desc[-1].inject
            buf[end : end + 4] = (job.seq >> 32).to_bytes(4)
        return buf

    def _trailer(self, pad: int, following: int) -> bytes:
        """Make padding, its length, next header, and room for the ICV."""
        made = PADDING[pad] + bytes((pad, following)) + bytes(self.sa.icv)
        self._trailers[pad << 8 | following] = made
        return made

    def finish(self, job: Job) -> Result:
        """
        Wait for a packet's ESP and return it with its IP header.

        Raises:
            Drop: the request failed.
        """
        channel = self.channel
        try:
            channel.wait(job)
            buf = job.crp.buf
            if self._udp is not None:
                packet = self._udp.wrap(job.head, self._sent(buf))
            elif self._layout.high_first:
                packet = b"".join((job.head, buf[:4], memoryview(buf)[8:]))
            else:
                packet = b"".join((job.head, buf))
            with channel.lock:
                channel.count(job.crp, job.octets, len(packet))
            return _new(Result, (packet, None, self.sa))
        finally:
            channel.give(job)

    def _sent(self, buf: bytearray) -> bytearray:
        """Return what of a request's buffer is sent."""
        return buf[:4] + buf[8:] if self._layout.high_first else buf
