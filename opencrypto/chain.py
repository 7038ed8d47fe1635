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
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeAlias

from opencrypto._later import Later, Line, Passage, Place, Way, broke
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
from opencrypto._rules.quick import at_once, compile_quick, with_messages
from opencrypto._rules.shapes import (
    OF_MALFORMED,
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
from opencrypto.constants import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_VERIFY,
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SYNC,
    ERESTART,
)
from opencrypto.driver import Driver, Process, WorkerPool
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
    "Later",
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
    "with_messages",
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


class LaterCipher(Protocol):
    """A `CipherTransform` that answers later."""

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> Awaitable[None]:
        """Begin to encrypt or decrypt the region in place; finish with None."""


class LaterMac(Protocol):
    """A `MacTransform` that answers later."""

    def mac(self, parts: Sequence[memoryview]) -> Awaitable[bytes]:
        """Begin to make the MAC of the region; finish with the whole of it."""


class LaterComp(Protocol):
    """A `CompTransform` that answers later."""

    def compress(self, data: bytearray) -> Awaitable[bytes]:
        """Begin to compress the region; finish with the result."""

    def decompress(self, data: bytearray) -> Awaitable[bytes]:
        """Begin to decompress the region; finish with the result."""


class LaterAead(Protocol):
    """An `AeadTransform` that answers later."""

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> Awaitable[bytes]:
        """Begin to encrypt the payload in place; finish with the tag of `maclen` bytes."""

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> Awaitable[bool]:
        """Begin to decrypt the payload in place if the tag verifies; finish with whether so."""


Transform: TypeAlias = (
    CipherTransform | MacTransform | AeadTransform | CompTransform
    | LaterCipher | LaterMac | LaterAead | LaterComp
)  # fmt: skip
"""What does the mathematics. One that has a ``wipe()`` has it called when its session ends."""

TransformFactory: TypeAlias = Callable[[Cryptoini], Transform]


