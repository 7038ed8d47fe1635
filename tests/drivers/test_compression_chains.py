"""Compression among other steps: what follows it goes to the end of what it left."""

from __future__ import annotations

import errno
import hashlib
import hmac
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opencrypto import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRD_LEN_REST,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_DEFLATE_COMP_NOGROW,
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1,
    CRYPTO_SHA2_256_HMAC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
    Mbuf,
)
from opencrypto.xform import FACTS
from opencrypto_swcrypto._compression import Compressor
from tests.core.virtual.support import Late, perform
from tests.drivers.rig import NAMES, make_driver

TEXT = b"to be, or not to be, that is the question; " * 40
NOISE = hashlib.shake_128(b"noise").digest(256)
HEAD, TAIL = b"head", b"tail" * 5
SKIP = len(HEAD)
KEY, CTR_KEY = bytes(range(16)), bytes(range(20))
COMPRESSIONS = (CRYPTO_DEFLATE_COMP, CRYPTO_DEFLATE_COMP_NOGROW)
FIXED = ("contiguous", "iov")
KINDS = (*FIXED, "mbuf")


def limited(name: str, algs: set[int], called: str) -> Driver:
    """Make a driver of the tree that has some of its algorithms alone."""
    driver = make_driver(name)
    driver.name = called
    driver.capabilities = {
        alg: driver.capabilities[alg] for alg in driver.capabilities if alg in algs
    }
    driver.keyops = ()
    return driver


OTHERS = set(FACTS) - {*COMPRESSIONS}


def alone() -> list[Driver]:
    """One driver has all of it."""
    return [make_driver("swcrypto")]


def with_openssl() -> list[Driver]:
    """Compression is one driver's, all else openssl's."""
    return [limited("openssl", OTHERS, "ciphers"), limited("swcrypto", {*COMPRESSIONS}, "deflate")]


def apart() -> list[Driver]:
    """Ciphers, MACs and compression are three drivers'."""
    authenticators = {alg for alg in OTHERS if FACTS[alg].authenticates}
    aead = {CRYPTO_AES_GCM_16, CRYPTO_AES_128_GMAC}
    return [
        limited("swcrypto", (OTHERS - authenticators) | aead, "ciphers"),
        limited("openssl", authenticators - aead, "macs"),
        limited("swcrypto", {*COMPRESSIONS}, "deflate"),
    ]


def late() -> list[Driver]:
    """Two drivers, both of which answer from other threads."""
    return [Late(driver).inner for driver in with_openssl()]


@pytest.fixture(params=[alone, with_openssl, apart, late], ids=lambda make: make.__name__)
def fw(request: pytest.FixtureRequest) -> Iterator[Framework]:
    """Open a framework whose drivers share the work in some way."""
    with Framework(plugins=False) as framework:
        for driver in request.param():
            framework.attach(driver, selftest=False)
        yield framework


class Work:
    """A buffer of a kind: head, payload, room, tail."""

    def __init__(self, kind: str, payload: bytes, room: int = 0) -> None:
        whole = bytearray(HEAD + payload + bytes(room) + TAIL)
        self.whole = whole
        view = memoryview(whole)
        cuts = [view[:2], view[2:9], view[9:100], view[100:100], view[100:]]
        self.buf: Any = {"contiguous": whole, "iov": cuts, "mbuf": Mbuf(cuts)}[kind]

    def content(self) -> bytes:
        """What the request sees now."""
        return bytes(self.buf if isinstance(self.buf, Mbuf) else self.whole)


def comp(length: int, *, compress: bool = True, alg: int = CRYPTO_DEFLATE_COMP) -> Cryptodesc:
    """Describe compression of the payload."""
    return Cryptodesc(SKIP, length, 0, CRD_F_COMP if compress else 0, alg=alg)


def ctr(length: int, *, encrypt: bool = True) -> Cryptodesc:
    """Describe CTR from the payload's begin on."""
    flags = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT | (CRD_F_ENCRYPT if encrypt else 0)
    return Cryptodesc(SKIP, length, 0, flags, alg=CRYPTO_AES_CTR, iv=bytes(8))


