"""
AES-GCM and GMAC by the library's public interface, where an object is one nonce's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from Crypto.Cipher import AES

from opencrypto import Cryptoini
from opencrypto.chain import AeadTransform, BytesLike, Segments, TransformFactory, scatter
from opencrypto.constants import CRYPTO_AES_GCM_16, CRYPTO_AES_GMAC
from opencrypto.xform import FACTS
from opencrypto_swcrypto._gcm_kept import USABLE, KeptGcm
from opencrypto_swcrypto._running import AeadRunning


class Gcm:
    """AES-GCM (SP 800-38D), and GMAC, which is GCM without a payload."""

    __slots__ = ("_key", "_salt")

    def __init__(self, key: BytesLike, salt: int) -> None:
        view = memoryview(key)
        self._key: BytesLike = view[: len(view) - salt]
        self._salt = bytes(view[len(view) - salt :])

    def _new(self, iv: bytes, aad: Segments, maclen: int) -> Any:
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=self._salt + iv, mac_len=maclen)
        for part in aad:
            cipher.update(part)
        return cipher

    def one(self, iv: bytes, room: memoryview) -> Any:
        """Return the library's object for one message, which it has begun."""
        cipher = self._new(iv, [], 16)
        cipher.encrypt(bytes(room))
        return cipher

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt in place and return the tag of `maclen` bytes."""
        cipher = self._new(iv, aad, maclen)
        for part in parts:
            cipher.encrypt(part, output=part)
        tag: bytes = cipher.digest()
        return tag

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt in place if the tag verifies; until it has, plaintext is in private memory."""
        cipher = self._new(iv, aad, len(tag))
        private = bytearray(sum(map(len, parts)))
        try:
            view, at = memoryview(private), 0
            for part in parts:
                cipher.decrypt(part, output=view[at : at + len(part)])
                at += len(part)
            try:
                cipher.verify(tag)
            except ValueError:
                return False
            scatter(parts, private)
            return True
        finally:
            private[:] = bytes(len(private))

    def stream(self, iv: bytes, aad: Segments, encrypt: bool, maclen: int) -> AeadRunning:
        """Begin a message that comes in pieces."""
        return AeadRunning(self._new(iv, aad, maclen), encrypt)

    def wipe(self) -> None:
        """Drop the key."""
        self._key = self._salt = b""


def aead_factory(
    alg: int, transform: Callable[[BytesLike, int], AeadTransform]
) -> TransformFactory:
    """Return what calls `transform` with a session's key, and the bytes of salt at its end."""
    facts = FACTS[alg]

    def factory(cri: Cryptoini) -> AeadTransform:
        key = cri.key or b""
        return transform(key, facts.salt if len(key) in facts.salted else 0)

    return factory


def _gcm(key: BytesLike, salt: int) -> AeadTransform:
    return KeptGcm(key, salt) if USABLE else Gcm(key, salt)


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_GCM_16: aead_factory(CRYPTO_AES_GCM_16, _gcm),
    CRYPTO_AES_GMAC: aead_factory(CRYPTO_AES_GMAC, _gcm),
}