def in_one_piece(parts: Segments, work: Callable[[memoryview], object]) -> None:
    """
    Let `work` change a region in place as one piece, whatever its segments.

    A region of several segments is copied together, worked on, and copied back; the copy is
    wiped, since one of the two is plaintext. It raises nothing of its own; what `work` raises comes
    out, with the region as it was if that is of several segments.

    Args:
        parts: The segments of the region.
        work: What changes a view of it in place, and leaves its length.
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

    Returns:
        The IV, of that many bytes; empty if it takes none.

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
                with _on_loan(crp, plan, loan):
                    self.carry_out(crp, plan)
            elif plan.changing:
                with _as_one(crp, plan):
                    self.carry_out(crp, plan)
            else:
                self.carry_out(crp, plan)
        except CryptoError as error:
            crp.fail_for(error)

    def run_later(self, crp: Cryptop) -> Way:
        """
        Do the same with transforms that answer later: yield each `Later` that must be waited for.

        A request that fails, whatever the reason, leaves its buffer as it was: it may be one that
        is handed back half way, to be carried out anew by another driver.
        """
        try:
            plan = check(crp, self.chain)
            loan = lend(plan, self.chain)
            with _as_one(crp, plan) if loan is None else _on_loan(crp, plan, loan):
                yield from self._carry_out_later(crp, plan)
        except CryptoError as error:
            crp.fail_for(error)

    def carry_out(self, crp: Cryptop, plan: Plan) -> None:
        """Carry out a request that is sound, step by step. For those who know a shorter way."""
        for step in plan.steps:
            if step.late:
                settle(crp, self.chain, plan, step)
            answer = at_once(self._begin(crp, step, plan))
            if not self._end(crp, step, plan, answer):
                crp.fail(errno.EBADMSG, UNVERIFIED)
                return

    def _carry_out_later(self, crp: Cryptop, plan: Plan) -> Way:
        for step in plan.steps:
            if step.late:
                settle(crp, self.chain, plan, step)
            answer = self._begin(crp, step, plan)
            if hasattr(answer, "__await__"):
                answer = yield from answer.__await__()
            if not self._end(crp, step, plan, answer):
                crp.fail(errno.EBADMSG, UNVERIFIED)
                return

    def blame(self, crp: Cryptop, error: Exception) -> None:
        """
        Fail a request for what its carrying out raised.

        Raises:
            Exception: what it raised, if that is no `CryptoError`, and the request not malformed.
        """
        if isinstance(error, CryptoError):
            crp.fail_for(error)
        elif not isinstance(error, OF_MALFORMED) or not self.faults(crp):
            raise error

    def faults(self, crp: Cryptop) -> bool:
        """Fail a request that is malformed; return whether it is."""
        try:
            check(crp, self.chain)
        except CryptoError as error:
            crp.fail_for(error)
            return True
        return False

    def _begin(self, crp: Cryptop, step: Step, plan: Plan) -> Any:
        """Have the transform of a step do its work, and return what it answers."""
        crd, parts = step.crd, plan.parts
        transform: Any = self.transforms[step.position]
        match self.chain.facts[step.position].kind:
            case Kind.COMP:
                data = gather(region(parts, crd.skip, step.length))
                compress = bool(crd.flags & CRD_F_COMP)
                return transform.compress(data) if compress else transform.decompress(data)
            case Kind.CIPHER:
                iv = self._iv(step, parts)
                payload = region(parts, crd.skip, step.length)
                return transform.crypt(iv, payload, _encrypts(crd)) if payload else None
            case Kind.AEAD:
                return self._begin_aead(crp, step, parts, transform)
            case _:
                return transform.mac(region(parts, crd.skip, step.length))

    def _begin_aead(
        self, crp: Cryptop, step: Step, parts: Segments, transform: Any
    ) -> bytes | bool | Awaitable[bytes | bool]:
        crd, tag = step.crd, step.partner
        assert tag is not None
        iv = self._iv(step, parts)
        aad = region(parts, tag.crd.skip, tag.length)
        payload = region(parts, crd.skip, step.length)
        if _encrypts(crd):
            return transform.seal(iv, aad, payload, self.chain.macs[tag.position])  # type: ignore[no-any-return]  # by its kind
        place = self._mac_place(crp, tag, parts)
        return transform.open(iv, aad, payload, b"".join(place))  # type: ignore[no-any-return]  # by its kind

    def _end(self, crp: Cryptop, step: Step, plan: Plan, answer: Any) -> bool:
        """Put what a transform has answered where it belongs; False if a MAC did not verify."""
        match self.chain.facts[step.position].kind:
            case Kind.COMP:
                self._replace(crp, step, plan, answer)
            case Kind.CIPHER:
                pass
            case Kind.AEAD if not _encrypts(step.crd):
                return bool(answer)
            case Kind.AEAD:
                assert step.partner is not None
                scatter(self._mac_place(crp, step.partner, plan.parts), answer)
            case _:
                place = self._mac_place(crp, step, plan.parts)
                digest = answer[: self.chain.macs[step.position]]
                if step.crd.flags & CRD_F_VERIFY:
                    return hmac.compare_digest(b"".join(place), digest)
                scatter(place, digest)
        return True

    def _iv(self, step: Step, parts: Segments) -> bytes:
        at = step.position
        return request_iv(step.crd, self.chain.inis[at], self.chain.ivlens[at], parts)

    def _mac_place(self, crp: Cryptop, step: Step, parts: Segments) -> Segments:
        length = self.chain.macs[step.position]
        if step.mac_at < 0:
            return region(parts, step.crd.inject, length)
        return [byteview(crp.mac, writable=False)[step.mac_at : step.mac_at + length]]

    def _replace(self, crp: Cryptop, step: Step, plan: Plan, result: bytes) -> None:
        """
        Replace a region by its compressed or decompressed form; ``olen`` says how long that is.

        An mbuf grows or shrinks by the difference. In a buffer of fixed size the result may reach
        from ``skip`` to the end; where it does not fit, nothing is written. What is left of the
        region behind a shorter result is zeros. Deflate without growth
        leaves data that would not shrink as it is, and ``olen`` at what it would have become.
        """
        crp.olen = len(result)
        plan.left(step, self.chain, len(result))
        if not is_kept(step, self.chain, len(result)):
            plan.parts = replace_region(crp.buf, plan.parts, step.crd.skip, step.length, result)


def _encrypts(crd: Cryptodesc) -> bool:
    return bool(crd.flags & CRD_F_ENCRYPT)


@contextmanager
def _on_loan(crp: Cryptop, plan: Plan, loan: Loan) -> Iterator[None]:
    """Have a request carried out in a copy of the memory that others may write."""
    plan.parts = loan.parts
    try:
        yield
        if not crp.etype:
            loan.give_back()
    finally:
        loan.end()


@contextmanager
def _as_one(crp: Cryptop, plan: Plan) -> Iterator[None]:
    """Have all steps of a request carried out, or its buffer put back."""
    before, olen = Saved(crp.buf, plan.parts), crp.olen
    try:
        yield
    except GeneratorExit:  # it was given up, long ago: the buffer is not ours any more
        before.forget()
        raise
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


class ChainDriver(Driver):
    """
    A driver over transforms: subclass it and give `factories`.

    Requests are carried out by the thread that dispatches them, unless the driver has `workers` or
    its transforms answer `later`. It is then no ``CRYPTOCAP_F_SYNC`` driver, whatever its flags
    say; the requests of a session are begun in the order in which they come, several may be worked
    on at once, and they are answered in that order. A callback within `done` (``CRYPTO_F_CBIMM``)
    that waits there for another request of its own session would so wait for itself.

    Attributes:
        factories: For each algorithm in `capabilities`, what makes its transform from the
            session's parameters. An authenticating half (such as AES_128_GMAC) needs none: its
            cipher does the work. A factory may raise CryptoError to refuse a session.

        longest: The longest region in **bytes** of an algorithm that the library takes, where it is
            no capability's `maxlen` that anybody would plan with.

        workers: How many threads carry requests out, at most; 0 for none.

        threads_from: Requests whose regions together have at least so many **bytes** go to a
            worker, others are carried out at once; 0 sends all there. Without `workers` there is
            one thread per processor, and no more than 8.

        depth: How many requests wait for a worker before the next one is answered ERESTART.

        later: Whether transforms answer later, by a `Later`. There is no quick way then.

    Raises:
        UsageError: one of the numbers is negative, or none, or `depth` is 0.

    A region longer than either, or than the algorithm's standard allows, is refused with E2BIG.
    """

    factories: Mapping[int, TransformFactory] = {}
    longest: Mapping[int, int] = {}
    workers: int = 0
    threads_from: int = 0
    depth: int = 64
    later: bool = False
    selftest = True

    def __init__(self) -> None:
        self._sessions: dict[int, ChainSession] = {}
        self._pool: WorkerPool | None = None
        for fact, least in (("workers", 0), ("threads_from", 0), ("depth", 1)):
            number = getattr(self, fact)
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise UsageError(f"driver {self.name}: {fact} is a number, {least} or more")
        if self.workers or self.threads_from:
            self._pool = WorkerPool(self.name, self._room, size=self.workers, depth=self.depth)
        if self._pool is not None or self.later:
            self.flags &= ~CRYPTOCAP_F_SYNC

    def _room(self) -> None:
        self.unblock(CRYPTO_SYMQ)

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
        if self.later:
            return self._by_passage(session)
        quick = self.quick(session)
        if self._pool is not None:
            return self._by_workers(session, quick, self._pool)
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
            except Exception as error:
                session.blame(crp, error)
            self.done(crp)
            return 0

        return with_messages(process, getattr(quick, "messages", None))

    def _by_workers(self, session: ChainSession, quick: Quick | None, pool: WorkerPool) -> Process:
        line = Line(self)
        run, threads_from = session.run, self.threads_from

        def carry_out(crp: Cryptop) -> None:
            try:
                if quick is None or not quick(crp):
                    run(crp)
            except Exception as error:
                session.blame(crp, error)

        def work(place: Place) -> None:
            crp = place.crp
            if crp is None:
                return  # it was answered: its dispatch was broken off
            try:
                carry_out(crp)
            except BaseException as error:
                broke(self, crp, error)
                if not isinstance(error, Exception):
                    raise
            finally:
                line.answer(place)

        def process(crp: Cryptop, hint: int) -> int:
            if threads_from and line.is_empty() and _reach(crp) < threads_from:
                carry_out(crp)
                self.done(crp)
                return 0

            def give(place: Place) -> bool:
                return pool.submit(partial(work, place), more=bool(hint))

            return 0 if line.hand_over(crp, give) else ERESTART

        return process

    def _by_passage(self, session: ChainSession) -> Process:
        line = Line(self)
        pool, threads_from = self._pool, self.threads_from

        def process(crp: Cryptop, hint: int) -> int:
            def give(place: Place) -> bool:
                end = partial(line.answer, place)
                passage = Passage(crp, session.run_later(crp), self, end)
                if pool is not None and _reach(crp) >= threads_from:
                    return pool.submit(passage.go_on, more=bool(hint))
                passage.go_on()
                return True

            return 0 if line.hand_over(crp, give) else ERESTART

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
        """Answer what was taken by workers, end them, and free every session."""
        if self._pool is not None:
            self._pool.close()
        for lid in list(self._sessions):
            self.freesession(lid)


def _reach(crp: Cryptop) -> int:
    """Return how many bytes a request's regions have; very many where that shows only later."""
    try:
        lengths = [crd.len | 0 for crd in crp.desc]
    except (AttributeError, TypeError):
        return 0  # it is malformed, which is soon found out
    return sys.maxsize if any(length < 0 for length in lengths) else sum(lengths)