def mac(length: int, *, skip: int = SKIP, at: int = 0, verify: bool = False) -> Cryptodesc:
    """Describe a MAC from somewhere on."""
    return Cryptodesc(skip, length, at, CRD_F_VERIFY if verify else 0, alg=CRYPTO_SHA2_256_HMAC)


COMP_CTR = (Cryptoini(CRYPTO_DEFLATE_COMP), Cryptoini(CRYPTO_AES_CTR, CTR_KEY))
COMP_MAC = (Cryptoini(CRYPTO_DEFLATE_COMP), Cryptoini(CRYPTO_SHA2_256_HMAC, KEY, mlen=32))
ALL = (*COMP_CTR, COMP_MAC[1])


def ctr_of(data: bytes) -> bytes:
    """Have data encrypted by a session of the cipher alone."""
    with Framework(plugins=False) as framework:
        framework.attach(make_driver("openssl"), selftest=False)
        sid = framework.newsession(COMP_CTR[1])
        crd = ctr(len(data))
        crd.skip = 0
        return bytes(perform(framework, Cryptop(sid, bytearray(data), [crd])).buf)


def go(
    fw: Framework, chain: tuple[Cryptoini, ...], buf: Any, *desc: Cryptodesc, **more: Any
) -> Cryptop:
    """Carry a request out on a session of its own."""
    sid = fw.newsession(chain)
    try:
        crp = Cryptop(sid, buf, desc, **more)
        crp.ilen = len(TEXT)
        return perform(fw, crp)
    finally:
        fw.freesession(sid)


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_then_encrypted_and_back(fw: Framework, kind: str) -> None:
    """All that was left is encrypted, nothing of the plaintext stays, and it comes back."""
    work = Work(kind, TEXT)
    crp = go(fw, COMP_CTR, work.buf, comp(len(TEXT)), ctr(CRD_LEN_REST))
    crp.check()
    length = crp.olen
    assert 0 < length < len(TEXT) // 4
    got = work.content()
    packed = ctr_of(got[SKIP : SKIP + length])
    assert zlib.decompress(packed, wbits=-15) == TEXT
    rest = b"" if kind == "mbuf" else bytes(len(TEXT) - length)
    assert got == HEAD + got[SKIP : SKIP + length] + rest + TAIL
    assert b"question" not in work.whole, "in none of the memory that the buffer had"
    back = go(fw, COMP_CTR, work.buf, ctr(length, encrypt=False), comp(length, compress=False))
    back.check()
    assert (back.olen, work.content()) == (len(TEXT), HEAD + TEXT + TAIL)


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_then_authenticated(fw: Framework, kind: str) -> None:
    """The MAC is of head and compressed data, to its end; ``~n`` leaves the last n bytes out."""
    work = Work(kind, TEXT)
    out = bytearray(32)
    crp = go(fw, COMP_MAC, work.buf, comp(len(TEXT)), mac(CRD_LEN_REST, skip=0), mac=out)
    crp.check()
    covered = work.content()[: SKIP + crp.olen]
    assert out == hmac.digest(KEY, covered, "sha256")
    for n in (0, 1, 5, crp.olen + SKIP):
        work = Work(kind, TEXT)
        go(fw, COMP_MAC, work.buf, comp(len(TEXT)), mac(~n, skip=0), mac=out).check()
        assert out == hmac.digest(KEY, covered[: len(covered) - n], "sha256")


