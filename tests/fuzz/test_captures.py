"""
Captures damaged anyhow: each gives a sentence or a right answer, and costs no more than it should.

Mutants of the small captures in tests/data/captures, and of packed ones.
``OPENCRYPTO_FUZZ_EXAMPLES`` says how many; ``make fuzz`` makes many.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import random
import tracemalloc
from pathlib import Path

import pytest

from opencrypto import Framework
from opencrypto_esp.capture import FORMATS, CaptureError, Passage, read_capture
from opencrypto_esp.capture.pcapng import MAX_BLOCK
from opencrypto_esp.results import Reason, Result
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import make_sa
from tests.support import examples

EXAMPLES = int(os.environ.get("OPENCRYPTO_FUZZ_EXAMPLES", str(examples(2000))))
CASES = Path(__file__).parents[1] / "data" / "captures"
NUMBERS = [
    0,
    1,
    3,
    4,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0xFFFF,
    2**18,
    2**18 + 1,
    2**31,
    2**32 - 16,
    2**32 - 1,
]
MEMORY = 4 * MAX_BLOCK
"""**Bytes**: a damaged length may have one block held, whole and in pieces."""


def corpus() -> list[bytes]:
    """Return what is damaged."""
    small = [path.read_bytes() for path in sorted(CASES.glob("*.pcap*"))]
    small = [content for content in small if 0 < len(content) < 5000]
    packed = [pack(small[0] * 3) for pack in (gzip.compress, lzma.compress)]
    return small + packed


def mutant(content: bytes, draw: random.Random) -> bytes:
    """Return a capture with some damage."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        at = draw.randrange(len(data)) if data else 0
        what = draw.randrange(7)
        if what == 0:
            del data[at:]
        elif what == 1:
            del data[at : at + draw.randrange(1, 20)]
        elif what == 2:
            data[at:at] = draw.randbytes(draw.randrange(1, 20))
        elif what == 3 and data:
            data[at] ^= 1 << draw.randrange(8)
        elif what == 4:
            # A field, of either byte order.
            at &= ~3
            value = draw.choice(NUMBERS)
            data[at : at + 4] = value.to_bytes(4, draw.choice(("little", "big")))
        elif what == 5:
            data[at:at] = data[draw.randrange(len(data) + 1) :][: draw.randrange(1, 200)]
        else:
            data[at : at + 8] = draw.randbytes(8)
    return bytes(data)


def go(content: bytes, esp: Ends, *, kind: str | None, inbound: bool, others: bool) -> None:
    """Take one through; what is counted adds up."""
    out = io.BytesIO()
    made = 0

    def work(packet: bytes) -> Result:
        nonlocal made
        result = esp.unprotect(packet) if inbound else esp.protect(packet)
        made += result.packet is not None
        return result

    dropped_before = lost(esp, inbound=inbound)
    try:
        reader = read_capture(io.BytesIO(content), "in")
        writer = FORMATS[kind or reader.format](out, "out")
        passage = Passage(writer, work, inbound=inbound, pass_others=others)
        passage.run(reader.batches())
        writer.finish()
    except CaptureError:
        return
    dropped = lost(esp, inbound=inbound) - dropped_before
    written = made + passage.passed.total() - passage.dropped[Reason.TOO_BIG]
    assert passage.frames == written + passage.lost + dropped
    strange = any("link type" in kind for kind in passage.left | passage.passed)
    if strange or not passage.frames:
        return  # what we write may be of a link type that a pcap file is refused for
    again = read_capture(io.BytesIO(out.getvalue()), "out")
    assert sum(len(batch) for batch in again.batches()) >= written
    assert not again.cut, "what we write is whole"


def lost(esp: Ends, *, inbound: bool) -> int:
    """Return how many packets ESP has dropped."""
    counters = esp.counters()
    flow = counters.unprotected if inbound else counters.protected
    return flow.dropped.total()


@pytest.mark.slow
def test_mutants_give_a_sentence_or_a_right_answer() -> None:
    draw = random.Random(12)
    seeds = corpus()
    tracemalloc.start()
    try:
        with Framework() as framework, Ends(framework, [make_sa("null", "hmac-sha1-96")]) as esp:
            for n in range(EXAMPLES):
                content = mutant(draw.choice(seeds), draw)
                kind = draw.choice((None, None, "pcap", "pcapng"))
                try:
                    go(content, esp, kind=kind, inbound=n % 4 == 0, others=n % 2 == 0)
                except Exception as error:
                    error.add_note(f"mutant {n}: {content.hex()}")
                    raise
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
