"""Random data through every algorithm of every driver, compared with code that is not ours."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator

import pytest

from opencrypto import Cryptodesc, Cryptoini, Framework
from opencrypto.constants import (
    CRD_F_COMP,
    CRYPTO_AES_GMAC,
    CRYPTO_DEFLATE_COMP_NOGROW,
    CRYPTO_NULL_HMAC,
    Alg,
)
from opencrypto.xform import FACTS, Kind
from tests.drivers.independent import IMPLEMENTATIONS, Implementation
from tests.drivers.rig import (
    ENCRYPT,
    KINDS,
    NAMES,
    OUTSIDE,
    VERIFY,
    attached,
    crd,
    make_driver,
    partner_of,
    run,
    shape,
)

pytestmark = [pytest.mark.slow, pytest.mark.shared_framework]

CASES = [
    pytest.param(
        driver, alg, other,
        id=f"{driver}-{alg.name}-{other.how}",
        # A process for each answer.
        marks=pytest.mark.slow if other.how.startswith("openssl") else (),
    )
    for driver in NAMES
    for alg, others in IMPLEMENTATIONS.items()
    if alg in make_driver(driver).capabilities
    for other in others
]  # fmt: skip
LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 129, 1000)
"""Of regions, in bytes; cut down to the granule of the algorithm."""


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with attached() as framework:
        yield framework


def key_sizes(driver: str, alg: Alg, other: Implementation) -> list[int]:
    """Return key lengths at and between the limits, that both sides take."""
    keys = FACTS[alg].keys
    legal = range(300) if keys is None else keys
    wanted = {0, 1, 16, 20, 32, 40, 63, 64, 65, 128, 129, 299, min(legal), max(legal)}
    wanted = wanted if len(legal) > 8 else set(legal)
    capability = make_driver(driver).capabilities[alg]
    return sorted(
        size
        for size in wanted & set(legal)
        if other.takes(size) and not capability.refusal(Cryptoini(alg, bytes(size)))
    )


@pytest.mark.parametrize(("driver", "alg", "other"), CASES)
def test_random_data(framework: Framework, driver: str, alg: Alg, other: Implementation) -> None:
    """Both directions, each kind of buffer, at offset 1, with keys of each kind of length."""
    check = {Kind.CIPHER: cipher, Kind.AEAD: aead, Kind.COMP: compression}.get(
        FACTS[alg].kind, authenticator
    )
    sizes = key_sizes(driver, alg, other)
    assert sizes, "no key that both take"
    rng = random.Random(f"{driver} {alg} {other.how}")
    for size in sizes:
        check(framework, driver, alg, other, rng.randbytes(size), rng)


def cipher(
    framework: Framework, driver: str, alg: Alg, other: Implementation, key: bytes,
    rng: random.Random,
) -> None:  # fmt: skip
    facts = FACTS[alg]
    sid = framework.newsession(Cryptoini(alg, key), driver=driver)
    for length in sorted({n - n % facts.granule for n in LENGTHS}):
        iv, plain = rng.randbytes(facts.ivlen(len(key))), rng.randbytes(length)
        sealed = other.run(key, iv, b"", plain)[0]
        for kind in KINDS:
            for flags, before, after in ((ENCRYPT, plain, sealed), (0, sealed, plain)):
                work = shape(kind, b"<" + before + b">")
                crp = run(framework, sid, work.buf, crd(alg, 1, length, 0, flags | OUTSIDE, iv))
                assert (crp.etype, work.content()) == (0, b"<" + after + b">"), (kind, length)
    framework.freesession(sid)


def authenticator(
    framework: Framework, driver: str, alg: Alg, other: Implementation, key: bytes,
    rng: random.Random,
) -> None:  # fmt: skip
    sid = framework.newsession(Cryptoini(alg, key), driver=driver)
    maclen = FACTS[alg].mac
    for length in LENGTHS:
        data = rng.randbytes(length)
        mac = other.run(key, b"", b"", data)[1][:maclen]
        for kind in KINDS:
            work = shape(kind, b"<" + data + bytes(maclen) + b">")
            assert run(framework, sid, work.buf, crd(alg, 1, length, 1 + length)).etype == 0
            assert work.content() == b"<" + data + mac + b">", (kind, length)
            desc = crd(alg, 1, length, 1 + length, VERIFY)
            assert run(framework, sid, work.buf, desc).etype == 0
            if alg == CRYPTO_NULL_HMAC:
                continue
            work = shape(kind, b"<" + data + bytes([mac[0] ^ 1]) + mac[1:] + b">")
            assert run(framework, sid, work.buf, desc).etype == errno.EBADMSG
    framework.freesession(sid)


def aead(
    framework: Framework, driver: str, alg: Alg, other: Implementation, key: bytes,
    rng: random.Random,
) -> None:  # fmt: skip
    half = partner_of(alg, len(key))
    sid = framework.newsession([Cryptoini(alg, key), Cryptoini(half, key)], driver=driver)
    for length in LENGTHS:
        iv, aad = rng.randbytes(FACTS[alg].ivlen(len(key))), rng.randbytes(length % 23)
        plain = b"" if alg == CRYPTO_AES_GMAC else rng.randbytes(length)
        output, tag = other.run(key, iv, aad, plain)
        at, end = 1 + len(aad), 1 + len(aad) + len(plain)

        def descriptors(
            flags: int, check: int, iv: bytes = iv, at: int = at, end: int = end
        ) -> list[Cryptodesc]:
            both = crd(alg, at, end - at, 0, flags | OUTSIDE, iv), crd(half, 1, at - 1, end, check)
            return list(both)

        sealed = b"<" + aad + output + tag + b">"
        for kind in KINDS:
            work = shape(kind, b"<" + aad + plain + bytes(16) + b">")
            assert run(framework, sid, work.buf, *descriptors(ENCRYPT, 0)).etype == 0
            assert work.content() == sealed, (kind, length)
            assert run(framework, sid, work.buf, *descriptors(0, VERIFY)).etype == 0
            assert work.content() == b"<" + aad + plain + tag + b">", (kind, length)
            forged = sealed[:-2] + bytes([sealed[-2] ^ 1]) + b">"
            work = shape(kind, forged)
            crp = run(framework, sid, work.buf, *descriptors(0, VERIFY))
            assert (crp.etype, work.content()) == (errno.EBADMSG, forged), (kind, length)
    framework.freesession(sid)


def compression(
    framework: Framework, driver: str, alg: Alg, other: Implementation, key: bytes,
    rng: random.Random,
) -> None:  # fmt: skip
    assert other.unpack is not None
    sid = framework.newsession(Cryptoini(alg), driver=driver)
    for length in (0, 1, 100, 5000, 70_000):
        for alphabet in (b"\0", b"ab", bytes(range(256))):
            data = bytes(rng.choices(alphabet, k=length))
            theirs = other.run(key, b"", b"", data)[0]
            for kind in KINDS:
                # A chain grows; what is fixed has room behind.
                room = b"" if kind == "mbuf" else bytes(max(0, length - len(theirs)))
                work = shape(kind, b"<" + theirs + room)
                crp = run(framework, sid, work.buf, crd(alg, 1, len(theirs)))
                assert (crp.etype, crp.olen) == (0, length), (kind, length, crp.error)
                assert work.content()[: 1 + length] == b"<" + data, (kind, length)
                room = b"" if kind == "mbuf" else bytes(100)
                work = shape(kind, b"<" + data + room)
                crp = run(framework, sid, work.buf, crd(alg, 1, length, 0, CRD_F_COMP))
                assert crp.etype == 0, (kind, length, crp.error)
                ours = work.content()[1 : 1 + crp.olen]
                if alg == CRYPTO_DEFLATE_COMP_NOGROW and crp.olen >= length:
                    assert work.content()[: 1 + length] == b"<" + data
                else:
                    assert other.unpack(ours) == data, (kind, length)
    framework.freesession(sid)
