"""D4 to D6: what comes out is right, of compression too."""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Iterator
from typing import Any

from opencrypto import Cryptodesc, Cryptoini, Cryptop, Mbuf
from opencrypto.constants import CRD_F_COMP, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT, CRD_F_VERIFY, Alg
from opencrypto.driver import Profile
from opencrypto.testing import vectors
from opencrypto.testing._base import (
    NO_GROUND,
    Chosen,
    ContractBase,
    each_algorithm,
    each_verifying,
)
from opencrypto.testing._chains import Pair, open_pair, pairs
from opencrypto.testing._exchange import describe
from opencrypto.testing._rig import Rig, only_changed
from opencrypto.testing._samples import (
    GUARD,
    Capabilities,
    Case,
    contents,
    partner_of,
    rounded,
    sample,
    some_length,
    usual_cases,
    written,
)
from opencrypto.testing._watch import Watch
from opencrypto.testing.clauses import ContractBroken, Trial, Unclaimed, clause, require
from opencrypto.testing.vectors import Vector
from opencrypto.xform import FACTS, Kind

SLOWED = 5
"""How many times longer a driver may take that is watched at each step."""

WATCHED = (64, 16384)
"""Bytes of the payloads whose forgeries are watched: the work on the longer one takes a while."""

KINDS = ("contig", "iov", "mbuf")

EXPLICIT = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT


