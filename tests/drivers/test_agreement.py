"""
Two drivers that share no code give the same answers: on any chain, region, IV rule and length.

Each request is carried out by both, over every kind of buffer. So each driver's quick ways are
compared with its general way as well, which all but contiguous buffers take.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from opencrypto import Cryptodesc, Cryptoini, Framework
from opencrypto.constants import CRYPTO_AES_GMAC, CRYPTO_AES_XTS, CRYPTO_NULL_HMAC
from opencrypto.xform import FACTS, Kind
from tests.drivers.rig import (
    BOTH,
    ENCRYPT,
    EXPLICIT,
    PRESENT,
    VERIFY,
    attached,
    crd,
    make_driver,
    partner_of,
    run,
    shape,
)
from tests.support import examples

pytestmark = pytest.mark.shared_framework

DRIVERS = [make_driver(name) for name in BOTH]
COMMON = sorted(set.intersection(*(set(driver.capabilities) for driver in DRIVERS)))
CIPHERS = [alg for alg in COMMON if FACTS[alg].kind is Kind.CIPHER]
MACS = [alg for alg in COMMON if FACTS[alg].kind in {Kind.MAC, Kind.HASH}]
AEADS = [alg for alg in COMMON if FACTS[alg].kind is Kind.AEAD]

given_often = settings(
    max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


def keys_of(alg: int) -> st.SearchStrategy[bytes]:
    """Draw keys of the lengths that both drivers take."""
    legal = FACTS[alg].keys
    lengths = [
        n
        for n in (range(200) if legal is None else sorted(legal))
        if not any(driver.capabilities[alg].refusal(Cryptoini(alg, bytes(n))) for driver in DRIVERS)
    ]
    drawn = st.sampled_from(lengths).flatmap(lambda n: st.binary(min_size=n, max_size=n))
    # Two equal halves are no key of XTS (FIPS 140); OpenSSL refuses them.
    return drawn.map(lambda key: b"\x01" + key[1:-1] + b"\x02") if alg == CRYPTO_AES_XTS else drawn


@st.composite
def inis(draw: st.DrawFn, alg: int) -> Cryptoini:
    facts = FACTS[alg]
    mlen = draw(st.sampled_from([0, *facts.macs])) if facts.authenticates else 0
    return Cryptoini(alg, draw(keys_of(alg)), mlen=mlen)


@st.composite
def aead_pairs(draw: st.DrawFn) -> list[Cryptoini]:
    alg = draw(st.sampled_from(AEADS))
    key = draw(keys_of(alg))
    half = partner_of(alg, len(key))
    pair = [Cryptoini(alg, key), Cryptoini(half, key, mlen=draw(tags(half)))]
    return draw(st.permutations(pair))


def tags(half: int) -> st.SearchStrategy[int]:
    # The quick way is for whole tags, so these come as often as all others.
    return st.one_of(st.just(0), st.sampled_from(sorted(FACTS[half].macs)))


def chains() -> st.SearchStrategy[list[Cryptoini]]:
    cipher = st.sampled_from(CIPHERS).flatmap(inis)
    mac = st.sampled_from(MACS).flatmap(inis)
    pair = st.tuples(cipher, mac).map(list)
    return st.one_of(
        cipher.map(lambda one: [one]),
        mac.map(lambda one: [one]),
        pair,
        pair.map(lambda two: two[::-1]),
        aead_pairs(),
        st.lists(st.one_of(cipher, mac), min_size=2, max_size=4),
        st.tuples(aead_pairs(), mac).map(lambda both: [*both[0], both[1]]),
    )


HEAD, TAIL = 40, 70
"""Bytes at either end of a buffer that a sound request keeps for IVs and tags."""


@st.composite
def places(draw: st.DrawFn, ini: Cryptoini, size: int) -> tuple[int, int, int]:
    """Draw a region and an `inject` that fit each other: (skip, length, inject)."""
    facts = FACTS[ini.alg]
    maclen = ini.mlen or facts.mac
    behind = st.integers(size - TAIL, size - 16)
    if facts.kind in {Kind.MAC, Kind.HASH}:
        skip = draw(st.integers(0, size))
        return skip, draw(st.integers(0, size - skip)), draw(st.integers(0, size - maclen))
    if facts.kind is Kind.AEAD_AUTH:
        skip = draw(st.integers(0, size))
        length = draw(st.integers(0, size - skip))
        return skip, length, draw(st.one_of(st.integers(0, HEAD - 16), behind))
    skip = draw(st.integers(HEAD, size - TAIL))
    length = 0 if ini.alg == CRYPTO_AES_GMAC else draw(st.integers(0, size - TAIL - skip))
    inject = draw(st.one_of(st.integers(0, HEAD - 16), behind))
    return skip, length - length % facts.granule, inject


@st.composite
def descriptors(draw: st.DrawFn, ini: Cryptoini, size: int, sound: bool) -> dict[str, Any]:
    """Draw a descriptor that is sound; or else one that may be anything."""
    facts = FACTS[ini.alg]
    if sound:
        skip, length, inject = draw(places(ini, size))
    else:
        skip, length, inject = (draw(st.integers(-3, size + 20)) for _ in range(3))
    flags = draw(st.sampled_from([0, ENCRYPT]) if not facts.authenticates else st.just(0))
    flags |= draw(st.sampled_from([0, EXPLICIT, PRESENT, EXPLICIT | PRESENT]))
    if flags & ENCRYPT and not flags & EXPLICIT:
        flags |= PRESENT  # fresh IVs differ from driver to driver: see the test of round trips
    ivlen = facts.ivlen(ini.klen // 8) + (not sound and draw(st.integers(0, 1)))
    iv = draw(st.binary(min_size=ivlen, max_size=ivlen)) if flags & EXPLICIT else None
    return {"skip": skip, "length": length, "inject": inject, "flags": flags, "iv": iv}


def outcome(
    framework: Framework, driver: str, kind: str, chain: list[Cryptoini], data: bytes,
    splits: list[int], desc: list[tuple[int, dict[str, Any]]], room: int | None,
) -> tuple[int, str, bytes, bytes | None]:  # fmt: skip
    sid = framework.newsession(chain, driver=driver)
    work = shape(kind, data, splits)
    made: list[Cryptodesc] = [crd(alg, **fields) for alg, fields in desc]
    mac = None if room is None else bytearray(room)
    crp = run(framework, sid, work.buf, *made, mac=mac)
    framework.freesession(sid)
    return crp.etype, crp.error, work.content(), None if mac is None else bytes(mac)


def agree(
    framework: Framework, chain: list[Cryptoini], data: bytes, splits: list[int],
    desc: list[tuple[int, dict[str, Any]]], room: int | None = None,
) -> tuple[int, str, bytes, bytes | None]:  # fmt: skip
    """Carry a request out in every way, and return what all of them came to."""
    answers = {
        (driver, kind): outcome(framework, driver, kind, chain, data, splits, desc, room)
        for driver in BOTH
        for kind in ("contiguous", "view", "iov", "mbuf")
    }
    first, *others = answers.values()
    assert all(other == first for other in others), answers
    return first


SPLITTING = st.lists(st.integers(0, 40), max_size=8).map(lambda lengths: [*lengths, 7])


@given_often
@given(data=st.data())
def test_any_request(framework: Framework, data: st.DataObject) -> None:
    chain = data.draw(chains())
    content = data.draw(st.binary(min_size=HEAD + TAIL, max_size=HEAD + TAIL + 120))
    order = data.draw(st.permutations(chain)) if data.draw(st.booleans()) else chain
    wrong = data.draw(st.integers(0, 4 * len(order)))  # which is not sound; mostly none
    desc = [
        (ini.alg, data.draw(descriptors(ini, len(content), turn != wrong)))
        for turn, ini in enumerate(order)
    ]
    for alg, fields in desc:
        if FACTS[alg].authenticates and data.draw(st.integers(0, 7)) == 0:
            fields["flags"] |= VERIFY  # of a random MAC, which must fail alike
    room = data.draw(st.sampled_from([None, None, None, None, 0, 20, 300]))
    splits = data.draw(SPLITTING)
    etype, _, after, _ = agree(framework, chain, content, splits, desc, room)
    event(f"etype {etype}")
    if etype and etype != errno.EBADMSG:
        assert after == content, "a request that was refused has changed the buffer"


@st.composite
def packets(draw: st.DrawFn, chain: list[Cryptoini]) -> tuple[int, int, int, int]:
    """Lay a packet out: (where the IV is, where the data, how long, where the MAC)."""
    cipher = next(ini for ini in chain if not FACTS[ini.alg].authenticates)
    facts = FACTS[cipher.alg]
    length = draw(st.integers(0, 130))
    length = 0 if cipher.alg == CRYPTO_AES_GMAC else length - length % facts.granule
    iv_at = draw(st.integers(0, 20))
    data_at = iv_at + facts.ivlen(cipher.klen // 8) + draw(st.sampled_from([0, 0, 3]))
    return iv_at, data_at, length, data_at + length + draw(st.sampled_from([0, 0, 5]))


@given_often
@given(data=st.data())
def test_round_trips(framework: Framework, data: st.DataObject) -> None:
    """What one protects with an IV of its own, each takes apart; damaged, none does."""
    cipher = st.sampled_from(CIPHERS).flatmap(inis)
    mac = st.sampled_from(MACS).flatmap(inis)
    chain = data.draw(st.one_of(aead_pairs(), st.tuples(cipher, mac).map(list)))
    first, second = (0, 1) if not FACTS[chain[0].alg].authenticates else (1, 0)
    iv_at, at, length, mac_at = data.draw(packets(chain))
    enc, auth = chain[first], chain[second]
    maclen = auth.mlen or FACTS[auth.alg].mac
    size = mac_at + maclen + data.draw(st.sampled_from([0, 0, 9, 30]))
    content = data.draw(st.binary(min_size=size, max_size=size))
    splits = data.draw(SPLITTING)
    single = FACTS[enc.alg].kind is Kind.AEAD
    region = iv_at if single else at + length  # what of the packet is authenticated
    way_in = [
        crd(enc.alg, at, length, iv_at, ENCRYPT),
        crd(auth.alg, 0, region, mac_at),
    ]
    driver = data.draw(st.sampled_from(BOTH))
    kind = data.draw(st.sampled_from(["contiguous", "view", "iov", "mbuf"]))
    sid = framework.newsession(chain, driver=driver)
    work = shape(kind, content, splits)
    crp = run(framework, sid, work.buf, *way_in)
    framework.freesession(sid)
    assert crp.etype == 0, crp.error
    sealed = work.content()
    assert sealed[:iv_at] == content[:iv_at], "what precedes the IV has changed"
    assert sealed[mac_at + maclen :] == content[mac_at + maclen :], "what follows the MAC has"
    way_out = [
        (auth.alg, {"skip": 0, "length": region, "inject": mac_at, "flags": VERIFY}),
        (enc.alg, {"skip": at, "length": length, "inject": iv_at, "flags": 0}),
    ]
    etype, _, after, _ = agree(framework, chain, sealed, splits, way_out)
    assert etype == 0
    assert after[at : at + length] == content[at : at + length]
    if auth.alg == CRYPTO_NULL_HMAC or not (region or single):
        return  # zeros prove nothing, and neither does a digest of nothing
    damaged = bytearray(sealed)
    damaged[mac_at + data.draw(st.integers(0, maclen - 1))] ^= 1 << data.draw(st.integers(0, 7))
    etype, _, after, _ = agree(framework, chain, bytes(damaged), splits, way_out)
    assert (etype, after) == (errno.EBADMSG, bytes(damaged))
