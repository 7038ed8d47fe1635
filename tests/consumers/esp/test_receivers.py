"""Which SA a packet is received on: low SPIs, several SAs with one, any, and long numbers."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from opencrypto import Framework, UsageError
from opencrypto_esp import Direction, Esp, Mode, Reason, SecurityAssociation, load_sas, one_way
from opencrypto_esp.sa import ANY_SPI
from tests.consumers.esp.packets import SPI, ipv4, key, make_sa

pytestmark = pytest.mark.shared_framework

PACKET = ipv4(b"protected")


def sent(framework: Framework, sa: SecurityAssociation, packet: bytes = PACKET) -> bytes:
    """Return a packet as an SA sends it."""
    with Esp(framework, one_way([sa], Direction.OUT)) as esp:
        made = esp.protect(packet).packet
        assert made is not None
        return made


def receiver(framework: Framework, *sas: SecurityAssociation, **settings: Any) -> Esp:
    """Return what receives on some SAs."""
    return Esp(framework, one_way(sas, Direction.IN), **settings)


def suite(n: int, **changes: Any) -> SecurityAssociation:
    """Return an SA with keys of its own."""
    return make_sa("aes-gcm-16", encryption_key=key(20, n), **changes)


# Low SPIs.


@pytest.mark.parametrize("spi", [1, 5, 255])
def test_a_low_spi_is_received_on_and_not_sent_by(framework: Framework, spi: int) -> None:
    """Published vectors have such; RFC 4303 §2.1 reserves them for IANA, which has given none."""
    # The null cipher, so that the test can write what nobody sends.
    sa = make_sa("null", "hmac-sha1-96", spi=spi)
    with pytest.raises(UsageError, match="256"):
        one_way([sa], Direction.OUT)
    wire = bytearray(sent(framework, make_sa("null", "hmac-sha1-96")))
    wire[20:24] = spi.to_bytes(4)
    wire[-12:] = hmac.digest(sa.integrity_key, bytes(wire[20:-12]), hashlib.sha1)[:12]
    with receiver(framework, sa) as esp:
        assert esp.unprotect(wire).packet == PACKET


# Several SAs with one SPI.


def test_tunnels_with_one_spi_are_told_apart_by_their_ends(framework: Framework) -> None:
    """Each receiver chooses its SPIs; whoever looks at a link sees the same one twice."""
    ends = [ip_address(f"192.0.2.{n}") for n in range(1, 5)]
    first = suite(1, tunnel=4, tunnel_source=ends[0], tunnel_destination=ends[1])
    second = suite(9, tunnel=4, tunnel_source=ends[2], tunnel_destination=ends[3])
    strange = suite(9, tunnel=4, tunnel_source=ends[3], tunnel_destination=ends[2])
    with receiver(framework, first, second) as esp:
        for sa in (second, first):
            result = esp.unprotect(sent(framework, sa))
            assert result.packet == PACKET
            assert result.sa is not None
            assert result.sa.encryption_key == sa.encryption_key
        assert esp.unprotect(sent(framework, strange)).reason is Reason.UNKNOWN_SPI
        assert esp.counters(SPI).unprotected.packets == 2


def test_in_transport_mode_the_selectors_tell(framework: Framework) -> None:
    near = suite(1, source=(ip_network("10.0.0.0/8"),))
    far = suite(9, source=(ip_network("198.51.100.0/24"),))
    for order in ((near, far), (far, near)):
        with receiver(framework, *order) as esp:
            assert esp.unprotect(sent(framework, near)).packet == PACKET
            other = ipv4(b"from afar", source="198.51.100.7")
            assert esp.unprotect(sent(framework, far, other)).packet == other


def test_what_nothing_tells_apart_is_refused(framework: Framework) -> None:
    for same in ({}, {"tunnel": 4}, {"source": (ip_network("10.0.0.0/8"),)}):
        with pytest.raises(UsageError, match="SPI of its own"):
            receiver(framework, suite(1, **same), suite(9, **same))


@pytest.mark.parametrize("tunnels", [True, False], ids=["tunnels", "selectors"])
def test_a_state_keeps_each_of_several_sas_with_one_spi(
    framework: Framework, tmp_path: Path, tunnels: bool
) -> None:
    """It kept numbers by the SPI alone, and refused them."""
    if tunnels:
        pair = suite(1, tunnel=4), suite(9, tunnel=6)
    else:
        networks = (ip_network("10.0.0.0/8"),), (ip_network("198.51.100.0/24"),)
        pair = suite(1, source=networks[0]), suite(9, source=networks[1])
    state = tmp_path / "state"
    packets = PACKET, PACKET if tunnels else ipv4(b"far", source="198.51.100.7")
    wires = [sent(framework, sa, packet) for sa, packet in zip(pair, packets, strict=True)]
    with receiver(framework, *pair, state=state) as esp:
        assert esp.unprotect(wires[0]).packet == packets[0]
    with receiver(framework, *reversed(pair), state=state) as esp:
        assert esp.unprotect(wires[0]).reason is Reason.REPLAYED
        assert esp.unprotect(wires[1]).packet == packets[1]
    with receiver(framework, *pair, state=state) as esp:
        assert [esp.unprotect(wire).reason for wire in wires] == [Reason.REPLAYED] * 2
    with pytest.raises(UsageError, match="state of other SAs"):
        receiver(framework, pair[0], state=state)


# Tunnels whose ends nobody named, and packets whose mode nobody did.


def test_the_ends_of_a_tunnel_need_not_be_known_to_receive(framework: Framework) -> None:
    sender = suite(1, tunnel=4)
    for known in (None, sender.tunnel_source):
        sa = replace(sender, tunnel_source=known, tunnel_destination=None)
        with receiver(framework, sa, suite(9, spi=0x777)) as esp:
            assert esp.unprotect(sent(framework, sender)).packet == PACKET
        with pytest.raises(UsageError, match="tunnel mode needs"):
            one_way([sa], Direction.OUT)


def test_several_of_one_spi_are_told_apart_by_one_end(framework: Framework) -> None:
    ends = [ip_address(f"192.0.2.{n}") for n in range(1, 5)]
    first = suite(1, tunnel=4, tunnel_source=ends[0], tunnel_destination=ends[1])
    second = suite(9, tunnel=4, tunnel_source=ends[2], tunnel_destination=ends[3])
    halves = replace(first, tunnel_source=None), replace(second, tunnel_destination=None)
    with receiver(framework, *halves) as esp:
        for sa in (second, first):
            assert esp.unprotect(sent(framework, sa)).packet == PACKET


def test_either_mode_is_what_each_packet_has(framework: Framework) -> None:
    """Wireshark's table and tcpdump's line do not say which it is."""
    either = suite(1, mode=Mode.EITHER)
    senders = suite(1), suite(1, tunnel=4, sequence=7), suite(1, tunnel=6, sequence=9)
    with receiver(framework, either) as esp:
        for sender in senders:
            assert esp.unprotect(sent(framework, sender)).packet == PACKET
    with pytest.raises(UsageError, match="one of them"):
        one_way([either], Direction.OUT)


# Any SPI.


def test_any_spi_reads_what_no_other_sa_has(framework: Framework) -> None:
    """For other people's captures: the keys are known, the SPIs are whatever they were."""
    mine, theirs = suite(1), suite(9, spi=ANY_SPI)
    with receiver(framework, theirs, mine) as esp:
        assert esp.unprotect(sent(framework, mine)).packet == PACKET
        for spi in (0x1234, 0xFFFFFFFF):
            wire = sent(framework, suite(9, spi=spi))
            assert esp.unprotect(wire).packet == PACKET
            assert esp.unprotect(wire).packet == PACKET, "each SPI would have a window of its own"
        assert esp.unprotect(sent(framework, suite(5, spi=0x999))).reason is Reason.BAD_ICV
        assert "*" in repr(esp)


