"""Associations are simplex: what is sent by one is never received by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opencrypto import Framework, UsageError
from opencrypto_esp import Direction, Esp, Reason, SecurityAssociation, one_way
from tests.consumers.esp.packets import ipv4, key, make_sa

pytestmark = pytest.mark.shared_framework

SHAPES = {
    "transport": make_sa(),
    "combined": make_sa("aes-gcm-16"),
    "tunnel": make_sa("aes-gcm-16", tunnel=4),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_packet_sent_back_is_not_taken(framework: Framework, shape: str) -> None:
    """With its addresses swapped it looked like an answer, and was decrypted and handed on."""
    sa = replace(SHAPES[shape], direction=Direction.OUT)
    with Esp(framework, [sa]) as esp:
        wire = esp.protect(ipv4(b"to the other end")).packet
        assert wire is not None
        reflected = wire[:12] + wire[16:20] + wire[12:16] + wire[20:]
        for packet in (wire, reflected):
            result = esp.unprotect(packet)
            assert (result.packet, result.reason) == (None, Reason.UNKNOWN_SPI)


def test_an_end_has_both_ways_by_two_associations(framework: Framework) -> None:
    """Each of its own keys; with one SPI too, which each end chooses for itself."""
    here = make_sa(direction=Direction.OUT)
    there = make_sa(direction=Direction.IN, encryption_key=key(16, 9), integrity_key=key(20, 8))
    turned = [
        replace(here, direction=Direction.IN), replace(there, direction=Direction.OUT)
    ]  # fmt: skip
    with Esp(framework, [here, there]) as one, Esp(framework, turned) as other:
        for sender, receiver in ((one, other), (other, one)):
            packet = ipv4(b"hello")
            wire = sender.protect(packet).packet
            assert wire is not None
            assert sender.unprotect(wire).packet is None
            assert receiver.unprotect(wire).packet == packet
        assert one.counters(here.spi).protected.packets == 1
        assert one.counters(here.spi).unprotected.packets == 1


@pytest.mark.parametrize("spi", [0x1001, 0x2002])
def test_one_key_both_ways_is_refused(framework: Framework, spi: int) -> None:
    out, back = make_sa(direction=Direction.OUT), make_sa(direction=Direction.IN, spi=spi)
    with pytest.raises(UsageError, match="agree on keys for each direction"):
        Esp(framework, [out, back])


def test_without_a_direction_nothing_is_guessed(framework: Framework) -> None:
    with pytest.raises(UsageError, match='write direction = "out" if packets are sent'):
        Esp(framework, [make_sa()])


def test_a_sender_receives_nothing_and_a_receiver_sends_nothing(framework: Framework) -> None:
    with Esp(framework, [make_sa(direction=Direction.IN)]) as esp:
        assert esp.protect(ipv4(b"x")).reason is Reason.NO_SA


def test_a_command_takes_those_of_its_way() -> None:
    """And those that do not say; if all are for the other way it says what to write."""
    sas = [
        make_sa(spi=257), make_sa(spi=258, direction=Direction.IN),
        make_sa(spi=259, direction=Direction.OUT),
    ]  # fmt: skip

    def chosen(direction: Direction) -> list[int]:
        found: list[SecurityAssociation] = one_way(sas, direction)
        assert {sa.direction for sa in found} == {direction}
        return [sa.spi for sa in found]

    assert chosen(Direction.OUT) == [257, 259]
    assert chosen(Direction.IN) == [257, 258]
    with pytest.raises(UsageError, match='no SA is for sending; write direction = "out"'):
        one_way(sas[1:2], Direction.OUT)
