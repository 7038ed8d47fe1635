"""AES-CCM (RFC 4309, SP 800-38C)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from Crypto.Cipher import AES

from opencrypto.chain import Segments, TransformFactory, scatter
from opencrypto.constants import CRYPTO_AES_CCM_16
from opencrypto_swcrypto._gcm import Gcm, aead_factory


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


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_CCM_16: aead_factory(CRYPTO_AES_CCM_16, Ccm),
}
