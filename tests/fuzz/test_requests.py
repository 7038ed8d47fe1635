"""
Whole requests made of anything: nothing escapes, each is called back once, no byte strays.

``OPENCRYPTO_FUZZ_EXAMPLES`` says how many for each of the drivers; ``make fuzz`` makes many.
"""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from opencrypto import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
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
from opencrypto._core.virtual import HID
from opencrypto.bsd import CRYPTO_SESID2HID
from opencrypto.xform import AEAD_PARTNERS, FACTS, Facts, Kind
from opencrypto_openssl import opencrypto_drivers as openssl_drivers
from opencrypto_swcrypto import opencrypto_drivers as swcrypto_drivers
from tests.soak.drivers import MACS, REST, part

EXAMPLES = int(os.environ.get("OPENCRYPTO_FUZZ_EXAMPLES", "1500"))
GUARD = b"\xa5" * 32
SIZE = 96
"""Bytes of the buffers, between two guards."""

LEAST = 0.3
"""The share of the requests that must succeed: what is refused at once tries little."""

LIMIT = 1 << 16
"""Bytes that the sessions of this module decompress at most."""

FLAGS = {
    Kind.CIPHER: [0, 1, 2, 3, 4, 5, 6, 7],
    Kind.AEAD: [0, 1, 2, 3, 4, 5, 6, 7],
    Kind.COMP: [0, CRD_F_COMP],
    Kind.AEAD_AUTH: [0, CRD_F_VERIFY],
    Kind.MAC: [0, CRD_F_VERIFY],
    Kind.HASH: [0, CRD_F_VERIFY],
}
"""What means something in a descriptor of each kind."""

ANY_FLAGS = sorted({flags for some in FLAGS.values() for flags in some})

NUMBERS = st.one_of(
    st.integers(-3, SIZE), st.sampled_from([-(2**63), -1, 2**31, 2**32, 2**63, 2**70])
)
CHAINS = [
    ("AES_CBC", "SHA1_HMAC_96"), ("AES_GCM_16", "AES_128_GMAC"), ("AES_GMAC", "AES_128_GMAC"),
    ("AES_CTR",), ("3DES_CBC", "MD5_HMAC"), ("NULL_CBC", "NULL_HMAC"), ("SHA2_256_HMAC",),
    ("DEFLATE_COMP",), ("GZIP_COMP",), ("CHACHA20_POLY1305", "CHACHA20_POLY1305_MAC"), ("SHA1",),
    ("AES_XTS",), ("CAMELLIA_CBC", "AES_XCBC_MAC_96"), ("ARC4", "BLAKE2B"),
    ("SKIPJACK_CBC", "SHA1_KPDK"), ("DEFLATE_COMP_NOGROW", "MD5"), ("DEFLATE_COMP", "AES_CTR"),
    ("GZIP_COMP", "SHA1_HMAC"), ("SHA1_HMAC", "SHA1_HMAC"), ("AES_CBC", "AES_CBC"),
    ("AES_CBC", "SHA1_HMAC", "AES_CBC", "SHA1_HMAC"),
    ("AES_CCM_16", "AES_CCM_MAC", "SHA2_512_HMAC"),
]  # fmt: skip

Opened: TypeAlias = tuple[Framework, list[tuple[int, list[Cryptoini]]]]


