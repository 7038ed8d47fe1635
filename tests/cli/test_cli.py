"""The command as a user meets it: run in a process of its own, or through a terminal."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import dpkt
import pexpect
import pytest

from opencrypto.cli.app import app

DATA = Path(__file__).parents[1] / "data"
RUN = [sys.executable, "-c", "from opencrypto.cli import main; main()"]
ETHERNET = bytes(range(12))


@pytest.fixture
def sa(tmp_path: Path) -> Path:
    """Return an SA file that may be used."""
    path = Path(shutil.copy(DATA / "sa" / "transport.toml", tmp_path / "sa.toml"))
    path.chmod(0o600)
    return path


@pytest.fixture
def tunnel(tmp_path: Path) -> Path:
    """Return one with tunnels over IPv4 and IPv6."""
    path = Path(shutil.copy(DATA / "sa" / "tunnel.toml", tmp_path / "tunnel.toml"))
    path.chmod(0o600)
    return path


def run(*words: str | Path, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command; no failure may show a traceback, and every one says what is wrong."""
    done = subprocess.run(
        [*RUN, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb"} | env,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not status or done.stderr.strip()
    return done


def call(*words: str | Path) -> None:
    """Run the command in this process, where many runs are wanted and none is to fail."""
    assert not app([*map(str, words)], standalone_mode=False)


def frames(path: Path) -> list[tuple[float, bytes]]:
    """Return the times and frames of a pcap file."""
    with path.open("rb") as file:
        return list(dpkt.pcap.Reader(file))


def record(path: Path, content: Sequence[bytes], linktype: int = 1, *, ng: bool = False) -> Path:
    """Write a capture, a frame each second."""
    with path.open("wb") as file:
        if ng:
            # dpkt's writer takes the link type from a block of ours.
            idb = dpkt.pcapng.InterfaceDescriptionBlockLE(linktype=linktype)
            writer: Any = dpkt.pcapng.Writer(file, idb=idb)
        else:
            writer = dpkt.pcap.Writer(file, linktype=linktype)
        for n, frame in enumerate(content):
            writer.writepkt(frame, ts=float(1000 + n))
        return path


def some_packets() -> list[bytes]:
    """Return the first IP packets of the real capture."""
    return [frame[14:] for _, frame in frames(DATA / "capture.pcap")[:20]]


def test_drivers() -> None:
    shown = run("drivers").stdout
    for word in ("openssl", "swcrypto", "null", "AES_GCM_16", "accelerated", "sessions"):
        assert word in shown
    listed = json.loads(run("drivers", "--json").stdout)["drivers"]
    (openssl,) = [driver for driver in listed if driver["name"] == "openssl"]
    assert openssl["available"]
    assert openssl["class"] == "accelerated"
    assert openssl["reason"] is None
    assert "AES_CBC" in openssl["algorithms"]


def test_a_driver_that_is_not_available_has_a_reason() -> None:
    listed = json.loads(run("drivers", "--json", OPENCRYPTO_BLOCK="openssl").stdout)["drivers"]
    (openssl,) = [driver for driver in listed if driver["name"] == "openssl"]
    assert not openssl["available"]
    assert openssl["reason"]
    shown = run("drivers", OPENCRYPTO_BLOCK="openssl").stdout
    assert "not available" in shown
    assert openssl["reason"] in shown


@pytest.mark.parametrize("file", ["sa", "tunnel"])
def test_the_capture_comes_back(tmp_path: Path, file: str, request: Any) -> None:
    keys = request.getfixturevalue(file)
    wire, back = tmp_path / "wire.pcap", tmp_path / "back.pcap"
    shown = run("esp", "protect", DATA / "capture.pcap", wire, "--sa", keys)
    assert "2,383" in shown.stdout
    assert "served by openssl" in shown.stdout
    assert shown.stderr == "", "no progress bar where nobody looks"
    done = run("esp", "unprotect", wire, back, "--sa", keys, "--json")
    document = json.loads(done.stdout)
    assert document["unprotected"]["packets"] == 2383
    assert document["lost"] == document["not_ip"] == 0
    assert frames(back) == frames(DATA / "capture.pcap"), "times and frames, in order"
    assert all(frame[23] == 50 or frame[20] == 50 for _, frame in frames(wire))


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


def test_dropped_packets_are_status_1(tmp_path: Path, sa: Path) -> None:
    out = tmp_path / "out.pcap"
    done = run("esp", "unprotect", DATA / "capture.pcap", out, "--sa", sa, status=1)
    assert "dropped: not ESP" in done.stdout
    assert "2383 packets were dropped" in done.stderr
    assert frames(out) == []


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["esp", "protect"], 2, "Missing argument"),
        (["esp", "protect", "{in}", "{out}"], 2, "--sa"),
        (["nonsense"], 2, "nonsense"),
        (["drivers", "--nonsense"], 2, "nonsense"),
        (["esp", "protect", "no-such-file", "{out}", "--sa", "{sa}"], 2, "check the path"),
        (["esp", "protect", "{in}", "{out}", "--sa", "no-such-file"], 2, "check the path"),
        (["esp", "protect", "{in}", "{in}", "--sa", "{sa}"], 2, "name another file"),
        (["esp", "protect", "{in}", "no/such/folder", "--sa", "{sa}"], 2, "check the path"),
        (["esp", "protect", "{sa}", "{out}", "--sa", "{sa}"], 1, "neither pcap nor pcapng"),
        (["esp", "protect", "{in}", "{out}", "--sa", "{in}"], 2, "chmod 600"),
        (["esp", "protect", "{in}", "{out}", "--sa", "{empty}"], 2, "no [[sa]] table"),
        (["esp", "protect", "{empty}", "{out}", "--sa", "{sa}"], 1, "neither pcap nor pcapng"),
        (["esp", "protect", "{cut}", "{out}", "--sa", "{sa}"], 1, "damaged after packet"),
        (["esp", "protect", "{odd}", "{out}", "--sa", "{sa}"], 1, "link type 147"),
    ],
)
def test_failures(tmp_path: Path, sa: Path, words: list[str], status: int, says: str) -> None:
    whole = DATA.joinpath("capture.pcap").read_bytes()
    files = {"in": whole[:3000], "empty": b"", "cut": whole[:30], "odd": whole[:20]}
    files["odd"] += struct.pack("<I", 147)
    paths = {"sa": sa, "out": tmp_path / "out.pcap"}
    for name, content in files.items():
        paths[name] = tmp_path / name
        paths[name].write_bytes(content)
        paths[name].chmod(0o600 if name == "empty" else 0o644)
    done = run(*(word.format(**paths) for word in words), status=status)
    assert says in done.stderr
    assert not paths["out"].exists(), "nothing half done under the name that was asked for"
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))
    assert "000102030405" not in done.stderr


