"""
Every driver answers alike, or refuses alike: key, MAC, IV and message lengths, and nothing at all.

Not by chance, as test_agreement.py does it, but each length around each border, for each algorithm
that two drivers of the tree have. What a driver says in its capabilities that it does not take is
the only difference there may be.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from opencrypto import Cryptodesc, Cryptoini, Framework
from opencrypto.constants import CRD_F_COMP
from opencrypto.exceptions import CryptoError
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind
from tests.drivers.rig import (
    ENCRYPT,
    NAMES,
    OUTSIDE,
    VERIFY,
    attached,
    crd,
    make_driver,
    run,
    shape,
)  # fmt: skip

pytestmark = pytest.mark.shared_framework

OFFERS = {name: make_driver(name).capabilities for name in NAMES}
COMMON = sorted(
    alg
    for alg in {alg for offers in OFFERS.values() for alg in offers}
    if sum(alg in offers for offers in OFFERS.values()) > 1 and FACTS[alg].kind != Kind.AEAD_AUTH
)
KEY = bytes((7 * at + 1) % 251 for at in range(300))
DATA = bytes((11 * at + 5) % 253 for at in range(300))

every_algorithm = pytest.mark.parametrize("alg", COMMON, ids=[FACTS[alg].name for alg in COMMON])
Outcome = tuple[object, ...]


@pytest.fixture(scope="module")
def frameworks() -> Iterator[dict[str, Framework]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(attached(name)) for name in NAMES}


def chain(alg: int, keylen: int, mlen: int = 0) -> list[Cryptoini]:
    """Return parameters with a key of so many bytes, and the other half if there is one."""
    inis = [Cryptoini(alg, KEY[:keylen])]
    if FACTS[alg].kind is Kind.AEAD:
        halves = [half for half in sorted(AEAD_PARTNERS[alg]) if FACTS[half].key_ok(keylen)]
        inis.append(Cryptoini((halves or sorted(AEAD_PARTNERS[alg]))[0], KEY[:keylen]))
    inis[-1].mlen = mlen if FACTS[inis[-1].alg].authenticates else 0
    return inis


def who_claims(alg: int, inis: list[Cryptoini]) -> list[str]:
    """Return the drivers that have an algorithm, and do not say that they take no such key."""
    return [
        name
        for name, offers in OFFERS.items()
        if alg in offers and not any(offers[cri.alg].refusal(cri) for cri in inis)
    ]


def alike(answers: dict[str, Outcome]) -> Outcome:
    """Return what all drivers said, which must be the same."""
    (outcome, *others) = set(answers.values())
    assert not others, answers
    return outcome


def opened(fw: Framework, inis: list[Cryptoini]) -> Outcome:
    """Return how a session's opening ends."""
    try:
        fw.freesession(fw.newsession(inis))
    except CryptoError as error:
        return error.errno, type(error).__name__
    return (0,)


def opened_by_all(frameworks: dict[str, Framework], inis: list[Cryptoini]) -> list[str]:
    """Return who opens a session of these, if all who claim to do; [] if nobody does, or one."""
    names = who_claims(inis[0].alg, inis)
    if len(names) < 2:
        return []
    return names if alike({name: opened(frameworks[name], inis) for name in names}) == (0,) else []


def taken_keys(frameworks: dict[str, Framework], alg: int) -> list[int]:
    """Return the key lengths that several drivers take, having tried all."""
    lengths = [*range(80), 127, 128, 129, 255, 256, 257, 300]
    return [length for length in lengths if opened_by_all(frameworks, chain(alg, length))]


@every_algorithm
def test_keys_and_macs_of_every_length(frameworks: dict[str, Framework], alg: int) -> None:
    """From none to longer than any; and each MAC's length for some of them."""
    taken = taken_keys(frameworks, alg)
    assert taken
    for keylen in {taken[0], taken[-1]}:
        digest = FACTS[chain(alg, keylen)[-1].alg].digest
        for mlen in range(1, max(digest, 16) + 3):
            opened_by_all(frameworks, chain(alg, keylen, mlen))


def desc_of(inis: list[Cryptoini], length: int, ivlen: int, flags: int) -> list[Cryptodesc]:
    """Describe a request over `length` bytes behind 32, with an IV of `ivlen` bytes outside."""
    alg, facts = inis[0].alg, FACTS[inis[0].alg]
    end = 32 + length
    if facts.authenticates:
        return [crd(alg, 32, length, end, flags & VERIFY)]
    if facts.kind is Kind.COMP:
        return [crd(alg, 32, length, 0, CRD_F_COMP if flags & ENCRYPT else 0)]
    iv = DATA[:ivlen] if ivlen >= 0 else None
    outside = OUTSIDE if facts.ivlen(inis[0].klen // 8) or ivlen > 0 else 0
    cipher = crd(alg, 32, length, 0, flags & ENCRYPT | outside, iv if outside else None)
    if len(inis) == 1:
        return [cipher]
    return [cipher, crd(inis[1].alg, 3, 13, end)]


def lengths_of(alg: int) -> list[int]:
    """Return the lengths around each border of an algorithm."""
    block = max(FACTS[alg].granule, 1)
    around = {0, 1, block - 1, block, block + 1, 2 * block, 3 * block - 1, 15, 16, 17, 31, 32, 33}
    return sorted(around | {55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 200})


@every_algorithm
def test_messages_and_ivs_of_every_length(frameworks: dict[str, Framework], alg: int) -> None:
    """Nothing, parts of blocks, whole ones; IVs too short and too long; there and back."""
    keys = taken_keys(frameworks, alg)
    outcomes = set()
    for keylen in {keys[0], keys[len(keys) // 2], keys[-1]}:
        inis = chain(alg, keylen)
        sids = {name: frameworks[name].newsession(inis) for name in opened_by_all(frameworks, inis)}
        for kind, flags, length, ivlen in requests(alg, FACTS[alg].ivlen(keylen)):
            answers = {
                name: asked(frameworks[name], sid, kind, desc_of(inis, length, ivlen, flags))
                for name, sid in sids.items()
            }
            outcomes.add(alike(answers)[0])
        for name, sid in sids.items():
            frameworks[name].freesession(sid)
    assert 0 in outcomes


def requests(alg: int, right: int) -> Iterator[tuple[str, int, int, int]]:
    """Yield the kind of buffer, flags, length, and length of the IV, of which `right` is right."""
    for kind, flags in itertools.product(("contiguous", "iov"), (ENCRYPT, 0, VERIFY)):
        for length in lengths_of(alg):
            yield kind, flags, length, right
        if not FACTS[alg].authenticates:
            for ivlen in {right + 1, max(0, right - 1), 0, -1} - {right}:
                yield kind, flags, 0, ivlen
                yield kind, flags, 16, ivlen


def asked(fw: Framework, sid: int, kind: str, desc: list[Cryptodesc]) -> Outcome:
    """Return how a request ends: its error, and what is in its buffer then."""
    buffer = shape(kind, DATA)
    crp = run(fw, sid, buffer.buf, *desc)
    crp.buf = None
    return crp.etype, crp.olen, buffer.content()
