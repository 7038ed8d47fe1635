"""
The authenticators and digests beyond those of IPsec today.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.poly1305 import Poly1305

from opencrypto import Cryptoini
from opencrypto.chain import TransformFactory
from opencrypto.constants import (
    CRYPTO_AES_CMAC,
    CRYPTO_POLY1305,
    CRYPTO_SHA2_224,
    CRYPTO_SHA2_224_HMAC,
    CRYPTO_SHA2_256,
    CRYPTO_SHA2_384,
    CRYPTO_SHA2_512,
    CRYPTO_SHA3_256,
    CRYPTO_SHA3_512,
)
from opencrypto_openssl._macs import Digest, Hmac


class Cmac:
    """AES-CMAC (RFC 4493); the keyed state is copied for each request."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed: CMAC | None = CMAC(AES(key))

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the MAC of the parts, one after the other."""
        assert self._keyed is not None
        state = self._keyed.copy()
        for part in parts:
            state.update(part)  # type: ignore[arg-type]  # any buffer will do
        return state.finalize()

    def digest(self, view: memoryview) -> bytes:
        """Return the MAC of a view."""
        return self.mac((view,))

    def wipe(self) -> None:
        """Drop the keyed state."""
        self._keyed = None


class OneTime:
    """Poly1305 (RFC 8439 §2.5), whose key is for one message; its state cannot be copied."""

    __slots__ = ("_new",)

    def __init__(self, key: bytes) -> None:
        self._new: Callable[[], Any] | None = partial(Poly1305, key)

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the MAC of the parts, one after the other."""
        assert self._new is not None
        state = self._new()
        for part in parts:
            state.update(part)
        return bytes(state.finalize())

    def digest(self, view: memoryview) -> bytes:
        """Return the MAC of a view."""
        return self.mac((view,))

    def wipe(self) -> None:
        """Drop the key."""
        self._new = None


def _key(cri: Cryptoini) -> bytes:
    return bytes(cri.key or b"")


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_CMAC: lambda cri: Cmac(_key(cri)),
    CRYPTO_POLY1305: lambda cri: OneTime(_key(cri)),
    CRYPTO_SHA2_224_HMAC: lambda cri: Hmac(_key(cri), hashes.SHA224()),
    CRYPTO_SHA2_224: lambda cri: Digest(hashlib.sha224),
    CRYPTO_SHA2_256: lambda cri: Digest(hashlib.sha256),
    CRYPTO_SHA2_384: lambda cri: Digest(hashlib.sha384),
    CRYPTO_SHA2_512: lambda cri: Digest(hashlib.sha512),
    CRYPTO_SHA3_256: lambda cri: Digest(hashlib.sha3_256),
    CRYPTO_SHA3_512: lambda cri: Digest(hashlib.sha3_512),
}
