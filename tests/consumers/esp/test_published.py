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

pytestmark = pytest.mark.shared_framework

FOLDER = Path(__file__).with_name("published")
PACKETS = [each for path in sorted(FOLDER.glob("*.json")) for each in json.loads(path.read_text())]

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


def test_there_are_packets() -> None:
    assert len(PACKETS) == 14
    assert {case["protocol"] for case in PACKETS} == {"esp", "ah"}
