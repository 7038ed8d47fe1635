"""
AES-XTS (IEEE 1619, NIST SP 800-38E) over whole blocks, on pycryptodome's AES, which lacks the mode.

The tweaks of all blocks are laid out first, then each direction is two XORs of whole regions
around one ECB call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from Crypto.Cipher import AES

from opencrypto.chain import BytesLike, Segments, TransformFactory, in_one_piece
from opencrypto.constants import CRYPTO_AES_XTS

_BLOCK = 16
_TOP = 1 << 127
_MASK = (1 << 128) - 1
_REDUCTION = 0x87


class Xts:
    """
    The mode under one key.

    Args:
        key: 32 or 64 bytes: the data key, then the tweak key.
    """

    def __init__(self, key: BytesLike) -> None:
        half, view = len(key) // 2, memoryview(key)
        self._data: Any = AES.new(view[:half], AES.MODE_ECB)
        self._tweak: Any = AES.new(view[half:], AES.MODE_ECB)

    def wipe(self) -> None:
        """Drop both keys' schedules in the library."""
        self._data = self._tweak = None

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt a region in place; `iv` is the tweak, 16 bytes little-endian."""
        in_one_piece(parts, lambda view: self._crypt(iv, view, encrypt))

    def _crypt(self, iv: bytes, view: memoryview, encrypt: bool) -> None:
        size = len(view)
        tweaks = int.from_bytes(self._tweaks(iv, size // _BLOCK))
        masked = (int.from_bytes(view) ^ tweaks).to_bytes(size)
        crypted = self._data.encrypt(masked) if encrypt else self._data.decrypt(masked)
        view[:] = (int.from_bytes(crypted) ^ tweaks).to_bytes(size)

    def _tweaks(self, iv: bytes, blocks: int) -> bytes:
        tweak = int.from_bytes(self._tweak.encrypt(iv), "little")
        tweaks = []
        for _ in range(blocks):
            tweaks.append(tweak.to_bytes(_BLOCK, "little"))
            carry = _REDUCTION if tweak & _TOP else 0
            tweak = (tweak << 1 & _MASK) ^ carry
        return b"".join(tweaks)


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_XTS: lambda cri: Xts(cri.key or b""),
}
