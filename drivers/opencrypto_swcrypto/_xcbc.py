"""
AES-XCBC-MAC (RFC 3566), on pycryptodome's AES: no library of ours has it.

A CBC-MAC under a derived key whose last block is masked with one of two others, so that messages
of any length are safe. Everything but the last block goes through one CBC call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from Crypto.Cipher import AES

from opencrypto.chain import BytesLike, Segments, TransformFactory
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
        whole = before_last(len(message))
        return self.finish(self.chain(0, message[:whole]), bytes(message[whole:]))

    def stream(self) -> XcbcStream:
        """Begin a message that comes in pieces."""
        return XcbcStream(self)

    def finish(self, chained: int, tail: bytes) -> bytes:
        """Return the MAC of what has been chained, and of the last block, whole or not."""
        if len(tail) == _BLOCK:
            mask = self._k2
        else:
            tail = tail + b"\x80" + bytes(_BLOCK - 1 - len(tail))
            mask = self._k3
        return bytes(self._last.encrypt((int.from_bytes(tail) ^ chained ^ mask).to_bytes(_BLOCK)))

    def wipe(self) -> None:
        """Drop what was derived of the key."""
        self._k1, self._k2, self._k3, self._last = b"", 0, 0, None

    def chain(self, chained: int, blocks: memoryview) -> int:
        """Chain whole blocks, none of them the last, to those before; return the new value."""
        if not blocks:
            return chained
        cbc = AES.new(self._k1, AES.MODE_CBC, iv=chained.to_bytes(_BLOCK))
        scratch = bytearray(min(_PIECE, len(blocks)))
        for at in range(0, len(blocks), _PIECE):
            piece = blocks[at : at + _PIECE]
            cbc.encrypt(piece, output=memoryview(scratch)[: len(piece)])
        return int.from_bytes(scratch[len(piece) - _BLOCK : len(piece)])


class XcbcStream:
    """
    AES-XCBC-MAC in the midst of a message. It holds the last block back, since that is another.

    Args:
        xcbc: The authenticator under its key.
    """

    __slots__ = ("_chained", "_held", "_xcbc")

    def __init__(self, xcbc: Xcbc) -> None:
        self._xcbc: Xcbc | None = xcbc
        self._chained = 0
        self._held = b""

    def update(self, parts: Segments) -> None:
        """Go on with the next region."""
        assert self._xcbc is not None
        for part in parts:
            view = part
            if self._held:
                missing = _BLOCK - len(self._held)
                self._held += bytes(part[:missing])
                view = part[missing:]
                if not view:
                    continue
                self._chained = self._xcbc.chain(self._chained, memoryview(self._held))
            whole = before_last(len(view))
            self._chained = self._xcbc.chain(self._chained, view[:whole])
            self._held = bytes(view[whole:])

    def mac(self) -> bytes:
        """End the message; return its MAC."""
        assert self._xcbc is not None
        return self._xcbc.finish(self._chained, self._held)

    def copy(self) -> XcbcStream:
        """Return another one that has come as far."""
        assert self._xcbc is not None
        twin = XcbcStream(self._xcbc)
        twin._chained, twin._held = self._chained, self._held
        return twin

    def wipe(self) -> None:
        """Drop what was kept."""
        self._xcbc, self._chained, self._held = None, 0, b""


def before_last(size: int) -> int:
    """Return how many bytes of a message lie in whole blocks before its last one."""
    return max(0, (size - 1) // _BLOCK * _BLOCK)


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_XCBC_MAC_96: lambda cri: Xcbc(cri.key or b""),
}
