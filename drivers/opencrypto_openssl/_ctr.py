"""
AES in counter mode. A session keeps its contexts, which take a new nonce, as `_cbc` keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto import Cryptoini
from opencrypto.chain import BytesLike, Segments, TransformFactory
from opencrypto.constants import CRYPTO_AES_CTR, CRYPTO_AES_ICM
from opencrypto.xform import FACTS
from opencrypto_openssl._running import Running

KEPT: Final = 8
"""How many idle contexts a session keeps: as many threads run without waste."""


class Ctr:
    """
    AES-CTR, all 16 bytes of whose counter block count, big-endian.

    Args:
        key: The key without its salt.
        salt: What stands before a request's IV in the counter block.
        first: What stands behind it.
    """

    __slots__ = ("_algorithm", "_contexts", "_first", "_salt")

    def __init__(self, key: BytesLike, salt: bytes = b"", first: bytes = b"") -> None:
        self._algorithm: AES | None = AES(memoryview(key))
        self._salt = salt
        self._first = first
        self._contexts: list[Any] = []

    def _take(self, iv: BytesLike) -> Any:
        nonce = b"".join((self._salt, iv, self._first))
        try:
            context = self._contexts.pop()
        except IndexError:
            assert self._algorithm is not None
            return Cipher(self._algorithm, modes.CTR(nonce)).encryptor()
        context.reset_nonce(nonce)
        return context

    def _give(self, context: Any) -> None:
        if len(self._contexts) < KEPT:
            self._contexts.append(context)

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt, which is the same; any number of bytes."""
        context = self._take(iv)
        for part in parts:
            context.update_into(part, part)
        self._give(context)

    def stream(self, iv: bytes, encrypt: bool) -> Running:
        """Begin a message that comes in pieces."""
        nonce = b"".join((self._salt, iv, self._first))
        assert self._algorithm is not None
        return Running(Cipher(self._algorithm, modes.CTR(nonce)).encryptor())

    def wipe(self) -> None:
        """Drop the contexts and the key."""
        self._algorithm = None
        self._salt = b""
        self._contexts.clear()


def _rfc3686(cri: Cryptoini) -> Ctr:
    """Nonce, IV, and a counter of 32 bits that begins with 1."""
    key, salt = memoryview(cri.key or b""), FACTS[CRYPTO_AES_CTR].salt
    return Ctr(key[:-salt], bytes(key[-salt:]), b"\0\0\0\1")


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_CTR: _rfc3686,
    CRYPTO_AES_ICM: lambda cri: Ctr(cri.key or b""),
}
