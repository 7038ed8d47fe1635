"""D12 to D14, D21 and D25: bytes are read and written where the request says, and nowhere else."""

from __future__ import annotations

import errno
import time
import unittest
from collections.abc import Callable, Iterator
from typing import Any

from opencrypto import Cryptodesc, Cryptop, Mbuf
from opencrypto.constants import CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT, Alg
from opencrypto.driver import Driver
from opencrypto.testing._base import (
    ContractBase,
    a_few,
    each_algorithm,
    each_cipher,
    each_with_iv,
)
from opencrypto.testing._bounded import at_once
from opencrypto.testing._exchange import describe
from opencrypto.testing._rig import Rig, only_changed
from opencrypto.testing._samples import (
    GUARD,
    Case,
    Layout,
    contents,
    legal_lengths,
    sample,
    some_length,
    written,
)
from opencrypto.testing.clauses import ContractBroken, clause, require

NO_SUCH_LID = 0xFFFF_FFF1
"""A session number that no driver has given out."""

EP = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT

FAR = 70_000
"""Bytes before a region that begins where 16 bits end."""

LONG = 300 * 1024
"""Bytes of a long region."""

TOO_SLOW = 0.3
"""Seconds for 64 KiB, beyond which a long region is left alone."""

WHOLE = ("AES_SIV",)
"""How the names begin of ciphers whose every byte depends on the whole message."""

UNLIKELY = 60_606
"""What stands in `olen` before, which no algorithm here sets."""

Malformed = Iterator[tuple[str, Any, list[Cryptodesc], bytearray | None]]


