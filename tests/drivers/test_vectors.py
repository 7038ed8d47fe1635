"""Published answers: every driver, every algorithm it has, every kind of buffer."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

import pytest

from opencrypto import Cryptodesc, Cryptoini, Framework
from opencrypto.testing import vectors
from opencrypto.testing.vectors import Vector
from opencrypto.xform import FACTS, Kind
from tests.drivers.rig import (
    ENCRYPT,
    KINDS,
    NAMES,
    OUTSIDE,
    VERIFY,
    attached,
    crd,
    make_driver,
    name_of,
    partner_of,
    run,
    shape,
)
from tests.support import sample_of

pytestmark = pytest.mark.shared_framework

GUARD = b"\xc3" * 5
"""Before and behind what is worked on: not to be touched, and the reason for odd offsets."""

CASES = [
    (name, alg)
    for name in NAMES
    for alg in make_driver(name).capabilities
    if FACTS[alg].kind not in {Kind.AEAD_AUTH, Kind.COMP} and name_of(alg) in vectors.names()
]
BULKY = 1 << 16
"""Vectors longer than this are tried in one kind of buffer only."""


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


def chosen(name: str, alg: int, kind: str) -> Sequence[Vector]:
    """Return the vectors that a driver says it can do."""
    capability = make_driver(name).capabilities[alg]
    found = [v for v in vectors.load(name_of(alg)) if not capability.refusal(ini_of(alg, v))]
    assert found, "the driver refuses every published key"
    if kind == "contiguous":
        return found
    return sample_of([v for v in found if len(v.input) <= BULKY])


def ini_of(alg: int, v: Vector) -> Cryptoini:
    """Return the parameters of a vector's session; of an AEAD, its ciphering half's."""
    return Cryptoini(alg, v.key, mlen=len(v.mac or b"") if FACTS[alg].authenticates else 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "alg"), CASES, ids=[f"{n}-{name_of(a)}" for n, a in CASES])
def test_vectors(framework: Framework, name: str, alg: int, kind: str) -> None:
    check = {Kind.CIPHER: cipher, Kind.AEAD: aead}.get(FACTS[alg].kind, authenticator)
    for v in chosen(name, alg, kind):
        check(framework, name, alg, kind, v)


def cipher(framework: Framework, name: str, alg: int, kind: str, v: Vector) -> None:
    sid = framework.newsession(ini_of(alg, v), driver=name)
    at, length = len(GUARD), len(v.input)
    for flags, before, after in ((ENCRYPT, v.input, v.output), (0, v.output, v.input)):
        work = shape(kind, GUARD + before + GUARD)
        crp = run(framework, sid, work.buf, crd(alg, at, length, 0, flags | OUTSIDE, v.iv))
        assert (crp.etype, crp.error) == (0, ""), v.id
        assert work.content() == GUARD + after + GUARD, v.id
        if not v.iv:
            continue
        # The IV in the buffer, and again behind the data.
        for iv_at, data_at in ((at, at + len(v.iv)), (at + length, at)):
            told = flags | (0 if flags else OUTSIDE & ~0x4)
            body = v.iv + before if data_at > at else before + v.iv
            work = shape(kind, GUARD + body + GUARD)
            crp = run(framework, sid, work.buf, crd(alg, data_at, length, iv_at, told | 0x2))
            assert crp.etype == 0, (v.id, crp.error)
            body = v.iv + after if data_at > at else after + v.iv
            assert work.content() == GUARD + body + GUARD, v.id
    framework.freesession(sid)


def authenticator(framework: Framework, name: str, alg: int, kind: str, v: Vector) -> None:
    assert v.mac is not None
    sid = framework.newsession(ini_of(alg, v), driver=name)
    at, length = len(GUARD), len(v.output)
    to = at + length + 3
    packet = GUARD + v.output + b"\xee" * 3
    if v.result == "valid":
        work = shape(kind, packet + bytes(len(v.mac)) + GUARD)
        crp = run(framework, sid, work.buf, crd(alg, at, length, to))
        assert crp.etype == 0, v.id
        assert work.content() == packet + v.mac + GUARD, v.id
        aside = bytearray(len(v.mac) + 1)
        assert run(framework, sid, work.buf, crd(alg, at, length), mac=aside).etype == 0
        assert aside == v.mac + b"\0", v.id
    work = shape(kind, packet + v.mac + GUARD)
    before = work.content()
    crp = run(framework, sid, work.buf, crd(alg, at, length, to, VERIFY))
    assert crp.etype == (0 if v.result == "valid" else errno.EBADMSG), v.id
    assert work.content() == before, v.id
    framework.freesession(sid)


def aead(framework: Framework, name: str, alg: int, kind: str, v: Vector) -> None:
    assert v.mac is not None
    half = partner_of(alg, len(v.key))
    inis = [Cryptoini(alg, v.key), Cryptoini(half, v.key, mlen=len(v.mac))]
    for order in (1, -1):
        sid = framework.newsession(inis[::order], driver=name)
        packet = (v.aad or b"") + GUARD
        at, length = len(packet), len(v.output)

        def descriptors(
            flags: int, at: int = at, length: int = length, gap: int = 0, order: int = order
        ) -> list[Cryptodesc]:
            tag = crd(half, 0, len(v.aad or b""), at + length + gap)
            return [crd(alg, at, length, 0, flags | OUTSIDE, v.iv), tag][::order]

        for gap in (0, 2):  # the quick way wants the tag right behind the payload
            between = b"\xee" * gap
            whole = packet + v.output + between + v.mac + GUARD
            if v.result == "valid":
                room = bytes(len(v.mac))
                work = shape(kind, packet + v.input + between + room + GUARD)
                crp = run(framework, sid, work.buf, *descriptors(ENCRYPT, gap=gap))
                assert crp.etype == 0, (v.id, crp.error)
                assert work.content() == whole, v.id
            work = shape(kind, whole)
            crp = run(framework, sid, work.buf, *descriptors(0, gap=gap))
            if v.result == "valid":
                assert crp.etype == 0, (v.id, crp.error)
                assert work.content() == packet + v.input + between + v.mac + GUARD, v.id
            else:
                assert crp.etype == errno.EBADMSG, v.id
                assert work.content() == whole, v.id
        framework.freesession(sid)


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_of_a_driver_is_tried(name: str) -> None:
    tried = {alg for driver, alg in CASES if driver == name}
    offered = make_driver(name).capabilities
    untried = [
        FACTS[alg].name
        for alg in offered
        if alg not in tried and FACTS[alg].kind not in {Kind.AEAD_AUTH, Kind.COMP}
    ]
    assert not untried, f"no vectors in opencrypto.testing.vectors: {untried}"
