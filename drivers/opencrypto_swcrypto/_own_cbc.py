"""
CBC over a cipher of one block at a time: for the ciphers that we carry ourselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from opencrypto.chain import Segments, TransformFactory, in_one_piece
from opencrypto.constants import CRYPTO_CAMELLIA_CBC, CRYPTO_SKIPJACK_CBC
from opencrypto_swcrypto._camellia import Camellia
from opencrypto_swcrypto._skipjack import Skipjack


class BlockCipher(Protocol):
    """A cipher under one key, a block at a time."""

    block_size: int

    def encrypt_block(self, block: bytes) -> bytes:
        """Encrypt one block."""

    def decrypt_block(self, block: bytes) -> bytes:
        """Decrypt one block."""


class BlockwiseCbc:
    """The CBC mode of any `BlockCipher` (NIST SP 800-38A §6.2). Holds no state between calls."""

    def __init__(self, cipher: BlockCipher) -> None:
        self._cipher = cipher

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt a region in place."""
        work = self._encrypt if encrypt else self._decrypt
        in_one_piece(parts, lambda view: work(iv, view))

    def _encrypt(self, iv: bytes, view: memoryview) -> None:
        size, encrypt = self._cipher.block_size, self._cipher.encrypt_block
        previous = int.from_bytes(iv)
        for at in range(0, len(view), size):
            block = encrypt((int.from_bytes(view[at : at + size]) ^ previous).to_bytes(size))
            view[at : at + size] = block
            previous = int.from_bytes(block)

    def _decrypt(self, iv: bytes, view: memoryview) -> None:
        size, decrypt = self._cipher.block_size, self._cipher.decrypt_block
        previous = int.from_bytes(iv)
        for at in range(0, len(view), size):
            block = bytes(view[at : at + size])
            plain = int.from_bytes(decrypt(block)) ^ previous
            view[at : at + size] = plain.to_bytes(size)
            previous = int.from_bytes(block)


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_SKIPJACK_CBC: lambda cri: BlockwiseCbc(Skipjack(bytes(cri.key or b""))),
    CRYPTO_CAMELLIA_CBC: lambda cri: BlockwiseCbc(Camellia(bytes(cri.key or b""))),
}
