"""HMAC with RIPEMD-160, by pycryptodome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from Crypto.Hash import RIPEMD160

from opencrypto.chain import BytesLike, TransformFactory
from opencrypto.constants import CRYPTO_RIPEMD160_HMAC, CRYPTO_RIPEMD160_HMAC_96
from opencrypto.transforms import HashStream


class Ripemd160Hmac:
    """
    RFC 2104 over RIPEMD-160, as the library's two states: a copy of its HMAC would be a new one.

    hashlib has RIPEMD-160 only where OpenSSL's legacy provider is loaded.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: BytesLike) -> None:
        size = RIPEMD160.block_size
        padded = bytearray(size)
        short = RIPEMD160.new(key).digest() if len(key) > size else key
        padded[: len(short)] = short
        for at in range(size):
            padded[at] ^= 0x36
        self._inner: Any = RIPEMD160.new(padded)
        for at in range(size):
            padded[at] ^= 0x36 ^ 0x5C
        self._outer: Any = RIPEMD160.new(padded)
        padded[:] = bytes(size)

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole MAC of a region."""
        state, outer = self._inner.copy(), self._outer.copy()
        for part in parts:
            state.update(part)
        outer.update(state.digest())
        return bytes(outer.digest())

    def stream(self) -> HashStream:
        """Begin a message that comes in pieces."""
        return HashStream(self._inner.copy(), self._finish)

    def _finish(self, state: Any) -> bytes:
        outer = self._outer.copy()
        outer.update(state.digest())
        return bytes(outer.digest())

    def wipe(self) -> None:
        """Drop the keyed states."""
        self._inner = self._outer = None


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_RIPEMD160_HMAC: lambda cri: Ripemd160Hmac(cri.key or b""),
    CRYPTO_RIPEMD160_HMAC_96: lambda cri: Ripemd160Hmac(cri.key or b""),
}
