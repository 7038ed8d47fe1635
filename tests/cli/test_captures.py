"""Captures of every kind go through the command, and come out whole or with a sentence."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import resource
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from opencrypto_esp.capture import CaptureError
from opencrypto_esp.capture.source import zstd_module
from tests.cli.commands import DATA, ETHERNET, RUN, ask, call, record, run, some_packets
from tests.consumers.esp.capture.files import (
    block,
    interface,
    is_capture,
    judge,
    option,
    packet,
    pcap,
    section,
    seen,
    tshark_times,
)
from tests.consumers.esp.packets import ipv4, ipv6

CASES = DATA / "captures"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _judged(tmp_path: Path) -> Iterator[None]:
    """Have capinfos judge each capture that a test has written: as many packets, the same times."""
    yield
    for path in tmp_path.iterdir():
        if path.is_file() and path.stem != "in" and is_capture(path):
            judge(path)


def test_every_case_is_tried() -> None:
    """Each of the small captures has its right answer here."""
    text = Path(__file__).read_text()
    names = [path.name for path in CASES.iterdir() if ".pcap" in path.name]
    assert len(names) >= 35
    assert [name for name in names if f'"{name}"' not in text] == []


def ethernet(packet: bytes) -> bytes:
    """Return an Ethernet frame."""
    return ETHERNET + b"\x08\x00" + packet


ARP = ETHERNET + b"\x08\x06" + bytes(28)
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
    call("esp", "protect", source, wire, "--sa", tunnel, "--test-keys")
    call("esp", "unprotect", wire, back, "--sa", tunnel)
    assert [frame.data for frame in seen(back)] == plain
    at = len(header)
    assert {frame.data[at] >> 4 for frame in seen(wire)} == {4, 6}
    for frame in seen(wire):
        assert frame.linktype == written
        if header:
            assert (b"\x86\xdd" in frame.data[:at]) == (frame.data[at] >> 4 == 6)


# The small captures of tests/data/captures, each with its right answer (its README).

WHOLE = {
    # Protected and then unprotected, the file is what it was, byte for byte.
    "be.pcap": 1, "clear_inside.pcap": 5, "empty.pcap": 0, "enc.pcap": 1, "loop.pcap": 1,
    "nano.pcapng": 1, "noif.pcapng": 0, "nsbe.pcap": 1, "null.pcap": 2, "plain.pcap": 2,
    "ppp.pcap": 1, "sll_vlan.pcap": 1, "spb.pcapng": 2, "time2107.pcapng": 1, "tsoffset.pcapng": 1,
    "tsres2.pcapng": 1, "twoif_link.pcapng": 3, "twoif_res.pcapng": 2, "twosec_endian.pcapng": 2,
    "zero.pcap": 1,
}  # fmt: skip
"""Each with how many packets there are to protect."""

TIMES = {
    "nano.pcapng": ["1700000000.123456789"],
    "nsbe.pcap": ["1.123456789"],
    "time2107.pcapng": ["4323456789.000000000"],
    "tsoffset.pcapng": ["1005.000000000"],
    "tsres2.pcapng": ["5.000000000"],
    "twoif_res.pcapng": ["5.000000000", "5.000000000"],
}
"""What tshark says of when they were recorded."""


ENDS = {"IPv4": ("192.0.2.1", "192.0.2.2"), "IPv6": ("2001:db8::1", "2001:db8::2")}


def write_sa(path: Path, mode: str) -> Path:
    """Write an SA file for all packets; the mode may be a tunnel over one or the other IP."""
    mode, _, version = mode.partition(" over ")
    rows = {
        "mode": mode,
        "encryption": "aes-gcm-16",
        "encryption_key": bytes(range(20)).hex(),
    }
    if version:
        rows |= dict(zip(("tunnel_source", "tunnel_destination"), ENDS[version], strict=True))
    lines = [f'{name} = "{value}"' for name, value in rows.items()]
    path.write_text("\n".join(["[[sa]]", "spi = 4096", *lines]))
    path.chmod(0o600)
    return path


@pytest.fixture(params=["transport", "tunnel over IPv4", "tunnel over IPv6"])
def any_sa(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return an SA file of each mode."""
    return write_sa(tmp_path / "any.toml", request.param)


