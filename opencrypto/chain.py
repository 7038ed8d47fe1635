"""
A ready base for drivers made of primitives: it carries out request chains, they do the mathematics.

An author gives one small object (a *transform*) per algorithm. `ChainDriver` does what is the
same for all: it checks requests, finds regions in any buffer kind, applies the IV rules, pairs
the halves of an authenticated cipher, injects or verifies MACs, and completes the request. For
drivers that know a quicker way with their library, `recognise_cipher` and its companions read the
requests.
"""

from __future__ import annotations

import errno
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from opencrypto._request.buffer import (
    BytesLike,
    Saved,
    Segments,
    byteview,
    flat,
    gather,
    region,
    replace_region,
    scatter,
    segments,
)
from opencrypto._request.symmetric import (
    DECOMPRESSED_LIMIT,
    Cryptodesc,
    Cryptoini,
    Cryptop,
)
from opencrypto._rules.chain import Chain
from opencrypto._rules.check import Plan, Step, check, is_kept, settle
from opencrypto._rules.iv import GIVEN, READ, WRITTEN, iv_way
from opencrypto._rules.lending import Loan, lend
from opencrypto._rules.quick import compile_quick
from opencrypto._rules.shapes import (
    UNVERIFIED,
    AeadExchange,
    CipherExchange,
    CipherMacExchange,
    MacExchange,
    Quick,
    Shape,
    cipher_and_mac,
    places_of,
    recognise_aead,
    recognise_cipher,
    recognise_cipher_mac,
    recognise_mac,
    settle_mac,
    shape_of,
)
from opencrypto.constants import CRD_F_COMP, CRD_F_ENCRYPT, CRD_F_VERIFY
from opencrypto.driver import Driver, Process
from opencrypto.exceptions import CryptoError, OutputTooSmall, UsageError
from opencrypto.xform import Kind

__all__ = [
    "AeadExchange",
    "AeadTransform",
    "BytesLike",
    "Chain",
    "ChainDriver",
    "ChainSession",
    "CipherExchange",
    "CipherMacExchange",
    "CipherTransform",
    "CompTransform",
    "DECOMPRESSED_LIMIT",
    "Loan",
    "MacExchange",
    "MacTransform",
    "Plan",
    "Quick",
    "Segments",
    "Shape",
    "Step",
    "Transform",
    "TransformFactory",
    "UNVERIFIED",
    "byteview",
    "check",
    "cipher_and_mac",
    "compile_quick",
    "flat",
    "gather",
    "in_one_piece",
    "lend",
    "places_of",
    "recognise_aead",
    "recognise_cipher",
    "recognise_cipher_mac",
    "recognise_mac",
    "region",
    "request_iv",
    "scatter",
    "segments",
    "settle",
    "settle_mac",
    "shape_of",
]


class CipherTransform(Protocol):
    """A keyed cipher. Called by several threads at once."""

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt the region in place; its segments may break inside a block."""


class MacTransform(Protocol):
    """A keyed authenticator, or a plain digest. Called by several threads at once."""

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole MAC of the region."""


class CompTransform(Protocol):
    """Compression. Called by several threads at once."""

    def compress(self, data: bytearray) -> bytes:
        """Return the region compressed."""

    def decompress(self, data: bytearray) -> bytes:
        """
        Return the region decompressed.

        Raises:
            CryptoError: it is damaged, or would become too large.
        """


class AeadTransform(Protocol):
    """A keyed authenticated cipher. Called by several threads at once."""

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt the payload in place and return the tag of `maclen` bytes."""

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt the payload in place if the tag verifies; else leave it and return False."""


Transform: TypeAlias = CipherTransform | MacTransform | AeadTransform | CompTransform
"""What does the mathematics. One that has a ``wipe()`` has it called when its session ends."""

TransformFactory: TypeAlias = Callable[[Cryptoini], Transform]


