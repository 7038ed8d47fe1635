"""
The three buffer kinds, as one: a list of memoryviews over the consumer's own bytes.

A contiguous buffer is one segment, an iov is a sequence of them, an mbuf is a chain that can
grow. Nothing is copied until a caller asks for a region in one piece.
"""

from __future__ import annotations

import operator
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from opencrypto.constants import CRYPTO_F_IMBUF, CRYPTO_F_IOV
from opencrypto.exceptions import OutputTooSmall, UsageError

BytesLike: TypeAlias = bytes | bytearray | memoryview
"""What is taken where bytes are asked for: all its bytes count, whatever its items and shape."""

Segments: TypeAlias = list[memoryview]

PRIVATE: Final = (bytearray, bytes, array)
"""Whose memory is this process' own; any other's may be a mapping, or shared."""

_FIELD_NAMES: Final = re.compile(":[^:]*:")
"""In the format of a view whose items are structures: ``T{i:one:O:other:}``."""

_WITHOUT_GAPS: Final = "give it in segments, or a copy of it"


class Mbuf:
    """
    A growable chain of segments, after ``mbuf(9)``.

    Segments are writable bytes-like objects; the chain keeps views of them, not copies.
    """

    __slots__ = ("_segments",)

    def __init__(self, segments: Iterable[bytearray | memoryview] = ()) -> None:
        self._segments: Segments = []
        for segment in segments:
            self.append(segment)

    def append(self, segment: bytearray | memoryview) -> None:
        """
        Add a segment at the end of the chain.

        Raises:
            UsageError: it is no writable bytes-like object.
        """
        self._segments.append(byteview(segment))

    @property
    def segments(self) -> Segments:
        """The segments, as writable views of bytes."""
        return list(self._segments)

    def copydata(self, offset: int, length: int) -> bytes:
        """
        Copy a region out (``m_copydata``).

        Raises:
            UsageError: the region is not inside the chain, or not of whole numbers.
        """
        return b"".join(self._region(offset, length))

    def copyback(self, offset: int, data: BytesLike) -> None:
        """
        Copy data in at `offset`, growing the chain if it does not fit (``m_copyback``).

        What lies between the chain's end and `offset` is zeros.

        Raises:
            UsageError: `offset` is negative or no whole number, or `data` is not bytes-like;
                nothing was changed.
        """
        data = bytes(flat(data, "data"))  # a copy: it may be a view of this chain
        offset = _whole(offset, "offset")
        if offset < 0:
            raise UsageError(f"the offset of {offset} is before the beginning; give 0 or more")
        missing = offset + len(data) - len(self)
        if missing > 0:
            self.append(bytearray(missing))
        scatter(self._region(offset, len(data)), data)

    def splice(self, offset: int, length: int, data: BytesLike) -> None:
        """
        Put data in the place of a region; what follows it moves, and the length changes.

        Raises:
            UsageError: the region is not inside the chain, or not of whole numbers, or `data` is
                not bytes-like; nothing was changed.
        """
        new = byteview(bytearray(flat(data, "data")))
        self._region(offset, length)  # refused in the caller's numbers
        end = offset + length
        after = self._region(end, len(self) - end)
        before = self._region(0, offset)
        self._segments = [*before, new, *after]

    def trim(self, length: int) -> None:
        """
        Cut bytes off the end until `length` are left (``m_adj`` with a negative count).

        Raises:
            UsageError: there are not that many, or `length` is negative or no whole number.
        """
        self._segments = self._region(0, length)

    def _region(self, offset: int, length: int) -> Segments:
        return region(self._segments, _whole(offset, "offset"), _whole(length, "length"))

    def put_back(self, segments: Segments) -> None:
        """Make the chain of these segments again, which it had before."""
        self._segments = list(segments)

    def __len__(self) -> int:
        return sum(map(len, self._segments))

    def __bytes__(self) -> bytes:
        return b"".join(self._segments)

    def __repr__(self) -> str:
        return f"<Mbuf {len(self)} bytes in {len(self._segments)} segments>"