@pytest.mark.parametrize("name", WHOLE)
def test_a_capture_comes_back_byte_for_byte(tmp_path: Path, name: str, any_sa: Path) -> None:
    source, wire, back = CASES / name, tmp_path / "wire", tmp_path / "back"
    status, document, _ = ask(
        "esp", "protect", source, wire, "--sa", any_sa, "--pass-others", "--test-keys"
    )
    assert status == 0
    assert document["protected"]["packets"] == WHOLE[name]
    assert document["lost"] == 0
    call("esp", "unprotect", wire, back, "--sa", any_sa, "--pass-others")
    assert back.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("name", WHOLE)
def test_tshark_finds_the_same_times(tmp_path: Path, sa: Path, name: str) -> None:
    wire = tmp_path / "wire"
    call("esp", "protect", CASES / name, wire, "--sa", sa, "--pass-others")
    times = tshark_times(wire)
    assert times == tshark_times(CASES / name)
    assert times == TIMES.get(name, times)


@pytest.mark.parametrize(
    ("name", "kept", "where"),
    [
        ("swallow.pcap", 1, "cut short after packet 1"),
        ("cut_last.pcap", 2, "cut short after packet 2"),
        ("cut_hdr.pcap", 2, "cut short after packet 2"),
        ("cut.pcapng", 1, "cut short after packet 1"),
    ],
)
def test_what_came_before_the_damage_is_kept(
    tmp_path: Path, sa: Path, name: str, kept: int, where: str
) -> None:
    wire, back = tmp_path / "wire", tmp_path / "back"
    status, document, err = ask("esp", "protect", CASES / name, wire, "--sa", sa)
    assert status == 1
    assert where in document["cut_short"]
    assert where in err
    assert document["protected"]["packets"] == document["frames"] == kept
    call("esp", "unprotect", wire, back, "--sa", sa)
    assert (CASES / name).read_bytes().startswith(back.read_bytes())
    assert len(seen(back)) == kept


@pytest.mark.parametrize(
    ("name", "dropped", "remedy"),
    [
        ("bigtcp6.pcap", {"no length (segmentation offload or jumbogram)": 1}, "ethtool"),
        ("tso6small.pcap", {"no length (segmentation offload or jumbogram)": 1}, "ethtool"),
        ("tso4.pcap", {"no length (segmentation offload or jumbogram)": 1}, "ethtool"),
        ("ethertype_lies.pcap", {"malformed": 2}, "tshark"),
        ("frags.pcap", {"fragment in transport mode": 2}, "tunnel mode"),
        ("snap.pcap", {"truncated": 1}, "tcpdump -s 0"),
    ],
)
def test_packets_that_are_not_whole_are_dropped_with_a_reason(
    tmp_path: Path, sa: Path, name: str, dropped: dict[str, int], remedy: str
) -> None:
    out = tmp_path / "out"
    status, document, err = ask("esp", "protect", CASES / name, out, "--sa", sa, "--pass-others")
    assert status == 1
    assert document["protected"]["dropped"] == dropped
    assert document["lost"] == sum(dropped.values())
    assert remedy in err
    assert len(seen(out)) == document["frames"] - document["lost"], "nothing is cut"


def test_fragments_go_through_a_tunnel(tmp_path: Path) -> None:
    tunnel = write_sa(tmp_path / "sa", "tunnel over IPv4")
    wire, back = tmp_path / "wire", tmp_path / "back"
    call("esp", "protect", CASES / "frags.pcap", wire, "--sa", tunnel, "--test-keys")
    call("esp", "unprotect", wire, back, "--sa", tunnel)
    assert back.read_bytes() == (CASES / "frags.pcap").read_bytes()


def test_the_original_length_is_kept(tmp_path: Path, sa: Path) -> None:
    out = tmp_path / "out"
    ask("esp", "protect", CASES / "snap.pcap", out, "--sa", sa, "--pass-others")
    arp = seen(out)[0]
    assert (len(arp.data), arp.length) == (30, 42)


