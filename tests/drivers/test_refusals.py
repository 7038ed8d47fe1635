"""Requests that are refused: by one sentence in every driver, and the buffer as it was."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from opencrypto import Cryptoini, Framework
from opencrypto.constants import (
    CRYPTO_3DES_CBC,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_192_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_GMAC,
    CRYPTO_F_IMBUF,
    CRYPTO_F_IOV,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA1_HMAC_96,
)
from tests.drivers.rig import (
    BOTH,
    DATA,
    ENCRYPT,
    ESP,
    EXPLICIT,
    GCM,
    IV,
    KINDS,
    SALTED,
    attached,
    crd,
    esp_in,
    gcm,
    run,
    shape,
)

pytestmark = pytest.mark.shared_framework


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


HMAC = esp_in()[1]
BAD = {
    # What is wrong: the chain, the request, and what the refusal says. All else is sound.
    "iv in the region": (
        ESP, [crd(CRYPTO_AES_CBC, 24, 64, 30, ENCRYPT), HMAC], "inside the region",
    ),
    "iv at the region's end": (
        ESP, [crd(CRYPTO_AES_CBC, 24, 64, 80, ENCRYPT), HMAC], "inside the region",
    ),
    "iv outside": (ESP, [crd(CRYPTO_AES_CBC, 24, 64, 120, ENCRYPT), HMAC], "iv's place"),
    "iv before": (ESP, [crd(CRYPTO_AES_CBC, 24, 64, -16, ENCRYPT), HMAC], "iv's place"),
    "iv too short": (
        ESP, [crd(CRYPTO_AES_CBC, 24, 64, 8, ENCRYPT | EXPLICIT, IV[:9]), HMAC], "of 9 bytes",
    ),
    "no iv": (ESP, [crd(CRYPTO_AES_CBC, 24, 64, 8, ENCRYPT | EXPLICIT), HMAC], "no iv"),
    "mac outside": (ESP, [esp_in()[0], crd(CRYPTO_SHA1_HMAC_96, 0, 90, 117)], "MAC's place"),
    "mac before": (ESP, [esp_in()[0], crd(CRYPTO_SHA1_HMAC_96, 0, 90, -1)], "MAC's place"),
    "mac of too much": (ESP, [esp_in()[0], crd(CRYPTO_SHA1_HMAC_96, 0, 129, 90)], "outside"),
    "mac of less than none": (ESP, [esp_in()[0], crd(CRYPTO_SHA1_HMAC_96, 9, -1, 90)], "outside"),
    "no whole blocks": (
        ESP, [crd(CRYPTO_AES_CBC, 24, 63, 8, ENCRYPT), HMAC], "not a multiple of 16",
    ),
    "outside": (ESP, [crd(CRYPTO_AES_CBC, 80, 64, 8, ENCRYPT), HMAC], "outside"),
    "before": (ESP, [crd(CRYPTO_AES_CBC, -16, 64, 60, ENCRYPT), HMAC], "outside"),
    "negative length": (ESP, [crd(CRYPTO_AES_CBC, 24, -16, 8, ENCRYPT), HMAC], "outside"),
    "another cipher": (ESP, [crd(CRYPTO_3DES_CBC, 24, 64, 8, ENCRYPT), HMAC], "not in the"),
    "another mac": (ESP, [esp_in()[0], crd(CRYPTO_SHA1_HMAC, 0, 88, 88)], "not in the"),
    "alone, no whole blocks": (ESP[:1], [crd(CRYPTO_AES_CBC, 24, 63, 8, ENCRYPT)], "multiple"),
    "alone, another": (ESP[:1], [crd(CRYPTO_3DES_CBC, 24, 64, 8, ENCRYPT)], "not in the"),
    "alone, mac outside": (ESP[1:], [crd(CRYPTO_SHA1_HMAC_96, 0, 90, 117)], "MAC's place"),
    "alone, mac before": (ESP[1:], [crd(CRYPTO_SHA1_HMAC_96, 0, 90, -1)], "MAC's place"),
    "alone, another mac": (ESP[1:], [crd(CRYPTO_SHA1_HMAC, 0, 90, 90)], "not in the"),
    "half a pair": (GCM, gcm(ENCRYPT)[:1], "both its descriptors"),
    "twice one half": (GCM, gcm(ENCRYPT)[:1] * 2, "both its descriptors"),
    "another half": (GCM, [gcm(0)[0], crd(CRYPTO_AES_192_GMAC, 0, 8, 80)], "not in the"),
    "tag in the payload": (GCM, [gcm(0)[0], crd(CRYPTO_AES_128_GMAC, 0, 8, 70)], "inside the"),
    "tag outside": (GCM, [gcm(0)[0], crd(CRYPTO_AES_128_GMAC, 0, 8, 113)], "MAC's place"),
    "payload to the end": (GCM, gcm(ENCRYPT, 112), "MAC's place"),
    "gcm iv in the region": (
        GCM, [crd(CRYPTO_AES_GCM_16, 16, 64, 15, ENCRYPT), gcm(0)[1]], "inside the region",
    ),
    "gmac with a payload": (
        [Cryptoini(CRYPTO_AES_GMAC, SALTED), GCM[1]],
        [crd(CRYPTO_AES_GMAC, 16, 64, 8, ENCRYPT), gcm(0)[1]], "ciphers nothing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", BAD)
def test_what_is_refused_touches_nothing(framework: Framework, case: str, kind: str) -> None:
    chain, desc, reason = BAD[case]
    content = DATA + bytes(range(32))
    for name in BOTH:
        sid = framework.newsession(chain, driver=name)
        work = shape(kind, content)
        crp = run(framework, sid, work.buf, *desc)
        assert crp.etype == errno.EINVAL
        assert reason in crp.error
        assert work.content() == content


@pytest.mark.parametrize("flag", [CRYPTO_F_IOV, CRYPTO_F_IMBUF])
def test_a_buffer_of_another_kind_than_the_flags_say_is_refused(
    framework: Framework, flag: int
) -> None:
    for name in BOTH:
        for chain, desc in (
            (ESP, esp_in(48)),
            (ESP[:1], esp_in(48)[:1]),
            (ESP[1:], esp_in(48)[1:]),
            (GCM, gcm(ENCRYPT)),
        ):
            sid = framework.newsession(chain, driver=name)
            work = bytearray(DATA)
            assert run(framework, sid, work, *desc, flags=flag).etype == errno.EINVAL
            assert work == DATA


@pytest.mark.parametrize("chain", [ESP, GCM], ids=["cbc+hmac", "gcm"])
@pytest.mark.parametrize(
    "buf",
    [
        bytes(112),
        memoryview(bytes(112)),
        memoryview(bytearray(224))[::2],
        "text",
        None,
    ],
    ids=["bytes", "readonly", "strided", "str", "none"],
)
def test_unusable_buffers_are_refused(
    framework: Framework, buf: Any, chain: list[Cryptoini]
) -> None:
    desc = esp_in() if chain is ESP else gcm(ENCRYPT)
    for name in BOTH:
        sid = framework.newsession(chain, driver=name)
        assert run(framework, sid, buf, *desc).etype == errno.EINVAL
