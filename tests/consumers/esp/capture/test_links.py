"""
A corpus made here goes through ESP and comes back: link types, tags, IP versions, headers, lengths.

What was made of it is read by tshark, which knows where ESP is in a frame of any of these kinds.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from opencrypto_esp.capture import (
    LINKS,
    CaptureError,
    Passage,
    PcapWriter,
    ip_packets,
    link_name,
    read_capture,
)
from opencrypto_esp.capture.links import finder
from opencrypto_esp.capture.names import LINK_TYPES
from tests.consumers.esp.capture.files import ETHERNET, pcap, tshark
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.packets import chained, ipv4, ipv6, make_sa

pytestmark = pytest.mark.shared_framework

IPV4, IPV6 = 0x0800, 0x86DD
TAGS = (b"", b"\x81\x00\x00\x05", b"\x88\xa8\x00\x09\x81\x00\x00\x05")
OLD_TAGS = (b"\x91\x00\x00\x07", b"\x91\x00\x00\x01\x91\x00\x00\x02\x81\x00\x00\x03")
Link = Callable[[bytes, int], bytes]
"""``link(packet, version) -> frame``."""


def typed(version: int) -> bytes:
    """Return the ethertype of an IP version."""
    return struct.pack("!H", IPV4 if version == 4 else IPV6)


def tagged(tags: bytes) -> Link:
    """Return what makes Ethernet frames with tags."""
    return lambda packet, version: ETHERNET + tags + typed(version) + packet


def snap(packet: bytes, version: int) -> bytes:
    """Make an IEEE 802.3 frame."""
    payload = b"\xaa\xaa\x03\0\0\0" + typed(version) + packet
    return ETHERNET + struct.pack("!H", len(payload)) + payload


def pppoe(packet: bytes, version: int) -> bytes:
    """Make a PPPoE session's frame."""
    payload = (b"\x00\x21" if version == 4 else b"\x00\x57") + packet
    return ETHERNET + b"\x88\x64\x11\x00\x00\x01" + struct.pack("!H", len(payload)) + payload


def mpls(packet: bytes, version: int) -> bytes:
    """Make a frame with two labels, the lower one the explicit null of the version."""
    null = b"\x00\x00\x01\x40" if version == 4 else b"\x00\x00\x21\x40"
    return ETHERNET + b"\x88\x47\x00\x01\x00\x40" + null + packet


def family(order: str, six: int) -> Link:
    """Return what puts an address family before a packet."""
    return lambda packet, version: struct.pack(f"{order}I", 2 if version == 4 else six) + packet


def enc(packet: bytes, version: int) -> bytes:
    """Make a frame of OpenBSD's enc0."""
    return struct.pack("<I", 2 if version == 4 else 24) + struct.pack("!II", 0x1234, 1) + packet


def ppp(head: bytes, compressed: bool = False) -> Link:
    """Return what makes PPP frames."""
    zero = b"" if compressed else b"\0"
    return lambda packet, version: head + zero + (b"\x21" if version == 4 else b"\x57") + packet


def pflog(packet: bytes, version: int) -> bytes:
    """Make a frame of a log of pf."""
    return bytes((61, 2 if version == 4 else 24)) + b"\0\0em0" + bytes(64 - 7) + packet


def cooked(tags: bytes) -> Link:
    """Return what makes frames of Linux's "any" device."""
    head = b"\0\0\0\1\0\6\2\0\0\0\0\0\0\0"
    return lambda packet, version: head + tags + typed(version) + packet


def cooked2(tags: bytes) -> Link:
    """Return what makes frames of the second kind, whose type is before all else."""
    head = b"\0\0\0\0\0\2\0\1\0\6\2\0\0\0\0\0\0\0"

    def link(packet: bytes, version: int) -> bytes:
        types = tags + typed(version)
        return types[:2] + head + types[2:] + packet

    return link


CORPUS: dict[str, tuple[int, Link]] = {
    **{f"ethernet, {len(tags) // 4} tags": (1, tagged(tags)) for tags in TAGS},
    **{f"ethernet, {len(tags) // 4} old tags": (1, tagged(tags)) for tags in OLD_TAGS},
    "snap": (1, snap),
    "pppoe": (1, pppoe),
    "mpls": (1, mpls),
    "null, little": (0, family("<", 30)),
    "null, big": (0, family(">", 30)),
    "loop": (108, family(">", 24)),
    "enc": (109, enc),
    "ppp": (9, ppp(b"\xff\x03")),
    "ppp, address compressed": (9, ppp(b"")),
    "ppp, all compressed": (9, ppp(b"", compressed=True)),
    "pflog": (117, pflog),
    **{f"cooked, {len(tags) // 4} tags": (113, cooked(tags)) for tags in TAGS},
    **{f"cooked 2, {len(tags) // 4} tags": (276, cooked2(tags)) for tags in TAGS},
    "raw": (101, lambda packet, version: packet),
}