def test_a_check_sequence_is_no_part_of_a_frame(tmp_path: Path, sa: Path) -> None:
    """The link type's upper bits made it an unknown one."""
    wire, back = tmp_path / "wire", tmp_path / "back"
    call("esp", "protect", CASES / "fcs.pcap", wire, "--sa", sa)
    call("esp", "unprotect", wire, back, "--sa", sa)
    (frame,) = seen(back)
    (plain,) = seen(CASES / "fcs.pcap")
    assert frame.data == plain.data[:-4]
    assert frame.length == plain.length - 4
    assert back.read_bytes()[20:24] == b"\1\0\0\0"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("modified.pcap", "editcap"),
        ("zerobytes.pcap", "neither pcap nor pcapng"),
        ("half_header.pcap", "inside its header"),
    ],
)
def test_what_is_no_capture_is_refused(tmp_path: Path, sa: Path, name: str, says: str) -> None:
    with pytest.raises(CaptureError, match=says):
        ask("esp", "protect", CASES / name, tmp_path / "out", "--sa", sa)
    assert not (tmp_path / "out").exists()


def test_a_time_beyond_2106_is_no_time_for_pcap(tmp_path: Path, sa: Path) -> None:
    """It was an internal error."""
    source, out = CASES / "time2107.pcapng", tmp_path / "out"
    with pytest.raises(CaptureError, match="--format pcapng"):
        ask("esp", "protect", source, out, "--sa", sa, "--format", "pcap")
    assert not out.exists()


def test_two_link_types_do_not_go_into_one_pcap(tmp_path: Path, sa: Path) -> None:
    """All frames were written under the first one's."""
    source, out = CASES / "twoif_link.pcapng", tmp_path / "out"
    with pytest.raises(CaptureError, match="one link type"):
        ask("esp", "protect", source, out, "--sa", sa, "--format", "pcap")
    call("esp", "protect", source, out, "--sa", sa)
    assert [frame.linktype for frame in seen(out)] == [1, 101, 101]


