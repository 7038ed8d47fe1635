"""
What algorithms allow is the same in every driver: the longest message, and which keys are weak.

Whole gigabytes are reserved and never touched: what is refused is refused before that.
"""

from __future__ import annotations

import errno
import mmap
from typing import Any

import pytest

from opencrypto import Cryptodesc, Cryptoini, Framework, Profile
from opencrypto.chain import Chain
from opencrypto.constants import (
    CRYPTO_3DES_CBC,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CCM_16,
    CRYPTO_AES_CCM_MAC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_XTS,
    CRYPTO_CHACHA20_POLY1305,
    CRYPTO_CHACHA20_POLY1305_MAC,
    CRYPTO_DES_CBC,
)
from opencrypto.exceptions import LimitError, NoDriverError, UsageError
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind
from tests.drivers.rig import BOTH, ENCRYPT, OUTSIDE, attached, crd, make_driver, run

each_driver = pytest.mark.parametrize("name", BOTH)
KEY = bytes(range(64))
NO_RESERVE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000

LONGEST: dict[str, tuple[list[tuple[int, int]], int]] = {
    "xts": ([(CRYPTO_AES_XTS, 32)], 16 << 20),
    "ctr": ([(CRYPTO_AES_CTR, 20)], (2**32 - 1) * 16),
    "gcm": ([(CRYPTO_AES_GCM_16, 16), (CRYPTO_AES_128_GMAC, 16)], 2**36 - 32),
    "gcm, salted": ([(CRYPTO_AES_GCM_16, 20), (CRYPTO_AES_128_GMAC, 20)], 2**36 - 32),
    "ccm": ([(CRYPTO_AES_CCM_16, 16), (CRYPTO_AES_CCM_MAC, 16)], 2**24 - 1),
    "ccm, salted": ([(CRYPTO_AES_CCM_16, 19), (CRYPTO_AES_CCM_MAC, 19)], 2**32 - 1),
    "chacha": (
        [(CRYPTO_CHACHA20_POLY1305, 32), (CRYPTO_CHACHA20_POLY1305_MAC, 32)], 2**38 - 64),
}  # fmt: skip


def inis_of(case: str) -> list[Cryptoini]:
    return [Cryptoini(alg, KEY[:keylen]) for alg, keylen in LONGEST[case][0]]


