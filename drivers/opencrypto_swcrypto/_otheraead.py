"""
Authenticated ciphers besides GCM: AES-CCM (RFC 4309, SP 800-38C) and ChaCha20-Poly1305 (RFC 7634).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from Crypto.Cipher import AES, ChaCha20_Poly1305

from opencrypto import Cryptoini
from opencrypto.chain import AeadTransform, Segments, TransformFactory, scatter
from opencrypto.constants import CRYPTO_AES_CCM_16, CRYPTO_CHACHA20_POLY1305
from opencrypto.xform import FACTS
from opencrypto_swcrypto._aead import Gcm


class ChaCha(Gcm):
    """ChaCha20-Poly1305; the nonce is salt and IV, 12 bytes in all."""

    __slots__ = ()

    def _new(self, iv: bytes, aad: Segments, maclen: int) -> Any:
        cipher = ChaCha20_Poly1305.new(key=self._key, nonce=self._salt + iv)
        for part in aad:
            cipher.update(part)
        return cipher


class Ccm(Gcm):
    """
    AES-CCM; the nonce is salt and IV, 11 or 12 bytes in all.

    CCM must know its length before it begins, so the region goes through in one call.
    """

    __slots__ = ()

    def _new(self, iv: bytes, aad: Segments, maclen: int) -> Any:
        cipher = AES.new(self._key, AES.MODE_CCM, nonce=self._salt + iv, mac_len=maclen)
        cipher.update(b"".join(aad))
        return cipher

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt in place and return the tag of `maclen` bytes."""
        cipher = self._new(iv, aad, maclen)
        scatter(parts, cipher.encrypt(b"".join(parts)))
        return bytes(cipher.digest())

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt in place if the tag verifies; until it has, plaintext is in private memory."""
        data = b"".join(parts)
        private = bytearray(len(data))
        cipher = self._new(iv, aad, len(tag))
        try:
            cipher.decrypt(data, output=private)
            try:
                cipher.verify(tag)
            except ValueError:
                return False
            scatter(parts, private)
            return True
        finally:
            private[:] = bytes(len(private))


def _factory(alg: int, transform: type[Gcm]) -> TransformFactory:
    facts = FACTS[alg]

    def factory(cri: Cryptoini) -> AeadTransform:
        key = cri.key or b""
        return transform(key, facts.salt if len(key) in facts.salted else 0)

    return factory


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_CCM_16: _factory(CRYPTO_AES_CCM_16, Ccm),
    CRYPTO_CHACHA20_POLY1305: _factory(CRYPTO_CHACHA20_POLY1305, ChaCha),
}
