"""D4, D5 and D12 for compression, whose answers are not the only right ones."""

from __future__ import annotations

from collections.abc import Iterator

from opencrypto._request.buffer import Mbuf
from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop
from opencrypto.constants import CRD_F_COMP, Alg
from opencrypto.testing import vectors
from opencrypto.testing._base import ContractBase
from opencrypto.testing._rig import Rig
from opencrypto.testing._samples import GUARD, sample
from opencrypto.testing.clauses import Trial, clause, require
from opencrypto.xform import FACTS, Kind


class Compressor:
    """A compression algorithm, as a trial."""

    def __init__(self, alg: int) -> None:
        self.alg = Alg(alg)
        self.id = self.alg.name
        # Deflate without growth makes the streams of deflate.
        self.vectors = vectors.load(self.id.removesuffix("_NOGROW"))


def each_compressor(contract: ContractBase) -> Iterator[Trial]:
    """Give each compression algorithm claimed."""
    for alg in sorted(contract.capabilities()):
        if alg in FACTS and FACTS[alg].kind is Kind.COMP:
            yield Compressor(alg)


class Compression(ContractBase):
    """Streams of others, our own, damaged ones."""

    @clause("D4", each_compressor)
    def test_D4_compression_there_and_back(self, case: Compressor) -> None:
        """Published streams decompress to what they should, and our own to what went in."""
        with self.rig() as rig:
            sid = rig.open([Cryptoini(case.alg)])
            for vector in case.vectors:
                if vector.result != "valid":
                    continue
                crp, buf = _run(rig, sid, case.alg, vector.output, 0)
                require(not crp.etype, "D4", f"{vector.id}: {crp.error}")
                require(_between(buf) == vector.input, "D4", f"{vector.id}: wrong")
                require(crp.olen == len(vector.input), "D4", f"{vector.id}: olen {crp.olen}")
                crp, buf = _run(rig, sid, case.alg, vector.input, CRD_F_COMP)
                require(not crp.etype, "D4", f"{vector.id}, compressing: {crp.error}")
                if case.alg == Alg.DEFLATE_COMP_NOGROW and crp.olen >= len(vector.input):
                    require(_between(buf) == vector.input, "D4", f"{vector.id}: would not shrink")
                    continue
                crp, buf = _run(rig, sid, case.alg, _between(buf), 0)
                require(_between(buf) == vector.input, "D4", f"{vector.id}: there and back")

    @clause("D5", each_compressor)
    def test_D5_damaged_streams_are_refused(self, case: Compressor) -> None:
        """A stream that is cut, altered or followed by more is an error, the buffer as it was."""
        with self.rig() as rig:
            sid = rig.open([Cryptoini(case.alg)])
            for vector in case.vectors:
                if vector.result == "invalid":
                    crp, buf = _run(rig, sid, case.alg, vector.output, 0)
                    require(crp.etype, "D5", f"{vector.id}: taken for a good stream")
                    kept = _between(buf) == vector.output
                    require(kept, "D5", f"{vector.id}: refused, but the buffer was changed")


def _run(rig: Rig, sid: int, alg: int, data: bytes, flags: int) -> tuple[Cryptop, Mbuf]:
    """Run a region between two guards, in an mbuf, which can grow."""
    guard = sample(GUARD, "guard")
    buf = Mbuf([bytearray(guard), bytearray(data), bytearray(guard)])
    crp = rig.run(sid, buf, [Cryptodesc(GUARD, len(data), 0, flags, alg=alg)])
    whole = bytes(buf)
    kept = whole[:GUARD] == guard == whole[len(whole) - GUARD :]
    require(kept, "D12", f"{FACTS[alg].name}: bytes outside the region were changed")
    return crp, buf


def _between(buf: Mbuf) -> bytes:
    return bytes(buf)[GUARD : len(buf) - GUARD]
