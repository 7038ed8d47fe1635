"""Compression in request chains: lengths that change, limits, damage, files of other writers."""

import errno
import gzip
import io
import subprocess
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from opencrypto import (
    CRD_F_COMP,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_DEFLATE_COMP_NOGROW,
    CRYPTO_F_CBIMM,
    CRYPTO_GZIP_COMP,
    Alg,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    Mbuf,
)
from tests.support import require_tool

TEXT = b"to be, or not to be, that is the question; " * 50
NOISE = bytes((i * 167 + (i * i) % 251) % 256 for i in range(64))
ALGS = (CRYPTO_DEFLATE_COMP, CRYPTO_GZIP_COMP)


@pytest.fixture
def framework() -> Iterator[Framework]:
    with Framework(plugins=["swcrypto"]) as fw:
        yield fw


def run(
    fw: Framework, alg: Alg, buf: Any, length: int, flags: int = 0, *, skip: int = 0, limit: int = 0
) -> Cryptop:
    """Carry one compression request out on a session of its own."""
    sid = fw.newsession(Cryptoini(alg, limit=limit))
    crp = Cryptop(sid, buf, [Cryptodesc(skip, length, 0, flags, alg=alg)], lambda crp: None)
    crp.flags = CRYPTO_F_CBIMM
    fw.dispatch(crp)
    fw.freesession(sid)
    return crp


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("text", [b"", b"a", TEXT, NOISE])
def test_a_round_trip_on_a_chain_that_grows(framework: Framework, alg: Alg, text: bytes) -> None:
    """An mbuf takes the length of the result, and what follows the region moves with it."""
    chain = Mbuf([bytearray(b"head"), bytearray(text), bytearray(b"tail")])
    packed = run(framework, alg, chain, len(text), CRD_F_COMP, skip=4)
    assert packed.etype == 0
    assert bytes(chain)[:4] == b"head"
    assert bytes(chain)[4 + packed.olen :] == b"tail"
    opened = run(framework, alg, chain, packed.olen, skip=4)
    assert (opened.etype, opened.olen) == (0, len(text))
    assert bytes(chain) == b"head" + text + b"tail"


@pytest.mark.parametrize("kind", ["contiguous", "iov"])
def test_a_fixed_buffer_too_small_stays_as_it_is(framework: Framework, kind: str) -> None:
    """Where the result does not fit: ENOSPC, nothing written, and olen says how much it takes."""
    packed = zlib.compress(TEXT, wbits=-15)
    whole = bytearray(packed) + bytes(100)
    view = memoryview(whole)
    before = bytes(whole)
    crp = run(
        framework, CRYPTO_DEFLATE_COMP, whole if kind == "contiguous" else [view[:7], view[7:]],
        len(packed),
    )  # fmt: skip
    assert (crp.etype, crp.olen, bytes(whole)) == (errno.ENOSPC, len(TEXT), before)
    assert "give a larger buffer, or an Mbuf" in crp.error


def test_a_fixed_buffer_with_room_takes_the_result(framework: Framework) -> None:
    """The result may reach from skip to the end of the buffer."""
    packed = zlib.compress(TEXT, wbits=-15)
    whole = bytearray(packed) + bytes(len(TEXT) - len(packed))
    crp = run(framework, CRYPTO_DEFLATE_COMP, whole, len(packed))
    assert (crp.etype, bytes(whole)) == (0, TEXT)


def test_without_growth_what_would_not_shrink_stays(framework: Framework) -> None:
    """DEFLATE_COMP_NOGROW leaves noise alone, says what it would have become, and succeeds."""
    noise = bytearray(NOISE)
    crp = run(framework, CRYPTO_DEFLATE_COMP_NOGROW, noise, len(noise), CRD_F_COMP)
    assert (crp.etype, bytes(noise)) == (0, NOISE)
    assert crp.olen >= len(NOISE)
    text = Mbuf([bytearray(TEXT)])
    crp = run(framework, CRYPTO_DEFLATE_COMP_NOGROW, text, len(TEXT), CRD_F_COMP)
    assert crp.olen == len(text) < len(TEXT)