def test_no_driver_is_said_at_once(tmp_path: Path, sa: Path) -> None:
    done = run(
        "esp", "protect", DATA / "capture.pcap", tmp_path / "out.pcap", "--sa", sa,
        status=1, OPENCRYPTO_BLOCK="openssl,swcrypto",
    )  # fmt: skip
    assert "no driver serves AES_CBC" in done.stderr


def test_no_key_in_the_debug_log(tmp_path: Path, sa: Path) -> None:
    done = run("--debug", "esp", "protect", DATA / "capture.pcap", tmp_path / "o", "--sa", sa)
    assert "driver_attached" in done.stderr
    for start in ("000102030405", "101112131415"):
        assert start not in done.stdout + done.stderr


def test_version_and_help() -> None:
    assert run("--version").stdout.startswith("opencrypto ")
    assert "protect" in run("esp", "--help").stdout


@pytest.mark.slow
def test_a_terminal_gets_a_progress_bar(tmp_path: Path, sa: Path) -> None:
    words = ["esp", "protect", DATA / "capture.pcap", tmp_path / "out.pcap", "--sa", sa]
    child = pexpect.spawn(
        RUN[0],
        [*RUN[1:], *map(str, words)],
        env=os.environ | {"TERM": "xterm"},
        timeout=60,
        encoding="utf-8",
    )
    output = child.read()
    child.close()
    assert child.exitstatus == 0
    assert "\u2501" in output, "the bar"
    assert "2,383" in output


def test_writing_to_a_device(sa: Path) -> None:
    run("esp", "protect", DATA / "capture.pcap", "/dev/null", "--sa", sa)
    assert not Path("/dev/null").is_file()