PACKETS = [
    *((4, ipv4(bytes(n))) for n in (0, 1, 2, 3, 15, 16, 17, 100, 1300)),
    (4, ipv4(b"options", options=b"\x01" * 12)),
    *((6, ipv6(bytes(n))) for n in (0, 1, 2, 3, 15, 16, 17, 100, 1300)),
    *((6, chained(types, b"extended")) for types in ((0,), (43,), (60,), (0, 60, 43, 60))),
]
MODES = {"transport": 0, "tunnel over IPv4": 4, "tunnel over IPv6": 6}


def passed(content: bytes, make_esp: MakeEsp, *, tunnel: int, inbound: bool) -> bytes:
    """Take a capture through ESP, of which nothing may be lost."""
    esp = make_esp(make_sa("aes-gcm-16", tunnel=tunnel))
    out = io.BytesIO()
    writer = PcapWriter(out, "out")
    work = esp.unprotect if inbound else esp.protect
    passage = Passage(writer, work, inbound=inbound, pass_others=False)
    reader = read_capture(io.BytesIO(content), "in")
    passage.run(reader.batches())
    writer.finish()
    assert not reader.cut
    flow = esp.counters().unprotected if inbound else esp.counters().protected
    assert passage.lost == flow.lost == 0
    assert flow.packets == passage.frames
    return out.getvalue()


@pytest.mark.parametrize("tunnel", MODES.values(), ids=MODES)
@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus_comes_back_byte_for_byte(make_esp: MakeEsp, name: str, tunnel: int) -> None:
    linktype, link = CORPUS[name]
    content = pcap(*(link(packet, version) for version, packet in PACKETS), linktype=linktype)
    wire = passed(content, make_esp, tunnel=tunnel, inbound=False)
    assert wire != content
    back = passed(wire, make_esp, tunnel=tunnel, inbound=True)
    # The snap length in the header is ours.
    assert back[24:] == content[24:]
    assert back[20:24] == content[20:24]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tunnel"), list(zip(CORPUS, itertools.cycle(MODES.values()), strict=False))
)
def test_tshark_finds_esp_in_each_frame(
    tmp_path: Path, make_esp: MakeEsp, name: str, tunnel: int
) -> None:
    linktype, link = CORPUS[name]
    content = pcap(*(link(packet, version) for version, packet in PACKETS), linktype=linktype)
    path = tmp_path / "wire.pcap"
    path.write_bytes(passed(content, make_esp, tunnel=tunnel, inbound=False))
    fields = ("esp.spi", "esp.sequence", "ip.version", "frame.protocols")
    rows = [row.split("\t") for row in tshark(path, *fields)]
    assert [row[0] for row in rows] == ["0x00001001"] * len(PACKETS)
    assert [int(row[1]) for row in rows] == [*range(1, len(PACKETS) + 1)]
    versions = [tunnel or version for version, _ in PACKETS]
    assert [row[2] == "4" for row in rows] == [version == 4 for version in versions]
    assert not any("_ws.malformed" in row[3] for row in rows)


def test_a_frame_of_802_3_cannot_grow_beyond_its_length(make_esp: MakeEsp) -> None:
    """Above 1500 the length would be read as an ethertype."""
    content = pcap(snap(ipv4(bytes(1450)), 4), snap(ipv4(bytes(9)), 4))
    esp = make_esp(make_sa("aes-gcm-16"))
    out = io.BytesIO()
    writer = PcapWriter(out, "out")
    passage = Passage(writer, esp.protect, inbound=False, pass_others=False)
    passage.run(read_capture(io.BytesIO(content), "in").batches())
    assert {reason.value: n for reason, n in passage.dropped.items()} == {"too big": 1}
    # SPI, number and IV; padding and its two bytes; the ICV.
    added = 8 + 8 + (-(9 + 2) % 4) + 2 + 16
    assert len(out.getvalue()) == len(pcap(snap(ipv4(bytes(9)), 4))) + added


