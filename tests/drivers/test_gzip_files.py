"""Gzip files as others write them, every way to damage one, and streams made to exhaust us."""

import errno
import gzip
import itertools
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from opencrypto import (
    CRD_F_COMP,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_DEFLATE_COMP_NOGROW,
    CRYPTO_GZIP_COMP,
    Alg,
    Framework,
    Mbuf,
    UsageError,
)
from tests.drivers.rig import shape
from tests.drivers.test_compression import NOISE, TEXT, run
from tests.support import require_tool

pytestmark = pytest.mark.slow

FTEXT, FHCRC, FEXTRA, FNAME, FCOMMENT = (1 << bit for bit in range(5))


@pytest.fixture
def framework() -> Iterator[Framework]:
    with Framework(plugins=["swcrypto"]) as fw:
        yield fw


def file(text: bytes, flags: int = 0) -> bytes:
    """Write a gzip file with these fields in its header (RFC 1952, 2.3)."""
    head = struct.pack("<4BIBB", 0x1F, 0x8B, 8, flags, 1_700_000_000, 2, 3)
    if flags & FEXTRA:
        extra = b"Cp" + struct.pack("<H", 5) + b"field"
        head += struct.pack("<H", len(extra)) + extra
    if flags & FNAME:
        head += b"a name.txt\0"
    if flags & FCOMMENT:
        head += "a r\xe9mark".encode("latin-1") + b"\0"
    if flags & FHCRC:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    return head + zlib.compress(text, wbits=-15) + struct.pack("<II", zlib.crc32(text), len(text))


def unpack(framework: Framework, alg: Alg, packed: bytes, limit: int = 0) -> tuple[int, bytes]:
    """Decompress, and return the etype and what is then in the buffer."""
    chain = Mbuf([bytearray(packed)])
    crp = run(framework, alg, chain, len(packed), limit=limit)
    assert crp.etype or crp.olen == len(chain)
    return crp.etype, bytes(chain)


# Files of other writers.


@pytest.mark.parametrize("flags", range(32))
def test_every_field_of_the_header(framework: Framework, flags: int) -> None:
    """Each field that a header may have, in every combination, as Python's gzip reads it."""
    packed = file(TEXT, flags)
    assert gzip.decompress(packed) == TEXT
    assert unpack(framework, CRYPTO_GZIP_COMP, packed) == (0, TEXT)


@pytest.mark.parametrize("flags", [0, FNAME, FEXTRA | FCOMMENT, FNAME | FEXTRA | FCOMMENT])
def test_the_files_are_gzips(flags: int) -> None:
    """The command itself reads what the tests above write; it knows no FHCRC."""
    tool = require_tool("gzip", "gzip")
    opened = subprocess.run([tool, "-dc"], input=file(TEXT, flags), capture_output=True, check=True)
    assert opened.stdout == TEXT


def test_members_of_several_writers_in_one_file(framework: Framework) -> None:
    """The command's, Python's, ours and an empty one, with padding behind."""
    tool = require_tool("gzip", "gzip")
    by_command = subprocess.run([tool, "-c"], input=TEXT, capture_output=True, check=True).stdout
    chain = Mbuf([bytearray(TEXT)])
    run(framework, CRYPTO_GZIP_COMP, chain, len(TEXT), CRD_F_COMP)
    members = [by_command, gzip.compress(NOISE), file(b"", FNAME), bytes(chain), file(TEXT, FHCRC)]
    expected = TEXT + NOISE + TEXT + TEXT
    assert unpack(framework, CRYPTO_GZIP_COMP, b"".join(members)) == (0, expected)
    assert unpack(framework, CRYPTO_GZIP_COMP, b"".join(members) + bytes(512)) == (0, expected)


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize(
    "strategy", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED]
)
@pytest.mark.parametrize("wbits", [-15, -9, 31, 25])
def test_whatever_zlib_can_write(
    framework: Framework, level: int, strategy: int, wbits: int
) -> None:
    """Every level, strategy and window: stored, fixed and dynamic blocks."""
    stream = zlib.compressobj(level, wbits=wbits, strategy=strategy)
    packed = stream.compress(TEXT + NOISE) + stream.flush()
    alg = CRYPTO_DEFLATE_COMP if wbits < 0 else CRYPTO_GZIP_COMP
    assert unpack(framework, alg, packed) == (0, TEXT + NOISE)


