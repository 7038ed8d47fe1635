"""
A segment border at every byte of a packet: inside blocks, the IV, the MAC, and on their edges.

One published answer of each algorithm, at offset 1, cut in two at each place in turn, and into
single bytes; both kinds of buffer that have borders, both directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from opencrypto import Cryptodesc, Cryptoini, Framework
from opencrypto.testing import vectors
from opencrypto.testing.vectors import Vector
from opencrypto.xform import FACTS, Kind
from tests.drivers.rig import (
    ENCRYPT,
    NAMES,
    PRESENT,
    VERIFY,
    attached,
    crd,
    make_driver,
    name_of,
    partner_of,
    run,
    shape,
)

pytestmark = [pytest.mark.slow, pytest.mark.shared_framework]

CASES = [
    (name, alg)
    for name in NAMES
    for alg in make_driver(name).capabilities
    if FACTS[alg].kind is not Kind.AEAD_AUTH
]
LONG = 80
"""Vectors of more bytes than this would only make the walk longer."""


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


@dataclass(frozen=True)
class Way:
    """One direction: what is asked, of what, and what must come."""

    desc: Sequence[Cryptodesc]
    before: bytes
    after: bytes


def example(name: str, alg: int) -> Vector:
    """Return a vector with a region of more than a block, or of two if there are some."""
    capability = make_driver(name).capabilities[alg]
    file = "deflate_comp" if name_of(alg) == "deflate_comp_nogrow" else name_of(alg)
    found = [
        v
        for v in vectors.load(file)
        if v.result == "valid"
        and max(len(v.input), len(v.output)) <= LONG
        and not capability.refusal(Cryptoini(alg, v.key))
    ]
    return max(found, key=lambda v: (len(v.input) + len(v.aad or b""), v.id))


def cipher(alg: int, v: Vector) -> tuple[list[Cryptoini], list[Way]]:
    iv = v.iv or b""
    at = 1 + len(iv)
    ways = [
        Way(
            [crd(alg, at, len(v.input), 1, flags | PRESENT)],
            b"<" + iv + before + b">",
            b"<" + iv + after + b">",
        )
        for flags, before, after in ((ENCRYPT, v.input, v.output), (0, v.output, v.input))
    ]
    return [Cryptoini(alg, v.key)], ways


def authenticator(alg: int, v: Vector) -> tuple[list[Cryptoini], list[Way]]:
    assert v.mac is not None
    size = len(v.input)
    whole = b"<" + v.input + v.mac + b">"
    room = b"<" + v.input + bytes(len(v.mac)) + b">"
    ways = [
        Way([crd(alg, 1, size, 1 + size)], room, whole),
        Way([crd(alg, 1, size, 1 + size, VERIFY)], whole, whole),
    ]
    return [Cryptoini(alg, v.key, mlen=len(v.mac))], ways


def aead(alg: int, v: Vector) -> tuple[list[Cryptoini], list[Way]]:
    assert v.mac is not None
    half, aad, iv = partner_of(alg, len(v.key)), v.aad or b"", v.iv or b""
    iv_at, at = 1 + len(aad), 1 + len(aad) + len(iv)
    end = at + len(v.input)
    head = b"<" + aad + iv
    sealed, opened = head + v.output + v.mac + b">", head + v.input + v.mac + b">"
    room = head + v.input + bytes(len(v.mac)) + b">"
    ways = [
        Way(
            [
                crd(alg, at, end - at, iv_at, flags | PRESENT),
                crd(half, 1, len(aad), end, check),
            ],
            before,
            after,
        )
        for flags, check, before, after in (
            (ENCRYPT, 0, room, sealed),
            (0, VERIFY, sealed, opened),
        )
    ]
    return [Cryptoini(alg, v.key), Cryptoini(half, v.key, mlen=len(v.mac))], ways


def compression(alg: int, v: Vector) -> tuple[list[Cryptoini], list[Way]]:
    return [Cryptoini(alg)], [Way([crd(alg, 1, len(v.output))], b"<" + v.output, b"<" + v.input)]


@pytest.mark.parametrize("kind", ["iov", "mbuf"])
@pytest.mark.parametrize(("name", "alg"), CASES, ids=[f"{n}-{name_of(a)}" for n, a in CASES])
def test_a_border_anywhere(framework: Framework, name: str, alg: int, kind: str) -> None:
    if FACTS[alg].kind is Kind.COMP and kind == "iov":
        kind = "room"  # what does not grow needs room behind
    make = {Kind.CIPHER: cipher, Kind.AEAD: aead, Kind.COMP: compression}
    v = example(name, alg)
    inis, ways = make.get(FACTS[alg].kind, authenticator)(alg, v)
    sid = framework.newsession(inis, driver=name)
    for way in ways:
        room = bytes(max(0, len(way.after) - len(way.before))) if kind == "room" else b""
        before = way.before + room
        for splits in [*([cut, len(before)] for cut in range(1, len(before))), [1]]:
            work = shape("mbuf" if kind == "mbuf" else "iov", before, splits)
            crp = run(framework, sid, work.buf, *way.desc)
            assert (crp.etype, crp.error) == (0, ""), (v.id, splits)
            assert work.content()[: len(way.after)] == way.after, (v.id, splits)
    framework.freesession(sid)


def test_the_walk_meets_every_place() -> None:
    """The examples have an IV, more than a block of data, and a MAC, where there are such."""
    for name, alg in CASES:
        facts, v = FACTS[alg], example(name, alg)
        assert bool(v.iv) == bool(facts.iv), v.id
        assert bool(v.mac) == (facts.authenticates or facts.kind is Kind.AEAD), v.id
        if facts.kind in {Kind.CIPHER, Kind.AEAD} and name_of(alg) not in {"null_cbc", "aes_gmac"}:
            assert len(v.input) > facts.block, (v.id, len(v.input))
        if name_of(alg) == "aes_gmac":
            assert len(v.aad or b"") > 16, v.id