@pytest.mark.parametrize("kind", KINDS)
def test_verified_decrypted_and_decompressed(fw: Framework, kind: str) -> None:
    """Compress, encrypt, make a MAC; and the way back, with a MAC of the plaintext at its end."""
    work, out = Work(kind, TEXT), bytearray(32)
    crp = go(fw, ALL, work.buf, comp(len(TEXT)), ctr(-1), mac(-1), mac=out)
    crp.check()
    length = crp.olen
    assert out == hmac.digest(KEY, work.content()[SKIP : SKIP + length], "sha256")
    sid = fw.newsession(ALL)
    desc = [
        mac(length, verify=True), ctr(length, encrypt=False), comp(length, compress=False),
    ]  # fmt: skip
    perform(fw, Cryptop(sid, work.buf, desc, mac=out)).check()
    assert work.content() == HEAD + TEXT + TAIL
    fw.freesession(sid)


@pytest.mark.parametrize("kind", KINDS)
def test_an_authenticated_cipher_behind_compression(fw: Framework, kind: str) -> None:
    """GCM seals what is left, with the head as additional data."""
    chain = (
        Cryptoini(CRYPTO_DEFLATE_COMP),
        Cryptoini(CRYPTO_AES_GCM_16, KEY),
        Cryptoini(CRYPTO_AES_128_GMAC, KEY),
    )

    def halves(length: int, *, encrypt: bool) -> list[Cryptodesc]:
        gcm = ctr(length, encrypt=encrypt)
        gcm.alg, gcm.iv = CRYPTO_AES_GCM_16, bytes(12)
        return [gcm, Cryptodesc(0, SKIP, 0, alg=CRYPTO_AES_128_GMAC)]

    work, tag = Work(kind, TEXT), bytearray(16)
    crp = go(fw, chain, work.buf, comp(len(TEXT)), *halves(-1, encrypt=True), mac=tag)
    crp.check()
    desc = [*halves(crp.olen, encrypt=False), comp(crp.olen, compress=False)]
    before = work.content()
    forged = bytearray(tag)
    forged[15] ^= 1
    bad = go(fw, chain, work.buf, *desc, mac=forged)
    assert (bad.etype, work.content()) == (errno.EBADMSG, before)
    go(fw, chain, work.buf, *desc, mac=tag).check()
    assert work.content() == HEAD + TEXT + TAIL


@pytest.mark.parametrize("kind", KINDS)
def test_what_would_not_shrink_is_encrypted_as_it_is(fw: Framework, kind: str) -> None:
    """Deflate without growth left it alone: the rest is then all of it, and olen says so."""
    chain = (Cryptoini(CRYPTO_DEFLATE_COMP_NOGROW), COMP_CTR[1])
    work = Work(kind, NOISE)
    squeeze = comp(len(NOISE), alg=CRYPTO_DEFLATE_COMP_NOGROW)
    crp = go(fw, chain, work.buf, squeeze, ctr(CRD_LEN_REST))
    crp.check()
    assert crp.olen >= len(NOISE)
    assert work.content() == HEAD + ctr_of(NOISE) + TAIL


DAMAGED = zlib.compress(TEXT, wbits=-15)[:-4] + b"\xff\xff\xff\xff"


def cbc_rest() -> Cryptodesc:
    """Describe CBC over the rest, which is a whole number of blocks by chance alone."""
    crd = ctr(CRD_LEN_REST)
    crd.alg, crd.iv = CRYPTO_AES_CBC, bytes(16)
    return crd