# Damage.


@pytest.mark.parametrize("alg", [CRYPTO_DEFLATE_COMP, CRYPTO_GZIP_COMP])
def test_every_way_to_cut_one_short(framework: Framework, alg: Alg) -> None:
    """Each beginning of a stream is damaged, and the buffer stays."""
    whole = file(TEXT, FNAME | FHCRC) if alg == CRYPTO_GZIP_COMP else zlib.compress(TEXT, wbits=-15)
    for length in range(len(whole)):
        assert unpack(framework, alg, whole[:length]) == (errno.EBADMSG, whole[:length])


def test_every_bit_that_may_fall_over(framework: Framework) -> None:
    """One bit wrong anywhere in a file is found; but for those behind the last block, unused."""
    packed = file(TEXT[:200], FHCRC | FNAME)
    unharmed = []
    for at, bit in itertools.product(range(len(packed)), range(8)):
        harmed = bytearray(packed)
        harmed[at] ^= 1 << bit
        answer = unpack(framework, CRYPTO_GZIP_COMP, bytes(harmed))
        if answer == (0, TEXT[:200]):
            unharmed.append(at)
        else:
            assert answer == (errno.EBADMSG, bytes(harmed))
    assert set(unharmed) <= {len(packed) - 9}
    assert len(unharmed) < 8


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("another method", b"\x1f\x8b\x07" + file(TEXT)[3:]),
        ("a flag that is reserved", b"\x1f\x8b\x08\x20" + file(TEXT)[4:]),
        ("a wrong sum", file(TEXT)[:-8] + bytes(4) + file(TEXT)[-4:]),
        ("a wrong length", file(TEXT)[:-4] + bytes(4)),
        ("a wrong sum of the header", file(TEXT, FHCRC)[:10] + b"??" + file(TEXT, FHCRC)[12:]),
        ("something behind", file(TEXT) + b"tail"),
        ("a second member cut short", file(TEXT) + file(TEXT)[:-1]),
        ("a second member damaged", file(TEXT) + file(TEXT)[:-8] + bytes(8)),
        ("padding, then something", file(TEXT) + bytes(9) + b"tail"),
        ("no gzip at all", b"PK\3\4" + bytes(40)),
        ("an old compress", b"\x1f\x9d\x90" + bytes(20)),
        ("zlib's own header", zlib.compress(TEXT)),
        ("nothing", b""),
    ],
)
def test_damaged_files(framework: Framework, name: str, packed: bytes) -> None:
    """Each is EBADMSG, and the buffer stays."""
    assert unpack(framework, CRYPTO_GZIP_COMP, packed) == (errno.EBADMSG, packed), name


def test_something_behind_a_bare_stream_is_refused(framework: Framework) -> None:
    """Deflate has no members: what follows the last block is not data."""
    packed = zlib.compress(TEXT, wbits=-15)
    for tail in (b"\0", packed):
        etype, left = unpack(framework, CRYPTO_DEFLATE_COMP, packed + tail)
        assert (etype, left) == (errno.EBADMSG, packed + tail)


# Room.


def fixed(kind: str, data: bytes) -> tuple[Any, bytearray]:
    """Put data into a buffer that cannot grow."""
    whole = bytearray(data)
    view = memoryview(whole)
    return {"contiguous": whole, "iov": [view[:5], view[5:]]}[kind], whole


@pytest.mark.parametrize("kind", ["contiguous", "iov"])
@pytest.mark.parametrize("alg", [CRYPTO_DEFLATE_COMP, CRYPTO_GZIP_COMP])
def test_what_grows_when_compressed_needs_room_too(
    framework: Framework, alg: Alg, kind: str
) -> None:
    """Noise becomes longer: ENOSPC in a fixed buffer of its size, and nothing is written."""
    buf, whole = fixed(kind, NOISE)
    crp = run(framework, alg, buf, len(NOISE), CRD_F_COMP)
    assert (crp.etype, bytes(whole)) == (errno.ENOSPC, NOISE)
    assert crp.olen > len(NOISE)
    buf, whole = fixed(kind, NOISE + bytes(crp.olen - len(NOISE)))
    again = run(framework, alg, buf, len(NOISE), CRD_F_COMP)
    assert (again.etype, again.olen) == (0, crp.olen)
    assert unpack(framework, alg, bytes(whole)) == (0, NOISE)


