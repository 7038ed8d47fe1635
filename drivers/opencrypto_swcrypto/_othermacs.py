"""
The authenticators and digests beyond those of IPsec today: hashlib, pycryptodome, and our own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from Crypto.Cipher import AES
from Crypto.Hash import CMAC, RIPEMD160
from Crypto.Hash.Poly1305 import Poly1305_MAC

from opencrypto import Cryptoini
from opencrypto.chain import MacTransform, TransformFactory
from opencrypto.constants import (
    CRYPTO_AES_CMAC,
    CRYPTO_AES_XCBC_MAC_96,
    CRYPTO_BLAKE2B,
    CRYPTO_BLAKE2S,
    CRYPTO_MD5_KPDK,
    CRYPTO_POLY1305,
    CRYPTO_RIPEMD160_HMAC,
    CRYPTO_RIPEMD160_HMAC_96,
    CRYPTO_SHA1_KPDK,
    CRYPTO_SHA2_224,
    CRYPTO_SHA2_224_HMAC,
    CRYPTO_SHA2_256,
    CRYPTO_SHA2_384,
    CRYPTO_SHA2_512,
    CRYPTO_SHA3_256,
    CRYPTO_SHA3_512,
)
from opencrypto_swcrypto._kpdk import Kpdk
from opencrypto_swcrypto._macs import Digest, Hmac
from opencrypto_swcrypto._xcbc import Xcbc


class Kept:
    """An authenticator whose keyed state is kept, and copied for each request."""

    __slots__ = ("_keyed",)

    def __init__(self, keyed: Any) -> None:
        self._keyed = keyed

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole MAC of a region."""
        state = self._keyed.copy()
        for part in parts:
            state.update(part)
        return bytes(state.digest())

    def wipe(self) -> None:
        """Drop the keyed state."""
        self._keyed = None


class Ripemd160Hmac:
    """
    RFC 2104 over RIPEMD-160, as the library's two states: a copy of its HMAC would be a new one.

    hashlib has RIPEMD-160 only where OpenSSL's legacy provider is loaded.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        size = RIPEMD160.block_size
        padded = (RIPEMD160.new(key).digest() if len(key) > size else key).ljust(size, b"\0")
        self._inner: Any = RIPEMD160.new(bytes(byte ^ 0x36 for byte in padded))
        self._outer: Any = RIPEMD160.new(bytes(byte ^ 0x5C for byte in padded))

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole MAC of a region."""
        state, outer = self._inner.copy(), self._outer.copy()
        for part in parts:
            state.update(part)
        outer.update(state.digest())
        return bytes(outer.digest())

    def wipe(self) -> None:
        """Drop the keyed states."""
        self._inner = self._outer = None


class Anew:
    """An authenticator whose state the library cannot copy: it is made for each request."""

    __slots__ = ("_new",)

    def __init__(self, new: Callable[[], Any]) -> None:
        self._new: Callable[[], Any] | None = new
        new()  # so that a key the library does not take refuses the session

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole MAC of a region."""
        assert self._new is not None
        state = self._new()
        for part in parts:
            state.update(part)
        return bytes(state.digest())

    def wipe(self) -> None:
        """Drop the key."""
        self._new = None


def _key(cri: Cryptoini) -> bytes:
    return bytes(cri.key or b"")


def _cmac(cri: Cryptoini) -> MacTransform:
    return Kept(CMAC.new(_key(cri), ciphermod=AES))


def _poly1305(cri: Cryptoini) -> MacTransform:
    key = _key(cri)
    return Anew(partial(Poly1305_MAC, key[:16], key[16:], None))


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_RIPEMD160_HMAC: lambda cri: Ripemd160Hmac(_key(cri)),
    CRYPTO_RIPEMD160_HMAC_96: lambda cri: Ripemd160Hmac(_key(cri)),
    CRYPTO_MD5_KPDK: lambda cri: Kpdk("md5", _key(cri)),
    CRYPTO_SHA1_KPDK: lambda cri: Kpdk("sha1", _key(cri)),
    CRYPTO_AES_XCBC_MAC_96: lambda cri: Xcbc(_key(cri)),
    CRYPTO_AES_CMAC: _cmac,
    CRYPTO_POLY1305: _poly1305,
    CRYPTO_BLAKE2B: lambda cri: Kept(hashlib.blake2b(key=_key(cri))),
    CRYPTO_BLAKE2S: lambda cri: Kept(hashlib.blake2s(key=_key(cri))),
    CRYPTO_SHA2_224_HMAC: lambda cri: Hmac(_key(cri), "sha224"),
    CRYPTO_SHA2_224: lambda cri: Digest("sha224"),
    CRYPTO_SHA2_256: lambda cri: Digest("sha256"),
    CRYPTO_SHA2_384: lambda cri: Digest("sha384"),
    CRYPTO_SHA2_512: lambda cri: Digest("sha512"),
    CRYPTO_SHA3_256: lambda cri: Digest("sha3_256"),
    CRYPTO_SHA3_512: lambda cri: Digest("sha3_512"),
}

HASHLIB: Final = frozenset(FACTORIES) - {
    CRYPTO_RIPEMD160_HMAC,
    CRYPTO_RIPEMD160_HMAC_96,
    CRYPTO_AES_XCBC_MAC_96,
    CRYPTO_AES_CMAC,
    CRYPTO_POLY1305,
}
"""Those that hashlib serves."""
