"""
Deflate (RFC 1951) and gzip (RFC 1952), by zlib.

A result larger than the session's limit is refused before it is made: a few kilobytes can
decompress to gigabytes.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Mapping
from typing import Final

from opencrypto import Cryptoini
from opencrypto.chain import DECOMPRESSED_LIMIT, CompTransform, TransformFactory
from opencrypto.constants import (
    CRYPTO_DEFLATE_COMP,
    CRYPTO_DEFLATE_COMP_NOGROW,
    CRYPTO_GZIP_COMP,
)
from opencrypto.exceptions import LimitError, OperationError

RAW: Final = -15
"""zlib's name for a deflate stream without header or trailer."""

GZIP: Final = 31
"""zlib's name for a gzip file, with its header and its CRC."""


PIECE: Final = 1 << 16
"""Bytes handed to zlib at a time: of a file of many small members no more is copied for each."""


class Compressor:
    """
    Compresses and decompresses whole regions.

    Args:
        wbits: `RAW` or `GZIP`.
        limit: The most bytes a region may decompress to.
    """

    def __init__(self, wbits: int, limit: int) -> None:
        self._wbits = wbits
        self._limit = limit

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the compressed region."""
        stream = zlib.compressobj(wbits=self._wbits)
        return stream.compress(data) + stream.flush()

    def decompress(self, data: bytes | bytearray | memoryview) -> bytes:
        """
        Return the decompressed region; gzip files of several members are taken whole.

        Raises:
            LimitError: it is larger than the limit (EFBIG).
            OperationError: it is damaged, or ends early (EBADMSG).
        """
        view = memoryview(data).cast("B")
        parts: list[bytes] = []
        room, at = self._limit, 0
        while True:
            room, at = self._member(view, at, parts, room)
            if self._wbits == GZIP:
                at = _past_padding(view, at)
            elif at < len(view):
                raise OperationError(
                    "something follows the compressed data; give its exact region",
                    errno=errno.EBADMSG,
                )
            if at == len(view):
                return b"".join(parts)

    def _member(self, view: memoryview, at: int, parts: list[bytes], room: int) -> tuple[int, int]:
        """Add what one stream holds; return what room is left, and where the stream ends."""
        stream = zlib.decompressobj(wbits=self._wbits)
        while not stream.eof:
            piece = view[at : at + PIECE]
            if not piece:
                raise OperationError(
                    "the compressed data ends early; discard it", errno=errno.EBADMSG
                )
            try:
                part = stream.decompress(piece, room + 1)
            except zlib.error:
                raise OperationError(
                    "the compressed data is damaged; discard it", errno=errno.EBADMSG
                ) from None
            if len(part) > room:
                raise LimitError(
                    f"it decompresses to more than the limit of {self._limit} bytes; "
                    "raise the session's limit if you trust it",
                    errno=errno.EFBIG,
                )
            parts.append(part)
            room -= len(part)
            at += len(piece) - len(stream.unused_data)
        return room, at


def _past_padding(view: memoryview, at: int) -> int:
    """Return where the next gzip member begins: some writers pad with zeros, as tapes did."""
    while at < len(view):
        piece = bytes(view[at : at + PIECE])
        left = len(piece.lstrip(b"\0"))
        at += len(piece) - left
        if left:
            break
    return at


def _factory(wbits: int) -> TransformFactory:
    def factory(cri: Cryptoini) -> CompTransform:
        return Compressor(wbits, cri.limit or DECOMPRESSED_LIMIT)

    return factory


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_DEFLATE_COMP: _factory(RAW),
    CRYPTO_DEFLATE_COMP_NOGROW: _factory(RAW),
    CRYPTO_GZIP_COMP: _factory(GZIP),
}
