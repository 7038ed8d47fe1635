"""IPComp (RFC 3173) with DEFLATE, alone and inside ESP, and SAs that follow each other."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencrypto import Framework, UsageError
from opencrypto_esp import Direction, Esp, Mode, Protocol, Reason, SecurityAssociation, load_sas
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import TUNNELS, ipv4, ipv6, key, make_sa, packets
from tests.support import examples

pytestmark = pytest.mark.shared_framework

IPCOMP = 108
CPI = 0x4001
TEXT = b"to be or not to be, that is the question; " * 20
RANDOM = zlib.compress(bytes(itertools.islice(itertools.cycle(range(251)), 4000)), 9)[:90]
"""Does not become smaller."""


def comp(*, tunnel: int = 0, **changes: Any) -> SecurityAssociation:
    """Return an association of IPComp; `tunnel` is 0, 4 or 6."""
    settings: dict[str, Any] = {"spi": CPI, "protocol": Protocol.IPCOMP, "name": "comp"}
    if tunnel:
        settings |= {"mode": Mode.TUNNEL, **TUNNELS[tunnel]}
    return SecurityAssociation(**settings | changes)


@contextmanager
def bundle(
    framework: Framework, *sas: SecurityAssociation, **settings: Any
) -> Iterator[tuple[Esp, Esp]]:
    """Return a sender by SAs, innermost first, and a receiver of them."""
    names = [sa.label for sa in sas]
    out = [
        replace(sa, direction=Direction.OUT, then=after)
        for sa, after in zip(sas, [*names[1:], ""], strict=True)
    ]
    back = [
        replace(sa, direction=Direction.IN, then=after)
        for sa, after in zip(sas, ["", *names], strict=False)
    ]
    with Esp(framework, out, **settings) as sender, Esp(framework, back, **settings) as receiver:
        yield sender, receiver


@pytest.mark.parametrize("make", [ipv4, ipv6])
def test_the_header(make_esp: MakeEsp, make: Any) -> None:
    """RFC 3173 §3.3: next header, flags, CPI; then a bare DEFLATE stream (RFC 2394)."""
    packet = make(TEXT)
    esp = make_esp(comp())
    wire = esp.protect(packet).packet
    assert wire is not None
    head = 20 if make is ipv4 else 40
    assert wire[9 if make is ipv4 else 6] == IPCOMP
    assert wire[head : head + 4] == b"\x11\x00" + CPI.to_bytes(2)
    assert zlib.decompress(wire[head + 4 :], wbits=-15) == TEXT
    assert len(wire) < len(packet) // 4
    assert esp.unprotect(wire).packet == packet


@pytest.mark.parametrize("tunnel", [0, 4, 6])
def test_what_does_not_become_smaller_stays(make_esp: MakeEsp, tunnel: int) -> None:
    packet = ipv4(RANDOM)
    esp = make_esp(comp(tunnel=tunnel))
    wire = esp.protect(packet).packet
    assert wire is not None
    if tunnel:
        assert wire[9 if tunnel == 4 else 6] == 4, "IP in IP, where the tunnel goes"
        assert wire.endswith(packet)
    else:
        assert wire == packet
    assert esp.unprotect(wire).packet == packet
    counters = esp.counters()
    assert counters.unprotected.packets == 1


@given(packet=packets, tunnel=st.sampled_from([0, 4, 6]), text=st.booleans())
@settings(max_examples=examples(300), deadline=None)
def test_round_trip(framework: Framework, packet: bytes, tunnel: int, text: bool) -> None:
    if text:
        packet = ipv4(packet * 4)
    with Ends(framework, [comp(tunnel=tunnel)]) as esp:
        sent = esp.protect(packet).packet
        assert sent is not None
        assert len(sent) <= len(packet) + (40 if tunnel else 0), "never larger"
        # What is ESP already, and stays so, is another's.
        assert esp.unprotect(sent).packet == packet or sent[9] == 50


def damaged(stream: bytes, *, cpi: int = CPI, following: int = 17) -> bytes:
    """Return a packet that holds a compressed stream."""
    return ipv4(bytes((following, 0)) + cpi.to_bytes(2) + stream, protocol=IPCOMP)


def test_bad_packets(make_esp: MakeEsp) -> None:
    esp = make_esp(comp())
    raw = zlib.compressobj(wbits=-15)
    bomb = raw.compress(bytes(10_000_000)) + raw.flush()
    raw = zlib.compressobj(wbits=-15)
    good = raw.compress(TEXT) + raw.flush()
    cases = {
        damaged(b""): Reason.TRUNCATED,
        damaged(b"\xff" * 20): Reason.BAD_COMPRESSION,
        damaged(good[:-5]): Reason.BAD_COMPRESSION,
        damaged(good + b"more"): Reason.BAD_COMPRESSION,
        damaged(bomb): Reason.BAD_COMPRESSION,
        damaged(good, cpi=2): Reason.UNKNOWN_SPI,
        ipv4(b"\x11\x00\x40", protocol=IPCOMP): Reason.TRUNCATED,
    }
    assert {packet: esp.unprotect(packet).reason for packet in cases} == cases
    assert esp.unprotect(damaged(good)).packet == ipv4(TEXT)
    tunnel = make_esp(comp(tunnel=4))
    assert tunnel.unprotect(damaged(good)).reason is Reason.BAD_NEXT_HEADER
    assert tunnel.unprotect(damaged(good, following=4)).reason is Reason.BAD_INNER


# SAs that follow each other.


@pytest.mark.parametrize("tunnel", [0, 4, 6])
@pytest.mark.parametrize("data", [TEXT, RANDOM], ids=["smaller", "not smaller"])
@pytest.mark.parametrize("inside", ["transport", "tunnel"])
def test_inside_esp(framework: Framework, tunnel: int, data: bytes, inside: str) -> None:
    """The mode is IPComp's, and ESP's is transport, as IKE has it; or the other way round."""
    inner = comp(tunnel=tunnel if inside == "transport" else 0)
    outer = make_sa("aes-gcm-16", name="esp", tunnel=0 if inside == "transport" else tunnel)
    packet = ipv4(data)
    with bundle(framework, inner, outer) as (sender, receiver):
        wire = sender.protect(packet).packet
        assert wire is not None
        assert wire[9 if wire[0] >> 4 == 4 else 6] == 50
        if data == TEXT:
            assert len(wire) < len(packet) // 3
        result = receiver.unprotect(wire)
        assert result.packet == packet
        out, back = sender.counters().protected, receiver.counters().unprotected
        assert (out.packets, out.octets_in, out.octets_out) == (1, len(packet), len(wire))
        assert (back.packets, back.octets_in, back.octets_out) == (1, len(wire), len(packet))
        assert out.drivers.total() == 2, "two requests"
        assert sender.counters(outer.spi).protected.packets == 1
        assert sender.counters(CPI).protected.octets_in == len(packet)


def test_three_in_a_row(framework: Framework) -> None:
    ah = SecurityAssociation(
        spi=0x3001, protocol=Protocol.AH, name="ah",
        integrity="hmac-sha2-256-128", integrity_key=key(32),
    )  # fmt: skip
    with bundle(framework, comp(), make_sa(name="esp"), ah) as (sender, receiver):
        for packet in (ipv4(TEXT), ipv4(RANDOM), ipv6(TEXT)):
            wire = sender.protect(packet).packet
            assert wire is not None
            assert wire[9 if wire[0] >> 4 == 4 else 6] == 51
            assert receiver.unprotect(wire).packet == packet
        forged = bytearray(sender.protect(ipv4(TEXT)).packet or b"")
        forged[-1] ^= 1
        assert receiver.unprotect(forged).reason is Reason.BAD_ICV
        flow = receiver.counters().unprotected
        assert (flow.packets, flow.lost, flow.drivers.total()) == (3, 1, 8)
        assert receiver.counters(0x3001).unprotected.lost == 1


def test_what_follows_is_not_received_alone(framework: Framework) -> None:
    """In clear, and compressed without ESP, anybody may have made it."""
    with bundle(framework, comp(), make_sa(name="esp")) as (_, receiver):
        with Ends(framework, [comp()]) as alone:
            wire = alone.protect(ipv4(TEXT)).packet
        assert wire is not None
        assert receiver.unprotect(wire).reason is Reason.NOT_ESP
        assert receiver.unprotect(ipv4(TEXT)).reason is Reason.NOT_ESP


def test_esp_without_the_esp_that_follows(framework: Framework) -> None:
    """Where two protect, one alone is not enough."""
    first, second = make_sa(name="first"), make_sa("aes-gcm-16", spi=0x2002, name="second")
    with bundle(framework, first, second) as (_, receiver), Ends(framework, [second]) as alone:
        wire = alone.protect(ipv4(TEXT)).packet
        assert wire is not None
        assert receiver.unprotect(wire).reason is Reason.POLICY


def test_many_in_flight(framework: Framework) -> None:
    plain = [ipv4(TEXT[: 20 * n]) for n in range(1, 40)]
    with bundle(framework, comp(tunnel=4), make_sa("aes-gcm-16", name="esp")) as (there, back):
        wires = [result.packet or b"" for result in there.protect_many(plain)]
        assert [result.packet for result in back.unprotect_many(wires)] == plain


def test_kept_numbers_are_those_of_esp(framework: Framework, tmp_path: Path) -> None:
    """IPComp has none."""
    sas = (comp(), make_sa(name="esp"))
    out = [
        replace(sas[0], then="esp", direction=Direction.OUT),
        replace(sas[1], direction=Direction.OUT),
    ]
    for start in (1, 2):
        with Esp(framework, out, state=tmp_path / "state.json") as esp:
            wire = esp.protect(ipv4(TEXT)).packet
            assert wire is not None
            assert int.from_bytes(wire[24:28]) == start


@pytest.mark.parametrize(
    ("sas", "problem"),
    [
        ([comp(then="nobody")], "names 'nobody'"),
        ([comp(then="comp")], "in a circle"),
        (
            [comp(then="esp"), make_sa(name="esp", then="comp")],
            "in a circle: comp, then esp, then comp",
        ),
        (
            [comp(then="esp"), comp(spi=300, name="other", then="esp"), make_sa(name="esp")],
            "follows several",
        ),
        ([comp(then="esp"), make_sa(name="esp"), make_sa(spi=999, name="esp")], "not one SA"),
    ],
)
def test_orders_that_cannot_be(
    framework: Framework, sas: list[SecurityAssociation], problem: str
) -> None:
    for direction in Direction:
        with pytest.raises(UsageError, match=problem):
            Esp(framework, [replace(sa, direction=direction) for sa in sas])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"encryption": "aes-cbc", "encryption_key": key(16)}, "IPComp has no keys"),
        ({"integrity": "hmac-sha1-96", "integrity_key": key(20)}, "IPComp has no keys"),
        ({"spi": 0x10000}, "is its CPI"),
        ({"esn": True}, "no sequence numbers"),
        ({"spi": 100, "direction": Direction.OUT}, "lower ones are reserved"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        comp(**changes)


def test_out_of_a_file(tmp_path: Path, framework: Framework) -> None:
    path = tmp_path / "sa.toml"
    path.write_text(
        f"""
        [[sa]]
        name = "comp"
        protocol = "ipcomp"
        direction = "out"
        spi = 2
        then = "esp"
        [[sa]]
        name = "esp"
        direction = "out"
        spi = 0x2001
        encryption = "aes-cbc"
        encryption_key = "{key(16).hex()}"
        integrity = "hmac-sha2-256-128"
        integrity_key = "{key(32).hex()}"
        """
    )
    path.chmod(0o600)
    with Esp(framework, load_sas(path)) as esp:
        wire = esp.protect(ipv4(TEXT)).packet
        assert wire is not None
        assert len(wire) < 200
