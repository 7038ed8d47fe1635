"""pcapng whole: what python-pcapng reads in a file, we do, and the other way; damage ends it."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import pytest

from opencrypto_esp.capture import (
    Block,
    CaptureError,
    Frame,
    Interface,
    PcapngReader,
    PcapngWriter,
    PcapWriter,
    read_capture,
)
from tests.consumers.esp.capture.files import (
    ETHERNET,
    Seen,
    block,
    interface,
    option,
    packet,
    section,
    seen,
)

FRAME = ETHERNET + b"\x08\x00" + bytes(range(33))
END = b"\0\0\0\0"
ORDERS = pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])


class Trickle(io.RawIOBase):
    """A pipe from which as many bytes come at a time as one likes."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__()
        self._file = io.BytesIO(content)
        self._size = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(self._size, size))


def reading(content: bytes) -> PcapngReader:
    """Return a reader of some bytes."""
    reader = read_capture(io.BytesIO(content), "in")
    assert isinstance(reader, PcapngReader)
    return reader


def frames_of(content: bytes) -> tuple[list[Frame], str]:
    """Return the frames of a capture, and why it ended early."""
    reader = reading(content)
    found = [item for batch in reader.batches() for item in batch if isinstance(item, Frame)]
    return found, reader.cut


def as_seen(frame: Frame) -> Seen:
    """Return a frame as a judge would."""
    at = frame.interface
    time = None
    if frame.ticks is not None:
        time = Fraction(frame.ticks, at.per_second) + at.offset
    return Seen(at.linktype, time, frame.data, frame.length)


def copied(content: bytes) -> bytes:
    """Write what is read, as it is."""
    out = io.BytesIO()
    writer = PcapngWriter(out, "out")
    for batch in reading(content).batches():
        for item in batch:
            if isinstance(item, Frame):
                writer.frame(*item)
            elif isinstance(item, Interface):
                writer.interface(item)
            elif isinstance(item, Block):
                writer.block(item)
            else:
                writer.section(item)
    writer.finish()
    return out.getvalue()


@ORDERS
def test_python_pcapng_reads_the_same(tmp_path: Path, order: str) -> None:
    resolution = [6, 9, 3, 0, 7, 12, 0x80 | 10, 0x80 | 32]
    parts = [section(order, option(4, b"by hand", order) + END)]
    for n, value in enumerate(resolution):
        options = option(2, b"eth%d" % n, order) + option(9, bytes((value,)), order) + END
        parts.append(interface(1 if n % 2 else 101, order, options=options))
    for n in range(len(resolution)):
        ticks = [0, 1, 1999999, 123456789012345678, 2**64 - 1]
        comment = option(1, b"what is said of it", order) + END
        parts += [packet(FRAME[: 20 + n], t, order, number=n, options=comment) for t in ticks]
        parts.append(packet(FRAME[:14], 5, order, number=n, length=1500))
    path = tmp_path / "in.pcapng"
    path.write_bytes(b"".join(parts))
    frames, cut = frames_of(path.read_bytes())
    assert not cut
    assert len(frames) == 6 * len(resolution)
    assert [as_seen(frame) for frame in frames] == seen(path)
    assert copied(path.read_bytes()) == path.read_bytes(), "options, order, times, lengths"


@ORDERS
def test_any_size_of_reads_brings_the_same(order: str) -> None:
    content = section(order) + interface(order=order)
    content += b"".join(packet(FRAME[:n], n, order) for n in range(len(FRAME)))
    whole, _ = frames_of(content)
    for size in (1, 2, 3, 5, 7, 28, 64, 1000):
        reader = read_capture(Trickle(content, size), "in")  # type: ignore[arg-type]  # all that is asked of a file
        got = [item for batch in reader.batches() for item in batch if isinstance(item, Frame)]
        assert [frame[1:] for frame in got] == [frame[1:] for frame in whole]
        assert not reader.cut


def test_sections_have_interfaces_and_byte_orders_of_their_own() -> None:
    content = section() + interface(1) + interface(101) + packet(FRAME, number=1)
    content += section(">") + interface(113, ">") + packet(FRAME, order=">")
    frames, cut = frames_of(content)
    assert [frame.interface.linktype for frame in frames] == [101, 113]
    assert copied(content) == content
    _, cut = frames_of(content + packet(FRAME, order=">", number=1))
    assert "interface 1" in cut


def test_an_offset_of_time_may_be_negative(tmp_path: Path) -> None:
    offset = option(14, struct.pack("<q", -1000)) + END
    path = tmp_path / "in.pcapng"
    path.write_bytes(section() + interface(options=offset) + packet(FRAME, 5 * 10**6))
    (frame,), _ = frames_of(path.read_bytes())
    assert frame.interface.seconds(frame.ticks or 0, 10**6) == (-995, 0)
    writer = PcapWriter(io.BytesIO(), "out")
    writer.interface(frame.interface)
    with pytest.raises(CaptureError, match="1970"):
        writer.frame(*frame)


