"""
Authenticators and digests. A later one is a row in `FACTORIES`.

A copy of a keyed HMAC costs 0.2 us, a new one 1.0. hashlib serves the plain digests: it is the
same OpenSSL, and quicker to call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from opencrypto import Cryptoini
from opencrypto.chain import MacTransform, TransformFactory
from opencrypto.constants import (
    CRYPTO_MD5,
    CRYPTO_MD5_HMAC,
    CRYPTO_MD5_HMAC_96,
    CRYPTO_NULL_HMAC,
    CRYPTO_SHA1,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA1_HMAC_96,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SHA2_384_HMAC,
    CRYPTO_SHA2_512_HMAC,
)
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS

BytesLike = bytes | bytearray | memoryview


class NullMac:
    """NetBSD's NULL_HMAC: zeros."""

    __slots__ = ()

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return zeros."""
        return bytes(FACTS[CRYPTO_NULL_HMAC].digest)


class Hmac:
    """
    RFC 2104; a key longer than the block is hashed first.

    Attributes:
        keyed: The keyed state, of which each request takes a copy; empty once wiped.
    """

    __slots__ = ("keyed",)

    def __init__(self, key: BytesLike, algorithm: hashes.HashAlgorithm) -> None:
        self.keyed = [HMAC(key, algorithm)]

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the MAC of the parts, one after the other."""
        state = self.keyed[0].copy()
        for part in parts:
            state.update(part)
        return state.finalize()

    def wipe(self) -> None:
        """Drop the keyed state; OpenSSL wipes its memory."""
        self.keyed.clear()


class Digest:
    """A hash without a key."""

    __slots__ = ("_new",)

    def __init__(self, new: Callable[..., Any]) -> None:
        self._new = partial(new, usedforsecurity=False)

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the digest of the parts, one after the other."""
        state = self._new()
        for part in parts:
            state.update(part)
        result: bytes = state.digest()
        return result


def _hmac(algorithm: hashes.HashAlgorithm, cri: Cryptoini) -> MacTransform:
    try:
        return Hmac(cri.key or b"", algorithm)
    except UnsupportedAlgorithm:
        raise UsageError(f"this OpenSSL has no HMAC with {algorithm.name}") from None


def _hash(new: Callable[..., Any], cri: Cryptoini) -> MacTransform:
    try:
        new(usedforsecurity=False)
    except ValueError:
        raise UsageError(f"this Python's hashlib has no {FACTS[cri.alg].name}") from None
    return Digest(new)


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_NULL_HMAC: lambda cri: NullMac(),
    CRYPTO_MD5_HMAC: partial(_hmac, hashes.MD5()),
    CRYPTO_MD5_HMAC_96: partial(_hmac, hashes.MD5()),
    CRYPTO_SHA1_HMAC: partial(_hmac, hashes.SHA1()),
    CRYPTO_SHA1_HMAC_96: partial(_hmac, hashes.SHA1()),
    CRYPTO_SHA2_256_HMAC: partial(_hmac, hashes.SHA256()),
    CRYPTO_SHA2_384_HMAC: partial(_hmac, hashes.SHA384()),
    CRYPTO_SHA2_512_HMAC: partial(_hmac, hashes.SHA512()),
    CRYPTO_MD5: partial(_hash, hashlib.md5),
    CRYPTO_SHA1: partial(_hash, hashlib.sha1),
}
