"""
What the framework costs a driver that compiles nothing, such as `null`, at 64 bytes.

Before its `process` the framework checks each request; a compiled session checks its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import opencrypto_null
import opencrypto_openssl
from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_GCM_16,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
)
from tests.benchmarks.measure import Case, compare, table

pytestmark = pytest.mark.bench

SIZE = 64
GIVEN = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
KEY = bytes(range(20))


def test_uncompiled() -> None:
    with Framework(plugins=[opencrypto_null, opencrypto_openssl]) as framework:
        result = compare(cases(framework))
    rows = [
        [case, f"{result.us(case):.2f}", f"{result.ratio(case, 'AES-128-GCM, openssl'):.2f}"]
        for case in result.times
    ]
    table("A driver that compiles nothing, 64 B", ["case", "µs", "times as fast as GCM"], rows)


def cases(framework: Framework) -> dict[str, Case]:
    null = [Cryptodesc(0, SIZE, flags=CRD_F_ENCRYPT, alg=CRYPTO_NULL_CBC)]
    mac = [Cryptodesc(0, SIZE, SIZE, alg=CRYPTO_NULL_HMAC)]
    gcm = [
        Cryptodesc(16, SIZE, 8, GIVEN, alg=CRYPTO_AES_GCM_16, iv=bytes(8)),
        Cryptodesc(0, 8, 80, alg=CRYPTO_AES_128_GMAC),
    ]

    def case(driver: str, desc: Sequence[Cryptodesc], key: bytes | None = None) -> Case:
        sid = framework.newsession([Cryptoini(crd.alg, key) for crd in desc], driver=driver)
        crp = Cryptop(buf=bytearray(96), desc=desc, callback=Cryptop.check, flags=CRYPTO_F_CBIMM)
        crp.ilen = SIZE
        dispatch = framework.dispatch

        def run() -> None:
            crp.sid = sid
            dispatch(crp)

        return run

    return {
        "NULL_CBC, null (uncompiled)": case("null", null),
        "NULL_HMAC, null (uncompiled)": case("null", mac),
        "NULL_CBC + NULL_HMAC, null (uncompiled)": case("null", [*null, *mac]),
        "NULL_CBC, openssl (compiled)": case("openssl", null),
        "AES-128-GCM, openssl": case("openssl", gcm, KEY),
    }
