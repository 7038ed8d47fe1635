"""ESP in UDP (RFC 3948): what is sent, what is told apart on the port, what a NAT changes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings

from opencrypto import Framework, UsageError
from opencrypto_esp import Direction, Esp, Mode, Reason, load_sas, nat_t, one_way
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import checksum, ipv4, ipv6, key, make_sa, packets
from tests.support import examples

pytestmark = pytest.mark.shared_framework

SHAPES = [("aes-cbc", 0), ("aes-gcm-16", 4), ("aes-gcm-16", 6), ("chacha20-poly1305", 0)]


def header_of(packet: bytes) -> tuple[int, bytes, bytes]:
    """Return protocol, UDP header and what follows of a packet without extensions."""
    at, protocol = (20, packet[9]) if packet[0] >> 4 == 4 else (40, packet[6])
    return protocol, packet[at : at + 8], packet[at + 8 :]


def pseudo(packet: bytes, protocol: int, segment: bytes) -> bytes:
    """Return what a checksum over TCP or UDP is computed of (RFC 768, 8200 §8.1)."""
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    whole = addresses + len(segment).to_bytes(4) + protocol.to_bytes(4) + segment
    return whole + bytes(len(whole) & 1)


@pytest.mark.parametrize(("encryption", "tunnel"), SHAPES)
@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("make", [ipv4, ipv6])
def test_round_trip(
    make_esp: MakeEsp, encryption: str, tunnel: int, esn: bool, make: object
) -> None:
    packet = ipv4(b"payload", protocol=253) if make is ipv4 else ipv6(b"payload", following=253)
    sa = make_sa(
        encryption, tunnel=tunnel, esn=esn, encap="udp",
        encap_source_port=4500, encap_destination_port=34500,
    )  # fmt: skip
    esp = make_esp(sa)
    wire = esp.protect(packet).packet
    assert wire is not None
    protocol, header, content = header_of(wire)
    assert protocol == 17
    assert header[:6] == b"\x11\x94\x86\xc4" + (8 + len(content)).to_bytes(2)
    assert content[:4] == sa.spi.to_bytes(4)
    if wire[0] >> 4 == 4:
        assert header[6:] == bytes(2), "RFC 3948 §2.1"
    else:
        assert header[6:] != bytes(2)
        assert checksum(pseudo(wire, 17, header + content)) == 0
    assert esp.unprotect(wire).packet == packet


@given(packet=packets)
@settings(max_examples=examples(200), deadline=None)
def test_any_packet(framework: Framework, packet: bytes) -> None:
    with Ends(framework, [make_sa(encap="udp")]) as esp:
        wire = esp.protect(packet).packet
        assert wire is not None
        back = esp.unprotect(wire).packet
        assert back is not None
        assert len(back) == len(packet)


def test_each_association_receives_either_form(make_esp: MakeEsp) -> None:
    """RFC 7296 §2.23: both at any time."""
    for sends, receives in ((True, False), (False, True)):
        sa = make_sa(tunnel=4)
        sender = make_esp(replace(sa, encap="udp" if sends else ""))
        receiver = make_esp(replace(sa, encap="udp" if receives else ""))
        wire = sender.protect(ipv4(b"payload")).packet
        assert wire is not None
        assert receiver.unprotect(wire).packet == ipv4(b"payload")


def datagram(payload: bytes, *, port: int = 4500, length: int | None = None) -> bytes:
    """Return a UDP datagram in IPv4."""
    size = 8 + len(payload) if length is None else length
    return ipv4(port.to_bytes(2) + b"\x12\x34" + size.to_bytes(2) + bytes(2) + payload)


def test_what_else_is_on_the_port(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa())
    cases = {
        datagram(nat_t.KEEP_ALIVE): Reason.KEEP_ALIVE,
        datagram(nat_t.NON_ESP_MARKER + bytes(28)): Reason.IKE,
        datagram(b""): Reason.TRUNCATED,
        datagram(b"abc"): Reason.TRUNCATED,
        datagram(b"\x00\x00\x99\x99\x00\x00\x00\x01"): Reason.UNKNOWN_SPI,
        datagram(bytes(20), length=7): Reason.MALFORMED,
        datagram(bytes(20), length=29): Reason.MALFORMED,
        datagram(bytes(20), port=4501): Reason.NOT_ESP,
        ipv4(b"\x11\x94\x11\x94"): Reason.NOT_ESP,
    }
    assert {packet: esp.unprotect(packet).reason for packet in cases} == cases
    flow = esp.counters().unprotected
    assert flow.lost == len(cases) - 1, "a keep-alive is no loss"


def test_bytes_behind_the_datagram_are_no_part_of_it(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa(encap="udp"))
    wire = esp.protect(ipv4(b"payload")).packet
    assert wire is not None
    longer = ipv4(wire[20:] + b"xxxx")
    assert esp.unprotect(longer).packet is not None


@pytest.mark.parametrize("protocol", [6, 17])
@pytest.mark.parametrize("version", [4, 6])
def test_a_checksum_follows_the_addresses(
    framework: Framework, protocol: int, version: int
) -> None:
    """RFC 3948 §3.1.2: in transport mode the NAT could not get at it."""
    at = 16 if protocol == 6 else 6
    segment = bytearray(bytes(range(1, 32)))
    segment[at : at + 2] = bytes(2)
    bare = bytes(segment)
    plain = ipv4(bare, protocol=protocol) if version == 4 else ipv6(bare, following=protocol)
    segment[at : at + 2] = checksum(pseudo(plain, protocol, bytes(segment))).to_bytes(2)
    before, after = (
        ("10.0.0.1", "203.0.113.7") if version == 4 else ("2001:db8:1::1", "2001:db8::9")
    )

    def made(source: str, payload: bytes, number: int) -> bytes:
        if version == 4:
            return ipv4(payload, protocol=number, source=source)
        return ipv6(payload, following=number, source=source)

    plain = made(before, bytes(segment), protocol)
    with Ends(framework, [make_sa(encap="udp")]) as esp:
        wire = esp.protect(plain).packet
        assert wire is not None
        assert esp.unprotect(wire).packet == plain, "nothing is changed where no NAT was"
        wire = esp.protect(plain).packet
        assert wire is not None
        through_nat = made(after, wire[20 if version == 4 else 40 :], 17)
        got = esp.unprotect(through_nat).packet
    assert got is not None
    head = 20 if version == 4 else 40
    assert got[head : head + at] == plain[head : head + at]
    assert got[head + at : head + at + 2] != plain[head + at : head + at + 2]
    assert checksum(pseudo(got, protocol, got[head:])) == 0


def test_a_checksum_that_was_left_out_stays_so() -> None:
    plain = ipv4(b"\x00\x35\x00\x35\x00\x0c\x00\x00data", protocol=17)
    assert nat_t.with_checksum(plain) == plain


@settings(max_examples=examples(200), deadline=None)
@given(packet=packets)
def test_nothing_else_is_mended(packet: bytes) -> None:
    mended = nat_t.with_checksum(packet)
    assert len(mended) == len(packet)
    assert sum(a != b for a, b in zip(mended, packet, strict=True)) <= 2


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"encap": "tcp"}, 'encap is "udp"'),
        ({"encap_source_port": 0}, "ports of encap"),
        ({"encap_destination_port": 65536}, "ports of encap"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        make_sa(**changes)  # type: ignore[arg-type]


def test_out_of_a_file(tmp_path: Path, framework: Framework) -> None:
    path = tmp_path / "sa.toml"
    path.write_text(
        f"""
        [[sa]]
        spi = 0x2001
        encryption = "AES_GCM_16-128"
        encryption_key = "{key(20).hex()}"
        mode = "tunnel"
        tunnel_source = "192.0.2.2"
        tunnel_destination = "192.0.2.1"
        encap = "udp"
        encap_source_port = 40000
        """
    )
    path.chmod(0o600)
    with Esp(framework, one_way(load_sas(path), Direction.IN)) as esp:
        assert esp.forms.udp_ports == {4500, 40000}
    sas = one_way(load_sas(path), Direction.OUT)
    assert (sas[0].mode, sas[0].tunnel_source) == (Mode.TUNNEL, ip_address("192.0.2.2"))
    with Esp(framework, sas, test_keys=True) as esp:
        packet = esp.protect(ipv4(b"payload")).packet
        assert packet is not None
        assert packet[20:24] == b"\x9c\x40\x11\x94"