def _whole(number: int, what: str) -> int:
    try:
        return operator.index(number)
    except TypeError:
        kind = type(number).__name__
        raise UsageError(f"the {what} must be a whole number, not {kind}") from None


def viewed(obj: Any) -> memoryview | str:
    """
    View a value's memory, whatever its items; or say why that cannot be used as bytes.

    Items that are Python objects (numpy has such arrays) are addresses in memory: enciphered in
    place they end the process, and a MAC of them means nothing.
    """
    try:
        view = memoryview(obj)
    except TypeError:
        return f"must be bytes-like, not {type(obj).__name__}"
    except (ValueError, BufferError):
        return "has no bytes: it was released or closed, or its items have none"
    if view.format != "B" and "O" in _FIELD_NAMES.sub("", view.format):
        return "holds Python objects, of which it has the addresses alone"
    return view


def byteview(obj: Any, *, writable: bool = True, what: str = "buffer") -> memoryview:
    """
    View memory that is worked on in place as bytes.

    Args:
        obj: A bytes-like object, of whatever items and shape.
        writable: Whether it must be possible to write into it.
        what: What it is called in refusals.

    Returns:
        The same memory, as a view of single bytes.

    Raises:
        UsageError: it is no buffer, is read-only although `writable` is asked for, or is not
            contiguous in memory; or it has no bytes, as a view that was released.
    """
    view = viewed(obj)
    if isinstance(view, str):
        raise UsageError(f"a {what} {view}; give a bytearray")
    if writable and view.readonly:
        raise UsageError(f"the {what} is read-only; give a bytearray or a writable memoryview")
    if not view.c_contiguous:
        raise UsageError(f"the {what} is not contiguous in memory; {_WITHOUT_GAPS}")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def is_private(view: memoryview) -> bool:
    """Tell whether memory is certainly of this process alone."""
    return type(view.obj) in PRIVATE


def flat(obj: Any, what: str) -> bytes | memoryview:
    """
    Return all bytes of a value that is only read, in order; what has gaps is copied together.

    Every bytes-like argument that is no buffer goes through here, so that nobody counts items
    where bytes are meant.

    Args:
        obj: A bytes-like object, of whatever items and shape.
        what: What it is called in refusals.

    Returns:
        Its bytes, or a view of them.

    Raises:
        UsageError: it is not bytes-like, or has no bytes, as a view that was released.
    """
    if type(obj) is bytes:
        return obj
    view = viewed(obj)
    if isinstance(view, str):
        hint = "; encode it first" if isinstance(obj, str) else ""
        del obj  # a traceback may show locals, and this may be a key
        raise UsageError(f"{what} {view}{hint}")
    if not view.c_contiguous:
        return view.tobytes()
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def segments(buf: Any, flags: int = 0, *, writable: bool = True) -> Segments:
    """
    Return a request's buffer as views of its segments, in order.

    Args:
        buf: A bytes-like object, a list or tuple of them, or an `Mbuf`.
        flags: The request's: ``CRYPTO_F_IOV`` or ``CRYPTO_F_IMBUF`` if it names the kind.
        writable: Whether each must be writable: only a request that writes nothing into the
            buffer may do without.

    Returns:
        A view of single bytes of each segment; together they are the buffer.

    Raises:
        UsageError: there is none, it contradicts the kind that `flags` name, or is unusable.
    """
    if buf is None:
        raise UsageError("the request has no buffer; set buf")
    if isinstance(buf, Mbuf):
        if flags & CRYPTO_F_IOV:
            raise UsageError("CRYPTO_F_IOV with an Mbuf; give a sequence of buffers")
        return buf.segments
    if flags & CRYPTO_F_IMBUF:
        raise UsageError(f"CRYPTO_F_IMBUF needs an Mbuf, not {type(buf).__name__}")
    if isinstance(buf, (list, tuple)):
        return [byteview(part, writable=writable) for part in buf]
    if flags & CRYPTO_F_IOV:
        raise UsageError(f"CRYPTO_F_IOV needs a list of buffers, not {type(buf).__name__}")
    return [byteview(buf, writable=writable)]


