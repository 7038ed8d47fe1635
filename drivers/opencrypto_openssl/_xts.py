"""AES in XTS mode, for storage, as far as this OpenSSL has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto.chain import Segments, TransformFactory, in_one_piece
from opencrypto.constants import CRYPTO_AES_XTS
from opencrypto_openssl._library import made, present


class Xts:
    """AES-XTS (IEEE 1619) over whole blocks."""

    __slots__ = ("_algorithm",)

    def __init__(self, key: bytes) -> None:
        self._algorithm: AES | None = AES(key)
        self._context(
            bytes(16), True
        )  # a key with equal halves, which a profile may allow, refuses the session

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt a region in place; `iv` is the tweak, 16 bytes little-endian."""
        in_one_piece(parts, partial(self._crypt, iv, encrypt))

    def _crypt(self, iv: bytes, encrypt: bool, view: memoryview) -> None:
        context = self._context(iv, encrypt)
        view[:] = context.update(view) + context.finalize()

    def _context(self, iv: bytes, encrypt: bool) -> CipherContext:
        assert self._algorithm is not None
        cipher = Cipher(self._algorithm, modes.XTS(iv))
        return cipher.encryptor() if encrypt else cipher.decryptor()

    def wipe(self) -> None:
        """Drop the key."""
        self._algorithm = None


FACTORIES: Final[Mapping[int, TransformFactory]] = present({CRYPTO_AES_XTS: partial(made, Xts)})
