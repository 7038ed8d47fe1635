"""AH (RFC 4302): what is authenticated, what routers may change, and what scapy says of it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrypto import Framework, UsageError
from opencrypto_esp import INTEGRITIES, Mode, Protocol, Reason, SecurityAssociation, mutable
from opencrypto_esp.ah import header_size
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import (
    EXTENSION_CHAINS,
    TUNNELS,
    chained,
    checksum,
    ipv4,
    ipv6,
    key,
    make_sa,
    packets,
)
from tests.consumers.esp.test_scapy import EXPERIMENT, SCAPY_INTEGRITY, SCAPY_LACKS, parse
from tests.support import examples

with warnings.catch_warnings():
    # Importing it asks cryptography for ciphers at places that this has given up.
    warnings.simplefilter("ignore")
    from scapy.layers import ipsec
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

pytestmark = pytest.mark.shared_framework

AH = 51


def ah(
    integrity: str = "hmac-sha2-256-128", *, tunnel: int = 0, **changes: Any
) -> SecurityAssociation:
    """Return an association of AH; `tunnel` is 0, 4 or 6."""
    settings: dict[str, Any] = {
        "spi": 0x3001,
        "protocol": Protocol.AH,
        "integrity": integrity,
        "integrity_key": key(INTEGRITIES[integrity].key) if integrity else b"",
    }
    if tunnel:
        settings |= {"mode": Mode.TUNNEL, **TUNNELS[tunnel]}
    return SecurityAssociation(**settings | changes)


def sums(packet: bytearray) -> bytes:
    """Return an IPv4 packet with the checksum of its header right."""
    head = (packet[0] & 15) * 4
    packet[10:12] = bytes(2)
    packet[10:12] = checksum(bytes(packet[:head])).to_bytes(2)
    return bytes(packet)


@given(packet=packets, tunnel=st.sampled_from([0, 4, 6]), esn=st.booleans())
@settings(max_examples=examples(300), deadline=None)
def test_round_trip(framework: Framework, packet: bytes, tunnel: int, esn: bool) -> None:
    with Ends(framework, [ah(tunnel=tunnel, esn=esn)]) as esp:
        wire = esp.protect(packet).packet
        assert wire is not None
        assert esp.unprotect(wire).packet == packet


@pytest.mark.parametrize("integrity", INTEGRITIES)
@pytest.mark.parametrize("version", [4, 6])
def test_the_header(make_esp: MakeEsp, integrity: str, version: int) -> None:
    """RFC 4302 §2: length in words less 2, whole words of 4 bytes or 8."""
    packet = ipv4(b"payload", protocol=253) if version == 4 else ipv6(b"payload", following=253)
    wire = make_esp(ah(integrity)).protect(packet).packet
    assert wire is not None
    head = 20 if version == 4 else 40
    size = header_size(INTEGRITIES[integrity].icv, version)
    assert size % (4 if version == 4 else 8) == 0
    assert wire[head : head + 2] == bytes((253, size // 4 - 2))
    assert wire[head + 2 : head + 12] == bytes(2) + (0x3001).to_bytes(4) + (1).to_bytes(4)
    assert wire[head + size :] == b"payload"
    assert wire[9 if version == 4 else 6] == AH


def test_what_routers_change_in_ipv4(make_esp: MakeEsp) -> None:
    # A timestamp, which routers fill in; then router alert, which stays.
    options = bytes.fromhex("440c0d00000000000000000094040000")
    packet = ipv4(b"payload", options=options, protocol=253)
    esp = make_esp(ah())
    wire = esp.protect(packet).packet
    assert wire is not None
    changed = bytearray(wire)
    changed[1] = 0xB9
    changed[6] = 0x40
    changed[8] -= 5
    changed[24:32] = bytes(range(8))
    result = esp.unprotect(sums(changed))
    assert result.packet is not None
    assert result.packet[36:] == b"payload"
    for at in (2 + 2, 9 + 3, 16, 34, len(wire) - 1):
        forged = bytearray(esp.protect(packet).packet or b"")
        forged[at] ^= 1
        assert esp.unprotect(sums(forged)).reason is Reason.BAD_ICV, at


def test_a_route_in_ipv4_ends_at_its_last_address(make_esp: MakeEsp) -> None:
    """RFC 4302, A.1: the destination is authenticated as it is where the packet arrives."""
    route = bytes.fromhex("830b04") + bytes((198, 51, 100, 1)) + bytes((198, 51, 100, 9)) + b"\x01"
    packet = ipv4(b"payload", options=route, protocol=253, destination="10.0.0.2")
    esp = make_esp(ah())
    wire = bytearray(esp.protect(packet).packet or b"")
    wire[16:20] = bytes((198, 51, 100, 9))
    wire[20:31] = bytes.fromhex("830b0c") + bytes((10, 0, 0, 2)) + bytes((198, 51, 100, 1))
    assert esp.unprotect(sums(wire)).reason is None


def test_what_routers_change_in_ipv6(make_esp: MakeEsp) -> None:
    # Hop-by-hop: an option that may change (0x3e), one that may not (0x1e), padding.
    options = (
        bytes((253, 1)) + bytes((0x3E, 2, 1, 2)) + bytes((0x1E, 2, 3, 4)) + b"\x01\x04" + bytes(4)
    )
    packet = ipv6(b"payload", following=0, extensions=options)
    esp = make_esp(ah())
    wire = esp.protect(packet).packet
    assert wire is not None
    changed = bytearray(wire)
    changed[0:4] = b"\x6a\xbc\xde\xf0"
    changed[7] -= 5
    changed[44:46] = b"\x77\x88"
    result = esp.unprotect(changed)
    assert result.packet is not None
    assert result.packet[-7:] == b"payload"
    for at in (8, 39, 42, 48, 49, len(wire) - 1):
        forged = bytearray(esp.protect(packet).packet or b"")
        forged[at] ^= 1
        assert esp.unprotect(forged).packet is None, at


@pytest.mark.parametrize("kind", [0, 2])
def test_a_route_in_ipv6_is_foreseen(make_esp: MakeEsp, kind: int) -> None:
    hops = [bytes.fromhex(f"20010db8000000000000000000000{n}01") for n in range(1, 4)]
    route = bytes((253, 6, kind, 3)) + bytes(4) + b"".join(hops)
    packet = ipv6(b"payload", following=43, extensions=route)
    esp = make_esp(ah())
    wire = bytearray(esp.protect(packet).packet or b"")
    # As each hop does it (RFC 2460 §4.4): destination and the next address change places.
    for hop in range(3):
        at = 48 + 16 * hop
        wire[24:40], wire[at : at + 16] = wire[at : at + 16], wire[24:40]
        wire[43] -= 1
    assert esp.unprotect(wire).reason is None
    assert wire[24:40] == hops[-1]


def test_a_route_that_nobody_foresees(make_esp: MakeEsp) -> None:
    segments = bytes((253, 2, 4, 1)) + bytes(4) + bytes(16)
    esp = make_esp(ah())
    packet = ipv6(b"payload", following=43, extensions=segments)
    assert esp.protect(packet).reason is Reason.UNKNOWN_ROUTE
    arrived = bytearray(packet)
    arrived[43] = 0
    assert esp.protect(arrived).reason is None


@pytest.mark.parametrize(
    "head",
    [
        ipv4(b"", options=b"\x44\x01\x00\x00"),
        ipv4(b"", options=b"\x44\x05\x00\x00"),
        ipv4(b"", options=b"\x01\x01\x01\x44"),
        ipv6(b"", following=0, extensions=bytes((59, 0, 1, 5)) + bytes(4)),
        ipv6(b"", following=0, extensions=bytes((59, 0, 1, 3, 0, 0, 0, 7))),
        ipv6(b"", following=43, extensions=bytes((59, 2, 0, 2)) + bytes(20)),
    ],
)
def test_malformed_options(make_esp: MakeEsp, head: bytes) -> None:
    whole = bytearray(head + b"payload")
    if whole[0] >> 4 == 4:
        whole[2:4] = len(whole).to_bytes(2)
    else:
        whole[4:6] = (len(whole) - 40).to_bytes(2)
    assert make_esp(ah()).protect(bytes(whole)).reason is Reason.MALFORMED


@given(data=st.binary(max_size=64), version=st.sampled_from([4, 6]))
@settings(max_examples=examples(300), deadline=None)
def test_noise(framework: Framework, data: bytes, version: int) -> None:
    content = data[:2] + bytes(2) + (0x3001).to_bytes(4) + data[2:]
    packet = ipv4(content, protocol=AH) if version == 4 else ipv6(content, following=AH)
    with Ends(framework, [ah()]) as esp:
        assert esp.unprotect(packet).packet is None


def test_the_window_is_that_of_esp(make_esp: MakeEsp) -> None:
    esp = make_esp(ah(replay_window=32))
    wires = [esp.protect(ipv4(b"x")).packet or b"" for _ in range(40)]
    assert esp.unprotect(wires[-1]).reason is None
    assert esp.unprotect(wires[-1]).reason is Reason.REPLAYED
    assert esp.unprotect(wires[0]).reason is Reason.TOO_OLD
    assert esp.unprotect(wires[20]).reason is None
    counters = esp.counters(0x3001)
    assert (counters.protected.packets, counters.unprotected.packets) == (40, 2)


def test_lengths_that_cannot_be(make_esp: MakeEsp) -> None:
    esp = make_esp(ah())
    wire = esp.protect(ipv4(b"payload")).packet
    assert wire is not None
    for words, reason in ((4, Reason.BAD_LENGTH), (200, Reason.TRUNCATED)):
        changed = bytearray(wire)
        changed[21] = words
        assert esp.unprotect(changed).reason is reason


def test_esp_and_ah_of_one_spi_are_two(make_esp: MakeEsp) -> None:
    esp = make_esp(ah(spi=0x1001, name="a"), make_sa("aes-gcm-16", spi=0x1001, name="b"))
    wire = esp.protect(ipv4(b"payload")).packet
    assert wire is not None
    assert wire[9] == AH, "the first of the file"
    assert esp.unprotect(wire).packet == ipv4(b"payload")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"integrity": ""}, "needs an integrity"),
        ({"encryption": "aes-cbc", "encryption_key": key(16)}, "AH hides nothing"),
        ({"encap": "udp"}, "only ESP goes into UDP"),
        ({"tunnel": 4, "tfc_padding": 100}, "tfc_padding is for ESP"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        ah(**changes)


# scapy.

JUDGED = [name for name in INTEGRITIES if name not in SCAPY_LACKS]


def theirs(sa: SecurityAssociation, tunnel: int) -> Any:
    """Return scapy's association of the same name and key."""
    header = None
    if tunnel:
        ends = TUNNELS[tunnel]
        kind = IP if tunnel == 4 else IPv6
        header = kind(src=str(ends["tunnel_source"]), dst=str(ends["tunnel_destination"]))
    return ipsec.SecurityAssociation(
        ipsec.AH, spi=sa.spi, auth_algo=SCAPY_INTEGRITY[sa.integrity],
        auth_key=sa.integrity_key, tunnel_header=header,
    )  # fmt: skip