class Places(ContractBase):
    """Regions, IVs, buffer kinds, lengths."""

    # D12: malformed requests.

    @clause("D12", each_algorithm)
    def test_D12_malformed_requests_end_with_einval(self, case: Case) -> None:
        """Each is refused for what is wrong with it, before any byte is touched."""
        with self.session(case) as (rig, sid, lay):
            for what, buf, desc, mac in _malformed(case, lay):
                before = bytes(buf)
                crp = rig.run(sid, buf, desc, mac=mac)
                require(crp.etype == errno.EINVAL, "D12", f"{what}: {describe(crp)}, not EINVAL")
                require(buf == before, "D12", f"{what}: refused, but the buffer was changed")

    @clause("D12", each_algorithm)
    def test_D12_longer_than_claimed_is_refused(self, case: Case) -> None:
        """The longest region claimed works; a longer one ends with E2BIG or EINVAL, untouched."""
        maxlen = self.maxlen(case)
        if not maxlen:
            raise unittest.SkipTest("no limit is claimed")
        granule = case.facts.granule
        longest = maxlen - maxlen % granule
        with self.rig() as rig:
            sid = rig.open(case.inis())
            lay = case.layout(longest)
            rig.good("D12", f"{longest} bytes", sid, case.buffer(lay), case.forward(lay))
            lay = case.layout(longest + granule)
            buf = case.buffer(lay)
            before = bytes(buf)
            crp = rig.run(sid, buf, case.forward(lay))
            refused = crp.etype in (errno.E2BIG, errno.EINVAL)
            require(refused, "D12", f"{longest + granule} bytes: {describe(crp)}")
            require(buf == before, "D12", "refused as too long, but the buffer was changed")

    @clause("D12", each_algorithm)
    def test_D12_bytes_outside_stay_as_they_are(self, case: Case) -> None:
        """What is before, between and after the regions is not written to."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            for length in {some_length(case, self.maxlen(case)), 0}:
                lay = case.layout(length)
                buf = case.buffer(lay)
                before = bytes(buf)
                rig.good("D21" if not length else "D4", "there", sid, buf, case.forward(lay))
                only_changed(before, buf, written(case, lay), "one way")
                before = bytes(buf)
                rig.good("D21" if not length else "D4", "back", sid, buf, case.backward(lay))
                only_changed(before, buf, [(lay.start, lay.length)] if case.ciphers else [], "back")

    @clause("D12", each_algorithm)
    def test_D12_what_is_handed_back_is_untouched(self, case: Case) -> None:
        """EAGAIN, ENODEV and ENXIO say that nothing was done: somebody else will do it all."""
        with self.session(case) as (rig, sid, lay):
            for _ in range(10):  # each answer is looked at where it is waited for
                rig.run(sid, case.buffer(lay), case.forward(lay))

    @clause("D12")
    def test_D12_an_unknown_session_number_is_enoent(self) -> None:
        """A request for a session that process does not know ends with ENOENT."""
        if self.driver_class.process is Driver.process:
            raise unittest.SkipTest("each session has a process of its own: no number to look up")
        answered: list[Cryptop] = []
        with self.bare() as driver:
            driver.done = answered.append
            crd = Cryptodesc(0, 16, 16, alg=next(iter(driver.capabilities), 0))
            crp = Cryptop(1 << 32 | NO_SUCH_LID, bytearray(64), [crd])
            try:
                at_once(self.patience, "D9", "process", lambda: driver.process(crp, 0))
            except ContractBroken:
                raise
            except Exception as error:
                name = type(error).__name__
                require(False, "D12", f"process raised {name} for an unknown session number")
            deadline = time.monotonic() + self.patience
            while not answered and time.monotonic() < deadline:
                time.sleep(0.002)
            require(answered, "D7", "a request for an unknown session number was not answered")
            require(len(answered) == 1, "D7", f"{len(answered)} answers to one request")
            right = crp.etype == errno.ENOENT
            require(right, "D12", f"an unknown session number: {describe(crp)}, not ENOENT")

    # D13: IVs.

    @clause("D13", each_with_iv)
    def test_D13_where_the_iv_of_an_encryption_comes_from(self, case: Case) -> None:
        """Explicit or in the buffer, the IV gives the same; explicit alone is written as well."""
        iv = sample(case.ivlen, "another iv")
        with self.session(case) as (rig, sid, lay):
            results = []
            for flags, there in (
                (EP, b"\x5a"),
                (CRD_F_IV_EXPLICIT, b"\x5a"),
                (CRD_F_IV_PRESENT, iv),
            ):
                buf = case.buffer(lay)
                _put(buf, lay.iv, there * (lay.ivlen // len(there)))
                rig.good("D13", f"flags {flags:#x}", sid, buf, case.forward(lay, iv, flags))
                kept = buf[lay.iv : lay.iv + lay.ivlen]
                expected = there * lay.ivlen if flags == EP else iv
                require(kept == expected[: lay.ivlen], "D13", f"flags {flags:#x}: the IV's place")
                results.append(bytes(buf[lay.start :]))
            require(len(set(results)) == 1, "D13", "one IV, three ways: different results")

    @clause("D13", each_with_iv)
    def test_D13_where_the_iv_of_a_decryption_comes_from(self, case: Case) -> None:
        """Explicit if it says so, else from the buffer; nothing is written to its place."""
        iv = sample(case.ivlen, "another iv")
        with self.session(case) as (rig, sid, lay):
            plain = case.buffer(lay)
            sealed = bytearray(plain)
            rig.good("D13", "sealing", sid, sealed, case.forward(lay, iv))
            for flags in (EP, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT, 0):
                explicit = flags & CRD_F_IV_EXPLICIT
                there = b"\x5a" * lay.ivlen if explicit else iv
                buf = bytearray(sealed)
                _put(buf, lay.iv, there)
                desc = case.backward(lay, iv if explicit else None, flags)
                rig.good("D13", f"decrypting with flags {flags:#x}", sid, buf, desc)
                require(buf[lay.region] == plain[lay.region], "D13", f"flags {flags:#x}: wrong")
                kept = buf[lay.iv : lay.iv + lay.ivlen] == there
                require(kept, "D13", f"flags {flags:#x}: decrypting wrote to the IV's place")

    @clause("D13", each_with_iv)
    def test_D13_fresh_ivs(self, case: Case) -> None:
        """Neither explicit nor present: a new IV each time, written where the way back reads it."""
        with self.session(case) as (rig, sid, lay):
            plain = bytes(case.buffer(lay))
            seen = {plain[lay.iv : lay.iv + lay.ivlen]}
            for _ in range(32):
                buf = bytearray(plain)
                rig.good("D13", "a fresh IV", sid, buf, case.forward(lay, flags=0))
                iv = bytes(buf[lay.iv : lay.iv + lay.ivlen])
                require(iv not in seen, "D13", "an IV came twice, or was not written")
                seen.add(iv)
                rig.good("D13", "back", sid, buf, case.backward(lay))
                same = buf[lay.region] == plain[lay.region]
                require(same, "D13", "what a fresh IV encrypted does not decrypt")

    # D14: buffer kinds.

    @clause("D14", each_algorithm)
    def test_D14_split_at_every_offset(self, case: Case) -> None:
        """Two segments, cut anywhere, as iov and as mbuf: the same bytes, both directions."""
        with self.session(case, blocks=2) as (rig, sid, lay):
            plain = bytes(case.buffer(lay))
            sealed, opened = _both_ways(rig, sid, case, lay, plain, bytearray)
            for at in range(lay.size + 1):
                for kind in (list, Mbuf):

                    def cut(data: bytes, at: int = at, kind: Callable[..., Any] = kind) -> Any:
                        return kind([bytearray(data[:at]), bytearray(data[at:])])

                    answer = _both_ways(rig, sid, case, lay, plain, cut)
                    right = answer == (sealed, opened)
                    require(right, "D14", f"{kind.__name__} cut at {at}: different bytes")

    @clause("D14", each_algorithm)
    def test_D14_one_byte_each_and_empty_segments(self, case: Case) -> None:
        """A segment for every byte, with empty ones among them."""
        with self.session(case, blocks=2) as (rig, sid, lay):
            plain = bytes(case.buffer(lay))
            whole = _both_ways(rig, sid, case, lay, plain, bytearray)

            def grains(data: bytes) -> list[bytearray]:
                return [part for at in data for part in (bytearray([at]), bytearray())]

            def chain(data: bytes) -> Mbuf:
                return Mbuf(grains(data))

            require(_both_ways(rig, sid, case, lay, plain, grains) == whole, "D14", "an iov")
            require(_both_ways(rig, sid, case, lay, plain, chain) == whole, "D14", "an mbuf")

    @clause("D14", a_few)
    def test_D14_a_mac_given_apart(self, case: Case) -> None:
        """A MAC that goes to ``mac`` is the one that would have gone to the buffer."""
        if not case.mac:
            raise unittest.SkipTest("it makes no MAC")
        with self.session(case) as (rig, sid, lay):
            inside = case.buffer(lay)
            rig.good("D4", "one way", sid, inside, case.forward(lay))
            buf, mac = case.buffer(lay), bytearray(case.mac)
            there = bytes(buf[lay.mac :])
            rig.good("D14", "MAC apart", sid, buf, case.forward(lay), mac=mac)
            require(mac == inside[lay.mac : lay.mac + lay.maclen], "D14", "another MAC came out")
            require(buf[lay.mac :] == there, "D14", "the MAC went into the buffer as well")
            rig.good("D14", "verified from there", sid, buf, case.backward(lay), mac=mac)

    # D21: lengths.

    @clause("D21", each_algorithm)
    def test_D21_every_length_there_and_back(self, case: Case) -> None:
        """0, 1, about a block, more than 64 KiB: what was there comes back."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            for length in legal_lengths(case, self.maxlen(case)):
                lay = case.layout(length)
                buf = case.buffer(lay)
                before = bytes(buf)
                rig.good("D21", f"{length} bytes", sid, buf, case.forward(lay))
                rig.good("D21", f"{length} bytes, back", sid, buf, case.backward(lay))
                same = buf[lay.region] == before[lay.region]
                require(same, "D21", f"{length} bytes there and back are not the same")

    @clause("D21", each_algorithm)
    def test_D21_every_byte_counts(self, case: Case) -> None:
        """The last byte of a region is worked on too, whatever the length."""
        if case.alg in (Alg.NULL_CBC, Alg.NULL_HMAC):
            raise unittest.SkipTest("it does nothing to any byte")
        with self.rig() as rig:
            sid = rig.open(case.inis())
            for length in legal_lengths(case, self.maxlen(case)):
                if length:
                    _last_byte_counts(rig, sid, case, length)

    @clause("D21", each_algorithm)
    def test_D21_far_behind_the_start(self, case: Case) -> None:
        """A region more than 64 KiB behind the buffer's start gives what one near it gives."""
        length = some_length(case, self.maxlen(case))
        with self.rig() as rig:
            sid = rig.open(case.inis())
            answers = []
            for guard in (GUARD, FAR):
                lay = case.layout(length, guard=guard)
                buf = case.buffer(lay)
                buf[guard : lay.size - guard] = sample(lay.size - 2 * guard, "far")
                before = bytes(buf)
                rig.good("D21", f"{guard} bytes behind the start", sid, buf, case.forward(lay))
                answers.append(bytes(buf[guard : lay.size - guard]))
                same = answers[0] == answers[-1]
                require(same, "D21", f"{FAR} bytes behind the start, other bytes come out")
                only_changed(before, buf, written(case, lay), f"{guard} bytes behind the start")
                rig.good("D21", f"{guard} bytes behind, back", sid, buf, case.backward(lay))

    @clause("D21", each_algorithm)
    def test_D21_beyond_300_kib(self, case: Case) -> None:
        """Work on more than 300 KiB begins as that on less, ends at the end, and comes back."""
        granule, maxlen = case.facts.granule, self.maxlen(case)
        if maxlen and maxlen < LONG:
            raise unittest.SkipTest(f"the driver takes {maxlen} bytes")
        with self.rig() as rig:
            sid = rig.open(case.inis())
            short, began = case.layout(65536), time.monotonic()
            near = case.buffer(short)
            rig.good("D21", "64 KiB", sid, near, case.forward(short))
            if (took := time.monotonic() - began) > TOO_SLOW:
                raise unittest.SkipTest(f"64 KiB took {took:.1f} s, so this would take too long")
            lay = case.layout(LONG + granule)
            buf = case.buffer(lay)
            before = bytes(buf)
            rig.good("D21", f"{lay.length} bytes", sid, buf, case.forward(lay))
            if case.ciphers and not case.payload_is_aad and not case.alg.name.startswith(WHOLE):
                # What a cipher makes of the beginning does not depend on how much follows.
                same = buf[short.region] == near[short.region]
                require(same, "D21", f"the first 64 KiB of {lay.length} bytes come out otherwise")
                stays = _unchanged_block(before[lay.region], buf[lay.region])
                untouched = case.keyed and stays is not None
                require(
                    not untouched, "D21", f"bytes from {stays} of {lay.length} are not ciphered"
                )
            rig.good("D21", f"{lay.length} bytes, back", sid, buf, case.backward(lay))
            same = buf[lay.region] == before[lay.region]
            require(same, "D21", f"{lay.length} bytes there and back are not the same")
            if case.alg not in (Alg.NULL_CBC, Alg.NULL_HMAC):
                _last_byte_counts(rig, sid, case, LONG + granule)

    @clause("D25", each_algorithm)
    def test_D25_the_fields_of_a_request_are_the_consumers(self, case: Case) -> None:
        """After done they are as before: sid, buf, desc, each descriptor, flags, opaque, olen."""
        with self.session(case) as (rig, sid, lay):
            sealed = case.buffer(lay)
            rig.good("D4", "one way", sid, sealed, case.forward(lay))
            forged = bytearray(sealed)
            forged[lay.mac if lay.maclen else lay.start] ^= 1
            for what, buf, desc in (
                ("one way", case.buffer(lay), case.forward(lay)),
                ("back", sealed, case.backward(lay)),
                ("a forgery", forged, case.backward(lay)),
                ("no descriptor", case.buffer(lay), []),
            ):
                crp = rig.request(sid, buf, desc)
                crp.opaque, crp.olen = object(), UNLIKELY
                before = _fields(crp)
                rig.sym.run(crp)
                for name, value in _fields(crp).items():
                    sentence = f"{what}: the driver changed {name}; leave it to the consumer"
                    require(value == before[name], "D25", sentence)

    @clause("D21", each_cipher)
    def test_D21_broken_blocks_are_refused(self, case: Case) -> None:
        """A length that the algorithm cannot have is EINVAL, the buffer as it was."""
        granule = case.facts.granule
        with self.rig() as rig:
            sid = rig.open(case.inis())
            for length in sorted({1, granule - 1, granule + 1, 3 * granule - 1}):
                if length % granule:
                    lay = case.layout(length)
                    buf = case.buffer(lay)
                    before = bytes(buf)
                    crp = rig.run(sid, buf, case.forward(lay))
                    require(crp.etype == errno.EINVAL, "D12", f"{length} bytes: {describe(crp)}")
                    require(buf == before, "D12", f"{length} bytes: the buffer was changed")


