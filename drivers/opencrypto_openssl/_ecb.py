"""
AES block by block. A session keeps its contexts, of which none remembers anything, as `_cbc` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto.chain import BytesLike, Segments, TransformFactory, in_one_piece
from opencrypto.constants import CRYPTO_AES_ECB

KEPT: Final = 8
"""How many idle contexts of one direction a session keeps: as many threads run without waste."""

WHOLE: Final = 1 << 12
"""Up to this many bytes one call with a new output is quicker than two calls in place."""

BLOCK: Final = 16


class Ecb:
    """AES-ECB (SP 800-38A, 6.1): equal blocks become equal blocks."""

    __slots__ = ("_algorithm", "_decryptors", "_encryptors")

    def __init__(self, key: BytesLike) -> None:
        self._algorithm: AES | None = AES(memoryview(key))
        self._encryptors: list[Any] = []
        self._decryptors: list[Any] = []

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt whole blocks in place."""
        in_one_piece(parts, partial(self._work, encrypt))

    def _work(self, encrypt: bool, view: memoryview) -> None:
        pool = self._encryptors if encrypt else self._decryptors
        try:
            context = pool.pop()
        except IndexError:
            context = self._new(encrypt)
        if len(view) <= WHOLE:
            view[:] = context.update(view)
        else:
            # update_into asks for room for a block less one byte beyond what it puts out.
            context.update_into(view[:-BLOCK], view[:-1])
            view[-BLOCK:] = context.update(view[-BLOCK:])
        if len(pool) < KEPT:
            pool.append(context)

    def _new(self, encrypt: bool) -> Any:
        assert self._algorithm is not None
        cipher = Cipher(self._algorithm, modes.ECB())
        return cipher.encryptor() if encrypt else cipher.decryptor()

    def wipe(self) -> None:
        """Drop the contexts, whose key schedules OpenSSL wipes, and the key."""
        self._algorithm = None
        self._encryptors.clear()
        self._decryptors.clear()


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_ECB: lambda cri: Ecb(cri.key or b""),
}