@pytest.fixture(scope="module", params=["openssl", "swcrypto", "several"])
def sessions(request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Open a session of each chain, by the driver named where it can; or by two, of parts each."""
    with Framework(plugins=False) as fw:
        if request.param == "several":
            fw.attach(part("rest", REST, keyops=False))
            fw.attach(part("macs", MACS, keyops=False))
        else:
            fw.attach(openssl_drivers()[0])
            fw.attach(swcrypto_drivers()[0])
        yield fw, [_open(fw, names, request.param) for names in CHAINS]


def _open(fw: Framework, names: tuple[str, ...], driver: str) -> tuple[int, list[Cryptoini]]:
    inis = [
        Cryptoini(
            Alg[name],
            _key(Alg[name], names[:place].count(name)),
            limit=LIMIT if FACTS[Alg[name]].kind is Kind.COMP else 0,
        )
        for place, name in enumerate(names)
    ]
    if driver == "several":
        sid = fw.newsession(inis)
        kinds = {FACTS[ini.alg].kind in {Kind.MAC, Kind.HASH} for ini in inis}
        assert (CRYPTO_SESID2HID(sid) == HID) == (len(kinds) == 2)
        return sid, inis
    try:
        return fw.newsession(inis, driver=driver), inis
    except NoDriverError:
        return fw.newsession(inis), inis


def _key(alg: Alg, start: int) -> bytes:
    facts = FACTS[alg]
    size = 20 if facts.keys is None else min(facts.keys, key=lambda size: abs(size - 20))
    if facts.kind in (Kind.AEAD, Kind.AEAD_AUTH):
        size = min(facts.salted & FACTS[Alg.AES_128_GMAC].salted or facts.salted)
    return bytes(range(start, start + size))


# What is drawn.


@st.composite
def anything(draw: st.DrawFn, inis: list[Cryptoini]) -> Cryptodesc:
    """Draw a descriptor whose every field may be anything."""
    own = st.sampled_from([ini.alg for ini in inis])
    alg = draw(st.one_of(own, st.sampled_from(list(Alg)), NUMBERS))
    iv = draw(st.one_of(st.none(), st.binary(max_size=17), st.just("text"), st.integers()))
    key = draw(st.sampled_from([None, None, None, b"", b"\0" * 16, bytes(range(1, 21)), "text"]))
    flags = draw(st.one_of(st.integers(0, 0x1FF), NUMBERS))
    ini = Cryptoini(alg, iv=iv)  # type: ignore[arg-type]  # wrong on purpose
    ini.key = key  # type: ignore[assignment]  # wrong on purpose
    return Cryptodesc(draw(NUMBERS), draw(NUMBERS), draw(NUMBERS), flags, ini)


@st.composite
def likely(draw: st.DrawFn, inis: list[Cryptoini]) -> list[Cryptodesc]:
    """Draw descriptors of the session's own algorithms, in regions that may well fit."""
    drawn = []
    for ini in inis:
        facts = FACTS[ini.alg]
        meant = draw(st.integers(0, 7)) > 0
        flags = draw(st.sampled_from(FLAGS[facts.kind] if meant else ANY_FLAGS))
        drawn.append(
            Cryptodesc(
                draw(st.integers(0, 40)),
                draw(st.sampled_from([0, 8, 16, 17, 32, 48])),
                draw(st.integers(0, 90)),
                flags,
                draw(parameters(ini, flags)),
            )
        )
    return draw(st.permutations(drawn))


@st.composite
def parameters(draw: st.DrawFn, ini: Cryptoini, flags: int) -> Cryptoini:
    """Draw what a descriptor says of its algorithm: perhaps the key, and an IV if the flags do."""
    facts = FACTS[ini.alg]
    named = ini.key if draw(st.booleans()) and facts.kind is not Kind.HASH else None
    ivlen = facts.ivlen(ini.klen // 8)
    explicit = flags & CRD_F_IV_EXPLICIT and ivlen
    iv = draw(st.binary(min_size=ivlen, max_size=ivlen)) if explicit else None
    return Cryptoini(ini.alg, named, iv=iv)


@st.composite
def fitting(draw: st.DrawFn, inis: list[Cryptoini]) -> list[Cryptodesc]:
    """Draw descriptors that fit: IVs before, then the data, MACs behind; all else is free."""
    # No bytes have the right MAC by chance, so what verifies is the lesser part.
    encrypt = draw(st.sampled_from([0, CRD_F_ENCRYPT, CRD_F_ENCRYPT]))
    drawn, mac_at = [], draw(st.integers(49, 52))
    for ini in inis:
        facts = FACTS[ini.alg]
        if facts.authenticates:
            skip, length = draw(st.integers(0, 16)), draw(st.integers(0, 33))
            flags = 0 if encrypt else draw(st.sampled_from([0, 0, 0, CRD_F_VERIFY]))
            inject = min(mac_at, SIZE - facts.mac)
            mac_at += facts.mac
        else:
            skip, inject = draw(st.sampled_from([16, 17])), 0
            length = 0 if ini.alg == Alg.AES_GMAC else draw(st.sampled_from([0, 16, 32]))
            flags = encrypt | draw(st.sampled_from([0, 2, 4, 6]))
            if facts.kind is Kind.COMP:
                flags = CRD_F_COMP
        drawn.append(Cryptodesc(skip, length, inject, flags, draw(parameters(ini, flags))))
    return drawn if draw(st.booleans()) else draw(st.permutations(drawn))


def packed(data: st.DataObject, inis: list[Cryptoini], memory: bytearray) -> list[Cryptodesc]:
    """Put a compressed stream into the memory, and describe it; the rest of the chain follows."""
    rest = data.draw(likely(inis[1:])) if inis[1:] else []
    at = data.draw(st.integers(0, 20))
    size = data.draw(st.sampled_from([0, 10, 100, 3000, LIMIT, LIMIT + 1]))
    alg = inis[0].alg
    wbits = 31 if alg == Alg.GZIP_COMP else -15
    stream = zlib.compress(bytes(size), 9, wbits=wbits)[: SIZE - at]
    memory[len(GUARD) + at : len(GUARD) + at + len(stream)] = stream
    harm = data.draw(st.integers(0, 5 * len(stream)))
    if harm < len(stream):
        memory[len(GUARD) + at + harm] ^= data.draw(st.integers(1, 255))
    length = len(stream) - data.draw(st.sampled_from([0, 0, 0, 0, 1]))
    return [Cryptodesc(at, length, 0, 0, Cryptoini(alg)), *rest]


def _buffer(data: st.DataObject, memory: bytearray) -> Any:
    """Draw a kind of buffer over the guarded memory."""
    view = memoryview(memory)[len(GUARD) : -len(GUARD)]
    cuts = sorted(data.draw(st.lists(st.integers(0, SIZE), max_size=5)))
    pieces = [view[a:b] for a, b in zip([0, *cuts], [*cuts, SIZE], strict=True)]
    match data.draw(st.sampled_from(["flat", "words", "iov", "tuple", "mbuf"])):
        case "flat":
            return view
        case "words":
            return view.cast("I")
        case "iov":
            return pieces
        case "tuple":
            return tuple(pieces)
        case _:
            return Mbuf(pieces)


ODD: list[Any] = [
    None, 7, "text", b"constant", [], [None], bytearray(), {}, memoryview(bytearray(9))[::2],
    memoryview(bytearray(96)).toreadonly(), [b"read", b"only"], iter([bytearray(96)]),
]  # fmt: skip
"""No buffers, or none that can be written."""


# What may change.


def writes(crp: Cryptop, crd: Cryptodesc, facts: Facts, ini: Cryptoini) -> Callable[[int], bool]:
    """Return who tells whether a sound descriptor of a session may write at an offset."""
    if facts.kind is Kind.COMP:
        return lambda at: at >= crd.skip
    if facts.authenticates:
        if crd.flags & CRD_F_VERIFY or crp.mac is not None:
            return lambda at: False
        return lambda at: crd.inject <= at < crd.inject + facts.mac
    fresh = crd.flags & CRD_F_ENCRYPT and not crd.flags & CRD_F_IV_PRESENT
    ivlen = facts.ivlen(ini.klen // 8) if fresh else 0
    return lambda at: crd.skip <= at < crd.skip + crd.len or crd.inject <= at < crd.inject + ivlen


def strayed(crp: Cryptop, inis: list[Cryptoini], before: bytes, after: bytes) -> list[int]:
    """Return the offsets that have changed and that no descriptor names."""
    changed = [at for at in range(SIZE) if before[at] != after[at]]
    if not changed:
        return []
    # Something was done: so every descriptor was sound.
    own = {ini.alg: ini for ini in inis}
    may = [writes(crp, crd, FACTS[crd.alg], own[crd.alg]) for crd in crp.desc]
    return [at for at in changed if not any(each(at) for each in may)]


UP_FRONT = {errno.EINVAL, errno.ENOENT}
"""What a request is refused with before anything is done."""


@dataclass
class Drawn:
    """
    What is drawn of a request beside its descriptors.

    Attributes:
        apt: It is meant to succeed: descriptors that fit, and nothing else amiss.
    """

    apt: bool
    sid: int
    buf: Any
    room: int | None
    flags: int


def _drawn(data: st.DataObject, sid: int, memory: bytearray) -> Drawn:
    apt = data.draw(st.booleans())
    flags = data.draw(st.sampled_from([CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC, 0, CRYPTO_F_BATCH]))
    if apt:
        return Drawn(apt, sid, _buffer(data, memory), None, flags)
    sound = data.draw(st.integers(0, 9)) > 0
    return Drawn(
        apt,
        data.draw(st.sampled_from([sid] * 40 + [0, -1, sid + 1, 2**70])),
        _buffer(data, memory) if sound else ODD[data.draw(st.integers(0, len(ODD) - 1))],
        data.draw(st.sampled_from([None, None, None, 0, 11, 12, 16, 64, 200])),
        flags | data.draw(st.sampled_from([0, 0, CRYPTO_F_IMBUF, CRYPTO_F_IOV])),
    )


def _descriptors(
    data: st.DataObject, inis: list[Cryptoini], memory: bytearray, *, apt: bool
) -> list[Cryptodesc]:
    if FACTS[inis[0].alg].kind is Kind.COMP and data.draw(st.booleans()):
        return packed(data, inis, memory)
    some = st.lists(anything(inis), max_size=4)
    return data.draw(fitting(inis) if apt else st.one_of(fitting(inis), likely(inis), some))


@pytest.mark.shared_framework
@pytest.mark.slow
@pytest.mark.timeout(180 + EXAMPLES // 20)
def test_any_request(sessions: Opened) -> None:
    """A request of anything is called back once, writes only where it says, and may succeed."""
    ends: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(data=st.data())
    def each(data: st.DataObject) -> None:
        ends[_ended(*sessions, data)] += 1

    each()
    assert ends[0] > LEAST * ends.total(), f"of {ends.total()} no more than {ends[0]} succeeded"


def _ended(fw: Framework, opened: list[tuple[int, list[Cryptoini]]], data: st.DataObject) -> int:
    """Dispatch a request of anything, look at what it has done, and return its ``etype``."""
    sid, inis = data.draw(st.sampled_from(opened))
    memory = bytearray(GUARD + data.draw(st.binary(min_size=SIZE, max_size=SIZE)) + GUARD)
    drawn = _drawn(data, sid, memory)
    desc = _descriptors(data, inis, memory, apt=drawn.apt)
    buf, room = drawn.buf, drawn.room
    macs = None if room is None else bytearray(GUARD + bytes(room) + GUARD)
    calls: list[int] = []
    bell = threading.Semaphore(0)

    def called(crp: Cryptop) -> None:
        calls.append(crp.etype)
        bell.release()

    crp = Cryptop(
        drawn.sid, buf, desc, called, drawn.flags,
        mac=None if macs is None else memoryview(macs)[len(GUARD) : -len(GUARD)],
    )  # fmt: skip
    before = bytes(memory)
    fw.dispatch(crp)
    assert bell.acquire(timeout=30), "never called back"
    assert len(calls) == 1
    assert calls[0] >= 0
    event(f"{'chain of several' if len(inis) > 1 else 'one'}: {calls[0]}")
    assert bool(crp.error) == bool(calls[0])
    for guarded in (memory, macs):
        if guarded is not None:
            assert guarded[: len(GUARD)] == guarded[-len(GUARD) :] == GUARD
    if calls[0] in UP_FRONT:
        assert memory == before, "it was refused, and the buffer has changed"
        assert macs is None or not any(macs[len(GUARD) : -len(GUARD)])
    inside = slice(len(GUARD), -len(GUARD))
    assert not strayed(crp, inis, before[inside], bytes(memory[inside]))
    if isinstance(buf, Mbuf) and not calls[0]:  # grown elsewhere, perhaps; not before the first
        first = min(min(crd.skip, crd.inject) for crd in crp.desc)
        assert bytes(buf)[:first] == before[inside][:first]
    return calls[0]


@pytest.mark.shared_framework
def test_what_was_asked_broke_no_driver(sessions: Opened) -> None:
    """After all that: no driver broke its contract, no callback failed, no request is left."""
    fw, _ = sessions
    assert fw.stats.driver_bugs == fw.stats.callback_errors == 0
    assert not any(session.inflight for session in fw._sessions.table.values())


def test_the_chains_are_real() -> None:
    """Each authenticated cipher among the chains stands with its partner."""
    for names in CHAINS:
        for name in names:
            if Alg[name] in AEAD_PARTNERS:
                assert set(names) & {half.name for half in AEAD_PARTNERS[Alg[name]]}