def in_one_piece(parts: Segments, work: Callable[[memoryview], object]) -> None:
    """
    Let `work` change a region in place as one piece, whatever its segments.

    A region of several segments is copied together, worked on, and copied back; the copy is
    wiped, since one of the two is plaintext. It raises nothing of its own; what `work` raises comes
    out, with the region as it was if that is of several segments.
    """
    if len(parts) == 1:
        work(parts[0])
        return
    whole = gather(parts)
    try:
        work(memoryview(whole))
        scatter(parts, whole)
    finally:
        whole[:] = bytes(len(whole))


def request_iv(crd: Cryptodesc, cri: Cryptoini, ivlen: int, parts: Segments) -> bytes:
    """
    Find or make the IV of a cipher's descriptor, and write it into the buffer where asked.

    Args:
        crd: The descriptor, which `check` has found sound.
        cri: The session's parameters of its algorithm; fresh IVs come from there.
        ivlen: The **bytes** of IV that it takes.
        parts: The request's buffer.

    Raises:
        UsageError: the IV's place is not inside the buffer.
    """
    if not ivlen:
        return b""
    way = iv_way(crd.flags)
    if way == READ:
        return b"".join(region(parts, crd.inject, ivlen))
    iv = bytes(crd.ini.iv or b"") if way & GIVEN else cri.fresh_iv()
    if way & WRITTEN:
        scatter(region(parts, crd.inject, ivlen), iv)
    return iv