def test_times_are_whole_numbers(tmp_path: Path, sa: Path) -> None:
    """By floats 1.9999999 s became a second and a million microseconds."""
    source, out = tmp_path / "in.pcapng", tmp_path / "out.pcap"
    frame = ethernet(ipv4(b"payload"))
    options = option(9, b"\7")
    source.write_bytes(section() + interface(options=options) + packet(frame, 19999999))
    call("esp", "protect", source, out, "--sa", sa, "--format", "pcap")
    (got,) = seen(out)
    assert got.time is not None
    assert got.time * 10**7 == 19999999


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_either_format_is_made_of_either(tmp_path: Path, sa: Path, kind: str) -> None:
    frames = [ethernet(ipv4(bytes(n))) for n in range(9)]
    sources = {
        "pcap": pcap(*frames, nano=True),
        "pcapng": section(">")
        + interface(order=">", options=option(9, b"\x09", ">"))
        + b"".join(packet(f, (1000 + n) * 10**9 + 7, ">") for n, f in enumerate(frames)),
    }
    for name, content in sources.items():
        source, wire, back = (tmp_path / f"{word}.{name}" for word in ("in", "wire", "back"))
        source.write_bytes(content)
        call("esp", "protect", source, wire, "--sa", sa, "--format", kind)
        call("esp", "unprotect", wire, back, "--sa", sa, "--format", name)
        assert seen(back) == seen(source)
        assert (wire.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a") == (kind == "pcapng")


def test_an_interface_that_is_not_understood_costs_its_frames_alone(
    tmp_path: Path, sa: Path
) -> None:
    """One of USB beside Ethernet had the whole file refused."""
    plain, strange = ethernet(some_packets()[0]), b"whatever it is"
    source, wire, back = (tmp_path / name for name in ("in", "wire", "back"))
    source.write_bytes(
        section() + interface(189) + interface(1) + packet(strange) + packet(plain, number=1)
    )
    status, document, err = ask("esp", "protect", source, wire, "--sa", sa)
    assert status == 1
    assert document["left_out"] == {"link type 189 (USB_LINUX)": 1}
    assert "link type 189 (USB_LINUX) 1" in err
    assert [frame.linktype for frame in seen(wire)] == [1]
    status, document, _ = ask("esp", "protect", source, wire, "--sa", sa, "--pass-others")
    assert status == 0
    assert document["passed_on_in_clear"] == {"link type 189 (USB_LINUX)": 1}
    call("esp", "unprotect", wire, back, "--sa", sa, "--pass-others")
    assert seen(back) == seen(source)


# Nothing in the clear, unless it was asked for.


def test_what_is_not_ip_is_left_out_unless_asked_for(tmp_path: Path, sa: Path) -> None:
    """It went on in the clear, and nobody was told what it was."""
    plain = [ARP, ethernet(some_packets()[0]), ARP, b"\x01\x02", b"", ETHERNET + b"\x88\xcc" + ARP]
    source, out = record(tmp_path / "in.pcap", plain), tmp_path / "out.pcap"
    status, document, err = ask("esp", "protect", source, out, "--sa", sa)
    kinds = {"ARP": 2, "too short for its link layer": 2, "LLDP": 1}
    assert status == 1
    assert document["left_out"] == kinds
    assert document["lost"] == 5
    assert document["passed_on_in_clear"] == {}
    assert "ARP 2" in err
    assert "--pass-others" in err
    assert len(seen(out)) == 1
    status, document, err = ask("esp", "protect", source, out, "--sa", sa, "--pass-others")
    assert status == document["lost"] == 0
    assert document["passed_on_in_clear"] == kinds
    assert "passed on in clear: ARP 2, too short for its link layer 2, LLDP 1" in err
    got = [frame.data for frame in seen(out)]
    assert [got[0], *got[2:]] == [plain[0], *plain[2:]]


def test_on_the_way_back_what_is_not_esp_follows_the_same_switch(tmp_path: Path, sa: Path) -> None:
    ike_beside_esp = ipv4(b"\x11\x94\x11\x94\x00\x10\x00\x00" + bytes(8))
    ike = ipv4(b"\x01\xf4\x01\xf4\x00\x10\x00\x00" + bytes(8))
    tcp = ipv6(bytes(20), following=6)
    later = ipv4(b"later fragment", frag=0x0010)
    plain = [*map(ethernet, (ike_beside_esp, ike, later)), ETHERNET + b"\x86\xdd" + tcp, ARP]
    source, out = record(tmp_path / "in.pcap", plain), tmp_path / "out.pcap"
    kinds = {"IKE": 2, "UDP": 1, "TCP": 1, "ARP": 1}
    status, document, err = ask("esp", "unprotect", source, out, "--sa", sa)
    assert status == 1
    assert document["left_out"] == kinds
    assert "IKE 2" in err, "what it is is named"
    assert "compare the SA file" not in err
    assert seen(out) == []
    status, document, err = ask("esp", "unprotect", source, out, "--sa", sa, "--pass-others")
    assert status == 0
    assert document["passed_on_in_clear"] == kinds
    assert seen(out) == seen(source)


def test_a_secret_beside_the_packets_is_not_written_unseen(tmp_path: Path, sa: Path) -> None:
    """Wireshark puts the keys of TLS sessions, and names of hosts, into a pcapng file."""
    frame = ethernet(ipv4(b"payload"))
    text, statistics = b"CLIENT_RANDOM 00 11", bytes(12)
    secrets = struct.pack("<II", 0x544C534B, len(text)) + text
    blocks = [section(), interface(), block(10, secrets), packet(frame), block(5, statistics)]
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"".join(blocks))
    status, document, err = ask("esp", "protect", source, out, "--sa", sa)
    assert status == 0
    assert document["blocks_left_out"] == {"decryption secrets": 1}
    assert "decryption secrets 1" in err
    assert secrets not in out.read_bytes()
    assert block(5, statistics) in out.read_bytes()
    call("esp", "protect", source, out, "--sa", sa, "--pass-others")
    assert secrets in out.read_bytes()


# Packed files, and streams.

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": lambda data: bytes(zstd_module().compress(data)),
}


def test_a_packed_capture_is_known_by_its_magic(tmp_path: Path, sa: Path) -> None:
    plain, wire, back = CASES / "plain.pcap", tmp_path / "wire", tmp_path / "back"
    call("esp", "protect", CASES / "plain.pcap.gz", wire, "--sa", sa, "--pass-others")
    call("esp", "unprotect", wire, back, "--sa", sa, "--pass-others")
    assert back.read_bytes() == plain.read_bytes()


