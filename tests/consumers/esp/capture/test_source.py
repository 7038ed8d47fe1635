"""Packed captures are unpacked as they come, with bounded memory, and their damage is noticed."""

from __future__ import annotations

import gc
import gzip
import io
import lzma
import random
import weakref
import zlib
from collections.abc import Callable

import pytest

from opencrypto_esp.capture import CaptureError
from opencrypto_esp.capture.source import CHUNK, Source, zstd_module

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": lambda data: bytes(zstd_module().compress(data)),
}
CONTENT = random.Random(1).randbytes(100_000) + bytes(200_000)
every = pytest.mark.parametrize("name", PACK)


def unpacked(data: bytes) -> tuple[bytes, str]:
    """Return what comes out, and the damage."""
    made = Source(io.BytesIO(data), "in")
    return made.more(b"", 1 << 30), made.damage


@every
def test_it_comes_out(name: str) -> None:
    assert unpacked(PACK[name](CONTENT)) == (CONTENT, "")
    assert unpacked(PACK[name](b"")) == (b"", "")


@every
def test_streams_one_after_another_are_one(name: str) -> None:
    pack = PACK[name]
    padding = bytes(4)
    assert unpacked(pack(CONTENT) + pack(b"") + padding + pack(b"more")) == (CONTENT + b"more", "")
    assert unpacked(pack(CONTENT) + padding) == (CONTENT, "")


@every
def test_what_is_cut_short_is_noticed(name: str) -> None:
    packed = PACK[name](CONTENT)
    for size in (7, len(packed) // 3, len(packed) - 1):
        got, damage = unpacked(packed[:size])
        assert CONTENT.startswith(got)
        assert damage == f"its {name} data is cut short"


@every
def test_what_is_damaged_is_noticed(name: str) -> None:
    packed = bytearray(PACK[name](CONTENT))
    packed[-6] ^= 0xFF
    _, damage = unpacked(bytes(packed))
    assert damage.startswith(f"its {name} data is ")
    got, damage = unpacked(PACK[name](b"whole") + b"what follows")
    assert (got, damage) == (b"whole", f"something else follows its {name} data")


@pytest.mark.slow
@every
def test_a_bomb_is_unpacked_a_piece_at_a_time(name: str) -> None:
    """A megabyte of gzip may hold a gigabyte."""
    made = Source(io.BytesIO(PACK[name](bytes(20 << 20))), "in")
    pieces = []
    while piece := made.more(b"", 1):
        pieces.append(len(piece))
    assert sum(pieces) == 20 << 20
    assert max(pieces) <= CHUNK


def test_an_xz_file_that_wants_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0}]
    packed = bytearray(lzma.compress(b"x", check=lzma.CHECK_CRC32, filters=filters))
    # The size of the dictionary is one byte of the block's header, which ends with a checksum.
    packed[packed.index(b"\x21\x01") + 2] = 37  # 1.5 GiB
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
    assert unpacked(bytes(packed)) == (b"", "its xz data is damaged")


def test_without_its_extra_zstd_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PACK["zstd"](CONTENT)

    def none(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.import_module", none)
    with pytest.raises(CaptureError, match=r"opencrypto\[zstd\]"):
        Source(io.BytesIO(packed), "in")


@every
def test_what_unpacks_goes_with_its_source(name: str) -> None:
    """In a circle of references its window of some megabytes waited for the collector."""
    made = Source(io.BytesIO(PACK[name](CONTENT)), "in")
    made.more(b"", 1)
    gone = weakref.ref(made)
    gc.disable()
    try:
        del made
        assert gone() is None
    finally:
        gc.enable()