@pytest.mark.parametrize(
    ("linktype", "frame", "kind"),
    [
        (1, ETHERNET + b"\x08\x06" + bytes(28), "ARP"),
        (1, ETHERNET + b"\x81\x00\x00\x05\x08\x06" + bytes(28), "ARP"),
        (1, ETHERNET + b"\x88\x63\x11\x09\x00\x00\x00\x00", "PPPoE discovery"),
        (1, ETHERNET + b"\x88\x64\x11\x00\x00\x01\x00\x0c\xc0\x21" + bytes(10), "PPP LCP"),
        (1, ETHERNET + b"\x88\x64\x12\x00\x00\x01\x00\x0c\x00\x21E" + bytes(9), "PPPoE"),
        (1, ETHERNET + b"\x88\x47\x00\x01\x01\x40\x00\x00\x00\x00" + ETHERNET, "MPLS"),
        (1, ETHERNET + b"\x00\x26\x42\x42\x03" + bytes(35), "STP"),
        (1, ETHERNET + b"\x00\x08\xaa\xaa\x03\x00\x00\x0c\x20\x00", "LLC 0xaa"),
        (1, ETHERNET + b"\x12\x34" + bytes(40), "ethertype 0x1234"),
        (1, ETHERNET + b"\x81\x00\x00", "too short for its link layer"),
        (1, b"", "too short for its link layer"),
        (0, b"\x07\0\0\0E", "address family 7"),
        (0, b"\x02\0\0", "too short for its link layer"),
        (9, b"\xff\x03\xc0\x23", "PPP PAP"),
        (101, b"\x00" * 40, "not IP"),
        (113, b"\0\0\0\1\0\6\2\0\0\0\0\0\0\0\x00\x04\x42\x42\x03", "STP"),
        (113, b"\0\0\0\1\0\6\2\0\0\0\0\0\0\0\x00\x0c" + bytes(16), "Linux protocol 0x000c"),
        (117, b"\x3d\x02\0\0", "too short for its link layer"),
        (117, b"\x00\x02\0\0" + bytes(90), "too short for its link layer"),
    ],
)
def test_what_holds_no_ip_is_named(linktype: int, frame: bytes, kind: str) -> None:
    assert finder(linktype)(frame) == kind


@pytest.mark.parametrize("linktype", LINKS)
def test_no_prefix_of_a_frame_upsets_a_finder(linktype: int) -> None:
    frames = [
        link(packet, v)
        for t, link in CORPUS.values()
        if t == linktype
        for v, packet in PACKETS[:9:4]
    ]
    for frame in frames or [packet for _, packet in PACKETS]:
        for size in range(min(len(frame), 120)):
            found = finder(linktype)(frame[:size])
            assert isinstance(found, str) or found.at <= size + 24


@pytest.mark.parametrize("linktype", [105, 127, 147, 220, 12345])
def test_a_link_type_that_is_not_supported_is_refused_by_name(linktype: int) -> None:
    with pytest.raises(CaptureError, match=rf"{linktype} \({link_name(linktype)}\)"):
        read_capture(io.BytesIO(pcap(b"", linktype=linktype)), "in")


def test_the_names_of_link_types_are_the_registrys() -> None:
    """A slip in the runs of names would shift all that follow; these are python-pcapng's."""
    import pcapng.constants.link_types as theirs

    listed = {
        value: name.removeprefix("LINKTYPE_")
        for name, value in vars(theirs).items()
        if name.startswith("LINKTYPE_") and isinstance(value, int)
    }
    assert len(listed) > 50
    renamed = {
        6: "IEEE802_5", 7: "ARCNET_BSD", 119: "IEEE802_11_PRISM", 120: "IEEE802_11_AIRONET",
        127: "IEEE802_11_RADIOTAP",
    }  # fmt: skip
    assert {value: LINK_TYPES.get(value) for value in listed} == listed | renamed
    assert LINK_TYPES[301] == "DECT_NR"
    assert LINK_TYPES[276] == "LINUX_SLL2"


def test_ip_packets_are_those_of_a_capture() -> None:
    frames = [tagged(tags)(packet, v) for tags in TAGS for v, packet in PACKETS]
    content = pcap(*frames, ETHERNET + b"\x08\x06" + bytes(28))
    found = list(ip_packets(read_capture(io.BytesIO(content), "in")))
    assert found == [packet for _, packet in PACKETS] * len(TAGS)


def test_the_corpus_has_every_link_type() -> None:
    """What is not in it is not tried."""
    assert {linktype for linktype, _ in CORPUS.values()} == set(LINKS) - {12, 14, 228, 229}


def test_old_numbers_of_tags_are_known() -> None:
    tags = b"\x93\x00\x00\x01\x92\x00\x00\x02"
    frame = tagged(tags)(ipv4(b"inside"), 4)
    assert list(ip_packets(read_capture(io.BytesIO(pcap(frame)), "in"))) == [ipv4(b"inside")]