@pytest.mark.parametrize("kind", ["contiguous", "iov"])
@pytest.mark.parametrize("short", [1, 7, len(TEXT) - 200])
def test_one_byte_too_few_is_too_few(framework: Framework, kind: str, short: int) -> None:
    """The room is from skip to the end; if it is too small by any number, the buffer stays."""
    packed = zlib.compress(TEXT, wbits=-15)
    data = b"skip" + packed + bytes(len(TEXT) - len(packed) - short)
    buf, whole = fixed(kind, data)
    crp = run(framework, CRYPTO_DEFLATE_COMP, buf, len(packed), skip=4)
    assert (crp.etype, crp.olen, bytes(whole)) == (errno.ENOSPC, len(TEXT), data)


@pytest.mark.parametrize("data", [NOISE, b"", b"a"])
@pytest.mark.parametrize("kind", ["contiguous", "iov", "mbuf"])
def test_without_growth_in_every_buffer(framework: Framework, kind: str, data: bytes) -> None:
    """NOGROW leaves what would not shrink: in a chain that could grow as well."""
    work = shape(kind, data)
    crp = run(framework, CRYPTO_DEFLATE_COMP_NOGROW, work.buf, len(data), CRD_F_COMP)
    assert (crp.etype, work.content()) == (0, data)
    assert crp.olen >= len(data)


def test_without_growth_unpacks_as_ever(framework: Framework) -> None:
    """The rule is for packing."""
    packed = zlib.compress(TEXT, wbits=-15)
    assert unpack(framework, CRYPTO_DEFLATE_COMP_NOGROW, packed) == (0, TEXT)


# Streams made to exhaust us.


@pytest.mark.parametrize("members", [1, 5])
@pytest.mark.parametrize("alg", [CRYPTO_DEFLATE_COMP, CRYPTO_GZIP_COMP])
def test_the_limit_is_exact_and_settable(framework: Framework, alg: Alg, members: int) -> None:
    """As many bytes as the session allows are given out, one more is EFBIG and stays packed."""
    if alg == CRYPTO_GZIP_COMP:
        packed = file(TEXT) * members
    else:
        packed = zlib.compress(TEXT * members, wbits=-15)
    size = len(TEXT) * members
    assert unpack(framework, alg, packed, limit=size) == (0, TEXT * members)
    for limit in (size - 1, len(TEXT) - 1, 1):
        assert unpack(framework, alg, packed, limit=limit) == (errno.EFBIG, packed)


def test_no_limit_below_nothing_is_taken() -> None:
    """A limit is a number of bytes."""
    with Framework(plugins=["swcrypto"]) as framework, pytest.raises(UsageError, match="limit"):
        unpack(framework, CRYPTO_GZIP_COMP, file(TEXT), limit=-1)


@pytest.mark.slow
def test_a_bomb_of_many_members(framework: Framework) -> None:
    """
    Each member is small and legal, and there are very many: together they are over the limit.

    The work is in proportion to the input. Were each member to copy what follows or precedes it,
    this would take longer than a test may.
    """
    packed = gzip.compress(bytes(1000), mtime=0) * 80_000
    assert unpack(framework, CRYPTO_GZIP_COMP, packed)[0] == errno.EFBIG
    packed = gzip.compress(b"", mtime=0) * 200_000
    assert unpack(framework, CRYPTO_GZIP_COMP, packed) == (0, b"")


@pytest.mark.parametrize("more", [b"", file(b"second")], ids=["to the end", "before a member"])
def test_zeros_behind_a_member_are_passed_over_in_no_time(
    framework: Framework, more: bytes
) -> None:
    """Sixteen megabytes of padding: not a byte at a time, which took seconds."""
    packed = file(b"first") + bytes(16 << 20) + more
    began = time.thread_time()
    etype, text = unpack(framework, CRYPTO_GZIP_COMP, packed)
    assert time.thread_time() - began < 1
    assert (etype, text) == (0, b"first" + b"second" * bool(more))


@pytest.mark.parametrize("zeros", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1])
def test_padding_of_any_length_is_passed_over(framework: Framework, zeros: int) -> None:
    """The next member begins behind the last zero, wherever pieces end."""
    packed = file(b"first") + bytes(zeros) + file(b"second")
    assert unpack(framework, CRYPTO_GZIP_COMP, packed) == (0, b"firstsecond")