def _malformed(case: Case, lay: Layout) -> Malformed:
    """Give requests with one thing wrong each: what, buffer, descriptors, mac."""

    def changed(back: bool = False, last: bool = False, **fields: Any) -> list[Cryptodesc]:
        desc = case.backward(lay) if back else case.forward(lay)
        for field, value in fields.items():
            setattr(desc[-1 if last else 0], field, value)
        return desc

    def buf() -> bytearray:
        return case.buffer(lay)

    granule = case.facts.granule
    far = lay.size - lay.size % granule
    yield "no descriptor", buf(), [], None
    yield "a region behind the end", buf(), changed(skip=far + granule), None
    yield "a region over the end", buf(), changed(len=far + granule), None
    yield "a negative skip", buf(), changed(skip=-1), None
    other = Alg.SHA2_512 if case.alg != Alg.SHA2_512 else Alg.SHA1
    yield "an algorithm of no part of the session", buf(), changed(alg=other), None
    if case.ciphers:
        yield "a read-only buffer", bytes(buf()), changed(), None
    if case.partner is not None:
        yield "half of an authenticated cipher", buf(), changed()[:1], None
    if case.mac:
        yield "a MAC's place behind the end", buf(), changed(inject=lay.size, last=True), None
        yield "a negative MAC's place", buf(), changed(inject=-1, last=True), None
        yield "a mac too small", buf(), changed(), bytearray(case.mac - 1)
    if case.ivlen:
        yield "no IV", buf(), changed(iv=None), None
        yield "an IV too short", buf(), changed(iv=bytes(case.ivlen - 1)), None
        yield "an IV too long", buf(), changed(iv=bytes(case.ivlen + 1)), None
        yield "an IV's place behind the end", buf(), changed(back=True, inject=lay.size), None


