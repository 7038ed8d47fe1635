"""scapy decrypts what we protect and we decrypt what it protects, with all that both have."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from opencrypto import Framework
from opencrypto_esp import (
    ENCRYPTIONS,
    INTEGRITIES,
    Direction,
    Esp,
    SecurityAssociation,
    one_way,
)
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.packets import SUITES, TUNNELS, chained, ipv4, ipv6, key, make_sa
from tests.support import sample_of

with warnings.catch_warnings():
    # Importing it asks cryptography for ciphers at places that this has given up.
    warnings.simplefilter("ignore")
    from scapy.layers import ipsec
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

pytestmark = pytest.mark.shared_framework

SCAPY_ENCRYPTION = {
    "null": "NULL",
    "3des-cbc": "3DES",
    "aes-cbc": "AES-CBC",
    "aes-ctr": "AES-CTR",
    "aes-gcm-16": "AES-GCM",
    **{f"aes-ccm-{icv}": "AES-CCM" for icv in (8, 12, 16)},
    "chacha20-poly1305": "CHACHA20-POLY1305",
    "aes-gmac": "AES-NULL-GMAC",
    "des-cbc": "DES",
    "blowfish-cbc": "Blowfish",
    "cast-cbc": "CAST",
}
SCAPY_INTEGRITY = {
    "": "NULL",
    "hmac-md5-96": "HMAC-MD5-96",
    "hmac-sha1-96": "HMAC-SHA1-96",
    "hmac-sha2-256-128": "SHA2-256-128",
    "hmac-sha2-384-192": "SHA2-384-192",
    "hmac-sha2-512-256": "SHA2-512-256",
    "hmac-sha2-256-96": "SHA2-256-96",
    "aes-cmac-96": "AES-CMAC-96",
}
SCAPY_LACKS = {
    "aes-gcm-8", "aes-gcm-12", "aes-xcbc-96", "hmac-ripemd160-96", "camellia-cbc",
}  # fmt: skip
"""Judged by the Linux kernel alone: tests/consumers/esp/kernel."""

# scapy has the parts of old Linux' truncation, and not the whole.
_SHA256 = ipsec.AUTH_ALGOS["SHA2-256-128"]
ipsec.AUTH_ALGOS.setdefault(
    "SHA2-256-96", ipsec.AuthAlgo("SHA2-256-96", _SHA256.mac, _SHA256.digestmod, icv_size=12)
)

PAYLOADS = [b"16 bytes of data", b"", b"x", b"xy", bytes(range(200))]
EXTENSIONS = [(0,), (43,), (0, 43), (0, 60)]
EXPERIMENT = 253
"""A protocol of which scapy makes nothing (RFC 3692): others it would put right in our place."""

both = pytest.mark.parametrize(
    ("encryption", "integrity"),
    [pair for pair in sample_of(SUITES) if not SCAPY_LACKS & set(pair)],
)
modes = pytest.mark.parametrize("tunnel", [0, 4, 6], ids=["transport", "tunnel4", "tunnel6"])
versions = pytest.mark.parametrize("version", [4, 6])


def theirs(sa: SecurityAssociation, tunnel: int) -> Any:
    """Return scapy's association of the same name, algorithms and keys."""
    header = None
    if tunnel:
        kind = IP if tunnel == 4 else IPv6
        ends = TUNNELS[tunnel]
        header = kind(src=str(ends["tunnel_source"]), dst=str(ends["tunnel_destination"]))
    return ipsec.SecurityAssociation(
        ipsec.ESP,
        spi=sa.spi,
        crypt_algo=SCAPY_ENCRYPTION[sa.encryption],
        crypt_key=sa.encryption_key or None,
        auth_algo=SCAPY_INTEGRITY[sa.integrity],
        auth_key=sa.integrity_key or None,
        crypt_icv_size=sa.cipher.icv or None,
        tunnel_header=header,
    )


def parse(packet: bytes) -> Any:
    """Return scapy's view of a packet."""
    return (IP if packet[0] >> 4 == 4 else IPv6)(packet)


