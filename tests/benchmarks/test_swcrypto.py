"""The software driver through the framework, against the bare pycryptodome call, at 4 KiB."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from Crypto.Cipher import AES, ARC4, CAST, DES, DES3, Blowfish, ChaCha20_Poly1305
from Crypto.Hash import CMAC, HMAC, RIPEMD160, SHA1, SHA3_256, SHA256, SHA512, BLAKE2b

import opencrypto_swcrypto
from opencrypto import Alg, Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_F_CBIMM,
)
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind
from tests.benchmarks.measure import compare, table

pytestmark = pytest.mark.bench

SIZE = 4096
DATA = os.urandom(SIZE)


def _cbc(module: Any) -> Callable[[bytes, bytes], object]:
    return lambda key, iv: module.new(key, module.MODE_CBC, iv=iv).encrypt(DATA)


def _ctr(key: bytes, iv: bytes) -> object:
    return AES.new(key[:-4], AES.MODE_CTR, nonce=key[-4:] + iv, initial_value=1).encrypt(DATA)


def _gcm(key: bytes, iv: bytes) -> object:
    return AES.new(key[:-4], AES.MODE_GCM, nonce=key[-4:] + iv).encrypt_and_digest(DATA)


def _gmac(key: bytes, iv: bytes) -> object:
    return AES.new(key[:-4], AES.MODE_GCM, nonce=key[-4:] + iv).update(DATA).digest()


def _ccm(key: bytes, iv: bytes) -> object:
    return AES.new(key[:-3], AES.MODE_CCM, nonce=key[-3:] + iv).encrypt_and_digest(DATA)


def _chacha(key: bytes, iv: bytes) -> object:
    return ChaCha20_Poly1305.new(key=key[:-4], nonce=key[-4:] + iv).encrypt_and_digest(DATA)


BARE: list[tuple[Alg, int, Callable[[bytes, bytes], object]]] = [
    (Alg.DES_CBC, 8, _cbc(DES)),
    (Alg["3DES_CBC"], 24, _cbc(DES3)),
    (Alg.BLF_CBC, 16, _cbc(Blowfish)),
    (Alg.CAST_CBC, 16, _cbc(CAST)),
    (Alg.AES_CBC, 16, _cbc(AES)),
    (Alg.AES_CTR, 20, _ctr),
    (Alg.ARC4, 16, lambda key, iv: ARC4.new(key).encrypt(DATA)),
    (Alg.AES_GCM_16, 20, _gcm),
    (Alg.AES_GMAC, 20, _gmac),
    (Alg.AES_CCM_16, 19, _ccm),
    (Alg.CHACHA20_POLY1305, 36, _chacha),
    (Alg.SHA1_HMAC, 20, lambda key, iv: HMAC.new(key, DATA, SHA1).digest()),
    (Alg.SHA2_256_HMAC, 32, lambda key, iv: HMAC.new(key, DATA, SHA256).digest()),
    (Alg.SHA2_512_HMAC, 64, lambda key, iv: HMAC.new(key, DATA, SHA512).digest()),
    (Alg.RIPEMD160_HMAC, 20, lambda key, iv: HMAC.new(key, DATA, RIPEMD160).digest()),
    (Alg.AES_CMAC, 16, lambda key, iv: CMAC.new(key, DATA, AES).digest()),
    (Alg.SHA1, 0, lambda key, iv: SHA1.new(DATA).digest()),
    (Alg.SHA2_256, 0, lambda key, iv: SHA256.new(DATA).digest()),
    (Alg.SHA3_256, 0, lambda key, iv: SHA3_256.new(DATA).digest()),
    (Alg.BLAKE2B, 32, lambda key, iv: BLAKE2b.new(key=key, data=DATA, digest_bytes=64).digest()),
]


def test_against_the_bare_call() -> None:
    """Print the driver's time over the library's own, for each algorithm that both have."""
    rows = []
    with Framework(plugins=[opencrypto_swcrypto]) as framework:
        for alg, keylen, bare in BARE:
            key, iv = os.urandom(keylen), os.urandom(FACTS[alg].ivlen(keylen))
            crp = _request(framework, alg, key, iv)
            result = compare(
                {"bare": partial(bare, key, iv), "driver": partial(framework.dispatch, crp)}
            )
            assert crp.etype == 0
            times = 1 / result.ratio("driver", "bare")
            row = [FACTS[alg].name, f"{result.us('bare'):.1f}", f"{result.us('driver'):.1f}"]
            rows.append([*row, f"{times:.2f}"])
    table("swcrypto at 4 KiB", ["algorithm", "bare, µs", "driver, µs", "times the bare"], rows)


def test_xcbc() -> None:
    """Print the rate of the authenticator that no library has."""
    with Framework(plugins=[opencrypto_swcrypto]) as framework:
        alg = Alg.AES_XCBC_MAC_96
        sid = framework.newsession(Cryptoini(alg, os.urandom(16)))
        size = 1 << 16
        crd = Cryptodesc(0, size, size, alg=alg)
        crp = Cryptop(sid, bytearray(size + 12), [crd], lambda crp: None, CRYPTO_F_CBIMM)
        result = compare({"xcbc": lambda: framework.dispatch(crp)})
        rate = size / result.us("xcbc")
        table("AES-XCBC-MAC-96", ["size", "MB/s"], [["64 KiB", f"{rate:.0f}"]])


def _request(framework: Framework, alg: Alg, key: bytes, iv: bytes) -> Cryptop:
    facts = FACTS[alg]
    inis = [Cryptoini(alg, key)]
    flags = 0 if facts.authenticates else CRD_F_ENCRYPT
    flags |= CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT if iv else 0
    payload = 0 if alg == Alg.AES_GMAC else SIZE
    desc = [Cryptodesc(SIZE - payload, payload, SIZE, flags, alg=alg, iv=iv or None)]
    if facts.kind is Kind.AEAD:
        half = next(p for p in sorted(AEAD_PARTNERS[alg]) if FACTS[p].key_ok(len(key)))
        inis.append(Cryptoini(half, key))
        desc.append(Cryptodesc(0, SIZE - payload, SIZE, alg=half))
    sid = framework.newsession(inis)
    return Cryptop(sid, bytearray(DATA + bytes(64)), desc, lambda crp: None, CRYPTO_F_CBIMM)
