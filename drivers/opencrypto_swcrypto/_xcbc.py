"""
AES-XCBC-MAC (RFC 3566), on pycryptodome's AES: no library of ours has it.

A CBC-MAC under a derived key whose last block is masked with one of two others, so that messages
of any length are safe. Everything but the last block goes through one CBC call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from Crypto.Cipher import AES

from opencrypto.chain import BytesLike, TransformFactory
from opencrypto.constants import CRYPTO_AES_XCBC_MAC_96

_BLOCK = 16
_PIECE = 1 << 16
"""Bytes of scratch for the chaining values that nobody wants but the last of."""


class Xcbc:
    """
    The authenticator under one key.

    Args:
        key: 16 bytes.
    """

    def __init__(self, key: BytesLike) -> None:
        master = AES.new(key, AES.MODE_ECB)
        self._k1: bytes = master.encrypt(b"\x01" * _BLOCK)
        self._k2 = int.from_bytes(master.encrypt(b"\x02" * _BLOCK))
        self._k3 = int.from_bytes(master.encrypt(b"\x03" * _BLOCK))
        self._last: Any = AES.new(self._k1, AES.MODE_ECB)

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the 16 bytes of the MAC of a region."""
        message = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
        whole = max(0, (len(message) - 1) // _BLOCK * _BLOCK)
        chained = self._chain(message[:whole])
        tail = bytes(message[whole:])
        if len(tail) == _BLOCK:
            mask = self._k2
        else:
            tail = tail + b"\x80" + bytes(_BLOCK - 1 - len(tail))
            mask = self._k3
        return bytes(self._last.encrypt((int.from_bytes(tail) ^ chained ^ mask).to_bytes(_BLOCK)))

    def wipe(self) -> None:
        """Drop what was derived of the key."""
        self._k1, self._k2, self._k3, self._last = b"", 0, 0, None

    def _chain(self, blocks: memoryview) -> int:
        if not blocks:
            return 0
        cbc = AES.new(self._k1, AES.MODE_CBC, iv=bytes(_BLOCK))
        scratch = bytearray(min(_PIECE, len(blocks)))
        for at in range(0, len(blocks), _PIECE):
            piece = blocks[at : at + _PIECE]
            cbc.encrypt(piece, output=memoryview(scratch)[: len(piece)])
        return int.from_bytes(scratch[len(piece) - _BLOCK : len(piece)])


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_XCBC_MAC_96: lambda cri: Xcbc(cri.key or b""),
}
