"""
AES-128-CBC + HMAC-SHA1-96 as one chain, against calls by hand.

By hand is the quickest that the public interface of `cryptography` gives, all key objects kept;
and, as a measure of what is usual, pycryptodome with new objects for each packet.
"""

from __future__ import annotations

import os
from hmac import compare_digest

import pytest

import opencrypto_openssl
from opencrypto import Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_CBC,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA1_HMAC_96,
)
from tests.benchmarks.measure import Case, Result, compare, size_name, table

pytestmark = pytest.mark.bench

SIZES = (64, 1504, 16384, 1 << 20)
HEAD = 24  # SPI, sequence number, IV
ICV = 12
KEY, HMAC_KEY = os.urandom(16), os.urandom(20)
EXTERNAL = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT

HAND = ("a cipher each", "one cipher, its IV changed", "the same, output copied")


def test_chain() -> None:
    rows = []
    with Framework(plugins=[opencrypto_openssl]) as framework:
        for size in SIZES:
            result = compare({**by_hand(size), **ours(framework, size), **usual(size)})
            rows.append(row(result, size))
    heads = ["µs", "best by hand", "kept request", "rate", "getreq … freereq", "rate"]
    heads += ["decrypt by hand", "decrypt", "rate", "usual idiom", "times as fast"]
    table("AES-128-CBC + HMAC-SHA1-96, openssl driver, inline", heads, rows)


def row(result: Result, size: int) -> list[str]:
    best = result.best_of(*HAND)
    return [
        size_name(size),
        f"{result.us(best):.2f}",
        f"{result.us('kept request'):.2f}",
        f"{result.ratio('kept request', best):.2f}",
        f"{result.us('getreq'):.2f}",
        f"{result.ratio('getreq', best):.2f}",
        f"{result.us('decrypt by hand'):.2f}",
        f"{result.us('decrypt'):.2f}",
        f"{result.ratio('decrypt', 'decrypt by hand'):.2f}",
        f"{result.us('usual'):.2f}",
        f"{result.ratio('kept request', 'usual'):.1f}",
    ]


def by_hand(size: int) -> dict[str, Case]:
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")
    hmac = pytest.importorskip("cryptography.hazmat.primitives.hmac")
    hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
    cipher, cbc = ciphers.Cipher, ciphers.modes.CBC
    algorithm = ciphers.algorithms.AES(KEY)
    changing = bytearray(16)
    kept = cipher(algorithm, cbc(changing))
    keyed = hmac.HMAC(HMAC_KEY, hashes.SHA1())
    end = HEAD + size
    # More room than ESP has behind the data, so that update_into can work in place.
    buf = bytearray(os.urandom(end + 32))
    iv = os.urandom(16)
    # Views are made for each packet: each is in a buffer of its own.

    def each() -> None:
        view = memoryview(buf)
        cipher(algorithm, cbc(iv)).encryptor().update_into(view[HEAD:end], view[HEAD:])
        state = keyed.copy()
        state.update(view[:end])
        view[end : end + ICV] = state.finalize()[:ICV]

    def one() -> None:
        view = memoryview(buf)
        changing[:] = iv
        kept.encryptor().update_into(view[HEAD:end], view[HEAD:])
        state = keyed.copy()
        state.update(view[:end])
        view[end : end + ICV] = state.finalize()[:ICV]

    def copied() -> None:
        view = memoryview(buf)
        changing[:] = iv
        view[HEAD:end] = kept.encryptor().update(view[HEAD:end])
        state = keyed.copy()
        state.update(view[:end])
        view[end : end + ICV] = state.finalize()[:ICV]

    one()
    sealed = bytes(buf)

    def decrypt() -> None:
        buf[:] = sealed
        view = memoryview(buf)
        state = keyed.copy()
        state.update(view[:end])
        assert compare_digest(state.finalize()[:ICV], view[end : end + ICV])
        changing[:] = iv
        kept.decryptor().update_into(view[HEAD:end], view[HEAD:])

    names = dict(zip(HAND, (each, one, copied), strict=True))
    return {**names, "decrypt by hand": decrypt}


def usual(size: int) -> dict[str, Case]:
    aes = pytest.importorskip("Crypto.Cipher.AES")
    hmac = pytest.importorskip("Crypto.Hash.HMAC")
    sha1 = pytest.importorskip("Crypto.Hash.SHA1")
    head, data, iv = os.urandom(8), os.urandom(size), os.urandom(16)

    def packet() -> bytes:
        body = head + iv + aes.new(KEY, aes.MODE_CBC, iv).encrypt(data)
        icv = hmac.new(HMAC_KEY, body, sha1).digest()[:ICV]
        return bytes(body + icv)

    return {"usual": packet}


def ours(framework: Framework, size: int) -> dict[str, Case]:
    inis = [Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA1_HMAC_96, HMAC_KEY)]
    sid = framework.newsession(inis, driver="openssl")
    end = HEAD + size
    buf = bytearray(os.urandom(end + ICV))
    iv = os.urandom(16)
    dispatch, getreq, freereq = framework.dispatch, framework.getreq, framework.freereq

    def callback(crp: Cryptop) -> None:
        if crp.etype:
            raise AssertionError(crp.error)

    def fill(crp: Cryptop, cipher: Cryptodesc, mac: Cryptodesc, flags: int, verify: int) -> None:
        crp.sid = sid
        crp.ilen = end + ICV
        crp.buf = buf
        crp.callback = callback
        crp.flags = CRYPTO_F_CBIMM
        cipher.skip = HEAD
        cipher.len = size
        cipher.flags = flags
        cipher.ini.iv = iv
        mac.skip = 0
        mac.len = mac.inject = end
        mac.flags = verify

    own = Cryptop(desc=[Cryptodesc(alg=ini.alg) for ini in inis])
    back = Cryptop(desc=[Cryptodesc(alg=ini.alg) for ini in inis[::-1]])

    def kept_request() -> None:
        fill(own, own.desc[0], own.desc[1], CRD_F_ENCRYPT | EXTERNAL, 0)
        dispatch(own)

    def pooled() -> None:
        crp = getreq(2)
        assert crp is not None
        cipher, mac = crp.desc
        cipher.ini.alg = CRYPTO_AES_CBC
        mac.ini.alg = CRYPTO_SHA1_HMAC_96
        fill(crp, cipher, mac, CRD_F_ENCRYPT | EXTERNAL, 0)
        dispatch(crp)
        freereq(crp)

    # What is decrypted must be put back each time: by hand as well.
    kept_request()
    sealed = bytes(buf)

    def decrypt() -> None:
        buf[:] = sealed
        fill(back, back.desc[1], back.desc[0], EXTERNAL, CRD_F_VERIFY)
        dispatch(back)

    return {"kept request": kept_request, "getreq": pooled, "decrypt": decrypt}
