"""Published answers, by the kernel's own algorithms, on every kind of buffer."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from opencrypto import Alg, Cryptoini, Framework
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT, CRD_F_VERIFY
from opencrypto.testing import vectors
from opencrypto.testing.vectors import Vector
from opencrypto.xform import AEAD_CIPHERS, FACTS, Kind
from opencrypto_afalg import AfalgDriver
from opencrypto_afalg.names import NAMES, Form
from tests.drivers.afalg.support import attached, open_on, partner, run
from tests.drivers.rig import KINDS, crd, name_of, shape

pytestmark = [pytest.mark.kernel("uml", "qemu", "host"), pytest.mark.shared_framework]

GUARD = b"\xc3" * 5
OUTSIDE = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
ALGS = [alg for alg in NAMES if name_of(alg) in vectors.names()]
# Debian's 6.1 has ARC4 only in User Mode Linux. Ours may be without anything.
ABSENT: dict[str, set[Alg]] = {"uml": set(), "qemu": {Alg.ARC4}, "host": set(NAMES)}
BULKY = 1 << 16


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


def chosen(alg: int, kind: str) -> list[Vector]:
    return [v for v in vectors.load(name_of(alg)) if kind == "contiguous" or len(v.input) <= BULKY]


@pytest.mark.parametrize("alg", ALGS, ids=name_of)
def test_vectors(framework: Framework, kernel: str, alg: Alg) -> None:
    """Every vector of an algorithm that this kernel has."""
    capability = next(i for i in framework.drivers if i.name == "afalg")
    assert alg.name in capability.algorithms
    if alg in ABSENT[kernel] and (kernel != "host" or absence(alg)):
        assert "this kernel has no" in absence(alg)
        return
    check = {Kind.CIPHER: cipher, Kind.AEAD: aead}.get(FACTS[alg].kind, authenticator)
    for kind in KINDS:
        for v in chosen(alg, kind):
            check(framework, alg, kind, v)


def absence(alg: int) -> str:
    """Say why the kernel that runs us has it not; empty if it has."""
    capability = AfalgDriver().capabilities[alg]
    capability.served()
    return capability.absence


# Names that stand behind another one in the table, tried alone.
SECOND = {
    alg: (name,) for alg, names in NAMES.items() for name in names[1:] if name.form is Form.SALTED
}


@pytest.mark.parametrize("alg", [Alg.AES_CTR], ids=name_of)
def test_second_names(alg: Alg) -> None:
    """The other name of an algorithm, as on a kernel that has only that, gives the same answers."""
    with attached(AfalgDriver(names={alg: SECOND[alg]})) as framework:
        for v in vectors.load(name_of(alg)):
            cipher(framework, alg, "contiguous", v)


@pytest.mark.parametrize(
    ("alg", "lengths"), [(Alg.AES_GCM_16, {8, 12}), (Alg.AES_GMAC, set(range(16, 4096)))]
)
def test_the_names_for_ipsec(alg: Alg, lengths: set[int]) -> None:
    """rfc4106 and rfc4543 alone: what they take is right, and the rest is handed back as it was."""
    done = back = 0
    with attached(AfalgDriver(names={alg: SECOND[alg]}), fallback=True) as framework:
        for v in vectors.load(name_of(alg)):
            assert v.mac is not None
            inis = [Cryptoini(alg, v.key), Cryptoini(partner(alg, len(v.key)), v.key)]
            aad, length = len(v.aad or b""), len(v.output)
            tag = crd(inis[1].alg, 0, aad, aad + length)
            opening = crd(alg, aad, length, 0, OUTSIDE, v.iv)
            for kind in KINDS if len(v.mac) == 16 else ():
                sid = open_on(framework, inis)
                work = shape(kind, (v.aad or b"") + v.output + v.mac)
                before = work.content()
                crp = run(framework, sid, work.buf, opening, tag)
                if aad not in lengths:
                    assert (crp.etype, work.content()) == (errno.EAGAIN, before)
                    back += 1
                    continue
                wanted = (v.aad or b"") + v.input + v.mac
                assert crp.etype == (0 if v.result == "valid" else errno.EBADMSG), v.id
                assert work.content() == (wanted if v.result == "valid" else before), v.id
                if v.result == "valid":
                    sealing = crd(alg, aad, length, 0, OUTSIDE | CRD_F_ENCRYPT, v.iv)
                    assert run(framework, sid, work.buf, sealing, tag).etype == 0
                    assert work.content() == before, v.id
                    work = shape(kind, before[:-1] + bytes([before[-1] ^ 1]))
                    assert run(framework, sid, work.buf, opening, tag).etype == errno.EBADMSG
                done += 1
                framework.freesession(sid)
    assert done > 20
    assert back > 5


def test_the_names_for_ipsec_want_a_nonce_in_the_key() -> None:
    """A plain key is refused when the session is opened."""
    with attached(AfalgDriver(names={Alg.AES_GCM_16: SECOND[Alg.AES_GCM_16]})) as framework:
        inis = [Cryptoini(Alg.AES_GCM_16, bytes(16)), Cryptoini(Alg.AES_128_GMAC, bytes(16))]
        with pytest.raises(OSError, match="nonce at the end"):
            framework.newsession(inis)


def cipher(framework: Framework, alg: int, kind: str, v: Vector) -> None:
    sid = framework.newsession(Cryptoini(alg, v.key))
    at, length = len(GUARD), len(v.input)
    for flags, before, after in ((CRD_F_ENCRYPT, v.input, v.output), (0, v.output, v.input)):
        work = shape(kind, GUARD + before + GUARD)
        crp = run(framework, sid, work.buf, crd(alg, at, length, 0, flags | OUTSIDE, v.iv))
        assert (crp.etype, crp.error) == (0, ""), v.id
        assert work.content() == GUARD + after + GUARD, v.id
        if not v.iv:
            continue
        # The IV in the buffer: before the data, and behind it.
        for iv_at, data_at in ((at, at + len(v.iv)), (at + length, at)):
            body = v.iv + before if data_at > at else before + v.iv
            work = shape(kind, GUARD + body + GUARD)
            told = crd(alg, data_at, length, iv_at, flags | CRD_F_IV_PRESENT)
            crp = run(framework, sid, work.buf, told)
            assert crp.etype == 0, (v.id, crp.error)
            body = v.iv + after if data_at > at else after + v.iv
            assert work.content() == GUARD + body + GUARD, v.id
    framework.freesession(sid)


def authenticator(framework: Framework, alg: int, kind: str, v: Vector) -> None:
    assert v.mac is not None
    sid = framework.newsession(Cryptoini(alg, v.key, mlen=len(v.mac)))
    at, length = len(GUARD), len(v.output)
    to = at + length + 3
    packet = GUARD + v.output + b"\xee" * 3
    if v.result == "valid":
        work = shape(kind, packet + bytes(len(v.mac)) + GUARD)
        crp = run(framework, sid, work.buf, crd(alg, at, length, to))
        assert crp.etype == 0, (v.id, crp.error)
        assert work.content() == packet + v.mac + GUARD, v.id
        aside = bytearray(len(v.mac) + 1)
        assert run(framework, sid, work.buf, crd(alg, at, length), mac=aside).etype == 0
        assert aside == v.mac + b"\0", v.id
    work = shape(kind, packet + v.mac + GUARD)
    before = work.content()
    crp = run(framework, sid, work.buf, crd(alg, at, length, to, CRD_F_VERIFY))
    assert crp.etype == (0 if v.result == "valid" else errno.EBADMSG), v.id
    assert work.content() == before, v.id
    framework.freesession(sid)


def aead(framework: Framework, alg: int, kind: str, v: Vector) -> None:
    assert v.mac is not None
    half = partner(alg, len(v.key))
    inis = [Cryptoini(alg, v.key), Cryptoini(half, v.key, mlen=len(v.mac))]
    aad = v.aad or b""
    for order in (1, -1):
        sid = framework.newsession(inis[::order])
        at, length = len(aad) + len(GUARD), len(v.output)
        desc = [crd(alg, at, length, 0, OUTSIDE, v.iv), crd(half, 0, len(aad), at + length)]
        if v.result == "valid":
            work = shape(kind, aad + GUARD + v.input + bytes(len(v.mac)) + GUARD)
            desc[0].flags |= CRD_F_ENCRYPT
            crp = run(framework, sid, work.buf, *desc[::order])
            assert crp.etype == 0, (v.id, crp.error)
            assert work.content() == aad + GUARD + v.output + v.mac + GUARD, v.id
        desc[0].flags &= ~CRD_F_ENCRYPT
        sealed = aad + GUARD + v.output + v.mac + GUARD
        work = shape(kind, sealed)
        crp = run(framework, sid, work.buf, *desc[::order])
        if v.result == "valid":
            assert crp.etype == 0, (v.id, crp.error)
            assert work.content() == aad + GUARD + v.input + v.mac + GUARD, v.id
        else:
            assert crp.etype == errno.EBADMSG, (v.id, crp.error)
            assert work.content() == sealed, v.id
        framework.freesession(sid)


def test_every_algorithm_is_tried() -> None:
    """The table has no algorithm without published answers."""
    assert set(NAMES) == set(ALGS)
    strangers = [ciphers for ciphers in AEAD_CIPHERS.values() if not {*ciphers} & {*NAMES}]
    assert strangers == [(Alg.AES_SIV,)], "which Linux has under no name"
