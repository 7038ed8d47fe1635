"""What the tests of the drivers share: a framework with all of them, requests in every shape."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import opencrypto_null
import opencrypto_openssl
import opencrypto_swcrypto
from opencrypto import Cryptodesc, Cryptoini, Cryptop, Driver, Framework, Mbuf
from opencrypto.chain import ChainDriver, ChainSession
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA1_HMAC_96,
)
from opencrypto.xform import AEAD_PARTNERS, FACTS

PLUGINS = {
    "null": opencrypto_null,
    "swcrypto": opencrypto_swcrypto,
    "openssl": opencrypto_openssl,
}
NAMES = sorted(PLUGINS)
BOTH = ("openssl", "swcrypto")

ENCRYPT = CRD_F_ENCRYPT
EXPLICIT = CRD_F_IV_EXPLICIT
PRESENT = CRD_F_IV_PRESENT
VERIFY = CRD_F_VERIFY
OUTSIDE = EXPLICIT | PRESENT
"""The IV is in the descriptor and the buffer has none."""

KINDS = ("contiguous", "view", "iov", "mbuf")
SPLITS = (1, 0, 2, 13, 17, 5, 16, 3, 0, 31, 64)
"""Lengths of segments, in turn: inside a block, on its edge, and empty ones."""


def make_driver(name: str) -> Driver:
    """Make a driver as the framework does, through its plugin."""
    drivers: list[Driver] = PLUGINS[name].opencrypto_drivers()
    return drivers[0]


@contextmanager
def attached(*names: str) -> Iterator[Framework]:
    """Open a framework with these drivers and no others."""
    with Framework(plugins=[PLUGINS[name] for name in names or NAMES]) as framework:
        assert [info.name for info in framework.drivers] == sorted(
            names or NAMES, key=lambda name: (name != "openssl", name)
        )
        yield framework


@dataclass(frozen=True)
class Shape:
    """A buffer of one kind over `content`."""

    buf: Any
    content: Callable[[], bytes]


def pieces(data: bytes, splits: Sequence[int] = SPLITS) -> list[bytearray]:
    """Cut data into segments of these lengths, in turn."""
    out, at = [], 0
    lengths = itertools.cycle(splits)
    while at < len(data):
        length = next(lengths)
        out.append(bytearray(data[at : at + length]))
        at += length
    return out or [bytearray()]


def shape(kind: str, data: bytes, splits: Sequence[int] = SPLITS) -> Shape:
    """Put data into a buffer of a kind."""
    if kind == "contiguous":
        whole = bytearray(data)
        return Shape(whole, lambda: bytes(whole))
    if kind == "view":
        # In the midst of something larger, whose edges must stay as they are.
        larger = bytearray(b"\xa5" * 7 + data + b"\xa5" * 40)

        def content() -> bytes:
            assert larger[:7] == b"\xa5" * 7
            assert larger[7 + len(data) :] == b"\xa5" * 40
            return bytes(larger[7 : 7 + len(data)])

        return Shape(memoryview(larger)[7 : 7 + len(data)], content)
    parts = pieces(data, splits)
    if kind == "iov":
        return Shape(parts, lambda: b"".join(parts))
    chain = Mbuf(parts)
    return Shape(chain, lambda: bytes(chain))


def crd(
    alg: int, skip: int, length: int, inject: int = 0, flags: int = 0, iv: bytes | None = None
) -> Cryptodesc:
    """Make a descriptor."""
    return Cryptodesc(skip, length, inject, flags, Cryptoini(alg, iv=iv))


def run(
    framework: Framework,
    sid: int,
    buf: Any,
    *desc: Cryptodesc,
    mac: bytearray | None = None,
    flags: int = 0,
) -> Cryptop:
    """Dispatch a request and return it completed. The drivers are synchronous."""
    done: list[Cryptop] = []
    crp = Cryptop(sid, buf, desc, done.append, CRYPTO_F_CBIMM | flags, mac=mac)
    framework.dispatch(crp)
    assert done == [crp]
    return crp


def partner_of(alg: int, keylen: int) -> int:
    """Return the authenticating half that goes with a key of this many bytes."""
    (half,) = (half for half in AEAD_PARTNERS[alg] if FACTS[half].key_ok(keylen))
    return half


def name_of(alg: int) -> str:
    """Name an algorithm as the files of vectors are named."""
    return FACTS[alg].name.lower()


KEY = bytes(range(16))
SALTED = bytes(range(20))
IV = bytes(range(0x40, 0x50))
DATA = os.urandom(96)
"""Long enough for a packet of either kind of `ESP` or `GCM`, tags included only by the latter."""

ESP = [Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA1_HMAC_96, SALTED)]
GCM = [Cryptoini(CRYPTO_AES_GCM_16, SALTED), Cryptoini(CRYPTO_AES_128_GMAC, SALTED)]


def esp_in(length: int = 64) -> list[Cryptodesc]:
    """Encrypt and authenticate: 8 bytes of header, the IV, the data, the MAC."""
    return [
        crd(CRYPTO_AES_CBC, 24, length, 8, ENCRYPT),
        crd(CRYPTO_SHA1_HMAC_96, 0, 24 + length, 24 + length),
    ]


def esp_out(length: int = 64) -> list[Cryptodesc]:
    """Verify and decrypt the same."""
    return [
        crd(CRYPTO_SHA1_HMAC_96, 0, 24 + length, 24 + length, VERIFY),
        crd(CRYPTO_AES_CBC, 24, length, 8),
    ]


def gcm(flags: int, length: int = 64) -> list[Cryptodesc]:
    """Seal or open: 8 bytes of additional data, the IV, the payload, the tag."""
    return [
        crd(CRYPTO_AES_GCM_16, 16, length, 8, flags),
        crd(CRYPTO_AES_128_GMAC, 0, 8, 16 + length),
    ]


def session_of(driver: Driver) -> ChainSession:
    """Look inside a driver for its one session."""
    assert isinstance(driver, ChainDriver)
    (session,) = driver._sessions.values()
    return session
