"""pcap: headers of every kind, and damage that ends a capture where it is."""

from __future__ import annotations

import io
import struct

import pytest

from opencrypto_esp.capture import CaptureError, Frame, PcapReader, read_capture
from tests.consumers.esp.capture.files import ETHERNET, pcap

FRAME = ETHERNET + b"\x08\x00" + bytes(range(33))
RECORD = 16 + len(FRAME)


def frames_of(content: bytes) -> tuple[list[Frame], str]:
    """Return the frames of a capture, and why it ended early."""
    reader = read_capture(io.BytesIO(content), "in")
    assert isinstance(reader, PcapReader)
    found = [item for batch in reader.batches() for item in batch if isinstance(item, Frame)]
    return found, reader.cut


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("nano", [False, True], ids=["us", "ns"])
def test_either_byte_order_and_resolution(order: str, nano: bool) -> None:
    frames, cut = frames_of(pcap(FRAME, FRAME, order=order, nano=nano))
    assert not cut
    per_second = 10**9 if nano else 10**6
    assert [frame.ticks for frame in frames] == [1000 * per_second + 7, 1001 * per_second + 7]
    assert {frame.interface.per_second for frame in frames} == {per_second}
    assert {frame.data for frame in frames} == {FRAME}


@pytest.mark.parametrize("size", range(24, 24 + 2 * RECORD))
def test_a_file_cut_anywhere_keeps_what_came_before(size: int) -> None:
    frames, cut = frames_of(pcap(FRAME, FRAME)[:size])
    assert len(frames) == (size - 24) // RECORD
    assert bool(cut) == bool((size - 24) % RECORD)


@pytest.mark.parametrize("kept", [len(FRAME) + 257, 200_000, 262_145, 2**31, 2**32 - 1])
def test_a_damaged_length_swallows_nothing(kept: int) -> None:
    """Neither one that no packet has, nor one that only this packet cannot have."""
    content = bytearray(pcap(*[FRAME] * 9000))
    struct.pack_into("<I", content, 24 + RECORD + 8, kept)
    frames, cut = frames_of(bytes(content))
    assert len(frames) == 1
    assert cut == f"{kept} bytes of a packet of {len(FRAME)} are announced"


def test_a_recorder_may_count_a_header_of_its_own() -> None:
    content = bytearray(pcap(FRAME, FRAME))
    struct.pack_into("<I", content, 24 + 12, len(FRAME) - 16)
    frames, cut = frames_of(bytes(content))
    assert not cut
    assert [frame.length for frame in frames] == [len(FRAME)] * 2


@pytest.mark.parametrize(("major", "minor"), [(2, 2), (2, 3), (3, 0), (543, 0)])
def test_another_version_is_refused(major: int, minor: int) -> None:
    """Of old ones the two lengths of a packet changed places."""
    content = bytearray(pcap(FRAME))
    struct.pack_into("<HH", content, 4, major, minor)
    with pytest.raises(CaptureError, match=rf"version {major}\.{minor}"):
        frames_of(bytes(content))


@pytest.mark.parametrize(
    ("bits", "fcs"),
    [(0x24000000, 4), (0x14000000, 2), (0x20000000, 0), (0x04000000, 0), (0x3FF0000, 0)],
)
def test_the_upper_bits_of_the_link_type_are_no_part_of_it(bits: int, fcs: int) -> None:
    """Only with its flag set there is a length of the check sequence, in units of 16 bits."""
    (frame,), cut = frames_of(pcap(FRAME, linktype=1 | bits))
    assert not cut
    assert frame.interface.linktype == 1
    assert frame.data == FRAME[: len(FRAME) - fcs]
    assert frame.length == len(FRAME) - fcs
