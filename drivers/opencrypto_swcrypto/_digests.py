"""
Plain digests, by the standard library.

hashlib is OpenSSL underneath: from 64 B to 1 MiB it takes a tenth to a half of pycryptodome's time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from opencrypto import Cryptoini
from opencrypto.chain import MacTransform, TransformFactory
from opencrypto.constants import (
    CRYPTO_MD5,
    CRYPTO_SHA1,
    CRYPTO_SHA2_224,
    CRYPTO_SHA2_256,
    CRYPTO_SHA2_384,
    CRYPTO_SHA2_512,
    CRYPTO_SHA3_256,
    CRYPTO_SHA3_512,
)
from opencrypto.exceptions import UsageError


class Digest:
    """A hash without a key."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the digest of the parts, one after the other."""
        state = hashlib.new(self._name, usedforsecurity=False)
        for part in parts:
            state.update(part)
        return state.digest()


def _hash(name: str) -> TransformFactory:
    def factory(cri: Cryptoini) -> MacTransform:
        try:
            hashlib.new(name, usedforsecurity=False)
        except ValueError:
            raise UsageError(f"this Python's hashlib has no {name}") from None
        return Digest(name)

    return factory


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_MD5: _hash("md5"),
    CRYPTO_SHA1: _hash("sha1"),
    CRYPTO_SHA2_224: _hash("sha224"),
    CRYPTO_SHA2_256: _hash("sha256"),
    CRYPTO_SHA2_384: _hash("sha384"),
    CRYPTO_SHA2_512: _hash("sha512"),
    CRYPTO_SHA3_256: _hash("sha3_256"),
    CRYPTO_SHA3_512: _hash("sha3_512"),
}