CBC = (Cryptoini(CRYPTO_DEFLATE_COMP), Cryptoini(CRYPTO_AES_CBC, KEY))
FAILURES: dict[str, tuple[tuple[Cryptoini, ...], bytes, Callable[[], list[Cryptodesc]], int]] = {
    "damaged data, behind a decryption": (
        COMP_CTR, DAMAGED,
        lambda: [ctr(len(DAMAGED)), ctr(len(DAMAGED)), comp(len(DAMAGED), compress=False)],
        errno.EBADMSG,
    ),
    "a MAC of the plaintext that does not verify": (
        COMP_MAC, DAMAGED[:0] + zlib.compress(NOISE, wbits=-15),
        lambda: [comp(len(NOISE) + 5, compress=False), mac(-1, verify=True)],
        errno.EBADMSG,
    ),
    "less left than is to be left out": (
        COMP_CTR, TEXT, lambda: [comp(len(TEXT)), ctr(~4000)], errno.EINVAL,
    ),
    "no whole number of blocks": (CBC, TEXT[:-1], lambda: [comp(len(TEXT) - 1), cbc_rest()],
                                  errno.EINVAL),
    "a place inside of what is left": (
        COMP_CTR, TEXT,
        lambda: [
            comp(len(TEXT)), Cryptodesc(SKIP, -1, SKIP + 9, CRD_F_ENCRYPT, alg=CRYPTO_AES_CTR),
        ],
        errno.EINVAL,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", FAILURES)
def test_a_step_that_fails_leaves_the_buffer_as_it_was(fw: Framework, kind: str, case: str) -> None:
    """Data, segments and length, whatever was done before; olen is what the consumer had set."""
    chain, payload, desc, etype = FAILURES[case]
    work = Work(kind, payload, room=200)
    before, segments = work.content(), len(work.buf)
    sid = fw.newsession(chain)
    asked = desc()
    makes = any(crd.alg == CRYPTO_SHA2_256_HMAC for crd in asked)
    crp = Cryptop(sid, work.buf, asked, mac=bytearray(32) if makes else None)
    crp.olen = 7
    perform(fw, crp)
    fw.freesession(sid)
    assert (crp.etype, crp.olen) == (etype, 7), crp.error
    assert crp.error
    assert (work.content(), len(work.buf)) == (before, segments)
    assert bytes(work.whole) == before, "in the consumer's own memory too"


@pytest.mark.parametrize("kind", FIXED)
def test_no_room_behind_a_decryption(fw: Framework, kind: str) -> None:
    """ENOSPC: the ciphertext is put back, and olen says how much room it takes."""
    sealed = ctr_of(zlib.compress(TEXT, wbits=-15))
    work = Work(kind, sealed)
    desc = [ctr(len(sealed), encrypt=False), comp(len(sealed), compress=False)]
    crp = go(fw, COMP_CTR, work.buf, *desc)
    assert (crp.etype, crp.olen) == (errno.ENOSPC, len(TEXT))
    assert work.content() == HEAD + sealed + TAIL


def test_a_mac_has_no_place_in_an_mbuf_that_has_shrunk(fw: Framework) -> None:
    """It was inside of the buffer, and is no more: EINVAL, and the plaintext is there again."""
    work = Work("mbuf", TEXT)
    at = SKIP + len(TEXT) - 40
    crp = go(fw, COMP_MAC, work.buf, comp(len(TEXT)), mac(-1, at=at))
    assert (crp.etype, work.content()) == (errno.EINVAL, HEAD + TEXT + TAIL)
    assert "outside the buffer" in crp.error


@pytest.mark.parametrize("make", [alone, with_openssl])
def test_a_driver_that_raises_leaves_the_buffer_as_it_was(
    make: Callable[[], list[Driver]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is the driver's; the consumer's data is there again all the same."""

    def fail(*_: object) -> bytes:
        raise RuntimeError

    monkeypatch.setattr(Compressor, "decompress", fail)
    work = Work("contiguous", TEXT)
    with Framework(plugins=False) as fw:
        for driver in make():
            fw.attach(driver, selftest=False)
        crp = go(fw, COMP_CTR, work.buf, ctr(99), comp(99, compress=False))
        assert (crp.etype, work.content()) == (errno.EIO, HEAD + TEXT + TAIL)
        assert fw.stats.driver_bugs == 1


@pytest.mark.parametrize(
    "desc",
    {
        "no iv": lambda: [comp(99), Cryptodesc(SKIP, -1, 0, CRD_F_IV_EXPLICIT, alg=CRYPTO_AES_CTR)],
        "a short iv": lambda: [
            comp(99), Cryptodesc(SKIP, -1, 0, CRD_F_IV_EXPLICIT, alg=CRYPTO_AES_CTR, iv=b"short")
        ],
        "a skip below 0": lambda: [comp(99), Cryptodesc(-1, -1, alg=CRYPTO_AES_CTR)],
        "no number": lambda: [comp(99), ctr(None)],  # type: ignore[arg-type]  # wrong on purpose
        "the rest before": lambda: [ctr(CRD_LEN_REST), comp(99)],
        "the rest at once": lambda: [comp(CRD_LEN_REST), ctr(CRD_LEN_REST)],
        "no such algorithm": lambda: [comp(99), Cryptodesc(SKIP, -1, alg=CRYPTO_SHA1)],
        "beyond the buffer": lambda: [comp(99), ctr(1 << 40)],
    }.values(),
)  # fmt: skip
def test_what_can_be_refused_is_refused_before_anything_is_compressed(
    fw: Framework, desc: Callable[[], list[Cryptodesc]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINVAL, and no driver has begun."""
    begun: list[bytes] = []
    monkeypatch.setattr(Compressor, "compress", lambda self, data: begun.append(data))
    work = Work("contiguous", TEXT)
    crp = go(fw, COMP_CTR, work.buf, *desc())
    assert (crp.etype, work.content(), begun) == (errno.EINVAL, HEAD + TEXT + TAIL, [])


def test_the_tag_first_and_the_rest_behind_is_refused() -> None:
    """The halves of GCM are one step, where the first of them stands: before the compression."""
    with Framework(plugins=False) as fw:
        fw.attach(make_driver("swcrypto"), selftest=False)
        chain = (*map(Cryptoini, COMPRESSIONS[:1]), *(
            Cryptoini(alg, KEY) for alg in (CRYPTO_AES_GCM_16, CRYPTO_AES_128_GMAC)
        ))  # fmt: skip
        gcm = ctr(CRD_LEN_REST)
        gcm.alg, gcm.iv = CRYPTO_AES_GCM_16, bytes(12)
        desc = [Cryptodesc(0, 4, 0, alg=CRYPTO_AES_128_GMAC), comp(99), gcm]
        crp = go(fw, chain, bytearray(200), *desc, mac=bytearray(16))
        assert crp.etype == errno.EINVAL


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [CRD_LEN_REST, ~4, -(1 << 70), None])
def test_without_compression_a_length_is_a_number_of_bytes(name: str, length: int) -> None:
    """In a session that changes no lengths ``~n`` is EINVAL from every driver."""
    with Framework(plugins=False) as fw:
        fw.attach(make_driver(name), selftest=False)
        for chain in (
            (Cryptoini(CRYPTO_NULL_CBC),),
            (Cryptoini(CRYPTO_AES_CTR, CTR_KEY),),
            (Cryptoini(CRYPTO_SHA2_256_HMAC, KEY),),
            (Cryptoini(CRYPTO_AES_CTR, CTR_KEY), Cryptoini(CRYPTO_SHA2_256_HMAC, KEY)),
        ):
            if any(cri.alg not in fw._drivers.get(0).sym.algs for cri in chain):
                continue
            desc = [
                Cryptodesc(
                    4, length, 100, CRD_F_IV_EXPLICIT | CRD_F_ENCRYPT, cri.copy(), iv=bytes(8)
                )
                for cri in chain
            ]
            buf = bytearray(TEXT)
            crp = go(fw, chain, buf, *desc)
            assert (crp.etype, bytes(buf)) == (errno.EINVAL, TEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_compression_alone_leaves_no_plaintext_behind_it(fw: Framework, kind: str) -> None:
    """What the result does not cover of its region is zeros; what follows the region stays."""
    work = Work(kind, TEXT)
    crp = go(fw, COMP_CTR[:1], work.buf, comp(len(TEXT)))
    packed = zlib.compress(TEXT, wbits=-15)
    assert crp.olen == len(packed)
    rest = b"" if kind == "mbuf" else bytes(len(TEXT) - len(packed))
    assert work.content() == HEAD + packed + rest + TAIL