def test_simple_packets_are_cut_to_the_first_interfaces_length() -> None:
    simple = [block(3, struct.pack("<I", n) + FRAME[:n]) for n in (14, 20)]
    simple.append(block(3, struct.pack("<I", 1000) + FRAME[:20]))
    frames, cut = frames_of(section() + interface(snaplen=20) + b"".join(simple))
    assert not cut
    assert [(len(frame.data), frame.length) for frame in frames] == [(14, 14), (20, 20), (20, 1000)]
    assert {frame.ticks for frame in frames} == {None}
    # What is cut off cannot be said in such a block once frames may have any length.
    again, _ = frames_of(copied(section() + interface(snaplen=20) + b"".join(simple)))
    assert [(f.data, f.length) for f in again] == [(f.data, f.length) for f in frames]


def test_old_packet_blocks_are_read_too() -> None:
    body = struct.pack("<HHIIII", 0, 3, 1, 2, len(FRAME), len(FRAME)) + FRAME
    (frame,), cut = frames_of(section() + interface() + block(2, body))
    assert not cut
    assert frame.ticks == (1 << 32) + 2
    assert frame.data == FRAME
    assert frame.options == option(4, struct.pack("<Q", 3)) + END


def test_options_that_a_change_makes_wrong_are_left_out() -> None:
    """A hash of what the packet was, and custom options that are not to be copied."""
    kept = option(1, b"a comment") + option(2988, b"\0\0\0\1x")
    gone = option(3, b"\2hash") + option(19372, b"\0\0\0\1y")
    (frame,), _ = frames_of(section() + interface() + packet(FRAME, options=gone + kept + END))
    assert frame.options == kept + END
    (frame,), _ = frames_of(section() + interface() + packet(FRAME, options=gone + END))
    assert frame.options == b""


@pytest.mark.parametrize(
    ("described", "flags", "fcs"),
    [(32, None, 4), (4, None, 4), (16, 0, 2), (None, 4, 4), (32, 2, 2)],
)
def test_a_check_sequence_is_cut_off(described: int | None, flags: int | None, fcs: int) -> None:
    """The interface has its length in bits, a packet's flags in bytes; the latter come first."""
    options = b"" if described is None else option(13, bytes((described,))) + END
    of_packet = b"" if flags is None else option(2, struct.pack("<I", flags << 5 | 1)) + END
    content = section() + interface(options=options)
    content += packet(FRAME, options=of_packet) + packet(
        FRAME, length=len(FRAME) + 2, options=of_packet
    )
    (frame, cut), _ = frames_of(content)
    assert (frame.data, frame.length) == (FRAME[:-fcs], len(FRAME) - fcs)
    assert (cut.data, cut.length) == (FRAME[: len(FRAME) + 2 - fcs], len(FRAME) + 2 - fcs)
    assert frame.interface.options == b""
    if flags is not None:
        assert frame.options == option(2, struct.pack("<I", 1)) + END


WHOLE = section() + interface() + packet(FRAME) + packet(FRAME)
LAST = len(WHOLE) - len(packet(FRAME))


@pytest.mark.parametrize("size", range(len(section()) + 1, len(WHOLE)))
def test_a_file_cut_anywhere_keeps_what_came_before(size: int) -> None:
    frames, cut = frames_of(WHOLE[:size])
    ends = [len(section()), len(section() + interface()), LAST]
    assert len(frames) == sum(end <= size for end in (LAST, len(WHOLE)))
    assert bool(cut) == (size not in ends)


DAMAGED = {
    "a length that is no multiple of 4": struct.pack("<II", 6, 33) + bytes(60),
    "a length that is too small": struct.pack("<II", 6, 8) + bytes(60),
    "a length beyond all reason": struct.pack("<II", 6, 0xFFFFFFF0) + bytes(60),
    "two lengths that differ": packet(FRAME)[:-4] + struct.pack("<I", 36),
    "more data than the block has": block(6, struct.pack("<IIIII", 0, 0, 0, 999, 999) + FRAME),
    "a block too short for a packet": block(6, bytes(16)),
    "an interface that is not described": packet(FRAME, number=7),
    "a section without byte order": block(0x0A0D0D0A, bytes(16)),
    "a section of another version": section(major=2),
    "an interface that is too short": block(1, bytes(4)),
    "an option longer than its block": packet(FRAME, options=struct.pack("<HH", 1, 99) + bytes(4)),
    "a simple packet without length": block(3, b""),
    "a simple packet longer than its block": block(3, struct.pack("<I", 99) + FRAME),
    "an old packet that is too short": block(2, bytes(12)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_ends_a_capture(name: str) -> None:
    frames, cut = frames_of(section() + interface() + packet(FRAME) + DAMAGED[name] + packet(FRAME))
    assert len(frames) == 1
    assert cut


NO_SECTIONS = [section()[:20], section(major=3), block(0x0A0D0D0A, bytes(16))]


@pytest.mark.parametrize("content", NO_SECTIONS, ids=["cut short", "version 3", "no byte order"])
def test_a_first_section_that_cannot_be_read_is_refused(content: bytes) -> None:
    with pytest.raises(CaptureError):
        read_capture(io.BytesIO(content), "in")
