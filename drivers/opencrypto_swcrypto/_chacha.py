"""ChaCha20-Poly1305 (RFC 7634)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from Crypto.Cipher import ChaCha20, ChaCha20_Poly1305

from opencrypto.chain import Segments, TransformFactory
from opencrypto.constants import CRYPTO_CHACHA20_POLY1305
from opencrypto_swcrypto._gcm import Gcm, aead_factory

STREAMS: Final = 7


class ChaCha(Gcm):
    """ChaCha20-Poly1305; the nonce is salt and IV, 12 bytes in all."""

    __slots__ = ()

    def _new(self, iv: bytes, aad: Segments, maclen: int) -> Any:
        cipher = ChaCha20_Poly1305.new(key=self._key, nonce=self._salt + iv)
        for part in aad:
            cipher.update(part)
        return cipher

    def one(self, iv: bytes, room: memoryview) -> Any:
        """Return the library's object for one message, and streams such as several have."""
        streams = [ChaCha20.new(key=self._key, nonce=self._salt + iv) for _ in range(STREAMS)]
        return [super().one(iv, room), *streams]


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_CHACHA20_POLY1305: aead_factory(CRYPTO_CHACHA20_POLY1305, ChaCha),
}
