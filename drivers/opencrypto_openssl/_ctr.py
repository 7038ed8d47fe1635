"""
AES in counter mode. A session keeps its contexts, which take a new nonce, as `_cbc` keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto.chain import BytesLike, Segments, TransformFactory
from opencrypto.constants import CRYPTO_AES_CTR
from opencrypto.xform import FACTS
from opencrypto_openssl._running import Running

KEPT: Final = 8
"""How many idle contexts a session keeps: as many threads run without waste."""


class Ctr:
    """AES-CTR as RFC 3686 has it: nonce, IV, and a counter of 32 bits that begins with 1."""

    __slots__ = ("_algorithm", "_contexts", "_salt")

    def __init__(self, key: BytesLike) -> None:
        salt = FACTS[CRYPTO_AES_CTR].salt
        self._algorithm: AES | None = AES(memoryview(key)[:-salt])
        self._salt = bytes(key[-salt:])
        self._contexts: list[Any] = []

    def _take(self, iv: BytesLike) -> Any:
        nonce = b"".join((self._salt, iv, b"\0\0\0\1"))
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
        nonce = b"".join((self._salt, iv, b"\0\0\0\1"))
        assert self._algorithm is not None
        return Running(Cipher(self._algorithm, modes.CTR(nonce)).encryptor())

    def wipe(self) -> None:
        """Drop the contexts and the key."""
        self._algorithm = None
        self._salt = b""
        self._contexts.clear()


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_CTR: lambda cri: Ctr(cri.key or b""),
}