@pytest.mark.parametrize("integrity", JUDGED)
@pytest.mark.parametrize("tunnel", [0, 4, 6])
@pytest.mark.parametrize("version", [4, 6])
def test_scapy_agrees(make_esp: MakeEsp, integrity: str, tunnel: int, version: int) -> None:
    sa = ah(integrity, tunnel=tunnel)
    esp, peer = make_esp(sa), theirs(sa, tunnel)
    if version == 4:
        plain = ipv4(b"payload", protocol=EXPERIMENT, options=b"\x94\x04\x00\x00")
    else:
        plain = ipv6(b"payload", following=EXPERIMENT)
    wire = esp.protect(plain).packet
    assert wire is not None
    assert bytes(peer.decrypt(parse(wire))) == plain
    assert esp.unprotect(bytes(peer.encrypt(parse(plain)))).packet == plain


def test_headers_that_stay_in_front() -> None:
    """Each extension that AH stands behind is authenticated, and none is damaged by it."""
    for types, _ in EXTENSION_CHAINS:
        packet = chained(types, b"payload")
        head = packet[: len(packet) - 7]
        same = mutable.zeroed(head)
        assert len(same) == len(head)
        assert same[:4] == b"\x60\x00\x00\x00"


def test_a_changed_association_is_another(make_esp: MakeEsp) -> None:
    sender = make_esp(ah())
    receiver = make_esp(replace(ah(), integrity_key=key(32, 9)))
    wire = sender.protect(ipv4(b"payload")).packet
    assert wire is not None
    assert receiver.unprotect(wire).reason is Reason.BAD_ICV
