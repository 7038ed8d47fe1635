"""Padding for traffic flow (RFC 4303 §2.7), and dummy packets (§2.6)."""

from __future__ import annotations

import pytest

from opencrypto import UsageError
from opencrypto_esp import Reason
from opencrypto_esp.outbound import Outbound
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.packets import ipv4, ipv6, make_sa

pytestmark = pytest.mark.shared_framework


@pytest.mark.parametrize("tunnel", [4, 6])
@pytest.mark.parametrize("encryption", ["aes-cbc", "aes-gcm-16", "null"])
def test_short_packets_are_as_long_as_others(
    make_esp: MakeEsp, encryption: str, tunnel: int
) -> None:
    esp = make_esp(make_sa(encryption, tunnel=tunnel, tfc_padding=600))
    plain = [ipv4(bytes(n)) for n in (0, 1, 200, 580)] + [ipv6(bytes(560))]
    wires = [esp.protect(packet).packet or b"" for packet in plain]
    assert len({*map(len, wires)}) == 1
    assert [esp.unprotect(wire).packet for wire in wires] == plain
    long = ipv4(bytes(581))
    wire = esp.protect(long).packet
    assert wire is not None
    assert esp.unprotect(wire).packet == long
    assert esp.counters().protected.octets_in == sum(map(len, [*plain, long]))


def test_only_in_a_tunnel() -> None:
    with pytest.raises(UsageError, match="tunnel mode"):
        make_sa(tfc_padding=100)
    with pytest.raises(UsageError, match="0 to 65000"):
        make_sa(tunnel=4, tfc_padding=65001)


@pytest.mark.parametrize("tunnel", [0, 4])
def test_a_dummy_is_dropped_and_no_loss(make_esp: MakeEsp, tunnel: int) -> None:
    """Its number counts, or it could be sent again and again."""
    esp = make_esp(make_sa("null", tunnel=tunnel))
    sender = esp.sender._outbound[0]
    assert isinstance(sender, Outbound)
    trailer = sender._trailers
    packet = ipv4(bytes(30))
    first = esp.protect(packet).packet
    assert first is not None
    for place, made in list(trailer.items()):
        trailer[place] = made[: -sender.sa.icv - 1] + b"\x3b" + made[-sender.sa.icv :]
    dummy = esp.protect(packet).packet
    assert dummy is not None
    assert esp.unprotect(dummy).reason is Reason.DUMMY
    assert esp.unprotect(dummy).reason is Reason.REPLAYED
    assert esp.counters().unprotected.lost == 1
