"""
Captures made and judged without the code under test: bytes by `struct`, and the eyes of others.

The judges are dpkt for pcap, python-pcapng for pcapng, and capinfos and tshark for both.
"""

from __future__ import annotations

import os
import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import dpkt
import pcapng

from tests.support import require_tool

ETHERNET = bytes(range(2, 14))


class Seen(NamedTuple):
    """A frame as a judge sees it."""

    linktype: int
    time: Fraction | None
    data: bytes
    length: int


# Making.


def pcap(
    *frames: bytes, linktype: int = 1, order: str = "<", nano: bool = False, step: int = 1
) -> bytes:
    """Return a pcap file whose frames are 1000, 1000 + step, ... seconds and 7 parts from 1970."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    parts = [struct.pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, 65535, linktype)]
    for n, frame in enumerate(frames):
        size = len(frame)
        parts.append(struct.pack(f"{order}IIII", 1000 + n * step, 7, size, size) + frame)
    return b"".join(parts)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """Return a pcapng block."""
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    return struct.pack(f"{order}II", kind, size) + body + struct.pack(f"{order}I", size)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    """Return an option, padded."""
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<", options: bytes = b"", major: int = 1) -> bytes:
    """Return a section header block."""
    head = struct.pack(f"{order}IHHq", 0x1A2B3C4D, major, 0, -1)
    return block(0x0A0D0D0A, head + options, order)


def interface(
    linktype: int = 1, order: str = "<", *, snaplen: int = 0, options: bytes = b""
) -> bytes:
    """Return an interface description block."""
    return block(1, struct.pack(f"{order}HHI", linktype, 0, snaplen) + options, order)


def packet(
    data: bytes, ticks: int = 10**6, order: str = "<", *,
    number: int = 0, length: int | None = None, options: bytes = b"",
) -> bytes:  # fmt: skip
    """Return an enhanced packet block."""
    size = len(data) if length is None else length
    head = struct.pack(f"{order}IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), size)
    return block(6, head + data + bytes(-len(data) % 4) + options, order)


# Judging.


def seen(path: Path) -> list[Seen]:
    """Return the frames of a capture as dpkt or python-pcapng reads it."""
    if path.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a":
        return _by_python_pcapng(path)
    return _by_dpkt(path)


def _by_dpkt(path: Path) -> list[Seen]:
    with path.open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        linktype = reader.datalink()
        divisor = int(reader._divisor)
        file.seek(24)
        found = []
        order = "<" if path.read_bytes()[0] in (0xD4, 0x4D) else ">"
        # dpkt gives times as floats; the rest is its own reading of the same records.
        records = list(reader)
        file.seek(24)
        for _, data in records:
            seconds, part, kept, length = struct.unpack(f"{order}IIII", file.read(16))
            assert kept == len(data)
            file.seek(kept, 1)
            found.append(Seen(linktype, seconds + Fraction(part, divisor), bytes(data), length))
        return found


def _by_python_pcapng(path: Path) -> list[Seen]:
    found = []
    with path.open("rb") as file:
        for each in pcapng.FileScanner(file):
            if isinstance(each, pcapng.blocks.EnhancedPacket):
                described = each.interface
                ticks = (each.timestamp_high << 32) + each.timestamp_low
                time = ticks * _resolution(described) + described.options.get("if_tsoffset", 0)
                found.append(Seen(described.link_type, time, each.packet_data, each.packet_len))
            elif isinstance(each, pcapng.blocks.SimplePacket):
                described = each.interface
                found.append(Seen(described.link_type, None, each.packet_data, each.packet_len))
    return found


def _resolution(described: pcapng.blocks.InterfaceDescription) -> Fraction:
    """Return it exactly; python-pcapng makes a float of it."""
    raw = described.options.get_raw("if_tsresol") if "if_tsresol" in described.options else b"\6"
    return Fraction(1, (2 if raw[0] & 0x80 else 10) ** (raw[0] & 0x7F))


def run(*call: str, home: Path) -> str:
    """Run a tool that must find nothing wrong, with nothing of the user's configuration."""
    env = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "TZ": "UTC"}
    done = subprocess.run(call, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "damaged" not in done.stderr
    assert "cut short" not in done.stderr
    return done.stdout


def is_capture(path: Path) -> bool:
    """Tell whether a file is a capture, and no packed one."""
    start = path.read_bytes()[:4]
    return start == b"\x0a\x0d\x0d\x0a" or start in {
        struct.pack(f"{order}I", magic) for order in "<>" for magic in (0xA1B2C3D4, 0xA1B23C4D)
    }


def judge(path: Path) -> None:
    """See that capinfos finds as many frames in a capture as others, and the same times."""
    tool = require_tool("capinfos", "tshark")
    row = run(tool, "-TrmQ", "-S", "-c", "-a", "-e", str(path), home=path.parent)
    count, first, last = (field.strip('"') for field in row.strip().rsplit(",", 3)[1:])
    frames = seen(path)
    assert int(count) == len(frames)
    times = [frame.time for frame in frames if frame.time is not None]
    if times and len(times) == len(frames):
        for told, time in ((first, min(times)), (last, max(times))):
            _, _, digits = told.partition(".")
            unit = 10 ** len(digits)
            assert Fraction(told) == Fraction(time * unit // 1, unit)


def tshark_times(path: Path) -> list[str]:
    """Return when tshark finds the frames recorded, and see that capinfos counts as many."""
    times = tshark(path, "frame.time_epoch")
    table = run(require_tool("capinfos", "tshark"), "-TrmQc", str(path), home=path.parent)
    assert int(table.split(",")[1].strip().strip('"')) == len(times)
    return times


def tshark(path: Path, *fields: str) -> list[str]:
    """Return some fields of each frame, tab between them."""
    words = [word for field in fields for word in ("-e", field)]
    tool = require_tool("tshark", "tshark")
    out = run(tool, "-r", str(path), "-n", "-T", "fields", *words, home=path.parent)
    return out.splitlines()
