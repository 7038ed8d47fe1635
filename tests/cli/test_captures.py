"""Captures of every kind go through the command, and come out whole."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import dpkt
import pytest

from tests.cli.commands import ETHERNET, call, frames, record, run, some_packets

pytestmark = pytest.mark.slow


def ethernet(packet: bytes) -> bytes:
    """Return an Ethernet frame."""
    return ETHERNET + b"\x08\x00" + packet


LINKS = {
    "ethernet": (1, 1, ETHERNET + b"\x08\x00"),
    "vlan": (1, 1, ETHERNET + b"\x81\x00\x00\x05\x08\x00"),
    "two vlans": (1, 1, ETHERNET + b"\x88\xa8\x00\x09\x81\x00\x00\x05\x08\x00"),
    "raw": (101, 101, b""),
    "raw, as some write it": (12, 101, b""),
    "ipv4": (228, 101, b""),
    "cooked": (113, 113, bytes(14) + b"\x08\x00"),
    "cooked 2": (276, 276, b"\x08\x00" + bytes(18)),
}


@pytest.mark.parametrize("ng", [False, True], ids=["pcap", "pcapng"])
@pytest.mark.parametrize("name", LINKS)
def test_link_layers(tmp_path: Path, tunnel: Path, name: str, ng: bool) -> None:
    """A tunnel over IPv6 changes the type in the frame, and back."""
    kind, written, header = LINKS[name]
    plain = [header + packet for packet in some_packets()]
    source = record(tmp_path / "in", plain, kind, ng=ng)
    wire, back = tmp_path / "wire.pcap", tmp_path / "back.pcap"
    call("esp", "protect", source, wire, "--sa", tunnel)
    call("esp", "unprotect", wire, back, "--sa", tunnel)
    assert [frame for _, frame in frames(back)] == plain
    at = len(header)
    versions = {frame[at] >> 4 for _, frame in frames(wire)}
    assert versions == {4, 6}
    for _, frame in frames(wire):
        if header:
            assert (b"\x86\xdd" in frame[:at]) == (frame[at] >> 4 == 6)
    with wire.open("rb") as file:
        assert dpkt.pcap.Reader(file).datalink() == written


def test_what_is_not_ip_passes(tmp_path: Path, sa: Path) -> None:
    arp = ETHERNET + b"\x08\x06" + bytes(28)
    plain = [arp, ethernet(some_packets()[0]), arp, b"\x01\x02", b""]
    source = record(tmp_path / "in.pcap", plain)
    out = tmp_path / "out.pcap"
    document = json.loads(run("esp", "protect", source, out, "--sa", sa, "--json").stdout)
    assert document["not_ip"] == 4
    assert document["protected"]["packets"] == 1
    got = [frame for _, frame in frames(out)]
    assert [got[0], *got[2:]] == [plain[0], *plain[2:]]


def test_nanoseconds_are_kept(tmp_path: Path, sa: Path) -> None:
    when = Decimal("1454725786.010203045")
    with (tmp_path / "in.pcap").open("wb") as file:
        dpkt.pcap.Writer(file, nano=True).writepkt(ethernet(some_packets()[0]), ts=when)
    run("esp", "protect", tmp_path / "in.pcap", tmp_path / "out.pcap", "--sa", sa)
    assert [time for time, _ in frames(tmp_path / "out.pcap")] == [when]