def plain(version: int) -> Sequence[bytes]:
    """Return packets of a version, some with options or extension headers."""
    if version == 4:
        options = ipv4(b"routed", options=b"\x94\x04\x00\x00", tos=0xB8, protocol=EXPERIMENT)
        return sample_of([*(ipv4(payload, protocol=EXPERIMENT) for payload in PAYLOADS), options])
    extended = [chained(types, b"extended", EXPERIMENT) for types in EXTENSIONS]
    return sample_of([*(ipv6(payload, following=EXPERIMENT) for payload in PAYLOADS), *extended])


def test_scapy_has_all_that_we_have() -> None:
    """Or else the tests below would shrink unnoticed."""
    assert set(SCAPY_ENCRYPTION.values()) <= set(ipsec.CRYPT_ALGOS)
    assert set(SCAPY_INTEGRITY.values()) <= set(ipsec.AUTH_ALGOS)
    assert {*SCAPY_ENCRYPTION} | SCAPY_LACKS >= {*ENCRYPTIONS}
    assert {*SCAPY_INTEGRITY} | SCAPY_LACKS >= {*INTEGRITIES}


@both
@modes
@versions
def test_scapy_decrypts_ours(
    make_esp: MakeEsp, encryption: str, integrity: str, tunnel: int, version: int
) -> None:
    sa = make_sa(encryption, integrity, tunnel=tunnel)
    esp, peer = make_esp(sa), theirs(sa, tunnel)
    for packet in plain(version):
        wire = esp.protect(packet).packet
        assert wire is not None
        assert bytes(peer.decrypt(parse(wire))) == packet


@both
@modes
@versions
def test_we_decrypt_scapys(
    make_esp: MakeEsp, encryption: str, integrity: str, tunnel: int, version: int
) -> None:
    sa = make_sa(encryption, integrity, tunnel=tunnel)
    esp, peer = make_esp(sa), theirs(sa, tunnel)
    for packet in plain(version):
        result = esp.unprotect(bytes(peer.encrypt(parse(packet))))
        assert result.reason is None
        assert result.packet == packet


@pytest.mark.parametrize("encryption", ["des-cbc", "blowfish-cbc", "cast-cbc"])
def test_old_captures_are_read(framework: Framework, encryption: str) -> None:
    sa = make_sa(encryption, encryption_key=key(8 if encryption == "des-cbc" else 16))
    peer = theirs(sa, 0)
    with Esp(framework, one_way([sa], Direction.IN), old_ciphers=True) as esp:
        for packet in plain(4):
            assert esp.unprotect(bytes(peer.encrypt(parse(packet)))).packet == packet


@pytest.mark.parametrize(("encryption", "icv"), [("aes-cbc", 12), ("aes-cbc", 16), ("null", 32)])
def test_an_icv_that_nobody_can_verify(framework: Framework, encryption: str, icv: int) -> None:
    names = {12: "hmac-sha1-96", 16: "hmac-sha2-256-128", 32: "hmac-sha2-512-256"}
    known = make_sa(encryption, names[icv])
    unknown = replace(known, integrity="", integrity_key=b"", icv_length=icv)
    peer = theirs(known, 0)
    with Esp(framework, one_way([unknown], Direction.IN), unverified=True) as esp:
        for packet in plain(4):
            wire = bytearray(bytes(peer.encrypt(parse(packet))))
            wire[-1] ^= 1
            assert esp.unprotect(wire).packet == packet


@pytest.mark.parametrize("high", [0, 7])
@modes
def test_extended_sequence_numbers(make_esp: MakeEsp, tunnel: int, high: int) -> None:
    """scapy has them for combined modes only."""
    sa = make_sa("aes-gcm-16", tunnel=tunnel, esn=True, sequence=high << 32)
    esp, peer = make_esp(sa), theirs(sa, tunnel)
    esp._inbound[sa.spi].window.update(high << 32)
    packet = ipv4(b"some payload", protocol=EXPERIMENT)
    wire = esp.protect(packet).packet
    assert wire is not None
    assert bytes(peer.decrypt(parse(wire), esn_en=True, esn=high)) == packet
    peer.seq_num = 2
    sent = bytes(peer.encrypt(parse(packet), esn_en=True, esn=high))
    assert esp.unprotect(sent).packet == packet
