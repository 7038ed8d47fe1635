"""Whole packets with ESP and AH that others have published: see published/README.md."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from opencrypto import Framework
from opencrypto_esp import Direction, Esp, Mode, Reason, SecurityAssociation, ip, one_way
from opencrypto_esp.ends import spi_of
from opencrypto_esp.sa import Protocol
from tests.consumers.esp.packets import checksum

pytestmark = pytest.mark.shared_framework

FOLDER = Path(__file__).with_name("published")
PACKETS = [
    each
    for name in ("dpdk.json", "rfc7634.json")
    for each in json.loads((FOLDER / name).read_text())
]
CAPTURES = json.loads((FOLDER / "captures.json").read_text())

published = pytest.mark.parametrize("case", PACKETS, ids=lambda case: case["id"])


def association(case: dict[str, Any]) -> SecurityAssociation:
    """Return the association that a packet is of, its tunnel from the packet's own header."""
    wire = bytes.fromhex(case["wire"])
    place = ip.locate(wire)
    pair = ip.addresses(wire)
    half = len(pair) // 2
    ends = {"tunnel_source": ip_address(pair[:half]), "tunnel_destination": ip_address(pair[half:])}
    return SecurityAssociation(
        spi=spi_of(wire[place.nh_at], wire, place),
        protocol=Protocol(case["protocol"]),
        mode=Mode(case["mode"]),
        encryption=case["encryption"],
        encryption_key=bytes.fromhex(case["encryption_key"]),
        integrity=case["integrity"],
        integrity_key=bytes.fromhex(case["integrity_key"]),
        unauthenticated=not case["integrity"],
        **(ends if case["mode"] == "tunnel" else {}),  # type: ignore[arg-type]
    )


@published
def test_it_is_received(framework: Framework, case: dict[str, Any]) -> None:
    with Esp(framework, one_way([association(case)], Direction.IN)) as esp:
        result = esp.unprotect(bytes.fromhex(case["wire"]))
    assert result.reason is None
    assert result.packet == bytes.fromhex(case["plain"])


@pytest.mark.parametrize(
    "case", [case for case in PACKETS if association(case).verified], ids=lambda case: case["id"]
)
def test_a_bit_changed_is_found(framework: Framework, case: dict[str, Any]) -> None:
    sa = association(case)
    wire = bytes.fromhex(case["wire"])
    with Esp(framework, one_way([sa], Direction.IN)) as esp:
        for at in (len(wire) - 1, len(wire) - sa.icv - 1, ip.locate(wire).head + 16):
            damaged = bytearray(wire)
            damaged[at] ^= 0x10
            assert esp.unprotect(damaged).reason is Reason.BAD_ICV


def test_what_is_sent_is_the_same_where_nothing_is_drawn_by_chance(framework: Framework) -> None:
    (case,) = (case for case in PACKETS if case["id"] == "pkt_null_aes_xcbc")
    with Esp(framework, one_way([association(case)], Direction.OUT)) as esp:
        made = esp.protect(bytes.fromhex(case["plain"])).packet
    assert made is not None
    assert made[20:] == bytes.fromhex(case["wire"])[20:]


def sas_of(capture: dict[str, Any]) -> list[SecurityAssociation]:
    """Return the associations of a capture, to receive on."""
    return [
        SecurityAssociation(
            **sa
            | {"mode": Mode(sa["mode"]), "direction": Direction.IN}
            | {
                name: bytes.fromhex(sa.get(name, ""))
                for name in ("encryption_key", "integrity_key")
            }
        )
        for sa in capture["sas"]
    ]


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture["id"])
def test_packets_of_old(framework: Framework, capture: dict[str, Any]) -> None:
    sas = sas_of(capture)
    unverified = any(sa.icv_length for sa in sas)
    with Esp(framework, sas, unverified=unverified) as esp:
        results = [esp.unprotect(bytes.fromhex(wire)) for wire in capture["wire"]]
    assert [result.reason for result in results] == [None] * 8
    assert [(result.packet or b"").hex() for result in results] == capture["plain"]
    for result in results:
        assert result.packet is not None
        assert checksum(result.packet[:20]) == 0
        assert checksum(result.packet[20:]) == 0, "ICMP's own"


def test_there_are_packets() -> None:
    assert len(CAPTURES) == 4
    assert len(PACKETS) == 14
    assert {case["protocol"] for case in PACKETS} == {"esp", "ah"}
