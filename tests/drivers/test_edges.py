"""What is awkward but legal, and what is refused: odd keys, IVs, places and buffers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from opencrypto import Cryptoini, Framework
from opencrypto.constants import (
    CRYPTO_3DES_CBC,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_DES_CBC,
    CRYPTO_SHA1_HMAC,
)
from tests.drivers.rig import (
    BOTH,
    DATA,
    ENCRYPT,
    ESP,
    EXPLICIT,
    GCM,
    IV,
    KEY,
    KINDS,
    OUTSIDE,
    PRESENT,
    SALTED,
    attached,
    crd,
    esp_in,
    esp_out,
    gcm,
    run,
    shape,
)

pytestmark = pytest.mark.shared_framework


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


# Keys.


@pytest.mark.parametrize(
    ("first", "second", "third", "left"),
    [(1, 1, 3, 3), (1, 3, 3, 1), (2, 2, 2, 2)],
    ids=["first-two", "last-two", "all"],
)
@pytest.mark.parametrize("parity", [0, 1])
@pytest.mark.parametrize("name", BOTH)
def test_3des_keys_that_amount_to_one_des_key_are_served(
    framework: Framework, name: str, first: int, second: int, third: int, left: int, parity: int
) -> None:
    halves = {n: bytes((n * 37 + i * 16) & 0xFE for i in range(8)) for n in (1, 2, 3)}
    key = halves[first] + bytes(b ^ parity for b in halves[second]) + halves[third]
    single = framework.newsession(Cryptoini(CRYPTO_DES_CBC, halves[left]), driver="swcrypto")
    triple = framework.newsession(Cryptoini(CRYPTO_3DES_CBC, key), driver=name)
    one, other = bytearray(DATA), bytearray(DATA)
    run(framework, single, one, crd(CRYPTO_DES_CBC, 0, 96, 0, ENCRYPT | OUTSIDE, IV[:8]))
    crp = run(framework, triple, other, crd(CRYPTO_3DES_CBC, 0, 96, 0, ENCRYPT | OUTSIDE, IV[:8]))
    assert crp.etype == 0
    assert one == other != DATA
    run(framework, triple, other, crd(CRYPTO_3DES_CBC, 0, 96, 0, OUTSIDE, IV[:8]))
    assert other == DATA


def test_a_salted_gcm_key_and_a_whole_nonce_are_the_same(framework: Framework) -> None:
    plain = [Cryptoini(ini.alg, SALTED[:16]) for ini in GCM]
    for name in BOTH:
        results = []
        for chain, iv in ((GCM, IV[:8]), (plain, SALTED[16:] + IV[:8])):
            sid = framework.newsession(chain, driver=name)
            work = bytearray(DATA)
            crp = run(
                framework, sid, work,
                crd(CRYPTO_AES_GCM_16, 16, 64, 0, ENCRYPT | OUTSIDE, iv),
                crd(CRYPTO_AES_128_GMAC, 0, 16, 80),
            )  # fmt: skip
            assert crp.etype == 0
            results.append(bytes(work))
        assert results[0] == results[1]


# IVs and places.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BOTH)
def test_iv_rules(framework: Framework, name: str, kind: str) -> None:
    """Encrypting by each rule, then decrypting with the IV that must have been in force."""
    sid = framework.newsession(Cryptoini(CRYPTO_AES_CBC, KEY), driver=name)
    in_buffer = DATA[70:86]
    for flags, told, used, left in (
        (EXPLICIT | PRESENT, IV, IV, in_buffer),
        (EXPLICIT, IV, IV, IV),
        (PRESENT, None, in_buffer, in_buffer),
        (0, None, None, None),
    ):
        work = shape(kind, DATA)
        desc = crd(CRYPTO_AES_CBC, 3, 64, 70, ENCRYPT | flags, told)
        assert run(framework, sid, work.buf, desc).etype == 0
        after = work.content()
        if left is None:
            left = used = after[70:86]
            assert left != in_buffer
        assert after[70:86] == left
        assert after[:3] + after[67:70] + after[86:] == DATA[:3] + DATA[67:70] + DATA[86:]
        work = shape(kind, after)
        # An explicit IV is not written on decryption, whatever `inject` says.
        back = crd(CRYPTO_AES_CBC, 3, 64, 70, EXPLICIT, used)
        assert run(framework, sid, work.buf, back).etype == 0
        assert work.content() == DATA[:67] + after[67:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chain", [ESP, GCM], ids=["cbc+hmac", "gcm"])
@pytest.mark.parametrize("name", BOTH)
def test_iv_rules_in_a_chain(
    framework: Framework, name: str, chain: list[Cryptoini], kind: str
) -> None:
    """The IV in the packet is not what is authenticated here, so that another one may be there."""
    sid = framework.newsession(chain, driver=name)
    iv = IV if chain is ESP else IV[:8]
    mac = 8 if chain is GCM else 24 + 48
    for flags in (EXPLICIT | PRESENT, EXPLICIT, PRESENT, 0):
        way_in = esp_in(48) if chain is ESP else gcm(ENCRYPT, 56)
        way_in[0].flags = ENCRYPT | flags
        way_in[0].ini.iv = iv if flags & EXPLICIT else None
        way_in[1].len = mac
        work = shape(kind, DATA)
        assert run(framework, sid, work.buf, *way_in).etype == 0
        sealed = work.content()
        at = slice(8, 8 + len(iv))
        if flags & EXPLICIT:
            assert sealed[at] == (DATA[at] if flags & PRESENT else iv)
        else:
            assert (sealed[at] == DATA[at]) == bool(flags & PRESENT)
        for told in (EXPLICIT, EXPLICIT | PRESENT):
            way_out = esp_out(48) if chain is ESP else gcm(0, 56)[::-1]
            way_out[1].flags = told
            way_out[1].ini.iv = iv if flags & EXPLICIT else sealed[at]
            way_out[0].len = mac
            work = shape(kind, sealed)
            assert run(framework, sid, work.buf, *way_out).etype == 0
            assert work.content()[: at.stop] == sealed[: at.stop]
            assert work.content()[at.stop : 72] == DATA[at.stop : 72]


@pytest.mark.parametrize("alg", [CRYPTO_AES_CTR, CRYPTO_AES_CBC])
@pytest.mark.parametrize("name", BOTH)
def test_fresh_ivs_differ(framework: Framework, name: str, alg: int) -> None:
    key = SALTED if alg == CRYPTO_AES_CTR else KEY
    ivlen = 8 if alg == CRYPTO_AES_CTR else 16
    sid = framework.newsession(Cryptoini(alg, key), driver=name)
    seen = set()
    for _ in range(100):
        work = bytearray(DATA)
        assert run(framework, sid, work, crd(alg, ivlen, 32, 0, ENCRYPT)).etype == 0
        seen.add(bytes(work[:ivlen]))
    assert len(seen) == 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BOTH)
def test_a_mac_may_be_put_before_or_into_what_it_covers(
    framework: Framework, name: str, kind: str
) -> None:
    sid = framework.newsession(Cryptoini(CRYPTO_SHA1_HMAC, SALTED), driver=name)
    aside = bytearray(20)
    assert run(framework, sid, bytearray(DATA), crd(CRYPTO_SHA1_HMAC, 30, 50), mac=aside).etype == 0
    for at in (0, 25, 40, 76):
        work = shape(kind, DATA)
        assert run(framework, sid, work.buf, crd(CRYPTO_SHA1_HMAC, 30, 50, at)).etype == 0
        assert work.content() == DATA[:at] + aside + DATA[at + 20 :]


@pytest.mark.parametrize("name", BOTH)
def test_buffers_of_other_items_than_bytes_are_counted_in_bytes(
    framework: Framework, name: str
) -> None:
    sid = framework.newsession(ESP, driver=name)
    flat, words, grid = (bytearray(DATA * 8) for _ in range(3))  # enough items, too
    explicit = [crd(CRYPTO_AES_CBC, 24, 64, 8, ENCRYPT | EXPLICIT, IV), esp_in()[1]]
    for buf in (flat, memoryview(words).cast("I"), memoryview(grid).cast("B", (192, 4))):
        assert run(framework, sid, buf, *explicit).etype == 0
    assert flat == words == grid