class ChainSession:
    """
    A session of a `ChainDriver`: its chain, and the transform of each place in it.

    The transform of an authenticated cipher stands at its ciphering half; its authenticating
    half has None. `longest` is how many bytes of region the driver takes for each place, 0 for any
    number; the limits of the algorithms themselves hold besides.
    """

    __slots__ = ("chain", "transforms")

    def __init__(
        self,
        chain: Chain,
        transforms: Sequence[Transform | None],
        longest: Sequence[int] | None = None,
    ) -> None:
        self.chain = chain
        self.transforms = tuple(transforms)
        if longest is not None:
            chain.shorten(longest)

    def wipe(self) -> None:
        """Have the transforms drop what they keep of the keys."""
        for transform in self.transforms:
            wipe = getattr(transform, "wipe", None)
            if wipe is not None:
                wipe()

    def run(self, crp: Cryptop) -> None:
        """
        Check a request and carry its chain out, setting ``etype`` to what came of it.

        A request refused by a check has touched nothing. A MAC that does not verify ends the
        chain: what precedes it in the chain has been done, nothing after it. Where a step changes
        lengths, a step that fails leaves the buffer as it was before the first one. It raises only
        what is no `CryptoError`, from a transform.
        """
        try:
            plan = check(crp, self.chain)
            loan = lend(plan, self.chain)
            if loan is not None:
                self._on_loan(crp, plan, loan)
            elif plan.changing:
                self._run_whole(crp, plan)
            else:
                self.carry_out(crp, plan)
        except CryptoError as error:
            crp.fail_for(error)

    def carry_out(self, crp: Cryptop, plan: Plan) -> None:
        """Carry out a request that is sound, step by step. For those who know a shorter way."""
        for step in plan.steps:
            if step.late:
                settle(crp, self.chain, plan, step)
            if not self._step(crp, step, plan):
                crp.fail(errno.EBADMSG, UNVERIFIED)
                return

    def _on_loan(self, crp: Cryptop, plan: Plan, loan: Loan) -> None:
        """Carry a request out in a copy of the memory that others may write."""
        plan.parts = loan.parts
        try:
            self.carry_out(crp, plan)
            if not crp.etype:
                loan.give_back()
        finally:
            loan.end()

    def _run_whole(self, crp: Cryptop, plan: Plan) -> None:
        """Carry all steps out, or put the buffer back."""
        before, olen = Saved(crp.buf, plan.parts), crp.olen
        try:
            self.carry_out(crp, plan)
        except BaseException as error:
            before.restore()
            if not isinstance(error, OutputTooSmall):  # of which `olen` says how much it takes
                crp.olen = olen
            raise
        if crp.etype:
            before.restore()
            crp.olen = olen
        else:
            before.forget()

    def faults(self, crp: Cryptop) -> bool:
        """Fail a request that is malformed; return whether it is."""
        try:
            check(crp, self.chain)
        except CryptoError as error:
            crp.fail_for(error)
            return True
        return False

    def _step(self, crp: Cryptop, step: Step, plan: Plan) -> bool:
        parts = plan.parts
        match self.chain.facts[step.position].kind:
            case Kind.COMP:
                self._comp(crp, step, plan)
                return True
            case Kind.CIPHER:
                self._cipher(step, parts)
                return True
            case Kind.AEAD:
                return self._aead(crp, step, parts)
            case _:
                return self._mac(crp, step, parts)

    def _iv(self, step: Step, parts: Segments) -> bytes:
        at = step.position
        return request_iv(step.crd, self.chain.inis[at], self.chain.ivlens[at], parts)

    def _cipher(self, step: Step, parts: Segments) -> None:
        crd = step.crd
        transform: CipherTransform = self.transforms[step.position]  # type: ignore[assignment]  # by its kind
        iv = self._iv(step, parts)
        payload = region(parts, crd.skip, step.length)
        if payload:
            transform.crypt(iv, payload, bool(crd.flags & CRD_F_ENCRYPT))

    def _mac(self, crp: Cryptop, step: Step, parts: Segments) -> bool:
        crd = step.crd
        transform: MacTransform = self.transforms[step.position]  # type: ignore[assignment]  # by its kind
        length = self.chain.macs[step.position]
        digest = transform.mac(region(parts, crd.skip, step.length))[:length]
        place = _mac_place(crp, step, parts, length)
        if crd.flags & CRD_F_VERIFY:
            return hmac.compare_digest(b"".join(place), digest)
        scatter(place, digest)
        return True

    def _comp(self, crp: Cryptop, step: Step, plan: Plan) -> None:
        """
        Replace a region by its compressed or decompressed form; ``olen`` says how long that is.

        An mbuf grows or shrinks by the difference. In a buffer of fixed size the result may reach
        from ``skip`` to the end; where it does not fit, nothing is written. What is left of the
        region behind a shorter result is zeros. Deflate without growth
        leaves data that would not shrink as it is, and ``olen`` at what it would have become.
        """
        crd = step.crd
        transform: CompTransform = self.transforms[step.position]  # type: ignore[assignment]  # by its kind
        compress = bool(crd.flags & CRD_F_COMP)
        data = gather(region(plan.parts, crd.skip, step.length))
        result = transform.compress(data) if compress else transform.decompress(data)
        crp.olen = len(result)
        plan.left(step, self.chain, len(result))
        if not is_kept(step, self.chain, len(result)):
            plan.parts = replace_region(crp.buf, plan.parts, crd.skip, step.length, result)

    def _aead(self, crp: Cryptop, step: Step, parts: Segments) -> bool:
        crd, tag_step = step.crd, step.partner
        assert tag_step is not None
        transform: AeadTransform = self.transforms[step.position]  # type: ignore[assignment]  # by its kind
        length = self.chain.macs[tag_step.position]
        iv = self._iv(step, parts)
        aad = region(parts, tag_step.crd.skip, tag_step.length)
        payload = region(parts, crd.skip, step.length)
        place = _mac_place(crp, tag_step, parts, length)
        if not crd.flags & CRD_F_ENCRYPT:
            return transform.open(iv, aad, payload, b"".join(place))
        scatter(place, transform.seal(iv, aad, payload, length))
        return True


def _mac_place(crp: Cryptop, step: Step, parts: Segments, length: int) -> Segments:
    if step.mac_at < 0:
        return region(parts, step.crd.inject, length)
    return [byteview(crp.mac, writable=False)[step.mac_at : step.mac_at + length]]


