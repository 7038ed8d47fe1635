"""What is protected comes back byte for byte; what is on the wire is as the RFCs say."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import Framework
from opencrypto_esp import Reason, SecurityAssociation
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import (
    EXTENSION_CHAINS,
    SUITES,
    chained,
    checksum,
    ipv4,
    ipv6,
    make_sa,
    packets,
)
from tests.support import examples, sample_of

pytestmark = pytest.mark.shared_framework

MODES = [0, 4, 6]
shared = settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def there_and_back(esp: Ends, packet: bytes) -> bytes:
    """Protect and unprotect; return what was on the wire."""
    wire = esp.protect(packet)
    assert wire.reason is None
    assert wire.packet is not None
    back = esp.unprotect(wire.packet)
    assert back.reason is None
    assert back.packet == packet
    return wire.packet


@pytest.mark.parametrize("esn", [False, True], ids=["short", "esn"])
@pytest.mark.parametrize("tunnel", MODES, ids=["transport", "tunnel4", "tunnel6"])
@pytest.mark.parametrize(("encryption", "integrity"), sample_of(SUITES))
@given(data=st.data())
@shared
def test_every_suite(
    framework: Framework,
    encryption: str,
    integrity: str,
    tunnel: int,
    esn: bool,
    data: st.DataObject,
) -> None:
    sa = make_sa(encryption, integrity, tunnel=tunnel, esn=esn)
    with Ends(framework, [sa]) as esp:
        for packet in data.draw(st.lists(packets, min_size=1, max_size=4)):
            wire = there_and_back(esp, packet)
            assert len(wire) - _headers(wire, packet, tunnel) >= 8 + sa.icv
            if wire[0] >> 4 == 4:
                assert checksum(wire[: (wire[0] & 15) * 4]) == 0
                assert int.from_bytes(wire[2:4]) == len(wire)
            else:
                assert int.from_bytes(wire[4:6]) == len(wire) - 40


def _headers(wire: bytes, packet: bytes, tunnel: int) -> int:
    if tunnel:
        return 20 if tunnel == 4 else 40
    return (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40


@pytest.mark.parametrize("length", [16, 24, 32])
@pytest.mark.parametrize("encryption", ["aes-cbc", "aes-ctr", "aes-gcm-16", "aes-gmac"])
def test_every_key_length(make_esp: MakeEsp, encryption: str, length: int) -> None:
    salt = 0 if encryption == "aes-cbc" else 4
    sa = make_sa(encryption, encryption_key=bytes(range(length + salt)))
    there_and_back(make_esp(sa), ipv4(b"some payload"))


@pytest.mark.parametrize(("types", "in_front"), EXTENSION_CHAINS)
def test_where_esp_goes_in_ipv6(make_esp: MakeEsp, types: tuple[int, ...], in_front: int) -> None:
    """RFC 4303 §3.1.1: after hop-by-hop, routing, and the options that a routing header follows."""
    wire = there_and_back(make_esp(make_sa()), chained(types, b"payload"))
    at, following, seen = 40, wire[6], []
    while following != 50:
        seen.append(following)
        following, at = wire[at], at + (wire[at + 1] + 1) * 8
    assert tuple(seen) == types[:in_front]
    assert int.from_bytes(wire[at : at + 4]) == 0x1001


def test_ipv4_options_stay_in_front(make_esp: MakeEsp) -> None:
    wire = there_and_back(make_esp(make_sa()), ipv4(b"x" * 9, options=b"\x94\x04\x00\x00"))
    assert wire[0] == 0x46
    assert wire[20:24] == b"\x94\x04\x00\x00"
    assert wire[9] == 50


def test_null_encryption_shows_padding_and_trailer(make_esp: MakeEsp) -> None:
    sa = make_sa("null", "hmac-sha1-96")
    wire = there_and_back(make_esp(sa), ipv4(b"hello", protocol=17))
    assert wire[20:28] == bytes.fromhex("0000100100000001")
    assert wire[28:36] == b"hello\x01\x01\x11"
    assert len(wire) == 36 + 12


def test_ivs_are_fresh(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa())
    ivs = {there_and_back(esp, ipv4(b"same"))[28:44] for _ in range(50)}
    assert len(ivs) == 50


def test_link_padding_is_not_protected(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa())
    packet = ipv4(b"short")
    wire = esp.protect(packet + bytes(21)).packet
    assert wire is not None
    assert esp.unprotect(wire + bytes(6)).packet == packet


def test_atomic_fragments_are_whole_packets(make_esp: MakeEsp) -> None:
    fragment = bytes((17, 0, 0, 0, 0, 0, 0, 9))
    there_and_back(make_esp(make_sa()), ipv6(b"payload", following=44, extensions=fragment))


def test_tunnels_take_fragments(make_esp: MakeEsp) -> None:
    there_and_back(make_esp(make_sa(tunnel=4)), ipv4(b"part", frag=0x2000))


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("encryption", ["aes-cbc", "aes-gcm-16"])
def test_sequence_numbers(make_esp: MakeEsp, encryption: str, esn: bool) -> None:
    """The short ones end; the long ones go on, and the receiver follows."""
    start = (1 << 32) - 3
    sa = make_sa(encryption, sequence=start, esn=esn)
    esp = make_esp(sa)
    esp._inbound[sa.spi].window.update(start)
    reasons = []
    for _ in range(6):
        result = esp.protect(ipv4(b"x"))
        reasons.append(result.reason)
        if result.packet is not None:
            assert esp.unprotect(result.packet).reason is None
    if esn:
        assert reasons == [None] * 6
        assert esp._inbound[sa.spi].window.top == start + 6
    else:
        assert reasons == [None] * 2 + [Reason.SEQUENCE_EXHAUSTED] * 4
        assert esp.counters().protected.dropped == {Reason.SEQUENCE_EXHAUSTED: 4}


@pytest.mark.parametrize("encryption", ["aes-cbc", "aes-gcm-16", "aes-gmac"])
def test_the_unsent_half_is_authenticated(make_esp: MakeEsp, encryption: str) -> None:
    sender = make_esp(make_sa(encryption, esn=True, sequence=5 << 32))
    receiver = make_esp(make_sa(encryption, esn=True))
    wire = sender.protect(ipv4(b"x")).packet
    assert wire is not None
    assert receiver.unprotect(wire).reason is Reason.BAD_ICV


def two_nets() -> list[SecurityAssociation]:
    """Return associations of two networks, the second within the first."""
    return [
        make_sa(spi=0x2000, destination=(ip_network("10.1.2.0/24"),)),
        make_sa(spi=0x3000, destination=(ip_network("10.1.0.0/16"), ip_network("fd00::/8"))),
    ]


@pytest.mark.parametrize(
    ("destination", "spi"),
    [("10.1.2.3", 0x2000), ("10.1.3.3", 0x3000), ("fd00::1", 0x3000), ("10.2.0.1", None)],
)
def test_selectors(make_esp: MakeEsp, destination: str, spi: int | None) -> None:
    esp = make_esp(*two_nets())
    make = ipv6 if ":" in destination else ipv4
    for _ in range(2):  # the second time from the cache
        result = esp.protect(make(b"x", destination=destination))
        assert (result.sa and result.sa.spi) == spi
        assert result.reason is (None if spi else Reason.NO_SA)


def test_what_arrives_must_be_what_the_sa_is_for(make_esp: MakeEsp) -> None:
    sender = make_esp(make_sa(spi=0x2000))
    wire = sender.protect(ipv4(b"x", destination="10.9.9.9")).packet
    assert wire is not None
    assert make_esp(*two_nets()).unprotect(wire).reason is Reason.POLICY


def test_many_keep_the_order(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa())
    plain = [ipv4(bytes([n]) * n) for n in range(150)]
    plain[70] = b"not a packet"
    wires = list(esp.protect_many(plain, depth=16))
    assert [n for n, result in enumerate(wires) if result.reason] == [70]
    back = esp.unprotect_many(result.packet or b"" for result in wires)
    assert [r.packet for n, r in enumerate(back) if n != 70] == plain[:70] + plain[71:]


def test_many_can_be_left_half_way(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa())
    stream = esp.protect_many(ipv4(b"x") for _ in range(1000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # a generator, which is closed
    esp.close()