def _fields(crp: Cryptop) -> dict[str, object]:
    """Return what a consumer has put into a request; of objects, which."""
    fields: dict[str, object] = {
        "sid": crp.sid, "flags": crp.flags, "ilen": crp.ilen, "olen": crp.olen,
        "opaque": id(crp.opaque), "buf": id(crp.buf), "mac": id(crp.mac),
        "desc": [id(crd) for crd in crp.desc],
    }  # fmt: skip
    for n, crd in enumerate(crp.desc):
        iv = None if crd.iv is None else bytes(crd.iv)
        fields[f"descriptor {n}"] = (crd.skip, crd.len, crd.inject, crd.flags, crd.alg, iv)
    return fields


def _unchanged_block(before: bytes, after: bytes | bytearray) -> int | None:
    """Return where 4 KiB in a row are as they were, if they are anywhere."""
    step = 4096
    for at in range(0, len(before) - step + 1, step):
        if before[at : at + step] == after[at : at + step]:
            return at
    return None


def _put(buf: bytearray, at: int, data: bytes) -> None:
    buf[at : at + len(data)] = data


def _both_ways(
    rig: Rig, sid: int, case: Case, lay: Layout, data: bytes, make: Callable[[bytes], Any]
) -> tuple[bytes, bytes]:
    """Return what a buffer of some kind holds after the way forward, and after the way back."""
    clause_ = "D4" if make is bytearray else "D14"
    buf = make(data)
    rig.good(clause_, "there", sid, buf, case.forward(lay))
    sealed = contents(buf)
    buf = make(sealed)
    rig.good(clause_, "back", sid, buf, case.backward(lay))
    return sealed, contents(buf)


def _last_byte_counts(rig: Rig, sid: int, case: Case, length: int) -> None:
    lay = case.layout(length)
    last = (lay.aad + lay.aadlen if case.payload_is_aad else lay.start + lay.length) - 1
    if case.mac:
        macs = set()
        for flip in (0, 1):
            buf = case.buffer(lay)
            buf[last] ^= flip
            rig.good("D21", f"{length} bytes", sid, buf, case.forward(lay))
            macs.add(bytes(buf[lay.mac : lay.mac + lay.maclen]))
        require(len(macs) == 2, "D21", f"byte {length - 1} of {length} is not authenticated")
    if case.ciphers and not case.payload_is_aad:
        outcomes = set()
        # A byte may well encrypt to itself, but not under each of four IVs and four neighbours.
        for turn in range(4):
            buf = case.buffer(lay, f"data {turn}")
            before = buf[last]
            iv = sample(case.ivlen, f"iv {turn}")
            rig.good("D21", f"{length} bytes", sid, buf, case.forward(lay, iv))
            outcomes.add(buf[last] ^ before)
        require(outcomes != {0}, "D21", f"byte {length - 1} of {length} is not ciphered")
