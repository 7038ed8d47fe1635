"""
The Linux kernel's IPsec takes what we make and we take what it makes, and it counts no error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import pytest

from opencrypto import Framework
from opencrypto_esp import (
    ENCRYPTIONS,
    INTEGRITIES,
    Direction,
    Esp,
    Mode,
    Protocol,
    SecurityAssociation,
    one_way,
)
from tests.consumers.esp.kernel import xfrm
from tests.consumers.esp.kernel.xfrm import BACK, ENDS, KERNEL, OURS, Link
from tests.consumers.esp.packets import key, make_sa

pytestmark = [pytest.mark.kernel("uml"), pytest.mark.slow, pytest.mark.shared_framework]

DATA = [b"x", b"", bytes(range(97)), b"to be or not to be, " * 45]
FORMS = [(4, 0), (6, 0), (4, 4), (6, 6), (4, 6), (6, 4)]
"""Version on the link, and in the tunnel; 0 without one."""

forms = pytest.mark.parametrize(
    ("version", "inner"), FORMS, ids=lambda version: f"v{version}" if version else "transport"
)
SUITES = [
    (encryption, integrity)
    for encryption, suite in ENCRYPTIONS.items()
    for integrity in ([""] if suite.icv else ["hmac-sha1-96"])
    if not suite.old
] + [("aes-cbc", integrity) for integrity in INTEGRITIES if integrity != "hmac-sha1-96"]
OLD = [name for name, suite in ENCRYPTIONS.items() if suite.old]


def pair(sa: SecurityAssociation, version: int, inner: int) -> list[SecurityAssociation]:
    """Return an association to the kernel, and one of the same kind from it."""
    tunnel = {"mode": Mode.TUNNEL} if inner else {}
    there = ENDS[version] if inner else {}
    back = BACK[version] if inner else {}
    return [
        replace(sa, direction=Direction.OUT, **tunnel, **there),  # type: ignore[arg-type]
        replace(
            sa, direction=Direction.IN, spi=sa.spi + 1,
            encryption_key=sa.encryption_key[::-1], integrity_key=sa.integrity_key[::-1],
            **tunnel, **back,  # type: ignore[arg-type]
        ),
    ]  # fmt: skip


def exchange(link: Link, esp: Esp, version: int, inner: int) -> None:
    """Send datagrams both ways, and compare them."""
    family = inner or version
    with link.udp_socket(family) as peer:
        for data in DATA:
            made = esp.protect(xfrm.udp(OURS[family], KERNEL[family], data))
            assert made.packet is not None, made.reason
            link.send(made.packet)
            try:
                got = peer.recv(65536)
            except TimeoutError:
                raise AssertionError(f"the kernel dropped it: {link.errors()}") from None
            assert got == data
            link.say(peer, family, data)
            result = esp.unprotect(link.receive())
            assert result.reason is None
            assert result.packet is not None
            assert xfrm.payload_of(result.packet) == data
    assert link.errors() == {}


Converse: TypeAlias = Callable[
    [Sequence[SecurityAssociation], Sequence[SecurityAssociation], int, int], None
]


@pytest.fixture
def converse(link: Link, framework: Framework) -> Converse:
    """
    Return what sends datagrams through associations both ways.

    Associations that are applied together are given innermost first.
    """

    def work(
        there: Sequence[SecurityAssociation], back: Sequence[SecurityAssociation],
        version: int, inner: int,
    ) -> None:  # fmt: skip
        link.install("in", version, inner or version, there)
        link.install("out", version, inner or version, back)
        with Esp(framework, [*there, *back]) as esp:
            exchange(link, esp, version, inner)

    return work


@pytest.mark.parametrize(("encryption", "integrity"), SUITES)
@forms
def test_each_suite(
    converse: Converse, encryption: str, integrity: str, version: int, inner: int
) -> None:
    there, back = pair(make_sa(encryption, integrity), version, inner)
    converse([there], [back], version, inner)


@pytest.mark.parametrize("encryption", ["aes-gcm-16", "aes-cbc"])
@forms
def test_each_form(converse: Converse, encryption: str, version: int, inner: int) -> None:
    there, back = pair(make_sa(encryption), version, inner)
    converse([there], [back], version, inner)


@pytest.mark.parametrize("encryption", ["aes-gcm-16", "aes-cbc", "chacha20-poly1305", "aes-ccm-8"])
@pytest.mark.parametrize("high", [0, 1])
@pytest.mark.parametrize(("version", "inner"), [(4, 0), (6, 6)], ids=["transport4", "tunnel6"])
def test_extended_sequence_numbers(
    converse: Converse, encryption: str, high: int, version: int, inner: int
) -> None:
    there, back = pair(make_sa(encryption, esn=True), version, inner)
    # Both begin in the same span of 2**32 numbers, and go on into the next.
    sequence = (1 << 32) - 2 if high else 0
    there, back = replace(there, sequence=sequence), replace(back, sequence=sequence)
    converse([there], [back], version, inner)


@pytest.mark.parametrize("length", [16, 24])
@pytest.mark.parametrize("encryption", ["aes-cbc", "aes-ctr", "aes-gcm-16", "aes-ccm-16"])
def test_shorter_keys(converse: Converse, encryption: str, length: int) -> None:
    size = length + ENCRYPTIONS[encryption].salt
    there, back = pair(make_sa(encryption, encryption_key=key(size)), 4, 0)
    converse([there], [back], 4, 0)


@pytest.mark.parametrize("encryption", OLD)
def test_old_ciphers_are_read(link: Link, framework: Framework, encryption: str) -> None:
    suite = ENCRYPTIONS[encryption]
    sa = make_sa(encryption, encryption_key=key(16 if 16 in suite.keys else max(suite.keys)))
    sas = one_way([sa], Direction.IN)
    link.install("out", 4, 4, sas)
    with Esp(framework, sas, old_ciphers=True) as esp, link.udp_socket(4) as peer:
        for data in DATA:
            link.say(peer, 4, data)
            result = esp.unprotect(link.receive())
            assert result.packet is not None, result.reason
            assert xfrm.payload_of(result.packet) == data
    assert link.errors() == {}


@forms
def test_in_udp(link: Link, converse: Converse, version: int, inner: int) -> None:
    there, back = pair(make_sa("aes-gcm-16", encap="udp"), version, inner)
    with link.nat_t_socket(version, 4500):
        converse([there], [back], version, inner)


@pytest.mark.parametrize("tunnel", [4, 6])
def test_padding_for_traffic_flow(converse: Converse, tunnel: int) -> None:
    there, back = pair(make_sa("aes-gcm-16"), tunnel, tunnel)
    converse([replace(there, tfc_padding=1200)], [back], tunnel, tunnel)


def ah(integrity: str, *, esn: bool = False) -> SecurityAssociation:
    """Return an association of AH."""
    suite = INTEGRITIES[integrity]
    return SecurityAssociation(
        spi=0x3001, protocol=Protocol.AH, integrity=integrity, integrity_key=key(suite.key), esn=esn
    )


@pytest.mark.parametrize("integrity", INTEGRITIES)
@pytest.mark.parametrize(("version", "inner"), [(4, 0), (6, 0)], ids=["transport4", "transport6"])
def test_each_integrity_of_ah(converse: Converse, integrity: str, version: int, inner: int) -> None:
    there, back = pair(ah(integrity), version, inner)
    converse([there], [back], version, inner)


@pytest.mark.parametrize("integrity", ["hmac-sha2-256-128"])
@forms
def test_each_form_of_ah(converse: Converse, integrity: str, version: int, inner: int) -> None:
    there, back = pair(ah(integrity), version, inner)
    converse([there], [back], version, inner)


@forms
def test_ah_with_extended_sequence_numbers(converse: Converse, version: int, inner: int) -> None:
    there, back = pair(ah("hmac-sha2-256-128", esn=True), version, inner)
    converse([there], [back], version, inner)


def comp() -> SecurityAssociation:
    """Return an association of IPComp."""
    return SecurityAssociation(spi=0x4001, protocol=Protocol.IPCOMP)


@forms
def test_ipcomp_alone(converse: Converse, version: int, inner: int) -> None:
    there, back = pair(comp(), version, inner)
    converse([there], [back], version, inner)


@pytest.mark.parametrize(
    ("version", "inner"),
    # The kernel's ESP in transport mode knows one version alone.
    [(version, inner) for version, inner in FORMS if inner in (0, version)],
)
def test_ipcomp_inside_esp(converse: Converse, version: int, inner: int) -> None:
    """As IKE daemons set it up: IPComp in the mode that is wanted, ESP in transport mode."""
    comp_there, comp_back = pair(replace(comp(), name="comp", then="esp"), version, inner)
    esp_there, esp_back = pair(make_sa("aes-gcm-16", name="esp"), version, 0)
    # Sent innermost first; received outermost first.
    comp_back = replace(comp_back, then="")
    esp_back = replace(esp_back, then="comp")
    converse([comp_there, esp_there], [comp_back, esp_back], version, inner)


@pytest.mark.parametrize("version", [4, 6])
def test_esp_inside_ah(converse: Converse, version: int) -> None:
    esp_there, esp_back = pair(make_sa("aes-cbc", name="esp", then="ah"), version, 0)
    ah_there, ah_back = pair(replace(ah("hmac-sha2-256-128"), name="ah"), version, 0)
    esp_back, ah_back = replace(esp_back, then=""), replace(ah_back, then="esp")
    converse([esp_there, ah_there], [esp_back, ah_back], version, 0)


def test_the_kernel_sees_replays_and_damage(link: Link, framework: Framework) -> None:
    """Or its silence above would say nothing."""
    there, _ = pair(make_sa("aes-gcm-16"), 4, 0)
    link.install("in", 4, 4, [there])
    with Esp(framework, [there]) as esp, link.udp_socket(4) as peer:
        packet = esp.protect(xfrm.udp(OURS[4], KERNEL[4], b"data")).packet
        assert packet is not None
        link.send(packet)
        assert peer.recv(100) == b"data"
        link.send(packet)
        damaged = bytearray(esp.protect(xfrm.udp(OURS[4], KERNEL[4], b"data")).packet or b"")
        damaged[-1] ^= 1
        link.send(bytes(damaged))
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.recv(100)
    assert link.errors() == {"XfrmInStateSeqError": 1, "XfrmInStateProtoError": 1}