def as_kind(kind: str, data: bytes) -> Any:
    """Put data into a buffer of a kind, split at odd places if it can be."""
    if kind == "contig":
        return bytearray(data)
    cuts = [0, 1, len(data) // 3, len(data) // 3, len(data) // 2 + 1, len(data)]
    cuts = sorted(min(cut, len(data)) for cut in cuts)
    parts = [bytearray(data[a:b]) for a, b in itertools.pairwise(cuts)]
    return Mbuf(parts) if kind == "mbuf" else parts


def known_algorithms(contract: ContractBase) -> Iterator[Trial]:
    """Give each algorithm that has vectors with each buffer kind; one not claimed is shown so."""
    claimed = {case.alg: case for case in each_algorithm(contract)}
    names = set(vectors.names())
    for alg, facts in sorted(FACTS.items()):
        if facts.name.lower() not in names or (
            contract.algorithms and alg not in contract.algorithms
        ):
            continue
        if facts.kind is Kind.COMP and alg in contract.capabilities():
            continue  # it has a test of its own, since its answers are not the only right ones
        if alg not in claimed:
            yield Unclaimed(facts.name, NO_GROUND)
        else:
            yield from (Chosen(claimed[facts.alg], kind) for kind in KINDS)


def each_aead(contract: ContractBase) -> Iterator[Trial]:
    """Give each authenticated cipher that ciphers."""
    for case in each_verifying(contract):
        if case.partner is not None and not case.payload_is_aad:
            yield case


def known_forgeries(contract: ContractBase) -> Iterator[Trial]:
    """Give each algorithm claimed that has vectors which must not verify."""
    names = set(vectors.names())
    for case in each_verifying(contract):
        name = case.alg.name.lower()
        if name in names and any(v.result == "invalid" for v in vectors.load(name)):
            yield case


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


def each_one_way(contract: ContractBase) -> Iterator[Trial]:
    """Give each algorithm that the driver has one way alone, and the way, if it has vectors."""
    claimed = contract.claimed().one_way
    names = set(vectors.names())
    for case in usual_cases(claimed):
        if case.alg.name.lower() in names:
            yield Chosen(case, claimed[case.alg].direction)


class Known:
    """
    A vector as a driver takes it.

    Attributes:
        case: The way to use the driver.
        vector: The vector.
        lay: Where everything stands.
        plain: The buffer before the way forward.
        sealed: The buffer after it.
    """

    def __init__(self, case: Case, vector: Vector, mac: bytes) -> None:
        aad, iv = vector.aad or b"", vector.iv or b""
        self.case = case
        self.vector = vector
        self.lay = case.layout(len(aad) if case.payload_is_aad else len(vector.input), len(aad))
        plain = bytes(case.buffer(self.lay))
        for at, part in (self.lay.aad, aad), (self.lay.iv, iv), (self.lay.start, vector.input):
            plain = _with(plain, at, part)
        self.plain = plain
        self.sealed = _with(_with(plain, self.lay.start, vector.output), self.lay.mac, mac)
        self._back = self.sealed if not case.ciphers else _with(plain, self.lay.mac, mac)

    def one_way(self, rig: Rig, sid: int, way: str) -> None:
        """Require the right answer of the one way that the driver has."""
        forward = way == "encrypt"
        buf = bytearray(self.plain if forward else self.sealed)
        there = self.case.forward(self.lay, self.vector.iv, EXPLICIT)
        desc = there if forward else self.case.backward(self.lay)
        rig.good("D4", self.vector.id, sid, buf, desc)
        places = written(self.case, self.lay)
        expected = self.sealed if forward else self._back
        right = all(buf[at : at + n] == expected[at : at + n] for at, n in places)
        require(right, "D4", f"{self.vector.id} ({self.vector.source}): wrong result")

    def there_and_back(self, rig: Rig, sid: int, kind: str, blame: str) -> None:
        """Require, of a buffer of some kind, the right answer one way, and the way back."""
        buf, places = as_kind(kind, self.plain), written(self.case, self.lay)
        name = f"{self.vector.id} ({self.vector.source})"
        explicit = self.case.forward(self.lay, self.vector.iv, EXPLICIT)
        rig.good(blame, self.vector.id, sid, buf, explicit)
        answer = contents(buf)
        right = all(answer[at : at + n] == self.sealed[at : at + n] for at, n in places)
        require(right, blame, f"{name}: wrong result")
        only_changed(self.plain, answer, places, self.vector.id)
        rig.good(blame, f"{self.vector.id}, back", sid, buf, self.case.backward(self.lay))
        require(contents(buf) == self._back, blame, f"{name}: wrong way back")


class Answers(ContractBase):
    """Known answers, forgeries, chains; compression."""

    @clause("D4", known_algorithms)
    def test_D4_known_answers(self, case: Chosen) -> None:
        """Every vector of the algorithm that the driver can take, one way and back."""
        tried = 0
        with self.rig() as rig:
            for vector in vectors.load(case.case.alg.name):
                if vector.result == "valid":
                    tried += self._known(rig, case.case, case.kind, vector)
        require(tried, "D4", f"{case.case.alg.name}: no vector fits what is claimed")

    @clause("D4", each_one_way)
    def test_D4_one_way_known_answers(self, case: Chosen) -> None:
        """Every vector of an algorithm that the driver has one way alone, that way."""
        claimed, tried = self.claimed().one_way, 0
        with self.rig() as rig:
            for vector in vectors.load(case.case.alg.name):
                mac = vector.mac or b""
                known = self._as_known(vector, case.case.alg, mac, claimed)
                if vector.result == "valid" and known is not None:
                    inis = known.case.inis_with(vector.key)
                    sid = rig.newsession(inis, Profile(claimed[case.case.alg].direction))
                    known.one_way(rig, sid, case.kind)
                    rig.free(sid)
                    tried += 1
        require(tried, "D4", f"{case.case.alg.name}: no vector fits what is claimed")

    def _known(self, rig: Rig, case: Case, kind: str, vector: Vector) -> int:
        """Try a vector with each MAC length it gives; return how many that were."""
        full = vector.full if vector.full != vector.mac else None
        macs = [mac for mac in (vector.mac, full) if mac is not None] or [b""]
        found = [known for mac in macs if (known := self._as_known(vector, case.alg, mac))]
        for known in found:
            with _session(rig, known) as sid:
                known.there_and_back(rig, sid, "contig", "D4")
                if kind != "contig":
                    # Where that goes right, and several pieces go wrong, theirs is the clause.
                    known.there_and_back(rig, sid, kind, "D14")
        return len(found)

    def _as_known(
        self, vector: Vector, alg: int, mac: bytes, claimed: Capabilities | None = None
    ) -> Known | None:
        """Return how the driver takes a vector, or None if it claims no such thing."""
        case = self._case_for(vector, alg, len(mac), claimed or self.capabilities())
        if case is None or self._too_long(case, len(vector.input)):
            return None
        return Known(case, vector, mac)

    def _too_long(self, case: Case, length: int) -> bool:
        maxlen = self.maxlen(case)
        return bool(maxlen) and length > maxlen

    def _case_for(
        self, vector: Vector, alg: int, maclen: int, claimed: Capabilities
    ) -> Case | None:
        """Return how the driver takes a vector, or None if it claims no such key, IV or MAC."""
        facts, keylen = FACTS[alg], len(vector.key)
        partner = partner_of(alg, keylen, claimed)
        if facts.kind is Kind.AEAD and partner is None:
            return None
        keys = claimed[alg].keys
        macs = claimed[partner or alg].macs
        case = Case(facts.alg, keylen, partner, maclen)
        fits = (
            facts.key_ok(keylen)
            and (keys is None or keylen in keys)
            and (macs is None or not maclen or maclen in macs)
            and len(vector.iv or b"") == case.ivlen
        )
        return case if fits else None

    @clause("D5", known_forgeries)
    def test_D5_published_forgeries(self, case: Case) -> None:
        """Vectors that must not verify do not, and their data stay as they are."""
        tried = 0
        with self.rig() as rig:
            for vector in vectors.load(case.alg.name):
                if vector.result == "valid" or vector.mac is None:
                    continue
                known = self._as_known(vector, case.alg, vector.mac)
                if known is None:
                    continue
                with _session(rig, known) as sid:
                    _refused(rig, sid, known.sealed, known.case.backward(known.lay), vector.id)
                tried += 1
        require(tried, "D5", f"{case.alg.name}: no vector fits what is claimed")

    @clause("D5", each_verifying)
    def test_D5_a_changed_bit_anywhere_is_found(self, case: Case) -> None:
        """A MAC wrong in any one byte, or data wrong in any, does not verify."""
        with self.session(case) as (rig, sid, lay):
            sealed = case.buffer(lay)
            rig.good("D4", "one way", sid, sealed, case.forward(lay))
            bounds = range(lay.mac, lay.mac + lay.maclen)
            if case.facts.kind is Kind.HASH or case.keyed:
                bounds = range(lay.aad if case.partner else lay.start, bounds.stop)
            for at in bounds:
                forged = bytearray(sealed)
                forged[at] ^= 0x80 >> at % 8
                _refused(rig, sid, bytes(forged), case.backward(lay), f"byte {at} changed")

    @clause("D5", each_verifying)
    def test_D5_a_tag_of_zeros_is_no_tag(self, case: Case) -> None:
        """Zeros, ones, and nothing but the right first byte: none of it verifies."""
        with self.session(case) as (rig, sid, lay):
            sealed = case.buffer(lay)
            rig.good("D4", "one way", sid, sealed, case.forward(lay))
            right = bytes(sealed[lay.mac : lay.mac + lay.maclen])
            first = right[:1] + bytes(lay.maclen - 1)
            for what, tag in (
                ("zeros", bytes(lay.maclen)),
                ("ones", b"\xff" * lay.maclen),
                ("its first byte and zeros", first),
            ):
                if tag != right:
                    forged = _with(bytes(sealed), lay.mac, tag)
                    _refused(rig, sid, forged, case.backward(lay), f"a tag of {what}")

    @clause("D5", each_aead)
    def test_D5_no_plaintext_before_the_tag_is_compared(self, case: Case) -> None:
        """The buffer of a forgery is watched while the driver works: no byte changes, ever."""
        with Watch() as watch, self.rig() as rig:
            rig.patience *= SLOWED
            sid = rig.open(case.inis())
            for length in WATCHED:
                lay = case.layout(rounded(case, length, self.maxlen(case)))
                buf = case.buffer(lay)
                rig.good("D4", "one way", sid, buf, case.forward(lay))
                buf[lay.mac] ^= 1
                for _ in range(3):
                    with watch.over(buf, lay.region):
                        watch.by_caller(rig, rig.request(sid, buf, case.backward(lay)))
                    where = watch.changed
                    sentence = (
                        f"bytes changed while a forgery was looked at ({where}): compare the tag "
                        "first, or decrypt into memory of your own"
                    )
                    require(not where, "D5", sentence)

    @clause("D5", pairs)
    def test_D5_what_follows_a_bad_mac_in_a_chain_is_not_done(self, case: Pair) -> None:
        """Verify, then decrypt: with a wrong MAC nothing is decrypted."""
        with self.rig() as rig:
            sid = open_pair(rig, case)
            lay, buf, over = case.layout(some_length(case.cipher, self.maxlen(case.cipher)))
            over.flags = CRD_F_VERIFY
            _refused(rig, sid, bytes(buf), [over, *case.cipher.backward(lay)], case.id)

    @clause("D6", pairs)
    def test_D6_chains_are_their_parts_in_order(self, case: Pair) -> None:
        """One request of two descriptors gives what two requests of one give, in both orders."""
        with self.rig() as rig:
            lay, buf, over = case.layout(some_length(case.cipher, self.maxlen(case.cipher)))
            parts = [(case.cipher, case.cipher.forward(lay)), (case.mac, [over])]
            for order in (parts, parts[::-1]):
                chain = [crd for _, desc in order for crd in desc]
                single, chained = bytearray(buf), bytearray(buf)
                sid = open_pair(rig, case)
                rig.good("D6", "in one chain", sid, chained, chain)
                rig.free(sid)
                for part, desc in order:
                    sid = rig.open(part.inis())
                    rig.good("D6", "one by one", sid, single, desc)
                    rig.free(sid)
                require(chained == single, "D6", "a chain gives other bytes than its parts")

    @clause("D6", pairs)
    def test_D6_encrypt_then_mac_and_back(self, case: Pair) -> None:
        """Encrypt and authenticate in one request, verify and decrypt in another."""
        with self.rig() as rig:
            sid = open_pair(rig, case)
            length = some_length(case.cipher, self.maxlen(case.cipher))
            lay, buf, over = case.layout(length)
            before = bytes(buf)
            rig.good("D6", "there", sid, buf, [*case.cipher.forward(lay), over])
            over.flags = CRD_F_VERIFY
            rig.good("D6", "and back", sid, buf, [over, *case.cipher.backward(lay)])
            same = buf[lay.region] == before[lay.region]
            require(same, "D6", "there and back is not the same")

    # Compression, whose answers are not the only right ones.

    @clause("D4", each_compressor)
    def test_D4_compression_there_and_back(self, case: Compressor) -> None:
        """Published streams decompress to what they should, and our own to what went in."""
        with self.rig() as rig:
            sid = rig.open([Cryptoini(case.alg)])
            for vector in case.vectors:
                if vector.result != "valid":
                    continue
                crp, buf = _run_compressor(rig, sid, case.alg, vector.output, 0)
                require(not crp.etype, "D4", f"{vector.id}: {crp.error}")
                require(_between(buf) == vector.input, "D4", f"{vector.id}: wrong")
                require(crp.olen == len(vector.input), "D4", f"{vector.id}: olen {crp.olen}")
                crp, buf = _run_compressor(rig, sid, case.alg, vector.input, CRD_F_COMP)
                require(not crp.etype, "D4", f"{vector.id}, compressing: {crp.error}")
                if case.alg == Alg.DEFLATE_COMP_NOGROW and crp.olen >= len(vector.input):
                    require(_between(buf) == vector.input, "D4", f"{vector.id}: would not shrink")
                    continue
                crp, buf = _run_compressor(rig, sid, case.alg, _between(buf), 0)
                require(_between(buf) == vector.input, "D4", f"{vector.id}: there and back")

    @clause("D5", each_compressor)
    def test_D5_damaged_streams_are_refused(self, case: Compressor) -> None:
        """A stream that is cut, altered or followed by more is an error, the buffer as it was."""
        with self.rig() as rig:
            sid = rig.open([Cryptoini(case.alg)])
            for vector in case.vectors:
                if vector.result == "invalid":
                    crp, buf = _run_compressor(rig, sid, case.alg, vector.output, 0)
                    require(crp.etype, "D5", f"{vector.id}: taken for a good stream")
                    kept = _between(buf) == vector.output
                    require(kept, "D5", f"{vector.id}: refused, but the buffer was changed")


@contextlib.contextmanager
def _session(rig: Rig, known: Known) -> Iterator[int]:
    """Have a session with the key of a vector."""
    sid = rig.open(known.case.inis_with(known.vector.key), "D2")
    yield sid
    rig.free(sid)


def _with(data: bytes, at: int, part: bytes) -> bytes:
    return data[:at] + part + data[at + len(part) :]


def _refused(rig: Rig, sid: int, forged: bytes, desc: list[Cryptodesc], what: str) -> None:
    buf = bytearray(forged)
    crp = rig.run(sid, buf, desc)
    if crp.etype != errno.EBADMSG:
        raise ContractBroken("D5", f"{what}: ended with {describe(crp)}, not EBADMSG")
    require(buf == forged, "D5", f"{what}: the buffer of a forgery was changed")


def _run_compressor(rig: Rig, sid: int, alg: int, data: bytes, flags: int) -> tuple[Cryptop, Mbuf]:
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
