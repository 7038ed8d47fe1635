"""What fits: the largest inner packet, outer fragments, and the answer to what does not fit."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrypto import Framework
from opencrypto_esp import ENCRYPTIONS, INTEGRITIES, Direction, Esp, Mode, SecurityAssociation
from opencrypto_esp.gateway.checksum import complement, total
from opencrypto_esp.gateway.fragments import fragments
from opencrypto_esp.gateway.icmp import too_big
from opencrypto_esp.gateway.room import may_be_cut, room
from tests.consumers.esp.packets import checksum
from tests.support import require_module, sample_of

scapy = require_module("scapy.all", "scapy")

SUITES = [
    name for name, suite in ENCRYPTIONS.items() if not suite.old and (suite.alg or name == "null")
]


def sa_for(encryption: str, mode: Mode, version: int, encap: str) -> SecurityAssociation:
    """Make an SA that sends."""
    ends = ("192.0.2.1", "192.0.2.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
    suite = ENCRYPTIONS[encryption]
    integrity = "" if suite.icv else "hmac-sha2-256-128"
    tunnel = mode is Mode.TUNNEL
    return SecurityAssociation(
        spi=0x1000,
        direction=Direction.OUT,
        mode=mode,
        encryption=encryption,
        encryption_key=random.Random(1).randbytes(max(suite.keys)),
        integrity=integrity,
        integrity_key=bytes(max(INTEGRITIES[integrity].keys)) if integrity else b"",
        tunnel_source=ipaddress.ip_address(ends[0]) if tunnel else None,
        tunnel_destination=ipaddress.ip_address(ends[1]) if tunnel else None,
        encap=encap,
    )


def inner(version: int, size: int) -> bytes:
    """Make a packet of so many bytes."""
    head = scapy.IP(proto=253) if version == 4 else scapy.IPv6(nh=253)
    return bytes(head / scapy.Raw(bytes(size - len(head))))


@pytest.mark.parametrize("encryption", sample_of(SUITES))
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mode", [Mode.TUNNEL, Mode.TRANSPORT])
@pytest.mark.parametrize("encap", ["", "udp"])
def test_what_fits_fits_and_one_byte_more_does_not(
    encryption: str, version: int, mode: Mode, encap: str
) -> None:
    sa = sa_for(encryption, mode, version, encap)
    with Framework() as framework, Esp(framework, [sa], test_keys=True) as esp:
        for path in (*range(1400, 1417), 1280, 68 if version == 4 and not encap else 1500):
            most = room(sa, path, version)
            if most < 28:
                continue
            whole = esp.protect(inner(version, max(most, 40))).packet
            over = esp.protect(inner(version, max(most, 40) + 1)).packet
            assert whole is not None
            assert over is not None
            assert len(whole) <= path or most < 40
            assert len(over) > path


@given(st.sampled_from([4, 6]), st.integers(1, 4000), st.integers(1280, 1500))
def test_fragments_make_the_packet_again(version: int, size: int, mtu: int) -> None:
    payload = random.Random(size).randbytes(size)
    head = (
        scapy.IP(src="192.0.2.1", dst="192.0.2.2", proto=50, tos=3)
        if version == 4
        else scapy.IPv6(src="2001:db8::1", dst="2001:db8::2", nh=50)
    )
    packet = bytes(head / scapy.Raw(payload))
    made = list(fragments(packet, mtu))
    assert all(len(each) <= mtu for each in made)
    if version == 4:
        (whole,) = scapy.defragment([scapy.IP(each) for each in made])
        assert bytes(whole[scapy.IP].payload) == payload
        assert (whole.src, whole.dst, whole.proto, whole.tos) == (head.src, head.dst, 50, 3)
    else:
        parsed = [scapy.IPv6(each) for each in made]
        whole = scapy.defragment6(parsed)
        assert bytes(whole)[40:] == payload
        assert len({each[scapy.IPv6ExtHdrFragment].id for each in parsed}) == 1
        assert whole.nh == 50


def test_fragments_of_different_packets_are_told_apart() -> None:
    packet = bytes(scapy.IP(src="192.0.2.1", dst="192.0.2.2") / scapy.Raw(bytes(3000)))
    idents = {scapy.IP(next(iter(fragments(packet, 1400)))).id for _ in range(1000)}
    assert len(idents) == 1000
    assert 0 not in idents


@pytest.mark.parametrize("size", [600, 1400])
def test_the_answer_says_what_fits_to_who_has_sent(size: int) -> None:
    packet = bytes(scapy.IP(src="10.9.0.1", dst="10.9.0.2", flags="DF") / scapy.UDP() / bytes(size))
    answer = scapy.IP(too_big(packet, 1234))
    again = answer.copy()
    del again.chksum, again[scapy.ICMP].chksum
    assert bytes(again) == bytes(answer)
    assert (answer.src, answer.dst) == ("10.9.0.2", "10.9.0.1")
    message = answer[scapy.ICMP]
    assert (message.type, message.code, message.nexthopmtu) == (3, 4, 1234)
    assert packet.startswith(bytes(message.payload))
    assert len(answer) <= 576


def test_the_answer_over_ipv6() -> None:
    packet = bytes(scapy.IPv6(src="fd09::1", dst="fd09::2") / scapy.UDP() / bytes(1400))
    answer = scapy.IPv6(too_big(packet, 1300))
    again = answer.copy()
    del again[scapy.ICMPv6PacketTooBig].cksum
    assert bytes(again) == bytes(answer)
    assert (answer.src, answer.dst) == ("fd09::2", "fd09::1")
    assert answer[scapy.ICMPv6PacketTooBig].mtu == 1300
    assert len(answer) == 1280
    assert packet.startswith(bytes(answer)[48:])


@pytest.mark.parametrize(
    "packet",
    [
        scapy.IP(src="10.9.0.1", dst="10.9.0.2") / scapy.ICMP(type=3) / bytes(1400),
        scapy.IP(src="10.9.0.1", dst="10.9.0.2") / scapy.ICMP(type=11) / bytes(1400),
        scapy.IP(src="10.9.0.1", dst="224.0.0.1") / scapy.UDP() / bytes(1400),
        scapy.IP(src="0.0.0.0", dst="10.9.0.2") / scapy.UDP() / bytes(1400),  # noqa: S104 - nobody's address
        scapy.IP(src="10.9.0.1", dst="10.9.0.2", frag=9) / bytes(1400),
        scapy.IPv6(src="fd09::1", dst="fd09::2") / scapy.ICMPv6PacketTooBig() / bytes(1400),
        scapy.IPv6(src="::", dst="fd09::2") / scapy.UDP() / bytes(1400),
        scapy.IPv6(src="fd09::1", dst="ff02::1") / scapy.UDP() / bytes(1400),
    ],
)
def test_no_answer_where_none_may_be_given(packet: object) -> None:
    assert too_big(bytes(packet), 1300) is None  # type: ignore[call-overload]


def test_what_may_be_cut() -> None:
    assert may_be_cut(bytes(scapy.IP() / bytes(9000)))
    assert not may_be_cut(bytes(scapy.IP(flags="DF") / bytes(9000)))
    assert may_be_cut(bytes(scapy.IPv6(nh=59) / bytes(1240)))
    assert not may_be_cut(bytes(scapy.IPv6(nh=59) / bytes(1241)))


@given(st.binary(max_size=3000))
def test_the_checksum_is_the_sum_of_words(data: bytes) -> None:
    assert complement(total(data)) == checksum(data + b"\0" * (len(data) & 1)) % 0xFFFF