def test_a_bomb_is_refused_before_it_is_made(framework: Framework) -> None:
    """Over the session's limit: EFBIG, at the price of the limit and not of the bomb."""
    pressed = zlib.compressobj(9, wbits=-15)
    megabyte = pressed.compress(bytes(1 << 20)) + pressed.flush(zlib.Z_FULL_FLUSH)
    bomb = 200 * megabyte + pressed.flush()  # after a full flush a piece says nothing of others
    tracemalloc.start()
    try:
        crp = run(framework, CRYPTO_DEFLATE_COMP, Mbuf([bytearray(bomb)]), len(bomb), limit=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert crp.etype == errno.EFBIG
    assert "raise the session's limit" in crp.error
    assert peak < 8 << 20


@pytest.mark.slow
def test_the_usual_limit_is_64_mib(framework: Framework) -> None:
    """Without a limit of its own a session decompresses 64 MiB and no more."""
    for size, etype in ((64 << 20, 0), ((64 << 20) + 1, errno.EFBIG)):
        packed = bytearray(zlib.compress(bytes(size), wbits=-15))
        assert run(framework, CRYPTO_DEFLATE_COMP, Mbuf([packed]), len(packed)).etype == etype


def gzip_of_python(name: str) -> bytes:
    """Make a gzip file with a name and a time in its header."""
    out = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=out, mtime=1) as file:
        file.write(TEXT)
    return out.getvalue()


@pytest.mark.parametrize(
    "packed",
    [
        gzip_of_python("a name"),
        gzip.compress(TEXT, mtime=0),
        gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:]),
        gzip.compress(TEXT) + bytes(9),
    ],
    ids=["named", "plain", "two members", "padded"],
)
def test_gzip_files_of_other_writers(framework: Framework, packed: bytes) -> None:
    """Names, times, several members and padding are taken as gzip(1) takes them."""
    chain = Mbuf([bytearray(packed)])
    crp = run(framework, CRYPTO_GZIP_COMP, chain, len(packed))
    assert (crp.etype, bytes(chain)) == (0, TEXT)


def test_gzip_itself_reads_and_writes_it(framework: Framework) -> None:
    """The command gzip opens what we pack, and we open what it packs."""
    tool = require_tool("gzip", "gzip")
    chain = Mbuf([bytearray(TEXT)])
    run(framework, CRYPTO_GZIP_COMP, chain, len(TEXT), CRD_F_COMP)
    opened = subprocess.run([tool, "-dc"], input=bytes(chain), capture_output=True, check=True)
    assert opened.stdout == TEXT
    theirs = subprocess.run([tool, "-9c"], input=TEXT, capture_output=True, check=True).stdout
    chain = Mbuf([bytearray(theirs)])
    assert run(framework, CRYPTO_GZIP_COMP, chain, len(theirs)).etype == 0
    assert bytes(chain) == TEXT


@pytest.mark.parametrize(
    ("alg", "harm"),
    [(alg, harm) for alg in ALGS for harm in ("short", "noise")] + [(CRYPTO_GZIP_COMP, "flipped")],
)
def test_damage_is_found(framework: Framework, alg: Alg, harm: str) -> None:
    """Cut short, not compressed at all, or with a wrong checksum: EBADMSG, nothing written."""
    packed = gzip.compress(TEXT) if alg == CRYPTO_GZIP_COMP else zlib.compress(TEXT, wbits=-15)
    harmed = {
        "short": packed[:-9],
        "noise": b"\xff" * 60,
        "flipped": packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:],
    }[harm]
    chain = Mbuf([bytearray(harmed)])
    crp = run(framework, alg, chain, len(harmed))
    assert (crp.etype, bytes(chain)) == (errno.EBADMSG, harmed)