class ChainDriver(Driver):
    """
    A synchronous driver over transforms: subclass it and give `factories`.

    Attributes:
        factories: For each algorithm in `capabilities`, what makes its transform from the
            session's parameters. An authenticating half (such as AES_128_GMAC) needs none: its
            cipher does the work. A factory may raise CryptoError to refuse a session.

        longest: The longest region in **bytes** of an algorithm that the library takes, where it is
            no capability's `maxlen` that anybody would plan with.

    A region longer than either, or than the algorithm's standard allows, is refused with E2BIG.
    """

    factories: Mapping[int, TransformFactory] = {}
    longest: Mapping[int, int] = {}
    selftest = True

    def __init__(self) -> None:
        self._sessions: dict[int, ChainSession] = {}

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """
        Make the session's transforms, and a ``process`` of its own.

        Raises:
            UsageError: an algorithm is not offered, or not with such a key or MAC.
            CryptoError: a factory refuses.
        """
        for cri in ini:
            capability = self.capabilities.get(cri.alg)
            refusal = "is not offered" if capability is None else capability.refusal(cri)
            if refusal:
                raise UsageError(f"driver {self.name}: {cri!r} {refusal}")
        chain = Chain.of_session(ini)
        chain.shorten(self.longest.get(cri.alg, 0) for cri in ini)
        longest = [self.capabilities[cri.alg].maxlen for cri in ini]
        session = ChainSession(chain, [self._transform(cri) for cri in ini], longest)
        lid = self.newlid()
        while lid in self._sessions:  # after 2**32 of them
            lid = self.newlid()
        self._sessions[lid] = session
        return lid, self.compile(session)

    def _transform(self, cri: Cryptoini) -> Transform | None:
        factory = self.factories.get(cri.alg)
        return factory(cri) if factory else None

    def quick(self, session: ChainSession) -> Quick | None:
        """
        Return a shorter way for the shape of request that this session mostly sees, if it has one.

        It finds out by itself that a request has that shape and is sound, and returns False before
        it touches anything if not: `ChainSession.run` then carries the request out, and words the
        refusals. A driver that knows a shorter one for its library overrides this, and makes it by
        `recognise_cipher` and its kind, which know the shapes.
        """
        return compile_quick(session.chain, session.transforms)

    def compile(self, session: ChainSession) -> Process:
        """Return the ``process`` of one session: the quick way if there is one, and `run`."""
        quick = self.quick(session)
        return self._by_run(session) if quick is None else self._by_quick(session, quick)

    def _by_run(self, session: ChainSession) -> Process:
        run = session.run

        def process(crp: Cryptop, hint: int) -> int:
            run(crp)
            self.done(crp)  # no copy of it: see Driver.done
            return 0

        return process

    def _by_quick(self, session: ChainSession, quick: Quick) -> Process:
        run = session.run

        def process(crp: Cryptop, hint: int) -> int:
            try:
                if not quick(crp):
                    run(crp)
            except CryptoError as error:
                crp.fail_for(error)
            except (AttributeError, LookupError, TypeError, ValueError):
                if not session.faults(crp):
                    raise
            self.done(crp)
            return 0

        return process

    def freesession(self, lid: int) -> None:
        """Drop the session's transforms, and with them the key schedules in the libraries."""
        session = self._sessions.pop(lid, None)
        if session is not None:
            session.wipe()

    def process(self, crp: Cryptop, hint: int) -> int:
        """Serve a request by its session number, for callers that kept no compiled ``process``."""
        session = self._sessions.get(crp.lid)
        if session is None:
            crp.fail(errno.ENOENT, f"driver {self.name} has no session {crp.lid}")
        else:
            session.run(crp)
        self.done(crp)
        return 0

    def close(self) -> None:
        """Free every session."""
        for lid in list(self._sessions):
            self.freesession(lid)