@pytest.mark.parametrize("name", PACKERS)
def test_a_packed_capture_that_is_cut_short(tmp_path: Path, sa: Path, name: str) -> None:
    whole = (DATA / "capture.pcap").read_bytes()
    packed = PACKERS[name](whole)
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_bytes(packed)
    call("esp", "protect", source, out, "--sa", sa)
    assert len(seen(out)) == 2383
    source.write_bytes(packed[: len(packed) // 2])
    status, document, _ = ask("esp", "protect", source, out, "--sa", sa)
    assert status == 1
    assert f"{name} data is cut short" in document["cut_short"]
    assert 0 < len(seen(out)) == document["frames"] < 2383


def test_streams_both_ways(tmp_path: Path, sa: Path) -> None:
    """The summary goes where the packets do not."""

    def piped(way: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
        words = [*RUN, "esp", way, "-", "-", "--sa", str(sa)]
        return subprocess.run(words, input=data, capture_output=True, check=True, timeout=60)

    whole = (DATA / "capture.pcap").read_bytes()
    wire = piped("protect", whole)
    assert b"protected\t2383\n" in wire.stderr
    assert piped("unprotect", wire.stdout).stdout == whole


def test_a_pipe_is_written_before_the_next_packet_is_waited_for(tmp_path: Path, sa: Path) -> None:
    """A live capture goes through as it comes: tcpdump -w - | opencrypto esp protect - -."""
    words = [*RUN, "esp", "protect", "-", "-", "--sa", str(sa), "--json"]
    frame = ethernet(ipv4(bytes(100)))
    content = pcap(frame, frame)
    half = 24 + 16 + len(frame)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(content[:half])
        process.stdin.flush()
        first = process.stdout.read(24 + 16 + len(frame))
        assert len(first) == half
        process.stdin.write(content[half:])
        process.stdin.close()
        rest = process.stdout.read()
        assert json.loads(process.stderr.read())["frames"] == 2
    path = tmp_path / "out"
    path.write_bytes(first + rest)
    assert len(seen(path)) == 2


def test_named_pipes_both_ways(tmp_path: Path, sa: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    os.mkfifo(source)
    os.mkfifo(out)
    whole = (DATA / "capture.pcap").read_bytes()
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: source.write_bytes(whole)),
        threading.Thread(target=lambda: got.append(out.read_bytes())),
    ]
    for thread in threads:
        thread.start()
    run("esp", "protect", source, out, "--sa", sa)
    for thread in threads:
        thread.join()
    (tmp_path / "wire").write_bytes(got[0])
    assert len(seen(tmp_path / "wire")) == 2383
    assert out.is_fifo()


def test_a_damaged_length_costs_no_memory(tmp_path: Path, sa: Path) -> None:
    """300 MB behind one were read at once, and lost with status 0."""
    source = tmp_path / "in.pcap"
    with source.open("wb") as file:
        file.write((CASES / "swallow.pcap").read_bytes())
        file.truncate(300 << 20)
    words = [*RUN, "esp", "protect", str(source), "/dev/null", "--sa", str(sa)]

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    done = subprocess.run(
        words, capture_output=True, text=True, preexec_fn=bounded, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "cut short after packet 1" in done.stderr


@pytest.mark.parametrize(("closed", "name"), [("<&-", "input"), (">&-", "output")])
def test_a_stream_that_is_closed_has_its_sentence(sa: Path, closed: str, name: str) -> None:
    """It was an internal error."""
    words = [*RUN, "esp", "protect", "-", "-", "--sa", str(sa)]
    if name == "output":
        words[words.index("-", len(RUN))] = str(CASES / "plain.pcap")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"standard {name} is closed" in done.stderr


def test_no_capture_is_written_to_a_terminal(sa: Path) -> None:
    words = ["esp", "protect", str(CASES / "plain.pcap"), "-", "--sa", str(sa)]
    child = pexpect.spawn(RUN[0], [*RUN[1:], *words], timeout=60, encoding="utf-8")
    output = child.read()
    child.close()
    assert child.exitstatus == 2
    assert "is a terminal" in output
