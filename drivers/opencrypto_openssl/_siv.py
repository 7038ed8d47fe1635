"""AES-SIV (RFC 5297), which needs no nonce: equal messages under one key become equal messages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from opencrypto.chain import BytesLike, Segments, TransformFactory, scatter
from opencrypto.constants import CRYPTO_AES_SIV
from opencrypto_openssl._library import made

TAG: Final = 16


class Siv:
    """
    AES-SIV over whole messages, with the additional data as its one component, empty or not.

    The synthetic IV is the tag; the library has it before the ciphertext.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: BytesLike) -> None:
        self._cipher: Any = AESSIV(key)

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt in place and return the tag, which is always whole."""
        result = self._cipher.encrypt(b"".join(parts), [b"".join(aad)])
        scatter(parts, memoryview(result)[TAG:])
        return bytes(result[:TAG])

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt in place if the tag verifies; the library gives no plaintext out before."""
        try:
            result = self._cipher.decrypt(b"".join((tag, *parts)), [b"".join(aad)])
        except InvalidTag:
            return False
        scatter(parts, result)
        return True

    def wipe(self) -> None:
        """Drop the keyed object."""
        self._cipher = None


def _is_there() -> bool:
    """Find out whether this OpenSSL has it, for empty messages too: before 3.0 none has."""
    try:
        return len(AESSIV(bytes(32)).encrypt(b"", [b""])) == TAG
    except (UnsupportedAlgorithm, ValueError):
        return False


FACTORIES: Final[Mapping[int, TransformFactory]] = (
    {CRYPTO_AES_SIV: partial(made, Siv)} if _is_there() else {}
)
