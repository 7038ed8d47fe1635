"""
AES-CCM (RFC 4309), and what it has in common with other objects of the library for whole messages.

They keep the key, take data in one piece, and verify before they give plaintext out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from opencrypto import Cryptoini
from opencrypto.chain import AeadTransform, Segments, TransformFactory, scatter
from opencrypto.constants import CRYPTO_AES_CCM_16
from opencrypto.xform import FACTS


class Whole:
    """
    An authenticated cipher over whole messages.

    Args:
        new: Makes the library's object for a tag length in bytes.
        salt: What each nonce begins with.
    """

    __slots__ = ("_kept", "_new", "_salt")

    def __init__(self, new: Callable[[int], Any], salt: bytes) -> None:
        self._new: Callable[[int], Any] | None = new
        self._salt = salt
        self._kept: dict[int, Any] = {}

    def _cipher(self, maclen: int) -> Any:
        assert self._new is not None
        cipher = self._kept.get(maclen)
        if cipher is None:
            cipher = self._kept[maclen] = self._new(maclen)
        return cipher

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt in place and return the tag of `maclen` bytes."""
        result = self._cipher(maclen).encrypt(self._salt + iv, b"".join(parts), b"".join(aad))
        scatter(parts, memoryview(result)[:-maclen])
        return bytes(result[-maclen:])

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt in place if the tag verifies."""
        try:
            result = self._cipher(len(tag)).decrypt(
                self._salt + iv, b"".join((*parts, tag)), b"".join(aad)
            )
        except InvalidTag:
            return False
        scatter(parts, result)
        return True

    def wipe(self) -> None:
        """Drop the keyed objects."""
        self._new = None
        self._salt = b""
        self._kept.clear()


def aead_factory(alg: int, new: Callable[[Any, int], Any]) -> TransformFactory:
    """Return what makes `Whole` of a key, whose end may be the salt of the nonces."""
    facts = FACTS[alg]

    def factory(cri: Cryptoini) -> AeadTransform:
        key = memoryview(cri.key or b"")
        salt = facts.salt if len(key) in facts.salted else 0
        plain = key[: len(key) - salt]
        return Whole(lambda maclen: new(plain, maclen), bytes(key[len(key) - salt :]))

    return factory


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_CCM_16: aead_factory(CRYPTO_AES_CCM_16, AESCCM),
}
