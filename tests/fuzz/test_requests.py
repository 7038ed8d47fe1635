"""Whole requests made of anything: nothing escapes, each is called back once, no byte strays."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_VERIFY,
    CRYPTO_F_CBIMM,
    CRYPTO_F_IMBUF,
    CRYPTO_F_IOV,
    Alg,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    Mbuf,
    NoDriverError,
)
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind

GUARD = b"\xa5" * 32
NUMBERS = st.one_of(
    st.integers(-3, 96), st.sampled_from([-(2**63), -1, 2**31, 2**32, 2**63, 2**70])
)
CHAINS = [
    ("AES_CBC", "SHA1_HMAC_96"), ("AES_GCM_16", "AES_128_GMAC"), ("AES_GMAC", "AES_128_GMAC"),
    ("AES_CTR",), ("3DES_CBC", "MD5_HMAC"), ("NULL_CBC", "NULL_HMAC"), ("SHA2_256_HMAC",),
    ("DEFLATE_COMP",), ("GZIP_COMP",), ("CHACHA20_POLY1305", "CHACHA20_POLY1305_MAC"), ("SHA1",),
    ("AES_XTS",), ("CAMELLIA_CBC", "AES_XCBC_MAC_96"), ("ARC4", "BLAKE2B"),
    ("SHA1_HMAC", "SHA1_HMAC"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["openssl", "swcrypto"])
def sessions(request: pytest.FixtureRequest) -> Iterator[tuple[Framework, list[tuple[int, Any]]]]:
    """Open a session of each chain, by the driver named where it can, else by the other."""
    with Framework(blocked=["afalg", "null"]) as fw:
        opened = []
        for names in CHAINS:
            algs = [Alg[name] for name in names]
            inis = [Cryptoini(alg, bytes(range(_key(alg)))) for alg in algs]
            try:
                opened.append((fw.newsession(inis, driver=request.param), algs))
            except NoDriverError:
                opened.append((fw.newsession(inis), algs))
        yield fw, opened


def _key(alg: Alg) -> int:
    facts = FACTS[alg]
    if facts.kind in (Kind.AEAD, Kind.AEAD_AUTH):
        return 36 if alg in (Alg.CHACHA20_POLY1305, Alg.CHACHA20_POLY1305_MAC) else 20
    return 20 if facts.keys is None else min(facts.keys, key=lambda size: abs(size - 20))


@st.composite
def descriptors(draw: st.DrawFn, algs: list[Alg]) -> Cryptodesc:
    alg = draw(st.one_of(st.sampled_from(algs), st.sampled_from(list(Alg)), NUMBERS))
    iv = draw(st.one_of(st.none(), st.binary(max_size=17), st.just("text"), st.integers()))
    flags = draw(st.one_of(st.integers(0, 0x1FF), NUMBERS))
    return Cryptodesc(
        draw(NUMBERS),
        draw(NUMBERS),
        draw(NUMBERS),
        flags,
        alg=alg,
        iv=iv,  # type: ignore[arg-type]
    )


@st.composite
def likely(draw: st.DrawFn, algs: list[Alg]) -> list[Cryptodesc]:
    """Draw descriptors of the session's own algorithms, in regions that may well fit."""
    drawn = [
        Cryptodesc(
            draw(st.integers(0, 40)),
            draw(st.sampled_from([0, 8, 16, 17, 32])),
            draw(st.integers(0, 90)),
            draw(st.sampled_from([0, CRD_F_ENCRYPT, 3, 5, 7, CRD_F_VERIFY, 0x10])),
            alg=alg,
            iv=draw(st.binary(min_size=8, max_size=8)) * (FACTS[alg].block // 8 or 1),
        )
        for alg in algs
    ]
    return draw(st.permutations(drawn))


@st.composite
def buffers(draw: st.DrawFn) -> tuple[Any, bytearray | None]:
    """Draw a buffer of any kind over guarded memory, or something that is no buffer."""
    memory = bytearray(GUARD + draw(st.binary(min_size=96, max_size=96)) + GUARD)
    view = memoryview(memory)[len(GUARD) : -len(GUARD)]
    cut, other = sorted(draw(st.tuples(st.integers(0, 96), st.integers(0, 96))))
    kind = draw(st.sampled_from(["flat", "iov", "mbuf", "odd"]))
    if kind == "flat":
        return view, memory
    if kind == "iov":
        return [view[:cut], view[cut:other], view[other:]], memory
    if kind == "mbuf":
        return Mbuf([view[:cut], view[cut:other], view[other:]]), memory
    odd: list[Any] = [
        None, 7, "text", b"constant", [], [None], bytearray(), {}, view[::2], view.toreadonly(),
    ]  # fmt: skip
    return odd[draw(st.integers(0, len(odd) - 1))], None


def _may_change(crp: Cryptop, offset: int, parts: int) -> bool:
    """Tell whether a byte of the buffer is in a region or place that a descriptor names."""
    for crd in crp.desc:
        if crd.skip <= offset < crd.skip + crd.len:
            return True
        if crd.inject <= offset < crd.inject + parts:
            return True
        if crd.alg in (Alg.DEFLATE_COMP, Alg.GZIP_COMP) and offset >= crd.skip:
            return True
    return False


@pytest.mark.shared_framework
@pytest.mark.slow
@settings(
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_request(
    sessions: tuple[Framework, list[tuple[int, Any]]], data: st.DataObject
) -> None:
    """A request of anything is called back once, and writes only where it says."""
    fw, opened = sessions
    sid, algs = data.draw(st.sampled_from(opened))
    some = st.lists(descriptors(algs), max_size=4)
    desc = data.draw(st.one_of(likely(algs), some))
    buf, memory = data.draw(buffers())
    mac = data.draw(st.sampled_from([None, None, None, 0, 11, 12, 16, 64]))
    flags = data.draw(st.sampled_from([0, 0, CRYPTO_F_IMBUF, CRYPTO_F_IOV]))
    calls: list[int] = []
    crp = Cryptop(
        data.draw(st.sampled_from([sid] * 9 + [0, -1, sid + 1, 2**70])),
        buf, desc, lambda crp: calls.append(crp.etype), CRYPTO_F_CBIMM | flags,
        mac=None if mac is None else bytearray(mac),
    )  # fmt: skip
    before = None if memory is None else bytes(memory)
    fw.dispatch(crp)
    assert len(calls) == 1
    assert calls[0] >= 0
    if calls[0]:
        assert crp.error
    if memory is None or before is None:
        return
    assert memory[: len(GUARD)] == memory[-len(GUARD) :] == GUARD
    for offset in range(96):
        at = len(GUARD) + offset
        if memory[at] != before[at]:
            assert _may_change(crp, offset, 64), offset


def test_the_chains_are_real() -> None:
    """Each authenticated cipher among the chains stands with its partner."""
    for names in CHAINS:
        for name in names:
            if Alg[name] in AEAD_PARTNERS:
                assert set(names) & {half.name for half in AEAD_PARTNERS[Alg[name]]}