def request(inis: list[Cryptoini], length: int, flags: int) -> list[Cryptodesc]:
    """One region from the start; the tag behind it."""
    alg = inis[0].alg
    iv = bytes(FACTS[alg].ivlen(inis[0].klen // 8))
    desc = [crd(alg, 0, length, 0, flags | OUTSIDE, iv)]
    return desc + [crd(ini.alg, 0, 0, length) for ini in inis[1:]]


@each_driver
@pytest.mark.parametrize("case", LONGEST)
def test_a_message_beyond_the_standard_blamed_the_driver(name: str, case: str) -> None:
    """E2BIG before a byte is touched, in one piece and in several, both ways."""
    granule = FACTS[LONGEST[case][0][0][0]].granule
    length = LONGEST[case][1] + granule
    inis = inis_of(case)
    with attached(name) as fw, mmap.mmap(-1, length + 64, flags=NO_RESERVE) as memory:
        sid = fw.newsession(inis)
        with memoryview(memory) as whole:
            for flags in (ENCRYPT, 0):
                for buf in (whole, [whole[:100], whole[100:]]):
                    crp = run(fw, sid, buf, *request(inis, length, flags))
                    assert crp.etype == errno.E2BIG, crp.error
                    with pytest.raises(LimitError, match="is the most; divide it"):
                        crp.check()
                    del buf
                    crp.buf = None
            assert whole[:1000] == bytes(1000)
            assert whole[-1000:] == bytes(1000)
        assert fw.stats.driver_bugs == 0


@pytest.mark.slow
@each_driver
@pytest.mark.parametrize("case", ["ccm", "xts"])
def test_the_longest_message_is_served(name: str, case: str) -> None:
    """At the limit itself, by the quick way; swcrypto's XTS would take its time."""
    if (name, case) == ("swcrypto", "xts"):
        name = "openssl"
    inis = inis_of(case)
    length = LONGEST[case][1]
    with attached(name) as fw:
        sid = fw.newsession(inis)
        buf = bytearray(length + 16)
        run(fw, sid, buf, *request(inis, length, ENCRYPT)).check()
        assert any(buf[:16])
        run(fw, sid, buf, *request(inis, length, 0)).check()
        assert not any(buf[:length])


def test_openssl_took_22_seconds_to_refuse_two_gigabytes() -> None:
    """What its library does not take at once is refused at once."""
    inis = inis_of("chacha")
    with attached("openssl") as fw, mmap.mmap(-1, 2**31 + 64, flags=NO_RESERVE) as memory:
        sid = fw.newsession(inis)
        with memoryview(memory) as whole:
            crp = run(fw, sid, whole, *request(inis, 2**31, ENCRYPT))
            assert crp.etype == errno.E2BIG
            crp.buf = None
        assert fw.stats.driver_bugs == 0


def test_only_limited_algorithms_pay_for_the_limit() -> None:
    """CBC and HMAC have none, and their quick ways no line about it."""
    assert Chain([Cryptoini(CRYPTO_AES_CBC, KEY[:16])]).longest == (0,)


# Keys.


def opens(fw: Framework, *inis: Cryptoini, profile: Profile | None = None) -> str:
    """Return how a session's opening ends: an error's class, or an empty string."""
    try:
        fw.freesession(fw.newsession(inis, profile=profile))
    except NoDriverError:
        return "NoDriverError"
    except UsageError:
        return "UsageError"
    return ""


@each_driver
@pytest.mark.parametrize("half", [16, 32])
def test_xts_with_equal_halves_landed_on_a_slower_driver(name: str, half: int) -> None:
    """It is refused by all, with what to do; and served to who says that he means it."""
    weak = Cryptoini(CRYPTO_AES_XTS, KEY[:half] * 2)
    with attached(name) as fw:
        with pytest.raises(UsageError, match="weak_keys=True"):
            fw.newsession(weak)
        allowed = opens(fw, weak, profile=Profile(weak_keys=True))
        assert allowed == ("NoDriverError" if name == "openssl" else "")
        assert opens(fw, Cryptoini(CRYPTO_AES_XTS, KEY[: 2 * half])) == ""


@each_driver
@pytest.mark.parametrize(
    "key", [bytes(8), b"\x01" * 8, b"\xfe" * 8, bytes.fromhex("1f1f1f1f0e0e0e0e")]
)
def test_weak_keys_of_des_are_taken(name: str, key: bytes) -> None:
    """As BSD does, and the published vectors need."""
    with attached(name) as fw:
        if CRYPTO_DES_CBC in make_driver(name).capabilities:
            assert opens(fw, Cryptoini(CRYPTO_DES_CBC, key)) == ""
        assert opens(fw, Cryptoini(CRYPTO_3DES_CBC, key * 3)) == ""
        assert opens(fw, Cryptoini(CRYPTO_3DES_CBC, key + KEY[:8] + key)) == ""


def common() -> list[int]:
    """Return what both drivers have."""
    return sorted(set.intersection(*(set(make_driver(name).capabilities) for name in BOTH)))


@pytest.mark.parametrize("alg", common(), ids=lambda alg: FACTS[alg].name)
def test_two_drivers_have_one_rule_for_lengths(alg: int) -> None:
    """Key lengths and MAC lengths: both take them or both refuse."""
    facts = FACTS[alg]
    if facts.kind is Kind.AEAD_AUTH:
        return
    claims = [keys for name in BOTH if (keys := make_driver(name).capabilities[alg].keys)]
    answers: dict[str, list[Any]] = {}
    for name in BOTH:
        with attached(name) as fw:
            for keylen in range(66):
                if any(keylen not in claim for claim in claims):
                    continue  # one of them says in its table that it has not all of them
                inis = [Cryptoini(alg, KEY[:keylen] + bytes(range(max(0, keylen - 64))))]
                if facts.kind is Kind.AEAD:
                    halves = [h for h in AEAD_PARTNERS[alg] if FACTS[h].key_ok(keylen)]
                    inis += [Cryptoini(half, inis[0].key) for half in halves[:1]]
                answers.setdefault(name, []).append(opens(fw, *inis))
                if answers[name][-1] or not FACTS[inis[-1].alg].authenticates:
                    continue
                for mlen in range(FACTS[inis[-1].alg].digest + 2) if keylen in (0, 16, 32) else ():
                    inis[-1].mlen = mlen
                    answers[name].append((mlen, opens(fw, *inis)))
    assert answers["openssl"] == answers["swcrypto"]
