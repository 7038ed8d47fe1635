"""AES-128-GCM through the framework, against the bare `AESGCM` call on kept objects."""

from __future__ import annotations

import os

import pytest

import opencrypto_openssl
from opencrypto import Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_GCM_16,
    CRYPTO_F_CBIMM,
)
from tests.benchmarks.measure import Case, compare, size_name, table

pytestmark = pytest.mark.bench

SIZES = (64, 1504, 16384, 1 << 20)
HEAD = 16  # 8 bytes of additional data, 8 bytes of IV, as in ESP
EXTERNAL = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT


def test_gcm() -> None:
    aead = pytest.importorskip("cryptography.hazmat.primitives.ciphers.aead")
    rows = []
    with Framework(plugins=[opencrypto_openssl]) as framework:
        for size in SIZES:
            result = compare(cases(framework, aead.AESGCM, size))
            row = [size_name(size), f"{result.us('bare'):.2f}"]
            for case in ("kept request", "getreq", "fresh iv"):
                row.append(f"{result.us(case):.2f}")
                row.append(f"+{result.excess(case, 'bare'):.2f}, {result.ratio(case, 'bare'):.2f}")
            row += [f"{result.us('bare decrypt'):.2f}", f"{result.us('decrypt'):.2f}"]
            row.append(f"{result.ratio('decrypt', 'bare decrypt'):.2f}")
            rows.append(row)
    heads = ["AES-128-GCM, µs", "bare", "kept request", "more, rate", "getreq … freereq"]
    heads += ["more, rate", "fresh IV", "more, rate", "bare decrypt", "decrypt", "rate"]
    table("AES-128-GCM, openssl driver, inline", heads, rows)


def cases(framework: Framework, aesgcm: type, size: int) -> dict[str, Case]:
    key = os.urandom(20)
    inis = [Cryptoini(CRYPTO_AES_GCM_16, key), Cryptoini(CRYPTO_AES_128_GMAC, key)]
    sid = framework.newsession(inis, driver="openssl")
    iv = os.urandom(8)
    end = HEAD + size
    buf = bytearray(os.urandom(end + 16))
    kept = aesgcm(key[:16])
    nonce = key[16:] + iv
    view = memoryview(buf)
    data, aad, out = view[HEAD:end], view[:8], view[HEAD:]
    sealed = bytes(kept.encrypt(nonce, data, aad))
    dispatch, getreq, freereq = framework.dispatch, framework.getreq, framework.freereq

    def callback(crp: Cryptop) -> None:
        if crp.etype:
            raise AssertionError(crp.error)

    def bare() -> None:
        kept.encrypt_into(nonce, data, aad, out)

    own = Cryptop(desc=[Cryptodesc(alg=ini.alg) for ini in inis])

    def fill(crp: Cryptop, flags: int) -> None:
        crp.sid = sid
        crp.ilen = end + 16
        crp.buf = buf
        crp.callback = callback
        crp.flags = CRYPTO_F_CBIMM
        cipher, tag = crp.desc
        cipher.skip = HEAD
        cipher.len = size
        cipher.inject = 8
        cipher.flags = flags
        cipher.ini.iv = iv if flags & CRD_F_IV_EXPLICIT else None
        tag.skip = 0
        tag.len = 8
        tag.inject = end

    def kept_request() -> None:
        fill(own, CRD_F_ENCRYPT | EXTERNAL)
        dispatch(own)

    def fresh_iv() -> None:
        fill(own, CRD_F_ENCRYPT)
        dispatch(own)

    def pooled() -> None:
        crp = getreq(2)
        assert crp is not None
        cipher, tag = crp.desc
        cipher.ini.alg = CRYPTO_AES_GCM_16
        tag.ini.alg = CRYPTO_AES_128_GMAC
        fill(crp, CRD_F_ENCRYPT | EXTERNAL)
        dispatch(crp)
        freereq(crp)

    # What is decrypted must be put back each time: by both alike.
    def bare_decrypt() -> None:
        out[:] = sealed
        out[:size] = kept.decrypt(nonce, out, aad)

    def decrypt() -> None:
        out[:] = sealed
        fill(own, EXTERNAL)
        dispatch(own)

    return {
        "bare": bare,
        "kept request": kept_request,
        "getreq": pooled,
        "fresh iv": fresh_iv,
        "bare decrypt": bare_decrypt,
        "decrypt": decrypt,
    }
