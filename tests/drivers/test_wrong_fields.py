"""
Fields of a wrong type: EINVAL, nothing touched, nobody blamed, whichever way the request goes.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from opencrypto import Cryptodesc, Cryptoini, Cryptop, Mbuf
from opencrypto.constants import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTO_SHA1_HMAC_96,
)
from tests.drivers.rig import ENCRYPT, ESP, EXPLICIT, GCM, IV, PRESENT, VERIFY, attached, crd

SIZE = 160
CHAINS: dict[str, tuple[list[Cryptoini], Callable[[int], list[Cryptodesc]]]] = {
    "cbc": ([ESP[0]], lambda flags: [crd(CRYPTO_AES_CBC, 32, 64, 8, flags)]),
    "hmac": ([ESP[1]], lambda flags: [crd(CRYPTO_SHA1_HMAC_96, 0, 96, 96)]),
    "cbc+hmac": (ESP, lambda flags: [
        crd(CRYPTO_AES_CBC, 32, 64, 8, flags), crd(CRYPTO_SHA1_HMAC_96, 0, 96, 96)]),
    "gcm": (GCM, lambda flags: [
        crd(CRYPTO_AES_GCM_16, 32, 64, 8, flags), crd(CRYPTO_AES_128_GMAC, 0, 8, 96)]),
    "null": ([Cryptoini(CRYPTO_NULL_CBC, b""), Cryptoini(CRYPTO_NULL_HMAC, b"")], lambda flags: [
        crd(CRYPTO_NULL_CBC, 32, 64, 8, flags), crd(CRYPTO_NULL_HMAC, 0, 96, 96)]),
}  # fmt: skip
PLACES = [
    (name, chain)
    for name, chains in {
        "openssl": ("cbc", "hmac", "cbc+hmac", "gcm"),
        "swcrypto": ("cbc", "hmac", "cbc+hmac", "gcm", "null"),
        "null": ("null",),
    }.items()
    for chain in chains
]
BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "one piece": bytearray,
    "view": lambda data: memoryview(bytearray(data)),
    "iov": lambda data: [bytearray(data[:40]), bytearray(data[40:])],
    "mbuf": lambda data: Mbuf([bytearray(data[:40]), bytearray(data[40:])]),
}
NO_NUMBERS: tuple[Any, ...] = (
    0.0,
    32.0,
    64.0,
    1.5,
    "0",
    None,
    [],
    b"8",
    Decimal(8),
    float("nan"),
    float("inf"),
)


def content(buf: Any) -> bytes:
    return b"".join(buf) if isinstance(buf, list) else bytes(buf)


def refused(fw: Any, sid: int, kind: str, desc: Any, **fields: Any) -> None:
    """Dispatch a request that must be refused, and see that nothing came of it."""
    before = bytes(range(SIZE))
    buf = BUFFERS[kind](before)
    answers: list[Cryptop] = []
    crp = Cryptop(sid, buf, (), answers.append, CRYPTO_F_CBIMM)
    crp.desc = desc
    for field, value in fields.items():
        setattr(crp, field, value)
    fw.dispatch(crp)
    assert answers == [crp]
    assert crp.etype == errno.EINVAL, f"{crp.etype} {crp.error}"
    assert crp.error
    assert content(buf) == before
    assert fw.stats.driver_bugs == 0


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize(("name", "chain"), PLACES)
def test_a_number_that_is_none_blamed_the_driver(name: str, chain: str, kind: str) -> None:
    """Places, lengths and flags of each descriptor; with CBC + HMAC the cipher had already run."""
    inis, describe = CHAINS[chain]
    with attached(name) as fw:
        sid = fw.newsession(inis)
        for position in range(len(inis)):
            for field in ("skip", "len", "inject", "flags"):
                if (field, inis[position].alg) == ("inject", CRYPTO_NULL_CBC):
                    continue  # it has no iv, so nobody looks
                for wrong in NO_NUMBERS:
                    desc = describe(ENCRYPT)
                    setattr(desc[position], field, wrong)
                    refused(fw, sid, kind, desc)


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize(("name", "chain"), [p for p in PLACES if p[1] not in ("hmac", "null")])
def test_an_iv_that_is_no_bytes_blamed_the_driver(name: str, chain: str, kind: str) -> None:
    """A str, numbers beyond a byte, nothing at all: also where it would be written."""
    inis, describe = CHAINS[chain]
    with attached(name) as fw:
        sid = fw.newsession(inis)
        length = 16 if inis[0].alg == CRYPTO_AES_CBC else 8
        for flags in (EXPLICIT, EXPLICIT | PRESENT, ENCRYPT | EXPLICIT,
                      ENCRYPT | EXPLICIT | PRESENT):  # fmt: skip
            for iv in ("x" * length, [300] * length, [1] * length, length, None, 1.5, b"short"):
                desc = describe(flags)
                desc[0].ini.iv = iv  # type: ignore[assignment]  # wrong on purpose
                if not flags & ENCRYPT and len(desc) == 2:
                    desc[1].flags = VERIFY
                    desc = desc[::-1] if chain == "cbc+hmac" else desc
                refused(fw, sid, kind, desc)


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize(("name", "chain"), PLACES)
def test_descriptors_that_are_no_list_blamed_the_driver(name: str, chain: str, kind: str) -> None:
    """A generator, nothing, text, and lists with something else inside."""
    inis, describe = CHAINS[chain]
    with attached(name) as fw:
        sid = fw.newsession(inis)
        desc = describe(ENCRYPT)
        for wrong in (
            iter(desc), None, 5, "desc",
            [None] * len(desc), [5] * len(desc), [inis[0]] * len(desc),
        ):  # fmt: skip
            refused(fw, sid, kind, wrong)


@pytest.mark.parametrize(("name", "chain"), PLACES)
def test_a_buffer_or_a_mac_that_is_none_blamed_the_driver(name: str, chain: str) -> None:
    """Text, numbers, lists of them, views with gaps."""
    inis, describe = CHAINS[chain]
    gaps = memoryview(bytearray(2 * SIZE))[::2]
    with attached(name) as fw:
        sid = fw.newsession(inis)
        for wrong in ("x" * SIZE, [1] * SIZE, SIZE, 1.5, gaps, [gaps], bytes(SIZE), object()):
            refused(fw, sid, "one piece", describe(ENCRYPT), buf=wrong)
            if chain != "cbc":
                refused(fw, sid, "one piece", describe(ENCRYPT), mac=wrong)


@pytest.mark.parametrize(("name", "chain"), PLACES)
def test_true_is_the_number_one_in_every_way(name: str, chain: str) -> None:
    """Python's booleans are whole numbers: they do what 0 and 1 do, in one piece and in many."""
    inis, describe = CHAINS[chain]
    with attached(name) as fw:
        sid = fw.newsession(inis)
        results = set()
        for make in BUFFERS.values():
            for zero in (0, False):
                desc = describe(ENCRYPT | EXPLICIT | PRESENT)
                if inis[0].alg in (CRYPTO_AES_CBC, CRYPTO_AES_GCM_16):
                    desc[0].ini.iv = IV if inis[0].alg == CRYPTO_AES_CBC else IV[:8]
                desc[-1].skip = zero
                desc[-1].len = 32
                buf = make(bytes(range(SIZE)))
                crp = Cryptop(sid, buf, desc, lambda crp: None, CRYPTO_F_CBIMM)
                fw.dispatch(crp)
                crp.check()
                results.add(content(buf))
        assert len(results) == 1
