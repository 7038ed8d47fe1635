"""
Transforms that a driver over any library may take from here: the null algorithms, plain digests.

Digests are hashlib's, which is OpenSSL: from 64 B to 1 MiB no other library here is as quick. The
tables are parts of a `opencrypto.chain.ChainDriver.factories`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from opencrypto._request.symmetric import Cryptoini
from opencrypto.chain import MacTransform, Segments, TransformFactory
from opencrypto.constants import (
    CRYPTO_MD5,
    CRYPTO_MD5_HMAC,
    CRYPTO_MD5_HMAC_96,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTO_SHA1,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA1_HMAC_96,
    CRYPTO_SHA2_224,
    CRYPTO_SHA2_224_HMAC,
    CRYPTO_SHA2_256,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SHA2_384,
    CRYPTO_SHA2_384_HMAC,
    CRYPTO_SHA2_512,
    CRYPTO_SHA2_512_HMAC,
    CRYPTO_SHA3_256,
    CRYPTO_SHA3_512,
)
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS

__all__ = ["DIGESTS", "Digest", "HMAC_HASHES", "HashStream", "NULL", "NullCipher", "NullMac"]


class NullCipher:
    """RFC 2410: the plaintext is the ciphertext."""

    __slots__ = ()

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Leave it as it is."""


class NullMac:
    """NetBSD's NULL_HMAC: zeros. There is nothing to keep, so it streams by itself."""

    __slots__ = ()

    def stream(self) -> NullMacStream:
        """Begin a message."""
        return NullMacStream()

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return zeros."""
        return bytes(FACTS[CRYPTO_NULL_HMAC].digest)


class NullMacStream:
    """NULL_HMAC in the midst of a message."""

    __slots__ = ()

    def update(self, parts: Segments) -> None:
        """Go on with a region, of which nothing is looked at."""

    def mac(self) -> bytes:
        """Return zeros."""
        return bytes(FACTS[CRYPTO_NULL_HMAC].digest)

    def copy(self) -> NullMacStream:
        """Return another one."""
        return NullMacStream()


class Digest:
    """A hash without a key, made by one of hashlib's constructors."""

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

    def stream(self) -> HashStream:
        """Begin a message."""
        return HashStream(self._new())


class HashStream:
    """
    A hash or MAC in the midst of a message: any object with ``update`` and ``digest``.

    Args:
        state: The object, which is nobody else's.
        end: What makes the whole MAC of it; its ``digest`` if not given.
    """

    __slots__ = ("_end", "_state")

    def __init__(self, state: Any, end: Callable[[Any], Any] | None = None) -> None:
        self._state = state
        self._end = end

    def update(self, parts: Segments) -> None:
        """Go on with the next region."""
        update = self._state.update
        for part in parts:
            update(part)

    def mac(self) -> bytes:
        """End the message; return its MAC."""
        return bytes(self._state.digest() if self._end is None else self._end(self._state))

    def copy(self) -> HashStream:
        """
        Return another one that has come as far.

        Raises:
            UsageError: the library cannot copy its state.
        """
        try:
            state = self._state.copy()
        except (AttributeError, NotImplementedError):
            words = f"the library cannot copy a {type(self._state).__name__}"
            raise UsageError(words) from None
        return HashStream(state, self._end)

    def wipe(self) -> None:
        """Drop the state."""
        self._state = self._end = None


def _digest(new: Callable[..., Any], cri: Cryptoini) -> MacTransform:
    try:
        new(usedforsecurity=False)
    except ValueError:
        raise UsageError(f"this Python's hashlib has no {FACTS[cri.alg].name}") from None
    return Digest(new)


NULL: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_NULL_CBC: lambda cri: NullCipher(),
    CRYPTO_NULL_HMAC: lambda cri: NullMac(),
}
"""The null algorithms, which protect nothing."""

DIGESTS: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_MD5: partial(_digest, hashlib.md5),
    CRYPTO_SHA1: partial(_digest, hashlib.sha1),
    CRYPTO_SHA2_224: partial(_digest, hashlib.sha224),
    CRYPTO_SHA2_256: partial(_digest, hashlib.sha256),
    CRYPTO_SHA2_384: partial(_digest, hashlib.sha384),
    CRYPTO_SHA2_512: partial(_digest, hashlib.sha512),
    CRYPTO_SHA3_256: partial(_digest, hashlib.sha3_256),
    CRYPTO_SHA3_512: partial(_digest, hashlib.sha3_512),
}
"""Plain digests."""

HMAC_HASHES: Final[Mapping[int, str]] = {
    CRYPTO_MD5_HMAC: "md5",
    CRYPTO_MD5_HMAC_96: "md5",
    CRYPTO_SHA1_HMAC: "sha1",
    CRYPTO_SHA1_HMAC_96: "sha1",
    CRYPTO_SHA2_224_HMAC: "sha224",
    CRYPTO_SHA2_256_HMAC: "sha256",
    CRYPTO_SHA2_384_HMAC: "sha384",
    CRYPTO_SHA2_512_HMAC: "sha512",
}
"""The hash under each HMAC that hashlib and every library have, by hashlib's name for it."""
