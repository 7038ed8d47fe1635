"""AES-SIV (RFC 5297), which needs no nonce: equal messages under one key become equal messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from Crypto.Cipher import AES

from opencrypto.chain import BytesLike, Segments, TransformFactory, scatter
from opencrypto.constants import CRYPTO_AES_SIV


class Siv:
    """AES-SIV over whole messages, with the additional data as its one component, empty or not."""

    __slots__ = ("_key",)

    def __init__(self, key: BytesLike) -> None:
        self._key: BytesLike = key

    def _new(self, aad: Segments) -> Any:
        cipher = AES.new(self._key, AES.MODE_SIV)
        cipher.update(b"".join(aad))
        return cipher

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt in place and return the tag, the synthetic IV, which is always whole."""
        result, tag = self._new(aad).encrypt_and_digest(b"".join(parts))
        scatter(parts, result)
        return bytes(tag)

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt in place if the tag verifies; until it has, plaintext is in private memory."""
        data = b"".join(parts)
        private = bytearray(len(data))
        try:
            try:
                self._new(aad).decrypt_and_verify(data, tag, output=private)
            except ValueError:
                return False
            scatter(parts, private)
            return True
        finally:
            private[:] = bytes(len(private))

    def wipe(self) -> None:
        """Drop the key."""
        self._key = b""


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_SIV: lambda cri: Siv(cri.key or b""),
}
