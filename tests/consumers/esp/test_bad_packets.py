"""A bad packet is a counted reason, whatever it is, and stops nothing."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import Framework
from opencrypto_esp import Reason
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import SPI, ipv4, ipv6, make_sa, packets
from tests.support import examples

pytestmark = pytest.mark.shared_framework

fuzz = settings(
    max_examples=examples(300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def esps(framework: Framework) -> Iterator[list[Ends]]:
    """Return one of each shape of packet: block cipher, combined, tunnel, long numbers, null."""
    sas = [
        make_sa(),
        make_sa("aes-gcm-16", esn=True),
        make_sa("aes-gmac", tunnel=6),
        make_sa("null", tunnel=4, esn=True),
        make_sa("3des-cbc", "", unauthenticated=True),
    ]
    made = [Ends(framework, [sa]) for sa in sas]
    yield made
    for esp in made:
        esp.close()


def total(esp: Ends) -> int:
    """Count all packets that an `Ends` has seen."""
    counters = esp.counters()
    flows = (counters.protected, counters.unprotected)
    return sum(flow.packets + flow.dropped.total() for flow in flows)


@given(data=st.binary(max_size=120))
@fuzz
def test_noise(esps: list[Ends], data: bytes) -> None:
    for esp in esps:
        before = total(esp)
        for result in (esp.protect(data), esp.unprotect(data)):
            assert (result.packet is None) != (result.reason is None)
        assert total(esp) == before + 2


@given(data=st.binary(max_size=120), version=st.sampled_from([4, 6]))
@fuzz
def test_noise_as_esp(esps: list[Ends], data: bytes, version: int) -> None:
    content = struct.pack("!I", SPI) + data
    packet = ipv4(content, protocol=50) if version == 4 else ipv6(content, following=50)
    for esp in esps:
        result = esp.unprotect(packet)
        # Without integrity, noise may by chance decrypt to something; with it, never.
        assert result.reason is not None or esp.sas[0].unauthenticated


@given(packet=packets, at=st.integers(0, 10_000), change=st.integers(1, 255))
@fuzz
def test_mutations(esps: list[Ends], packet: bytes, at: int, change: int) -> None:
    """A byte changed at the end of ESP is always found; anywhere, it never raises."""
    for esp in esps[:-1]:
        wire = esp.protect(packet).packet
        assert wire is not None
        start = len(wire) - 16
        damaged = bytearray(wire)
        damaged[start + at % 16] ^= change
        assert esp.unprotect(damaged).reason is Reason.BAD_ICV
        damaged = bytearray(wire)
        damaged[at % len(wire)] ^= change
        esp.unprotect(damaged)
        assert esp.unprotect(wire[: at % len(wire)]).reason is not None


def test_each_reason_outbound(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa())
    good = ipv4(b"payload")
    cases = {
        b"": Reason.NOT_IP,
        b"\x00" * 40: Reason.NOT_IP,
        good[:19]: Reason.TRUNCATED,
        good[:-1]: Reason.TRUNCATED,
        ipv6(b"payload")[:39]: Reason.TRUNCATED,
        b"\x44" + good[1:]: Reason.MALFORMED,
        good[:2] + b"\x00\x10" + good[4:]: Reason.MALFORMED,
        ipv4(b"payload", frag=0x2000): Reason.FRAGMENT,
        ipv4(b"payload", frag=0x0001): Reason.FRAGMENT,
        ipv6(bytes((17, 0, 0, 1, 0, 0, 0, 1)), following=44): Reason.FRAGMENT,
        ipv6(b"\x11", following=0): Reason.MALFORMED,
        ipv6(b"\x11\xff" + bytes(30), following=0): Reason.MALFORMED,
        ipv6(b"", following=59): Reason.NO_PAYLOAD,
        ipv4(bytes(65500)): Reason.TOO_BIG,
    }
    assert {packet: esp.protect(packet).reason for packet in cases} == cases
    assert esp.counters().protected.dropped.total() == len(cases)
    assert esp.protect(good).reason is None, "and goes on"


@pytest.mark.parametrize("tunnel", [4, 6])
def test_too_big_for_a_tunnel(make_esp: MakeEsp, tunnel: int) -> None:
    esp = make_esp(make_sa(tunnel=tunnel))
    assert esp.protect(ipv4(bytes(65515))).reason is Reason.TOO_BIG


def test_each_reason_inbound(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa())
    result = esp.protect(ipv4(b"payload"))
    assert result.packet is not None
    esp_packet = result.packet[20:]
    wrapped = {
        esp_packet[:7]: Reason.TRUNCATED,
        esp_packet[:20]: Reason.TRUNCATED,
        esp_packet[:-1]: Reason.BAD_LENGTH,
        b"\x00\x00\x20\x00" + esp_packet[4:]: Reason.UNKNOWN_SPI,
        esp_packet[:4] + bytes(4) + esp_packet[8:]: Reason.TOO_OLD,
        esp_packet[:-1] + bytes([esp_packet[-1] ^ 1]): Reason.BAD_ICV,
    }
    for content, reason in wrapped.items():
        assert esp.unprotect(ipv4(content, protocol=50)).reason is reason
    assert esp.unprotect(ipv4(b"payload")).reason is Reason.NOT_ESP
    assert esp.unprotect(result.packet).reason is None
    assert esp.unprotect(result.packet).reason is Reason.REPLAYED
    dropped = esp.counters().unprotected.dropped
    assert dropped == {
        Reason.TRUNCATED: 2, Reason.BAD_LENGTH: 1, Reason.UNKNOWN_SPI: 1, Reason.TOO_OLD: 1,
        Reason.BAD_ICV: 1, Reason.NOT_ESP: 1, Reason.REPLAYED: 1,
    }  # fmt: skip
    assert esp.counters(SPI).unprotected.dropped[Reason.UNKNOWN_SPI] == 0, "nobody's packet"


def forged(content: bytes, seq: int = 1) -> bytes:
    """Return a packet that verifies, with content of our choice: null encryption, known key."""
    sa = make_sa("null", "hmac-sha1-96")
    esp = struct.pack("!II", SPI, seq) + content
    mac = hmac.digest(sa.integrity_key, esp, "sha1")[:12]
    return ipv4(esp + mac, protocol=50)


@pytest.mark.parametrize(
    ("tunnel", "content", "reason"),
    [
        (0, b"abcd\x01\x02\x02\x11", None),
        (0, b"abcd\x01\x03\x02\x11", Reason.BAD_PADDING),
        (0, b"abcd\x00\x00\x02\x11", Reason.BAD_PADDING),
        (0, b"abcd\x01\x02\xff\x11", Reason.BAD_PADDING),
        (0, b"abcdef\x00\x3b", Reason.DUMMY),
        (4, b"abcdef\x00\x3b", Reason.DUMMY),
        (4, b"abcdef\x00\x11", Reason.BAD_NEXT_HEADER),
        (4, b"abcdef\x00\x04", Reason.BAD_INNER),
        (4, ipv4(b"ab") + b"\x00\x04", None),
        (4, ipv4(b"ab") + b"\x00\x29", Reason.BAD_INNER),
        (4, ipv4(b"abcdefgh")[:-2] + b"\x00\x04", Reason.BAD_INNER),
        # Padding for traffic flow confidentiality, RFC 4303 §2.7: it is cut off.
        (4, ipv4(b"ab") + bytes(40) + b"\x00\x04", None),
    ],
)
def test_what_verifies_and_is_wrong(
    make_esp: MakeEsp, tunnel: int, content: bytes, reason: Reason | None
) -> None:
    esp = make_esp(make_sa("null", "hmac-sha1-96", tunnel=tunnel))
    result = esp.unprotect(forged(content))
    assert result.reason is reason
    if tunnel and reason is None:
        assert result.packet == ipv4(b"ab")
    assert esp.unprotect(forged(content)).reason is Reason.REPLAYED, "it had verified"


def test_dummies_are_not_lost(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa("null", "hmac-sha1-96"))
    esp.unprotect(forged(b"abcdef\x00\x3b"))
    flow = esp.counters().unprotected
    assert (flow.packets, flow.dropped.total(), flow.lost) == (0, 1, 0)


def test_a_bad_icv_does_not_move_the_window(make_esp: MakeEsp) -> None:
    esp = make_esp(make_sa("null", "hmac-sha1-96"))
    damaged = bytearray(forged(b"abcdef\x00\x11", seq=1_000_000))
    damaged[-1] ^= 1
    assert esp.unprotect(damaged).reason is Reason.BAD_ICV
    assert esp.unprotect(forged(b"abcdef\x00\x11", seq=1)).reason is None


def test_two_of_one_number_in_flight(make_esp: MakeEsp) -> None:
    """Both pass the first look at the window; the second look stops one."""
    esp = make_esp(make_sa())
    wire = esp.protect(ipv4(b"x")).packet
    assert wire is not None
    reasons = [result.reason for result in esp.unprotect_many([wire] * 3)]
    assert reasons == [None, Reason.REPLAYED, Reason.REPLAYED]


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        # RFC 6040 figure 4: what each pair of marks becomes.
        (0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, None),
        (2, 0, 2), (2, 1, 1), (2, 2, 2), (2, 3, 3),
        (1, 0, 1), (1, 1, 1), (1, 2, 1), (1, 3, 3),
        (3, 0, 3), (3, 1, 3), (3, 2, 3), (3, 3, 3),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", [4, 6])
def test_congestion_marks(
    make_esp: MakeEsp, version: int, inner: int, outer: int, expected: int | None
) -> None:
    esp = make_esp(make_sa(tunnel=4))
    dscp = 0xB8
    make = {4: lambda ecn: ipv4(b"x", tos=dscp | ecn), 6: lambda ecn: ipv6(b"x", tclass=dscp | ecn)}
    result = esp.protect(make[version](inner))
    assert result.packet is not None
    assert result.packet[1] == dscp | inner, "the outer header starts with the inner's"
    marked = bytearray(result.packet)
    marked[1] = dscp | outer
    back = esp.unprotect(marked)
    if expected is None:
        assert back.reason is Reason.CONGESTION
    else:
        assert back.packet == make[version](expected)
