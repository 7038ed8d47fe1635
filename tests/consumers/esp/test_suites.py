"""The suites' names as people spell them, and the rules for those that are there to read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opencrypto import Framework, UsageError
from opencrypto.xform import FACTS
from opencrypto_esp import (
    ENCRYPTIONS,
    INTEGRITIES,
    Direction,
    Esp,
    SecurityAssociation,
    encryption_named,
    integrity_named,
    one_way,
)
from opencrypto_esp.layout import Layout
from tests.consumers.esp.packets import key, make_sa

# By source: `ip xfrm state`, swanctl's proposals and listings, IANA's registry, Wireshark.
ENCRYPTION_SPELLINGS = {
    "null": "ecb(cipher_null) cipher_null NULL ENCR_NULL",
    "3des-cbc": "cbc(des3_ede) des3_ede 3des 3DES_CBC ENCR_3DES TripleDES-CBC[RFC2451]",
    "aes-cbc": "cbc(aes) aes aes128 aes256 AES_CBC-192 ENCR_AES_CBC AES-CBC[RFC3602] aes-256-cbc",
    "aes-ctr": "rfc3686(ctr(aes)) aes128ctr AES_CTR-256 ENCR_AES_CTR AES-CTR[RFC3686]",
    "aes-gcm-16": "rfc4106(gcm(aes)) aes128gcm16 aes256gcm128 AES_GCM_16-256 ENCR_AES_GCM_16 "
    "AES-GCM[RFC4106] aes-gcm aes-128-gcm aes256gcm",
    "aes-gcm-12": "aes192gcm12 aes128gcm96 AES_GCM_12-128 ENCR_AES_GCM_12",
    "aes-gcm-8": "aes128gcm8 aes128gcm64 AES_GCM_8-256 ENCR_AES_GCM_8",
    "aes-ccm-16": "rfc4309(ccm(aes)) aes128ccm16 aes128ccm128 AES_CCM_16-256 ENCR_AES_CCM_16",
    "aes-ccm-12": "aes128ccm12 aes128ccm96 AES_CCM_12-256 ENCR_AES_CCM_12",
    "aes-ccm-8": "aes128ccm8 aes128ccm64 AES_CCM_8-256 ENCR_AES_CCM_8",
    "chacha20-poly1305": "rfc7539esp(chacha20,poly1305) chacha20poly1305 CHACHA20_POLY1305-256 "
    "ENCR_CHACHA20_POLY1305 ChaCha20withPoly1305[RFC7634]",
    "aes-gmac": "rfc4543(gcm(aes)) aes128gmac NULL_AES_GMAC-128 ENCR_NULL_AUTH_AES_GMAC",
    "des-cbc": "cbc(des) des DES_CBC ENCR_DES DES-CBC[RFC2405]",
    "blowfish-cbc": "cbc(blowfish) blowfish blowfish256 BLOWFISH_CBC ENCR_BLOWFISH",
    "cast-cbc": "cbc(cast5) cast5 cast128 CAST_CBC ENCR_CAST CAST5-CBC[RFC2144] cast128-cbc",
    "camellia-cbc": "cbc(camellia) camellia camellia256 CAMELLIA_CBC-128 ENCR_CAMELLIA_CBC",
}
INTEGRITY_SPELLINGS = {
    "hmac-md5-96": "hmac(md5) md5 HMAC_MD5_96 AUTH_HMAC_MD5_96 HMAC-MD5-96[RFC2403]",
    "hmac-sha1-96": "hmac(sha1) sha1 sha HMAC_SHA1_96 AUTH_HMAC_SHA1_96 HMAC-SHA-1-96[RFC2404]",
    "hmac-ripemd160-96": "hmac(rmd160) MAC-RIPEMD-160-96[RFC2857]",
    "hmac-sha2-256-128": "hmac(sha256) sha256 sha2_256 HMAC_SHA2_256_128 HMAC-SHA-256-128[RFC4868]",
    "hmac-sha2-384-192": "hmac(sha384) sha384 HMAC_SHA2_384_192 AUTH_HMAC_SHA2_384_192",
    "hmac-sha2-512-256": "hmac(sha512) sha512 HMAC_SHA2_512_256 HMAC-SHA-512-256[RFC4868]",
    "hmac-sha2-256-96": "sha256_96 HMAC_SHA2_256_96 HMAC-SHA-256-96[draft-ietf]",
    "aes-xcbc-96": "xcbc(aes) aesxcbc AES_XCBC_96 AUTH_AES_XCBC_96",
    "aes-cmac-96": "cmac(aes) aescmac AES_CMAC_96 AUTH_AES_CMAC_96",
}


@pytest.mark.parametrize("name", ENCRYPTIONS)
def test_an_encryption_as_everybody_spells_it(name: str) -> None:
    for spelling in (name, *ENCRYPTION_SPELLINGS[name].split()):
        for case in (spelling, spelling.upper(), spelling.lower()):
            found = encryption_named(case)
            assert found is not None, case
            assert found.name == name, case


@pytest.mark.parametrize("name", INTEGRITIES)
def test_an_integrity_as_everybody_spells_it(name: str) -> None:
    for spelling in (name, *INTEGRITY_SPELLINGS[name].split()):
        for case in (spelling, spelling.upper(), spelling.lower()):
            found = integrity_named(case)
            assert found is not None, case
            assert found.name == name, case


@pytest.mark.parametrize("spelling", ["", "rot13", "aes512", "gcm", "aes128gcm10", "128", "-"])
def test_what_means_nothing(spelling: str) -> None:
    assert encryption_named(spelling) is None
    assert integrity_named(spelling) is None


@pytest.mark.parametrize(
    ("spelling", "bits", "name"),
    [
        ("rfc4106(gcm(aes))", 128, "aes-gcm-16"),
        ("rfc4106(gcm(aes))", 96, "aes-gcm-12"),
        ("rfc4106(gcm(aes))", 64, "aes-gcm-8"),
        ("rfc4309(ccm(aes))", 64, "aes-ccm-8"),
        ("rfc4543(gcm(aes))", 128, "aes-gmac"),
        ("rfc4106(gcm(aes))", 80, None),
    ],
)
def test_the_length_of_the_icv_written_apart(spelling: str, bits: int, name: str | None) -> None:
    found = encryption_named(spelling, bits)
    assert (found.name if found else None) == name


def test_truncation_written_apart() -> None:
    found = {bits: integrity_named("hmac(sha256)", bits) for bits in (96, 128, 256)}
    names = {bits: suite.name if suite else None for bits, suite in found.items()}
    assert names == {96: "hmac-sha2-256-96", 128: "hmac-sha2-256-128", 256: None}


@pytest.mark.parametrize("name", ENCRYPTIONS)
def test_keys_and_salts_are_those_of_the_framework(name: str) -> None:
    suite = ENCRYPTIONS[name]
    if suite.alg is None:
        return
    facts = FACTS[suite.alg]
    assert facts.keys is not None
    assert suite.keys <= set(facts.keys)
    assert suite.salt == facts.salt
    assert {bool(facts.salted)} == {bool(suite.salt)}


def test_a_spelling_becomes_the_name_here() -> None:
    sa = SecurityAssociation(
        spi=256, encryption="AES_CBC-128", encryption_key=key(16),
        integrity="hmac(sha1)", integrity_key=key(20),
    )  # fmt: skip
    assert (sa.encryption, sa.integrity) == ("aes-cbc", "hmac-sha1-96")


def test_a_key_that_is_not_as_long_as_the_spelling_says() -> None:
    with pytest.raises(UsageError, match="aes256gcm16 takes a key of 36 bytes, the last 4"):
        SecurityAssociation(spi=256, encryption="aes256gcm16", encryption_key=key(20))


OLD = [name for name, suite in ENCRYPTIONS.items() if suite.old]


@pytest.mark.parametrize("name", OLD)
def test_old_ciphers_are_never_sent_by(name: str) -> None:
    with pytest.raises(UsageError, match="read old captures"):
        one_way([make_sa(name)], Direction.OUT)


@pytest.mark.parametrize("name", OLD)
def test_old_ciphers_are_read_only_if_that_is_said(framework: Framework, name: str) -> None:
    sas = one_way([make_sa(name)], Direction.IN)
    with pytest.raises(UsageError, match="--old-ciphers"):
        Esp(framework, sas)
    with Esp(framework, sas, old_ciphers=True) as esp:
        esp.open()


def test_an_unknown_integrity_is_read_only_if_that_is_said(framework: Framework) -> None:
    sa = replace(make_sa(), integrity="", integrity_key=b"", icv_length=12)
    sas = one_way([sa], Direction.IN)
    with pytest.raises(UsageError, match="--unverified"):
        Esp(framework, sas)
    assert not sas[0].window, "anybody could move it"
    with pytest.raises(UsageError, match="icv_length is for receiving"):
        one_way([sa], Direction.OUT)


@pytest.mark.parametrize("length", [-1, 65])
def test_lengths_that_no_icv_has(length: int) -> None:
    with pytest.raises(UsageError, match="icv_length must be"):
        replace(make_sa(), integrity="", integrity_key=b"", icv_length=length)


@pytest.mark.parametrize("name", ENCRYPTIONS)
def test_requests_leave_to_the_session_what_it_knows(name: str) -> None:
    """Keys and the ICV's length are said once: a request that repeats them is compared with it."""
    layout = Layout(make_sa(name))
    for ini in (layout.cipher_ini(key=False), layout.tag_ini(key=False)):
        assert ini is None or (ini.key, ini.mlen) == (None, 0)
    tag = layout.tag_ini(key=True)
    assert tag is not None
    assert tag.mlen == layout.icv
