"""
Streams: messages that come in pieces (`_rules.pieces`), each of which finds the one before done.

Whole messages know nothing of them. A driver's ``process``, or what stands before it, refuses a
piece as it refuses any flag it does not know (`IsPiece`); the session then gets a `Stream`, which
stands in the place of that ``process`` as long as a message is open. The stream hands one piece at
a time to what the driver keeps of the message (`Driver.newstream`); those that come meanwhile wait
here, in order. A callback that waits for a later piece of its own message so waits for itself.

A message belongs to its driver. Where that hands its first piece back, nothing was done, and it
moves with its session. Later it ends with ENODEV: no other driver knows what was kept of it. The
lineage remembers it until its last piece has been refused too, so that a piece which was on its way
is not taken for the beginning of another message.

No lock is held here but for single steps, in which nothing is called.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from threading import get_ident
from typing import Final

from opencrypto._core.bugs import DriverBugs
from opencrypto._core.returns import HANDED_BACK
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Session
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.check import Plan
from opencrypto._rules.lending import Borrowed, lend
from opencrypto._rules.pieces import OPEN, Message, begins, is_last, more_follows
from opencrypto._state import RequestState, SessionState, SlotState
from opencrypto.driver import Driver, DriverStream, Rule
from opencrypto.exceptions import BusyError, CryptoError, UsageError

SUBMITTED: Final = int(RequestState.SUBMITTED)

GONE: Final = "the driver of this message left in the midst of it; begin the message again"
CHILD: Final = "the message is the parent process's; begin one of your own"
NONE_OPEN: Final = "no message in pieces is open in this session, so there is none to copy"
BROKEN: Final = "an earlier piece of this message failed; begin it again, or end it"


class _Waiting:
    """A piece that waits for its turn, or has it. Without a request it is answered."""

    __slots__ = ("crp", "giver", "last")

    def __init__(self, crp: Cryptop) -> None:
        self.crp: Cryptop | None = crp
        self.last = False
        self.giver = 0  # the thread that hands it to the driver, while it does


class Streams:
    """What begins the streams of a framework, and ends them with their drivers."""

    def __init__(
        self,
        sessions: Sessions,
        bugs: DriverBugs,
        done: Callable[[Cryptop], None],
        refused: Callable[[Cryptop, Session, int], None],
    ) -> None:
        self.sessions = sessions
        self.bugs = bugs
        self.done = done
        self.refused = refused

    def take(self, crp: Cryptop, session: Session, hint: int) -> int:
        """Take a request that has turned out to be a piece; return what a ``process`` would."""
        stream = session.stream
        if stream is None:
            new = Stream(self, session)
            with self.sessions.one_step():
                stream = session.stream
                if stream is None:
                    stream = session.stream = new
        answer: int = stream.whole(crp, hint)
        return answer

    def copy(self, session: Session, twin: Session) -> None:
        """
        Open in a new session of the same driver the message that is open in another, as far as it
        has come.

        Raises:
            UsageError: none is, or what is kept of it cannot be copied.
        """
        if session.stream is None:
            raise UsageError(NONE_OPEN)
        twin.stream = session.stream.copy_to(Stream(self, twin))


class Stream:
    """
    The messages in pieces of one session, one after the other.

    Attributes:
        whole: What stands in the place of the session's ``process``.
    """

    __slots__ = (
        "_broken", "_current", "_driver_stream", "_message", "_plain", "_session", "_streams",
        "_waiting", "whole",
    )  # fmt: skip

    def __init__(self, streams: Streams, session: Session) -> None:
        self._streams = streams
        self._session = session
        self._plain = session.process
        depth = session.slot.depth
        self.whole = self.process if depth is None else depth.of_requests(self.process)
        self._waiting: list[_Waiting] = []
        self._current: _Waiting | None = None
        self._message: Message | None = None
        self._driver_stream: DriverStream | None = None
        self._broken: tuple[int, str] | None = None

    # Pieces that come.

    def process(self, crp: Cryptop, hint: int) -> int:
        """Take a request while a message is open, or one that begins it."""
        if self._is_idle() and is_last(crp):
            return self._plain(crp, hint)  # the message ended meanwhile
        piece = _Waiting(crp)
        try:
            self._waiting.append(piece)
            self._go_on()
        except BaseException:  # of a signal handler: who dispatched it answers it, and tells `lose`
            piece.crp = None
            raise
        return 0

    def lose(self) -> None:
        """Note that a piece was lost, by an exception of a signal handler: it leaves a gap."""
        self._break(errno.EINVAL, BROKEN)

    def _is_idle(self) -> bool:
        return self._message is None and self._current is None and not self._waiting

    def _go_on(self) -> None:
        """Give the driver the next piece, unless it has one; and so on."""
        while self._waiting and self._current is None:
            piece: _Waiting | None = None
            try:
                with self._streams.sessions.one_step():
                    # One step: only one of two takes it.
                    if self._current is None and self._waiting:
                        piece = self._waiting[0]
                        self._current = piece
                        del self._waiting[0]
                if piece is not None:
                    self._give(piece)
            except BaseException:
                if piece is not None and self._current is piece:
                    self._interrupted(piece)
                raise

    def _interrupted(self, piece: _Waiting) -> None:
        """End a piece whose giving was broken off: the driver may have worked on it."""
        crp = piece.crp
        if crp is None:
            self._current = None
            return
        if piece.last:
            self._close()
        else:
            self._break(errno.EINVAL, BROKEN)
        crp.fail(errno.EIO, "it was broken off by an exception of a signal handler")
        self._answer(piece, crp)

    def _give(self, piece: _Waiting) -> None:
        """Have the driver take a piece, or refuse it."""
        crp, session = piece.crp, self._session
        if crp is None or crp not in session.inflight:
            self._current = None  # it was answered otherwise
            return
        if not self._is_served():
            # Who redirects it says what becomes of the message.
            crp.fail(errno.EAGAIN)
            self._answer(piece, crp)
            return
        try:
            message = self._message
            if message is not None and message.pieces and self._broken is None:
                plan = message.again(crp)
                if plan is not None:
                    self._to_driver(piece, crp, plan)
                    return
            piece.last = is_last(crp)
            if self._broken is not None and self._begins_anew(crp):
                self._close()
            if self._message is None and piece.last:
                self._pass_on(piece, crp)
            elif self._admits(piece, crp):
                self._hand_over(piece, crp)
            else:
                self._answer(piece, crp)
        except CryptoError as error:
            crp.fail_for(error)
            self._failed(piece, crp)
            self._answer(piece, crp)

    def _is_served(self) -> bool:
        """Tell whether the driver takes pieces still: one that says that it leaves does not."""
        session, slot = self._session, self._session.slot
        alive = session.state is SessionState.LIVE or session.state is SessionState.DRAINING
        return alive and (slot.state is SlotState.ACTIVE or self._is_kept())

    def _is_kept(self) -> bool:
        """Tell whether a message keeps its driver, which is being detached, a while."""
        slot = self._session.slot
        return self._message is not None and not slot.reason and slot.state is SlotState.CLEANUP

    def _pass_on(self, piece: _Waiting, crp: Cryptop) -> None:
        """Hand on a whole message that waited behind the last piece of another one."""
        piece.crp = self._current = None
        self._retire()
        session, name = self._session, self._session.slot.name
        try:
            answer = self._plain(crp, 0)
        except Exception as error:
            if crp in session.inflight and crp.state == SUBMITTED:
                crp.fail(errno.EIO, f"driver {name} raised {type(error).__name__}")
                self._done(crp)
            self._streams.bugs.report(Rule.PROCESS_RAISED, name, error)
            return
        if answer:
            self._streams.refused(crp, session, answer)

    def _begins_anew(self, crp: Cryptop) -> bool:
        """Tell whether a request begins a message; raise, if that cannot be told."""
        more_follows(crp)
        return begins(crp, self._session.chain)

    def _admits(self, piece: _Waiting, crp: Cryptop) -> bool:
        """Find out whether a piece is the open message's, or begins one; else fail it."""
        if self._begins_anew(crp) and self._message is not None:
            crp.fail(errno.EBUSY, OPEN)
            return False
        if self._broken is not None:
            crp.fail(*self._broken)
            if piece.last:
                self._close()
            return False
        return True

    def _hand_over(self, piece: _Waiting, crp: Cryptop) -> None:
        """Check a piece, and have the driver take it."""
        message = self._message or self._open()
        if not self._is_served():
            self._close()
            crp.fail(errno.EAGAIN)  # its driver left just now, and nothing was done
            self._answer(piece, crp)
            return
        if self._driver_stream is None:
            self._driver_stream = self._begin()
        self._to_driver(piece, crp, message.plan(crp, last=piece.last))

    def _to_driver(self, piece: _Waiting, crp: Cryptop, plan: Plan) -> None:
        """Have the driver take a piece that is sound."""
        session, stream = self._session, self._driver_stream
        assert stream is not None
        driver: Driver | None = session.slot.driver
        loan = lend(plan, session.chain, 1 if driver is None else driver.alignment)
        if loan is not None:
            Borrowed(crp, loan)
            plan.parts = loan.parts
        piece.giver = get_ident()
        try:
            stream.piece(crp, plan, piece.last)
        except Exception as error:
            name = session.slot.name
            self._streams.bugs.report(Rule.PROCESS_RAISED, name, error)
            if piece.crp is crp:
                crp.fail(errno.EIO, f"driver {name} raised {type(error).__name__}")
                self._failed(piece, crp)
                self._answer(piece, crp)
        finally:
            piece.giver = 0

    def _begin(self) -> DriverStream:
        newstream: Callable[..., DriverStream] | None
        session = self._session
        newstream = session.slot.sym.newstream
        if newstream is None:
            raise UsageError(f"driver {session.slot.name} takes whole messages only")
        try:
            return newstream(session.lid, self.answered)
        except CryptoError:
            raise
        except Exception as error:
            self._streams.bugs.report(Rule.NEWSTREAM, session.slot.name, error)
            raise UsageError(
                f"driver {session.slot.name}: newstream raised {type(error).__name__}",
                errno=errno.EIO,
            ) from None

    # The driver's answers.

    def answered(self, crp: Cryptop) -> None:
        """Complete a piece: the ``done`` that the driver's stream was given."""
        piece = self._current
        if piece is None or piece.crp is not crp:
            self._done(crp)  # which hears that it is no piece of its any more
            return
        if crp.etype:
            self._failed(piece, crp)
        elif piece.last:
            self._close()
        elif self._message is not None:
            self._message.pieces += 1
        here = piece.giver == get_ident()
        try:
            self._answer(piece, crp)
        finally:
            if not here:  # else who gives it goes on by himself
                self._go_on()

    def _answer(self, piece: _Waiting, crp: Cryptop) -> None:
        """Complete the piece whose turn it is; the next one has it then."""
        piece.crp = None
        try:
            self._done(crp)
        except BaseException:  # of a signal handler, which may have come before it began
            if crp.state == SUBMITTED and crp in self._session.inflight:
                self._done(crp)
            raise
        finally:
            if self._current is piece:
                self._current = None
            if self._message is None:
                self._retire()

    def _done(self, crp: Cryptop) -> None:
        slot = self._session.slot
        driver: Driver | None = slot.driver
        if slot.depth is not None and driver is not None:
            driver.done(crp)  # which counts those that the driver has
        else:
            self._streams.done(crp)

    def _failed(self, piece: _Waiting, crp: Cryptop) -> None:
        """Note what the failure of a piece means for its message."""
        message = self._message
        if crp.etype in HANDED_BACK:
            if message is None or not message.pieces:
                self._close()  # nothing was done: the message moves with its session
                return
            self._break(errno.ENODEV, GONE)
            if self._session.slot.is_driver:
                return  # `refuse` says so to this one too
            crp.fail(errno.ENODEV, GONE)
        else:
            if message is None:
                self._open()
            self._break(errno.EINVAL, BROKEN)
        if piece.last:
            self._close()

    # Messages.

    def _open(self) -> Message:
        message = self._message = Message(self._session.chain)
        self._broken = None
        self._session.lineage.stream = self
        self._session.process = self.whole
        return message

    def _break(self, etype: int, words: str) -> None:
        """Refuse what comes of the open message from now on, and wipe what was kept of it."""
        if self._message is not None:
            self._broken = (etype, words)
        self._drop()

    def _close(self) -> None:
        """Note that the open message has ended; the driver may leave now, if it wants to."""
        session = self._session
        if session.lineage.stream is self:
            session.lineage.stream = None
        self._message = self._broken = None
        self._drop()
        if session.slot.is_driver and session.slot.state is not SlotState.ACTIVE:
            self._streams.sessions.orphan(session)

    def _drop(self) -> None:
        stream, self._driver_stream = self._driver_stream, None
        if stream is None:
            return
        try:
            stream.wipe()
        except Exception as error:
            self._streams.bugs.report(Rule.FREESESSION, self._session.slot.name, error)

    def _retire(self) -> None:
        """Let whole messages go straight to the driver again, if none in pieces is open."""
        with self._streams.sessions.one_step():
            # One step: who comes after it finds the driver's own, and who came before, waits here.
            if self._message is None and not self._waiting and self._current is None:
                if self._session.process is self.whole:
                    self._session.process = self._plain

    def copy_to(self, other: Stream) -> Stream:
        """Have another stream come as far as this one; return it. See `Streams.copy`."""
        message, kept = self._message, self._driver_stream
        if message is None or self._broken is not None or kept is None:
            raise UsageError(NONE_OPEN)
        if self._current is not None or self._waiting:
            raise BusyError("a piece of this message is under way; copy it when that is done")
        copy: Callable[..., DriverStream] | None = getattr(kept, "copy", None)
        if copy is None:
            raise UsageError(f"driver {self._session.slot.name} cannot copy what it keeps")
        other._driver_stream = copy(other._session.lid, other.answered)
        other._open()
        other._message = message.copy()
        return other

    # Ends.

    def refuse(self, crp: Cryptop) -> bool:
        """
        Refuse a piece of a message whose driver left, or is about to.

        Returns:
            False if the request begins another message: it moves with its session.
        """
        if begins(crp, self._session.chain):
            self._close()
            return False
        if is_last(crp):
            self._close()
        crp.fail(errno.ENODEV, GONE)
        return True

    def end(self) -> None:
        """Give the open message up, since its driver leaves: pieces that come end with ENODEV."""
        if self._current is None:
            self._break(errno.ENODEV, GONE)
        elif self._message is not None:
            self._broken = (errno.ENODEV, GONE)  # the driver works on it; it is wiped later
        while self._waiting:
            piece: _Waiting | None = None
            with self._streams.sessions.one_step():
                if self._waiting:
                    piece = self._waiting[0]
                    del self._waiting[0]
            crp = None if piece is None else piece.crp
            if piece is not None and crp is not None and crp in self._session.inflight:
                piece.crp = None
                crp.fail(errno.EAGAIN)  # who redirects it says ENODEV
                self._done(crp)

    def abandon(self) -> None:
        """Forget the open message, whose other parts have failed."""
        self._close()
        self._retire()

    def forget(self) -> None:
        """Wipe what is kept, of a session that its driver forgets."""
        self._message = self._broken = None
        self._drop()

    def after_fork(self) -> None:
        """Begin, in a forked child, with no piece; an open message is the parent's."""
        self._waiting = []
        self._current = None
        if self._message is not None:
            self._broken = (errno.EINVAL, CHILD)
        self._drop()
