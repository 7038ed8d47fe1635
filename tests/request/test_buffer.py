"""The three buffer kinds: regions without copies, borders, and what is refused."""

from __future__ import annotations

import array
import errno
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrypto import CRYPTO_F_IMBUF, CRYPTO_F_IOV, Mbuf, UsageError
from opencrypto._request.buffer import byteview, gather, region, scatter, segments, total

DATA = bytes(range(24))


def contiguous() -> Any:
    return bytearray(DATA)


def iov() -> Any:
    return [
        bytearray(DATA[:1]),
        bytearray(),
        memoryview(bytearray(DATA[1:17])),
        bytearray(DATA[17:]),
    ]


def mbuf() -> Any:
    return Mbuf(iov())


KINDS = [contiguous, iov, mbuf]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("offset", "length"), [(0, 24), (0, 0), (24, 0), (0, 1), (1, 16), (16, 8)])
def test_regions_up_to_the_borders(kind: Any, offset: int, length: int) -> None:
    """Every region inside is found whole, without empty pieces, and writes reach the buffer."""
    buf = kind()
    parts = segments(buf)
    assert total(parts) == 24
    found = region(parts, offset, length)
    assert bytes(gather(found)) == DATA[offset : offset + length]
    assert all(len(part) for part in found)
    scatter(found, bytes(length))
    after = b"".join(segments(buf))
    assert after == DATA[:offset] + bytes(length) + DATA[offset + length :]


@pytest.mark.parametrize(("offset", "length"), [(10, 1), (3, 2), (-1, 1), (0, -1)])
def test_a_splice_outside_is_refused_in_the_callers_numbers(offset: int, length: int) -> None:
    chain = Mbuf([bytearray(b"ab"), bytearray(b"cd")])
    with pytest.raises(UsageError, match=f"of {length} bytes at {offset} is outside .* 4 bytes"):
        chain.splice(offset, length, b"x")
    assert bytes(chain) == b"abcd"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("offset", "length"), [(0, 25), (24, 1), (25, 0), (-1, 2), (3, -1)])
def test_regions_outside_are_refused(kind: Any, offset: int, length: int) -> None:
    """A region that is not inside the buffer is an error that gives its place and the size."""
    with pytest.raises(UsageError, match=f"{length} bytes at {offset} is outside .* 24 bytes"):
        region(segments(kind()), offset, length)


@given(st.lists(st.binary(max_size=9), max_size=6), st.data())
def test_any_cut_gives_the_same_region(pieces: list[bytes], data: st.DataObject) -> None:
    """However a buffer is cut into segments, a region of it is the same bytes."""
    whole = b"".join(pieces)
    offset = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, len(whole) - offset))
    found = region(segments([bytearray(piece) for piece in pieces]), offset, length)
    assert bytes(gather(found)) == whole[offset : offset + length]


def test_nothing_is_copied() -> None:
    """The views are of the consumer's own bytes, and other item sizes are seen as bytes."""
    words = array.array("I", [0, 0])
    byteview(words)[:4] = b"\x01\0\0\0"
    assert words[0] in {1, 1 << 24}
    buf = bytearray(4)
    segments(buf)[0][0] = 9
    assert buf[0] == 9


@pytest.mark.parametrize(
    ("buf", "flags", "sentence"),
    [
        (None, 0, "no buffer; set buf"),
        (b"read", 0, "read-only; give a bytearray"),
        ([b"read"], 0, "read-only"),
        ("text", 0, "bytes-like, not str"),
        (memoryview(bytearray(8))[::2], 0, "not contiguous .* in segments"),
        (bytearray(1), CRYPTO_F_IOV, "needs a list of buffers, not bytearray"),
        ([bytearray(1)], CRYPTO_F_IMBUF, "needs an Mbuf, not list"),
        (Mbuf(), CRYPTO_F_IOV, "with an Mbuf; give a sequence"),
    ],
)
def test_unusable_buffers(buf: Any, flags: int, sentence: str) -> None:
    """What is no buffer, or not of the kind the flags name, is refused with what to give."""
    with pytest.raises(UsageError, match=sentence):
        segments(buf, flags)


def test_read_only_is_enough_for_reading() -> None:
    """Without `writable` a read-only buffer is as good as any."""
    assert segments(b"read", writable=False) == [b"read"]


def test_an_mbuf_grows_and_is_trimmed() -> None:
    """copyback grows the chain as needed, copydata reads across it, trim cuts its end off."""
    chain = Mbuf([bytearray(b"abc"), bytearray(b"def")])
    chain.copyback(4, b"XYZ12")
    assert bytes(chain) == b"abcdXYZ12"
    chain.copyback(11, b"!")
    assert bytes(chain) == b"abcdXYZ12\0\0!"
    assert chain.copydata(2, 4) == b"cdXY"
    chain.trim(4)
    assert (bytes(chain), len(chain)) == (b"abcd", 4)
    for call in (lambda: chain.trim(5), lambda: chain.copydata(3, 2)):
        with pytest.raises(UsageError, match="outside"):
            call()
    assert "4 bytes" in repr(chain)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (-1, 10), (-4, 2), (-10, 3), (-(2**40), 0)])
def test_a_copyback_before_the_beginning_is_refused_and_grows_nothing(
    offset: int, size: int
) -> None:
    chain = Mbuf([bytearray(b"ab"), bytearray(b"cd")])
    with pytest.raises(UsageError, match=f"{offset} is before the beginning"):
        chain.copyback(offset, bytes(size))
    assert bytes(chain) == b"abcd"
    assert len(chain.segments) == 2


NO_NUMBERS: list[Any] = [None, "1", b"\1", 1.0, [1], object()]


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=lambda wrong: type(wrong).__name__)
def test_a_place_in_a_chain_that_is_no_whole_number_is_refused(wrong: Any) -> None:
    chain = Mbuf([bytearray(b"ab"), bytearray(b"cd")])
    calls: list[Callable[[], Any]] = [
        lambda: chain.copyback(wrong, b"x"),
        lambda: chain.copydata(wrong, 1),
        lambda: chain.copydata(0, wrong),
        lambda: chain.splice(wrong, 1, b"x"),
        lambda: chain.splice(0, wrong, b"x"),
        lambda: chain.trim(wrong),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=f"whole number, not {type(wrong).__name__}") as info:
            call()
        assert info.value.errno == errno.EINVAL
    assert bytes(chain) == b"abcd"


@pytest.mark.parametrize("length", [-1, -4, 5, 2**63])
def test_a_trim_to_a_length_that_is_not_there_is_refused(length: int) -> None:
    chain = Mbuf([bytearray(b"ab"), bytearray(b"cd")])
    with pytest.raises(UsageError, match="outside"):
        chain.trim(length)
    assert bytes(chain) == b"abcd"


def test_a_chain_may_be_copied_back_into_itself() -> None:
    """What is written first is not what is read next."""
    whole = bytearray(b"abcdefgh")
    chain = Mbuf([whole, bytearray(b"--------")])
    chain.copyback(4, memoryview(whole))
    assert bytes(chain) == b"abcdabcdefgh----"