def total(parts: Sequence[memoryview]) -> int:
    """Return the number of bytes in all segments."""
    return len(parts[0]) if len(parts) == 1 else sum(map(len, parts))


def region(parts: Sequence[memoryview], offset: int, length: int) -> Segments:
    """
    Return views of a part of a buffer; no empty views.

    Args:
        parts: The segments of the buffer.
        offset: Where the part begins, in **bytes** from the start of the first segment.
        length: How many **bytes** it has.

    Returns:
        Views of the same memory, in order, that have so many bytes together.

    Raises:
        UsageError: the region is not inside the buffer.
    """
    if offset < 0 or length < 0 or offset + length > total(parts):
        raise UsageError(
            f"the region of {length} bytes at {offset} is outside the buffer "
            f"of {total(parts)} bytes"
        )
    return list(_walk(parts, offset, length))


def _walk(parts: Sequence[memoryview], offset: int, length: int) -> Iterator[memoryview]:
    for part in parts:
        if length == 0:
            return
        if offset >= len(part):
            offset -= len(part)
            continue
        view = part[offset : offset + length]
        yield view
        length -= len(view)
        offset = 0


def gather(parts: Sequence[memoryview]) -> bytearray:
    """
    Copy segments into one new piece.

    Args:
        parts: The segments, in order.

    Returns:
        Their bytes, one after the other; it is the caller's to wipe.
    """
    return bytearray().join(parts)


def scatter(parts: Sequence[memoryview], data: BytesLike) -> None:
    """
    Copy one piece back over segments.

    Args:
        parts: The segments, in order; they are written.
        data: As many **bytes** as they have together.

    Raises:
        UsageError: `data` is not bytes-like.
    """
    view = memoryview(flat(data, "data"))
    start = 0
    for part in parts:
        part[:] = view[start : start + len(part)]
        start += len(part)


def replace_region(buf: Any, parts: Segments, offset: int, length: int, data: bytes) -> Segments:
    """
    Put data in the place of a region, of another length if need be; return the segments anew.

    What the region held and the data does not cover is overwritten with zeros: it may be plaintext,
    of which a later step covers no more than what is left.

    Raises:
        OutputTooSmall: the buffer cannot grow, and what follows `offset` in it is too short.
    """
    if isinstance(buf, Mbuf):
        replaced = region(parts, offset, length)
        buf.splice(offset, length, data)
        wipe(replaced)
        return buf.segments
    room = total(parts) - offset
    if len(data) > room:
        raise OutputTooSmall(
            f"the result of {len(data)} bytes does not fit the {room} there are; "
            "give a larger buffer, or an Mbuf"
        )
    scatter(region(parts, offset, len(data)), data)
    wipe(region(parts, offset + len(data), max(0, length - len(data))))
    return parts


def wipe(parts: Sequence[memoryview | bytearray]) -> None:
    """Overwrite segments with zeros."""
    for part in parts:
        part[:] = bytes(len(part))


class Saved:
    """
    A buffer as it is now, to be put back if a request fails half way.

    Args:
        buf: The request's buffer.
        parts: Its segments.
    """

    __slots__ = ("_buf", "_copies", "_parts")

    def __init__(self, buf: Any, parts: Segments) -> None:
        self._buf = buf
        self._parts = list(parts)
        self._copies = list(map(bytearray, parts))

    def restore(self) -> None:
        """Put back what there was, in the segments that there were; then `forget`."""
        for part, copy in zip(self._parts, self._copies, strict=True):
            if not part.readonly:  # which a request may be that writes a MAC elsewhere
                part[:] = copy
        if isinstance(self._buf, Mbuf):
            self._buf.put_back(self._parts)
        self.forget()

    def forget(self) -> None:
        """Wipe the copies, which may be plaintext, and let go of the buffer."""
        wipe(self._copies)
        self._copies, self._parts, self._buf = [], [], None
