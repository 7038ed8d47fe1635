"""
Packet captures, read and written: pcap and pcapng, by the formats' own documents.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, draft-ietf-opsawg-pcaplinktype. A capture
is read as a stream of batches, each what one read of the file brought: so memory stays the same
however long it is, and what comes through a pipe goes on at once.

The rooms, in the order of their imports: `names` for people, `links` finds the IP packet in a
frame, `model` has what a capture is made of, `source` its bytes, `streams` what both formats share,
`pcap` and `pcapng` the formats, `passage` the way of a whole capture through ESP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, TypeAlias

from opencrypto_esp.capture import pcap, pcapng
from opencrypto_esp.capture.errors import CaptureError
from opencrypto_esp.capture.links import LINKS, Place, link_name
from opencrypto_esp.capture.model import Block, Frame, Interface, Item, Section
from opencrypto_esp.capture.passage import Passage
from opencrypto_esp.capture.pcap import PcapReader, PcapWriter
from opencrypto_esp.capture.pcapng import PcapngReader, PcapngWriter
from opencrypto_esp.capture.source import Source

Reader: TypeAlias = PcapReader | PcapngReader
Writer: TypeAlias = PcapWriter | PcapngWriter

FORMATS: Final[dict[str, type[PcapWriter] | type[PcapngWriter]]] = {
    "pcap": PcapWriter,
    "pcapng": PcapngWriter,
}
"""What writes each format, by the name that ``--format`` has for it."""


def read_capture(file: BinaryIO, name: str) -> Reader:
    """
    Return what reads a capture, by its first bytes; it may be packed with gzip, xz or zstd.

    Args:
        file: Opened for reading bytes, unbuffered if it is a pipe; read from here on, never sought.
        name: What to call it in an error.

    Raises:
        CaptureError: it is no capture, or of a kind that is not supported.
        OSError: it cannot be read.
    """
    source = Source(file, name)
    start = source.more(b"", 4)
    if start[:4] == pcapng.MAGIC:
        return PcapngReader(source, start)
    if start[:4] in pcap.MAGICS:
        return PcapReader(source, start)
    if start[:4] in pcap.MODIFIED:
        raise CaptureError(
            f"{name} is pcap in a form of its own that old kernels had; "
            "convert it: editcap -F pcap IN OUT"
        )
    raise CaptureError(
        f"{name} is neither pcap nor pcapng; record one with: tcpdump -w FILE"
        if not source.damage
        else f"{name}: {source.damage}; fetch it again"
    )


def ip_packets(reader: Reader) -> Iterator[bytes]:
    """Yield the IP packets of a capture, with what padding of the link layer follows them."""
    for batch in reader.batches():
        for item in batch:
            if isinstance(item, Frame):
                place = item.interface.find(item.data)
                if isinstance(place, Place):
                    yield item.data[place.at :]


__all__ = [
    "Block",
    "CaptureError",
    "FORMATS",
    "Frame",
    "Interface",
    "Item",
    "LINKS",
    "Passage",
    "PcapReader",
    "PcapWriter",
    "PcapngReader",
    "PcapngWriter",
    "Place",
    "Reader",
    "Section",
    "Source",
    "Writer",
    "ip_packets",
    "link_name",
    "read_capture",
]
