"""
The bytes of a capture, as they come: from a file or a pipe, unpacked if they are packed.
"""

from __future__ import annotations

import importlib
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Final, Protocol

from opencrypto_esp.capture.errors import CaptureError, Damage

CHUNK: Final = 1 << 16
"""**Bytes** that are asked for at once."""

_PACKED: Final = 1 << 16
_XZ_MEMORY: Final = 128 << 20
"""What an xz file may need of memory, which its header says: no more than ``xz -9`` makes."""


class Unpacker(Protocol):
    """What unpacks one stream: the interface of `lzma.LZMADecompressor`."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing more to be had without further input."""

    @property
    def unused_data(self) -> bytes:
        """What follows the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most so many bytes; the rest is kept for the next call."""


class _Gzip:
    """zlib's object, which has another interface, as the others are."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _xz() -> Unpacker:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _zstd() -> Unpacker:
    made: Unpacker = zstd_module().ZstdDecompressor()
    return made


def zstd_module() -> Any:
    """
    Return the module for zstd: Python's own, or the one of the extra.

    Raises:
        CaptureError: there is neither.
    """
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            pass
    raise CaptureError("it is packed with zstd; to unpack it: pip install opencrypto[zstd]")


_PACKINGS: Final[dict[bytes, tuple[str, Callable[[], Unpacker]]]] = {
    b"\x1f\x8b": ("gzip", _Gzip),
    b"\xfd7zXZ\x00": ("xz", _xz),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
"""What begins a packed file, what it is called, and what unpacks it."""


class _Unpacking:
    """The bytes in a packed file, of as many streams as it has one after another."""

    def __init__(self, start: bytes, read: Callable[[int], bytes]) -> None:
        magic = next(magic for magic in _PACKINGS if start.startswith(magic))
        self._magic = magic
        self._name, self._make = _PACKINGS[magic]
        self._stream = self._make()
        self._held = start
        self._read = read

    def read(self, size: int) -> bytes:
        """
        Return at most so many bytes; none at the end.

        Raises:
            Damage: the file is cut short or damaged.
        """
        while True:
            if self._stream.eof and not self._next():
                return b""
            data, self._held = self._held, b""
            if not data and self._stream.needs_input and not (data := self._read(_PACKED)):
                raise Damage(f"its {self._name} data is cut short")
            try:
                made = self._stream.decompress(data, size)
            # Each library has an error of its own; that of zstd need not be there to be named.
            except Exception as error:
                raise Damage(f"its {self._name} data is damaged") from error
            if made:
                return made

    def _next(self) -> bool:
        """Begin the next stream, if there is one; zeros between them are padding."""
        held = self._stream.unused_data
        while True:
            held = held.lstrip(b"\0")
            if len(held) < len(self._magic) and (data := self._read(_PACKED)):
                held += data
                continue
            break
        if not held:
            return False
        if not held.startswith(self._magic):
            raise Damage(f"something else follows its {self._name} data")
        self._stream = self._make()
        self._held = held
        return True


class _Counted:
    """A file's bytes, as far as they have come, and how many there were."""

    def __init__(self, file: BinaryIO) -> None:
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)
        self.position = 0

    def read(self, size: int) -> bytes:
        data = self._read(size)
        self.position += len(data)
        return data


class Source:
    """
    A capture's bytes.

    Args:
        file: Opened for reading bytes. It is read as far as it has come: a pipe waits for nothing.
        name: What to call it in an error.

    Attributes:
        damage: Why there are no more bytes, if the file is cut short or damaged; else empty.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self.damage = ""
        self._file = _Counted(file)
        start = b""
        while len(start) < 6 and (data := self._file.read(6 - len(start))):
            start += data
        self._start = start
        self._next = self._file.read
        if any(start.startswith(magic) for magic in _PACKINGS):
            self._start = b""
            try:
                self._next = _Unpacking(start, self._file.read).read
            except CaptureError as error:
                raise CaptureError(f"{name}: {error.strerror}") from None

    @property
    def position(self) -> int:
        """How many **bytes** of the file have been read."""
        return self._file.position

    def more(self, rest: bytes, wanted: int) -> bytes:
        """Return `rest` and what follows it, at least so many bytes in all, or fewer at the end."""
        pieces = [rest, self._start]
        have = len(rest) + len(self._start)
        self._start = b""
        while have < wanted and not self.damage:
            try:
                data = self._next(CHUNK)
            except Damage as damage:
                self.damage = str(damage)
                break
            if not data:
                break
            pieces.append(data)
            have += len(data)
        return b"".join(pieces)
