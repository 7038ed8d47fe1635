"""D26: a message that comes in pieces is the message."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator, Sequence

from opencrypto import Cryptodesc, Cryptop
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_MORE,
    CRD_F_VERIFY,
)
from opencrypto.testing._base import ContractBase, each_algorithm
from opencrypto.testing._exchange import describe
from opencrypto.testing._rig import Rig
from opencrypto.testing._samples import AAD, Case, rounded, sample
from opencrypto.testing.clauses import clause, require

LENGTH = 192
"""Bytes of a message that every granule divides."""


class Cut:
    """
    One message, cut somewhere.

    Args:
        rig: The bench.
        case: What it is sent to.
        sid: The session.
        forward: Whether it is encrypted, or a MAC made; or else the reverse.
    """

    def __init__(self, rig: Rig, case: Case, sid: int, *, forward: bool) -> None:
        self.rig = rig
        self.case = case
        self.sid = sid
        self.forward = forward
        self.refused = False  # with its first piece

    def send(self, data: bytes, mac: bytes, places: Sequence[int]) -> bytes:
        """Send it in pieces; return what became of it, with its MAC if that was made."""
        out = bytearray()
        edges = [0, *places, len(data)]
        for number, (start, end) in enumerate(itertools.pairwise(edges)):
            last = number == len(edges) - 2
            crp = self._piece(data[start:end], mac, first=not number, last=last)
            before = bytes(crp.buf)
            self.rig.sym.run(crp)
            what = f"piece {number + 1} of {len(edges) - 1}"
            if crp.etype == errno.EINVAL and not number:
                require(crp.buf == before, "D26", f"{what} is refused, and was changed")
                self.refused = True
            if self.refused:
                require(bool(crp.etype), "D26", f"{what} is taken, though the first was refused")
                continue
            require(not crp.etype, "D26", f"{what}: {describe(crp)}")
            out += crp.buf[self._before(first=not number) :]
        return bytes(out)

    def _before(self, *, first: bool) -> int:
        return AAD if first and self.case.partner is not None else 0

    def _piece(self, data: bytes, mac: bytes, *, first: bool, last: bool) -> Cryptop:
        case, extra = self.case, self._before(first=first)
        made = mac or bytes(case.mac)
        buf = bytearray(sample(extra, "aad") + data + (made if last else b""))
        more = 0 if last else CRD_F_MORE
        verify = 0 if self.forward else CRD_F_VERIFY
        end = extra + len(data)
        if not case.ciphers:
            return self.rig.request(
                self.sid, buf, [Cryptodesc(0, end, end, more | verify, alg=case.alg)]
            )
        flags = more | (CRD_F_ENCRYPT if self.forward else 0)
        iv = sample(case.ivlen, "iv") if first and case.ivlen else None
        if iv is not None:
            flags |= CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
        desc = [Cryptodesc(extra, len(data), 0, flags, alg=case.alg, iv=iv)]
        if case.partner is not None:
            desc.append(Cryptodesc(0, extra, end, more | verify, alg=case.partner))
        return self.rig.request(self.sid, buf, desc)


class Pieces(ContractBase):
    """The clause of messages in pieces."""

    @clause("D26", each_algorithm)
    def test_D26_a_message_in_pieces_is_the_message(self, case: Case) -> None:
        """However it is cut, and again in the same session; or its first piece is refused."""
        length = 0 if case.payload_is_aad else rounded(case, LENGTH, self.maxlen(case))
        data = sample(length, "message in pieces")
        with self.rig() as rig:
            sid = rig.open(case.inis())
            one = Cut(rig, case, sid, forward=True)
            whole = one.send(data, b"", [0])
            if one.refused:
                return
            for places in _cuts(case, length):
                got = one.send(data, b"", places)
                require(got == whole, "D26", f"cut at {places} it comes to something else")
            back = Cut(rig, case, sid, forward=False)
            text, mac = whole[:length], whole[length:]
            for places in ([0], *_cuts(case, length)):
                plain = back.send(text, mac, places)[:length]
                require(plain == data, "D26", f"there and back, cut at {places}, is not the same")


def _cuts(case: Case, length: int) -> Iterator[list[int]]:
    """Give places to cut a message at: on granules, with pieces of nothing among them."""
    granule = case.facts.granule
    yield [length // 2 // granule * granule]
    yield [min(length, granule), min(length, 3 * granule), min(length, 3 * granule)]
    yield [length, length]
