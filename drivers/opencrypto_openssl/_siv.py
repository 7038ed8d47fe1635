"""AES-SIV (RFC 5297), which needs no nonce: equal messages under one key become equal messages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from hmac import compare_digest
from typing import Any, Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from opencrypto.chain import BytesLike, Segments, TransformFactory, scatter
from opencrypto.constants import CRYPTO_AES_SIV
from opencrypto_openssl._library import made

TAG: Final = 16


class Siv:
    """
    AES-SIV over whole messages, with the additional data as its one component, empty or not.

    The synthetic IV is the tag; the library has it before the ciphertext.
    """

    __slots__ = ("_cipher", "_key")

    def __init__(self, key: BytesLike) -> None:
        self._cipher: Any = AESSIV(key)
        self._key: BytesLike = b"" if TAKES_NOTHING else key

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt in place and return the tag, which is always whole."""
        if self._key and not any(map(len, parts)):
            return tag_of_nothing(self._key, b"".join(aad))
        result = self._cipher.encrypt(b"".join(parts), [b"".join(aad)])
        scatter(parts, memoryview(result)[TAG:])
        return bytes(result[:TAG])

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt in place if the tag verifies; the library gives no plaintext out before."""
        if self._key and not any(map(len, parts)):
            return compare_digest(tag_of_nothing(self._key, b"".join(aad)), tag)
        try:
            result = self._cipher.decrypt(b"".join((tag, *parts)), [b"".join(aad)])
        except InvalidTag:
            return False
        scatter(parts, result)
        return True

    def wipe(self) -> None:
        """Drop the keyed object."""
        self._cipher = None
        self._key = b""


def tag_of_nothing(key: BytesLike, aad: bytes) -> bytes:
    """Return the synthetic IV of an empty message: RFC 5297, 2.4, with one component beside it."""
    algorithm = AES(memoryview(key)[: len(key) // 2])

    def cmac(text: bytes) -> int:
        state = CMAC(algorithm)
        state.update(text)
        return int.from_bytes(state.finalize())

    state = _double(cmac(bytes(TAG))) ^ cmac(aad)
    return cmac((_double(state) ^ 1 << 127).to_bytes(TAG)).to_bytes(TAG)


def _double(number: int) -> int:
    return (number << 1 & (1 << 128) - 1) ^ (0x87 if number >> 127 else 0)


def _is_there() -> bool:
    """Find out whether this OpenSSL has it: before 3.0 none has."""
    try:
        AESSIV(bytes(32))
    except UnsupportedAlgorithm:
        return False
    return True


def _takes_nothing() -> bool:
    """Find out whether the library takes empty messages, as 44 does not."""
    try:
        return len(AESSIV(bytes(32)).encrypt(b"", [b""])) == TAG
    except ValueError:
        return False


IS_THERE: Final = _is_there()

TAKES_NOTHING: Final = IS_THERE and _takes_nothing()

FACTORIES: Final[Mapping[int, TransformFactory]] = (
    {CRYPTO_AES_SIV: partial(made, Siv)} if IS_THERE else {}
)
