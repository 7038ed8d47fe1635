"""
A ready base for drivers made of primitives: it carries out request chains, they do the mathematics.

An author gives one small object (a *transform*) per algorithm. `ChainDriver` opens the sessions,
decides which thread carries a request out, and completes it; `ChainSession` carries it out. For
drivers that know a quicker way with their library, `recognise_cipher` and its companions read the
requests.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from opencrypto._carrying import (
    AeadTransform,
    ChainSession,
    CipherTransform,
    CompTransform,
    MacTransform,
    Transform,
    TransformFactory,
    in_one_piece,
    request_iv,
)
from opencrypto._later import Later, Line, Passage, Place, broke
from opencrypto._request.buffer import (
    BytesLike,
    Segments,
    byteview,
    flat,
    gather,
    region,
    scatter,
    segments,
)
from opencrypto._request.symmetric import (
    DECOMPRESSED_LIMIT,
    Cryptoini,
    Cryptop,
)
from opencrypto._rules.chain import Chain
from opencrypto._rules.check import Plan, Step, check, settle
from opencrypto._rules.lending import Loan, lend
from opencrypto._rules.messages import UNVERIFIED
from opencrypto._rules.quick import compile_quick, with_messages
from opencrypto._rules.shapes import (
    AeadExchange,
    CipherExchange,
    CipherMacExchange,
    MacExchange,
    Quick,
    Shape,
    cipher_and_mac,
    places_of,
    process_of,
    recognise_aead,
    recognise_cipher,
    recognise_cipher_mac,
    recognise_mac,
    settle_mac,
    shape_of,
)
from opencrypto._streaming import AeadStream, ByCounter, ChainStream, CipherStream, MacStream
from opencrypto.constants import CRYPTO_SYMQ, CRYPTOCAP_F_SYNC, ERESTART
from opencrypto.driver import Driver, DriverStream, Process, WorkerPool
from opencrypto.exceptions import UsageError

__all__ = [
    "AeadExchange",
    "AeadStream",
    "AeadTransform",
    "ByCounter",
    "BytesLike",
    "Chain",
    "ChainDriver",
    "ChainSession",
    "ChainStream",
    "CipherExchange",
    "CipherMacExchange",
    "CipherStream",
    "CipherTransform",
    "CompTransform",
    "DECOMPRESSED_LIMIT",
    "Later",
    "Loan",
    "MacExchange",
    "MacStream",
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
        if quick is None:
            return self._by_run(session)
        process = process_of(quick, session.run, session.blame, self)
        return with_messages(process, getattr(quick, "messages", None))

    def _by_run(self, session: ChainSession) -> Process:
        run = session.run

        def process(crp: Cryptop, hint: int) -> int:
            run(crp)
            self.done(crp)  # no copy of it: see Driver.done
            return 0

        return process

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

    def newstream(self, lid: int, done: Callable[[Cryptop], None]) -> DriverStream:
        """
        Begin a message in pieces, as far as the session's transforms can.

        Raises:
            UsageError: an algorithm of the session takes whole messages only, or the transforms of
                this driver answer later.
        """
        if self.later:
            raise UsageError(f"driver {self.name} takes whole messages only: it answers later")
        session = self._sessions.get(lid)
        if session is None:
            raise UsageError(f"driver {self.name} has no session {lid}", errno=errno.ENOENT)
        return _DriverStream(self, self._pool, ChainStream(session), done)

    def copystream(
        self, stream: ChainStream, lid: int, done: Callable[[Cryptop], None]
    ) -> DriverStream:
        """Copy what is kept of a message into another session with the same keys."""
        return _DriverStream(self, self._pool, stream.copy(self._sessions[lid]), done)

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


class _DriverStream:
    """A message in pieces, which are carried out by workers if the driver has such."""

    __slots__ = ("_done", "_driver", "_pool", "_stream")

    def __init__(
        self,
        driver: ChainDriver,
        pool: WorkerPool | None,
        stream: ChainStream,
        done: Callable[[Cryptop], None],
    ) -> None:
        self._driver = driver
        self._pool = pool
        self._stream = stream
        self._done = done

    def piece(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        """Carry the next piece out; or have a worker do it, unless it is small or all are busy."""
        if self._pool is not None and _reach(crp) >= self._driver.threads_from:
            if self._pool.submit(partial(self._work, crp, plan, last)):
                return
        self._stream.carry_out(crp, plan, last)
        self._done(crp)

    def _work(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        try:
            self._stream.carry_out(crp, plan, last)
        except BaseException as error:
            broke(self._driver, crp, error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._done(crp)

    def copy(self, lid: int, done: Callable[[Cryptop], None]) -> DriverStream:
        """Copy what is kept, for another session with the same keys."""
        return self._driver.copystream(self._stream, lid, done)

    def wipe(self) -> None:
        """Drop what was kept of the message."""
        self._stream.wipe()


def _reach(crp: Cryptop) -> int:
    """Return how many bytes a request's regions have; very many where that shows only later."""
    try:
        lengths = [crd.len | 0 for crd in crp.desc]
    except (AttributeError, TypeError):
        return 0  # it is malformed, which is soon found out
    return sys.maxsize if any(length < 0 for length in lengths) else sum(lengths)