def test_any_spi_may_be_that_of_one_tunnel(framework: Framework) -> None:
    some = suite(9, spi=ANY_SPI, tunnel=4)
    with receiver(framework, some) as esp:
        assert esp.unprotect(sent(framework, suite(9, spi=0x777, tunnel=4))).packet == PACKET
        wire = sent(framework, suite(9, spi=0x777, tunnel=6))
        assert esp.unprotect(wire).reason is Reason.UNKNOWN_SPI


def test_nothing_is_sent_by_any_spi() -> None:
    with pytest.raises(UsageError, match="256"):
        one_way([suite(1, spi=ANY_SPI)], Direction.OUT)


FILE = """
[[sa]]
spi = {spi}
encryption = "aes-gcm-16"
encryption_key = "{key}"
esn = {esn}
replay_seq_hi = {high}
"""


def write(path: Path, spi: str = '"*"', high: object = 7, esn: str = "true") -> Path:
    """Write an SA file."""
    path.write_text(FILE.format(spi=spi, key=key(20, 9).hex(), high=high, esn=esn))
    path.chmod(0o600)
    return path


def test_a_file_says_any_by_a_star(tmp_path: Path, framework: Framework) -> None:
    (sa,) = load_sas(write(tmp_path / "sa.toml"))
    assert (sa.spi, sa.label, sa.replay_seq_hi) == (ANY_SPI, "*", 7)
    sender = suite(9, spi=0x4321, esn=True, sequence=(7 << 32) + 5)
    with receiver(framework, sa) as esp:
        assert esp.unprotect(sent(framework, sender)).packet == PACKET


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spi": "0"}, r"1 to 0xffffffff, or \"\*\""),
        ({"spi": "-1"}, "1 to 0xffffffff"),
        ({"spi": '"0x100"'}, "must be a number"),
        ({"high": 2**32}, "replay_seq_hi must be 0 to"),
        ({"high": '"7"'}, "must be a number"),
        ({"esn": "false"}, "esn be true"),
    ],
)
def test_what_a_file_cannot_say(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_sas(write(tmp_path / "sa.toml", **changes))


# Long numbers.


@pytest.mark.parametrize("suite_name", ["aes-gcm-16", "aes-cbc"])
@pytest.mark.parametrize(
    "start", [0, 5, 2**32 - 3, 2**32 - 1, 2**32, 7 * 2**32 + 1, 2**33 - 20, 2**63, 2**64 - 12]
)
def test_what_is_sent_beyond_32_bits_can_be_read(
    framework: Framework, suite_name: str, start: int
) -> None:
    """The tool could not read what it had written itself with the same file."""
    sa = make_sa(suite_name, esn=True, sequence=start)
    with (
        Esp(framework, one_way([sa], Direction.OUT)) as sender,
        receiver(framework, sa) as esp,
    ):
        for n in range(10):
            wire = sender.protect(PACKET).packet
            assert wire is not None
            assert esp.unprotect(wire).packet == PACKET, n
            assert esp.unprotect(wire).reason is Reason.REPLAYED


@pytest.mark.parametrize("low", [0, 1, 63, 64, 2**31, 2**32 - 64, 2**32 - 1])
def test_the_upper_half_that_is_given_is_that_of_the_first_packet(
    framework: Framework, low: int
) -> None:
    sender = suite(1, esn=True, sequence=(9 << 32) + low - 1)
    with receiver(framework, suite(1, esn=True, replay_seq_hi=9)) as esp:
        wire = sent(framework, sender)
        assert esp.unprotect(wire).packet == PACKET
        assert esp.unprotect(wire).reason in {Reason.REPLAYED, Reason.TOO_OLD}
