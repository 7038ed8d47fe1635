"""
A request's way: from dispatch to its driver, and from done to its callback.

Guarantees:

* An accepted request is completed exactly once. What completes it is taking it out of its
  session's ``inflight``; whoever fails at that was second.
* Requests of one session reach its driver in the order of dispatch. While one of them is queued
  (batched, or refused with ERESTART), later ones queue behind it.
* A request enters ``inflight`` before its session is found usable, and a session is made unusable
  before ``inflight`` is found empty: one of the two sees the other, so no request reaches a
  session that the driver has been told to forget.
* Nothing here holds a lock while driver or consumer code runs.
* A callback within ``done`` may dispatch again, and so on without end: beyond some depth a
  request is queued for the request interrupt, which begins with an empty stack.

The straight path (`Dispatcher.dispatch`, the driver, `Dispatcher.done`, the callback) takes no
lock, calls no hook and logs nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from time import monotonic, perf_counter_ns
from typing import Any, Final, NoReturn

from opencrypto._core.bugs import DriverBugs
from opencrypto._core.errands import Errands
from opencrypto._core.lane import DEEPEST, Lane
from opencrypto._core.moving import Moving
from opencrypto._core.plugins import Observers
from opencrypto._core.queues import QUEUED, SUBMITTED, RequestQueue
from opencrypto._core.returns import GONE, HANDED_BACK, Callbacks, ReturnQueue, at_once
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Session, Slot
from opencrypto._core.streams import Streams
from opencrypto._log import Limited
from opencrypto._measure.counters import Counts, LocalCounts
from opencrypto._measure.watcher import Watcher
from opencrypto._request.sid import sid_text
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.check import IsPiece
from opencrypto._state import RequestState, SessionState, SlotState
from opencrypto._threads import HAS_GIL
from opencrypto.constants import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_F_ONRETQ,
    CRYPTO_SYMQ,
    ERESTART,
)
from opencrypto.driver import Rule
from opencrypto.exceptions import BusyError, UsageError

IDLE: Final = int(RequestState.IDLE)
RETURNING: Final = int(RequestState.RETURNING)
FREED: Final = int(RequestState.FREED)
LIVE: Final = SessionState.LIVE
DRAINING: Final = SessionState.DRAINING
ACTIVE: Final = SlotState.ACTIVE
EAGAIN: Final = errno.EAGAIN

ILEN_BITS: Final = 48
"""An ``ilen`` has at most so many bits. It is counted, and counts neither fall nor overflow."""

Say = Callable[[Cryptop, "Session | None"], None]
"""Sets what a request ends with."""

Rest = Callable[[Cryptop, Any, list[Cryptop]], None]
"""Does the rest of a completion, unless the list says that this has been done."""

BUSY: Final = "the request is dispatched already; wait for its callback"

TURN: Final = 256
"""How many requests of one driver the request interrupt hands over before the next one's turn."""


class Dispatcher:
    """The request and return sides of the framework. See the module for its guarantees."""

    def __init__(
        self,
        sessions: Sessions,
        moving: Moving,
        bugs: DriverBugs,
        observers: Observers,
        callbacks: Callbacks,
        errands: Errands,
        leave: Callable[[Slot, str], None],
        blocked: Callable[[], None],
        owes: Callable[[Slot], None],
        kick_requests: Callable[[], None],
        kick_returns: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._moving = moving
        self._table = sessions.table
        self._errands = errands
        self._let_leave = leave
        self._owes = owes
        self.returns: ReturnQueue[Cryptop] = ReturnQueue(kick_returns)
        self._return = self.returns.append
        self.streams = Streams(sessions, bugs, self.done, self._refused)
        self.lane: Lane[Cryptop] = Lane(
            CRYPTO_SYMQ, TURN, _queue_of, self._run_queued, kick_requests, observers, blocked
        )
        self._without_session = Counts()  # requests that never had a driver
        self._local = LocalCounts(self._without_session)
        self.watcher = Watcher(sessions, callbacks.call)
        self._blocked = Limited("driver_blocked", "driver")
        self.callbacks = callbacks
        self.bugs = bugs
        self.intrs = 0
        self.rets = 0

    # The way in.

    def dispatch(self, crp: Cryptop) -> None:
        """Hand a request to its session's driver. See `Framework.dispatch`."""
        try:  # before anything is changed, since these raise where a field is no number
            session = self._table[crp.sid]
            size = crp.ilen
            kind = session.kind + (size - 1).bit_length()
            waits = crp.flags & CRYPTO_F_BATCH
        except (AttributeError, KeyError, TypeError):
            size = -1  # which is none
        if size >> ILEN_BITS or crp.callback is None:
            self._refuse(crp)
            return
        slot = session.slot
        counts = slot.local.counts
        depth = counts.depth
        if waits or depth >= DEEPEST:
            self._detour(crp, session, kind, size)
            return
        unblocks = slot.unblocks
        inflight = session.inflight
        if crp.state:
            self._refuse(crp)
            return
        # The claim. No call and no jump back lies between the look and this, so the interpreter
        # lets no other thread, no signal handler and no finalizer come between.
        crp.state = SUBMITTED
        counts.depth = depth + 1
        try:
            if crp.etype:
                crp.fail(0)
            crp.holder = session
            crp.since = 0.0
            inflight.add(crp)
            if not (session.straight and slot.straight):
                if not self.watcher.sees_off(crp, session):
                    crp.state = IDLE
                    inflight.discard(crp)
                    waits = CRYPTO_F_BATCH
        except BaseException:  # of a signal handler
            counts.depth = depth
            self.let_go(crp, session)
            raise
        if waits:
            counts.depth = depth
            self._detour(crp, session, kind, size)
            return
        try:
            try:
                counts.sizes[kind] += 1
                counts.bytes += size
            except IndexError:  # the first of its kind in this thread
                counts.count(kind, size)
            process = session.process  # CPython is slow to call what it finds in a slot
            try:
                answer = process(crp, 0)
            except IsPiece:
                answer = self.streams.take(crp, session, 0)
        except BaseException as error:
            self._escaped(crp, session, error)
        else:
            if not answer:
                if crp.state and crp.state == SUBMITTED:  # the first look is enough for most
                    crp.since = monotonic()  # it was not answered at once
                    if not slot.owes:
                        self._owes(slot)
            else:
                receipt = [crp]  # empty once it is queued again, whatever interrupts us then
                try:
                    self._not_taken(crp, session, answer, unblocks, receipt)
                except BaseException:
                    if receipt and crp in inflight:
                        self.let_go(crp, session)
                    raise
        finally:
            counts.depth = depth

    def _refused(self, crp: Cryptop, session: Session, answer: int) -> None:
        """Requeue a request that a stream had, and its driver did not take."""
        receipt = [crp]
        before = session.slot.sym.queue.unblocks
        try:
            self._not_taken(crp, session, answer, before, receipt)
        except BaseException:
            if receipt and crp in session.inflight:
                self.let_go(crp, session)
            raise

    def let_go(self, crp: Cryptop, session: Session) -> None:
        """Undo the claim of a request that came to no driver and no queue."""
        crp.stamps = None
        crp.holder = None
        crp.state = IDLE
        session.inflight.discard(crp)
        if session.state is not LIVE:
            # It may have been freed or orphaned meanwhile, and have waited for this request.
            self._errands.add((self._sessions.settle, (session,)))
            self._errands.hurry()

    def settle(self, session: Session) -> None:
        """See to a session that a message has left by the short way, if it lives no more."""
        if session.state is not LIVE:
            self._sessions.settle(session)

    def _refuse(self, crp: Cryptop) -> None:
        if crp.state == FREED:
            raise UsageError("the request has been freed; take a new one from getreq()")
        if crp.state:
            raise BusyError(BUSY)
        if crp.callback is None:
            raise UsageError("the request has no callback; set one, or nobody hears of its end")
        if not isinstance(crp.flags, int):
            raise UsageError(f"flags are CRYPTO_F_* or 0, not {type(crp.flags).__name__}")
        self._count_stray(crp, 0)
        self._end(crp, None)

    def _count_stray(self, crp: Cryptop, kind: int) -> None:
        size, _ = _length(crp.ilen)
        self._local.counts.count(kind + (size - 1).bit_length(), size)

    def strayed(self, crp: Cryptop, kind: int, *, known: bool) -> None:
        """
        Count an error that is no driver's, and the request if it is not `known` yet.

        A virtual session has no driver of its own: what its parts' drivers get they count.
        """
        if not known:
            self._count_stray(crp, kind)
        self._local.counts.failed(kind, crp.etype, crp.error)

    def _detour(self, crp: Cryptop, session: Session, kind: int, size: int) -> None:
        """Queue a request, or tell it that its session has moved or gone."""
        slot = session.slot
        counts = slot.local.counts
        queue = slot.sym.queue
        items = queue.items
        queued = due = turned_away = False
        if crp.state:
            self._refuse(crp)
            return
        crp.state = QUEUED  # the claim, as above: it is in a queue, or on its way there
        depth = counts.depth
        counts.depth = depth + 1
        try:
            if crp.etype:
                crp.fail(0)
            crp.holder = session
            crp.since = monotonic()
            session.inflight.add(crp)
            if self.watcher.watch is not None:
                self.watcher.sees_queued(crp)
            with slot.lock:
                # One step, with nothing called but the append: it is queued altogether, or not.
                if session.state is LIVE and (
                    slot.state is ACTIVE or session.lineage.stream is not None
                ):
                    try:
                        counts.sizes[kind] += 1
                    except IndexError:
                        counts.widen(kind)  # nothing has been done yet
                        counts.sizes[kind] += 1
                    counts.bytes += size
                    session.queued += 1
                    session.straight = False
                    queued = True
                    items.append(crp)
                    # Who has been told of this queue comes to this request too.
                    due = not queue.scheduled and queue.schedule(self.lane.tell, slot)
            if queued:
                if self.watcher.watch is not None:
                    self.watcher.tally(crp, session)
                if due:
                    self.lane.kick()
                return
            # It met a session that has moved, or whose driver has gone: that is no driver's.
            self._local.counts.count(kind, size)
            turned_away = True
            self._turn_away(crp, session, self._say_where_to)
        except BaseException:  # of a signal handler
            if queued:
                self.lane.surely_see_to(slot)
            elif not turned_away or crp in session.inflight:
                self.let_go(crp, session)
            raise
        finally:
            counts.depth = depth

    def _turn_away(self, crp: Cryptop, session: Session, say: Say | None = None) -> None:
        """Complete a request that its session's driver will not see."""
        if self._sessions.may_wait():
            self._end(crp, session, say)
        else:
            # Whoever moves the session may wait for what this thread is in the midst of.
            self._errands.add((self._turn_away, (crp, session, say)))
            self._errands.hurry()

    def _give_up(self, crp: Cryptop, session: Session) -> None:
        """Complete a request that a driver has and will never answer: never with EAGAIN."""
        if self._sessions.may_wait():
            self._end(crp, session, self._abandon)
        else:
            self._errands.add((self._give_up, (crp, session)))
            self._errands.hurry()

    def _end(self, crp: Cryptop, session: Session | None, say: Say | None = None) -> None:
        """
        Complete a request that no driver answers.

        Args:
            crp: The request.
            session: Its session, from which it is taken; None if there is none.
            say: Sets what it ends with; `_say_why`, if not given.
        """
        conclude = partial(self._conclude, say or self._say_why)
        if session is None:
            if crp.state:
                raise BusyError(BUSY)
            crp.state = RETURNING  # the claim, as in `dispatch`
        try:
            if session is not None:
                session.inflight.remove(crp)
        except KeyError:
            return  # somebody was quicker
        except BaseException:  # of a signal handler
            self._put_off(conclude, crp, session)
            raise
        due = [crp]
        try:
            conclude(crp, session, due)
        except BaseException:
            if due:
                self._put_off(conclude, crp, session)
            raise

    def _conclude(
        self, say: Say, crp: Cryptop, session: Session | None, due: list[Cryptop]
    ) -> None:
        """Set what a request ends with, and give it back."""
        if due:
            say(crp, session)
            self._give_back(crp, due, now=bool(crp.flags & CRYPTO_F_CBIMM))

    def _give_back(self, crp: Cryptop, due: list[Cryptop], *, now: bool) -> None:
        """
        Give a request back that has been taken from its session.

        Args:
            crp: The request.
            due: What is emptied by the step that gives it back, so that it is not done twice.
            now: Call back here, and not from the return queue.
        """
        if not now:
            crp.state = RETURNING
            crp.flags |= CRYPTO_F_ONRETQ
            try:
                del due[:]
                self._return(crp)
                self.returns.kick()
            except BaseException:
                self.returns.surely_kick()
                raise
        elif crp.stamps is not None:
            del due[:]
            self.watcher.call_back(crp)
        else:
            crp.holder = None
            crp.state = IDLE
            try:
                del due[:]
                crp.callback(crp)  # type: ignore[misc]  # dispatch has looked
            except BaseException as error:
                self.callbacks.failed(error)

    def _put_off(self, rest: Rest, crp: Cryptop, session: Session | None) -> None:
        """Leave the rest of a completion to the request interrupt."""
        self._errands.add((rest, (crp, session, [crp])))
        self._errands.hurry()

    def _say_why(self, crp: Cryptop, session: Session | None) -> None:
        """Set what a request ends with that no driver answers."""
        if session is None:
            _, reason = _length(crp.ilen)
            if reason:
                crp.fail(errno.EINVAL, reason)
            else:
                hint = "open one with newsession()"
                crp.fail(errno.ENOENT, f"no session {sid_text(crp.sid)}; {hint}")
            self.strayed(crp, 0, known=True)
            return
        self._leave(crp, session)
        self._moving.redirect(crp, session)
        self._count_unanswered(crp, session)

    def _say_where_to(self, crp: Cryptop, session: Session | None) -> None:
        """Set what a request ends with that came to a session which has moved or gone."""
        assert session is not None
        self._leave(crp, session)
        self._moving.redirect(crp, session)
        self.strayed(crp, session.kind, known=True)

    def _abandon(self, crp: Cryptop, session: Session | None) -> None:
        """Say of a request that its driver may have worked on it, and may still do."""
        assert session is not None
        self._leave(crp, session)
        crp.fail(
            errno.EIO,
            f"driver {session.slot.name} left without an answer; the buffer may have changed, and "
            "may still",
        )
        self._count_unanswered(crp, session)

    def _count_unanswered(self, crp: Cryptop, session: Session) -> None:
        """Count the error of a request that a driver has had, or has had waiting."""
        if session.slot.is_driver:
            session.slot.local.counts.failed(session.kind, crp.etype, crp.error)
        else:
            self.strayed(crp, session.kind, known=False)

    def _leave(self, crp: Cryptop, session: Session) -> None:
        """See to the session that a request leaves which no driver answers."""
        crp.stamps = None
        if session.state is LIVE:
            # Its driver leaves, and orphan_all has not come to it yet. Waiting for that would have
            # the consumer dispatch again and again to the same session.
            self._sessions.orphan(session)
        self._sessions.settle(session)

    # The driver's answers.

    def _escaped(self, crp: Cryptop, session: Session, error: BaseException) -> None:
        """Complete a request whose driver raised; interrupts of the program go on upwards."""
        if crp in session.inflight and crp.state == SUBMITTED:
            crp.fail(errno.EIO, f"driver {session.slot.name} raised {type(error).__name__}")
            if session.stream is not None:
                session.stream.lose()
            self.done(crp)
        if not isinstance(error, Exception):
            raise error
        self.bugs.report(Rule.PROCESS_RAISED, session.slot.name, error)

    def _not_taken(
        self, crp: Cryptop, session: Session, answer: int, unblocks: int, receipt: list[Cryptop]
    ) -> None:
        """Requeue a request at the head, if the answer is ERESTART; anything else is a bug."""
        if crp not in session.inflight:
            self.bugs.report(Rule.PROCESS_DONE, session.slot.name)
            return
        if answer != ERESTART:
            self.bugs.report(Rule.PROCESS_ANSWER, session.slot.name)
            crp.fail(errno.EIO, f"driver {session.slot.name} returned neither 0 nor ERESTART")
            self.done(crp)
            return
        self._requeue(crp, session, unblocks, receipt, queued=False)

    def _requeue(
        self,
        crp: Cryptop,
        session: Session,
        unblocks: int,
        receipt: list[Cryptop],
        *,
        queued: bool,
    ) -> None:
        """Have a driver's queue begin with a request that it refused, or turn that away."""
        slot = session.slot
        slot.local.counts.blocks += 1
        try:
            self._put_back(crp, session, unblocks, receipt, queued=queued)
            if not receipt:
                if slot.sym.queue.blocked and slot.depth is None:  # else it is as it should be
                    self._blocked.warning(slot.name)
                self.lane.refused(slot)
            else:
                self._turn_away(crp, session)
        except BaseException:  # of a signal handler
            self.lane.surely_see_to(slot)
            raise

    def _put_back(
        self,
        crp: Cryptop,
        session: Session,
        unblocks: int,
        receipt: list[Cryptop],
        *,
        queued: bool,
    ) -> None:
        """Queue a request at the head, and mark its driver as blocked, unless that has left."""
        slot = session.slot
        queue = slot.sym.queue
        items = queue.items
        now = monotonic()
        with slot.lock:
            # A session that is being freed too: this request was accepted before.
            kept = session.state is LIVE or session.state is DRAINING
            if kept and slot.state is ACTIVE:
                # One step, as in `_detour`.
                crp.state = QUEUED
                crp.since = crp.since or now
                session.straight = False
                if not queued:
                    session.queued += 1
                if unblocks == queue.unblocks and not queue.blocked:
                    queue.blocked = True
                    queue.blocked_at = now
                    slot.straight = False
                del receipt[:]
                items.appendleft(crp)

    # The request interrupt.

    def run_requests(self, key_turn: Callable[[], bool] = bool) -> None:
        """
        Hand queued requests to their drivers: the request interrupt's work.

        Args:
            key_turn: Hands key requests to one driver, and tells whether there were any. It comes
                before each driver's turn here, so that neither kind waits for the other to end.
        """
        self.intrs += 1
        self._errands.run()
        while key_turn() | self.lane.run_turn():
            self._errands.run()

    def _run_queued(
        self, slot: Slot, crp: Cryptop, hint: int, unblocks: int, due: list[Cryptop]
    ) -> None:
        """Give a driver a request that was queued."""
        session: Session = crp.holder
        receipt: list[Cryptop] | None = None
        try:
            del due[:]
            if self.watcher.watch is not None:
                self.watcher.invoked(crp)
            process = session.process
            try:
                answer = process(crp, hint)
            except IsPiece:
                answer = self.streams.take(crp, session, hint)
            if answer:
                receipt = [crp]  # empty once it is in the queue again
                if answer == ERESTART and crp in session.inflight:
                    self._requeue(crp, session, unblocks, receipt, queued=True)
                    if not receipt:
                        return
                else:
                    self._not_taken(crp, session, answer, unblocks, receipt)
            elif crp.state == SUBMITTED and not slot.owes:
                self._owes(slot)
        except BaseException as error:
            if receipt == []:
                raise
            try:
                self._escaped(crp, session, error)
            finally:
                self._leave_queue(session)
        else:
            self._leave_queue(session)

    def _leave_queue(self, session: Session) -> None:
        """Note that a request is queued no more; with the last one the way is straight again."""
        if HAS_GIL and session.queued > 1:
            session.queued -= 1  # one step with the look, since nothing is called
            return
        watched = self._sessions.watched
        with session.slot.lock:
            session.queued -= 1
            session.refresh(watched=watched)

    def flush(self, slot: Slot) -> None:
        """Complete everything queued for a driver that leaves: its sessions migrate."""
        items = slot.sym.queue.items
        crp: Cryptop | None = None
        session: Session | None = None
        try:
            while items:
                with slot.lock:
                    if not items:
                        return
                    crp = items[0]
                    session = crp.holder
                    session.queued -= 1
                    del items[0]
                self._turn_away(crp, session)
        except BaseException:  # of a signal handler
            if crp is not None:
                self._errands.add((self._turn_away, (crp, session)))
            self._errands.hurry()
            raise

    def reclaim(self, session: Session) -> int:
        """
        Complete what a driver took and will never answer; return how many that is.

        It ends with EIO: EAGAIN says that nothing was done, and what a driver has had in its hands
        may be half done. With a counter mode a second pass would give the plaintext away.
        """
        taken = list(session.inflight)
        for crp in taken:
            if crp.state == SUBMITTED:
                self._give_up(crp, session)
            else:
                self._turn_away(crp, session)
        return len(taken)

    # The way out.

    def done(self, crp: Cryptop) -> None:
        """Complete a request. See `Framework.done`."""
        session = crp.holder
        if crp.state != SUBMITTED:  # one that waits in a queue is not the driver's to answer
            self._done_twice(crp)
        try:
            session.inflight.remove(crp)
        except (KeyError, AttributeError):
            self._done_twice(crp)
        except BaseException:  # of a signal handler
            self._put_off(self._finish, crp, session)
            raise
        try:
            if crp.etype:
                session.slot.local.counts.failed(session.kind, crp.etype, crp.error)
                if crp.etype in HANDED_BACK:
                    if not self._sessions.may_wait():
                        self._put_off(self._finish, crp, session)
                        return
                    self._hand_back(crp, session)
            flags = crp.flags
            now = flags & CRYPTO_F_CBIMM or (flags & CRYPTO_F_CBIFSYNC and session.slot.sync)
            if not session.straight:
                if session.state is not LIVE:
                    self._sessions.settle(session)
                if crp.stamps is not None:
                    crp.stamps.done = perf_counter_ns()
        except BaseException:
            self._put_off(self._finish, crp, session)
            raise
        if not now:
            crp.state = RETURNING
            crp.flags = flags | CRYPTO_F_ONRETQ
            try:
                self._return(crp)
                self.returns.kick()
            except BaseException:
                self.returns.surely_kick()
                raise
        elif crp.stamps is not None:
            self.watcher.call_back(crp)
        else:
            crp.holder = None
            crp.state = IDLE
            callback = crp.callback
            try:
                callback(crp)  # type: ignore[misc]  # dispatch has looked
            except BaseException as error:
                self.callbacks.failed(error)

    def _hand_back(self, crp: Cryptop, session: Session) -> None:
        """Take a request back that a driver has not touched, and the driver if it is gone."""
        if crp.etype != EAGAIN:
            if not session.slot.is_driver:
                return  # a virtual session, of which a part is left without a driver
            self._let_leave(session.slot, crp.error or GONE)
        self._moving.hand_back(crp, session)

    def _finish(self, crp: Cryptop, session: Session, due: list[Cryptop]) -> None:
        """Complete a request whose ``done`` was broken off after it had been taken from there."""
        if not due:
            return
        if crp.etype in HANDED_BACK:
            self._hand_back(crp, session)
        self._sessions.settle(session)
        self._give_back(crp, due, now=at_once(crp, sync=session.slot.sync))

    def _done_twice(self, crp: Cryptop) -> NoReturn:
        session: Session | None = crp.holder
        name = session.slot.name if session is not None else ""
        self.bugs.done_twice(Rule.DONE_ONCE, "done", name, sid=crp.sid)

    def call_back(self, crp: Cryptop) -> None:
        """Give a completed request back to its consumer."""
        if self.watcher.watch is None:
            self.callbacks.call(crp)
        else:
            self.watcher.call_back(crp)

    def run_returns(self, key_returns: Callable[[], int] = int) -> None:
        """
        Call back what is on the return queue: the return interrupt's work.

        Args:
            key_returns: Calls back the key requests that wait now, and tells how many there were.
        """
        self.rets += 1
        more = 1
        while more:
            call_back = self.call_back if self.watcher.watch else self.callbacks.call
            more = self.returns.run(call_back) + key_returns()

    def after_fork(self) -> None:
        """Go on in a forked child, with nothing queued and no lock of the parent's threads."""
        self.lane.after_fork()
        self.returns.after_fork()
        self.callbacks.after_fork()
        self._blocked.after_fork()
        self._without_session.after_fork()

    @property
    def without_session(self) -> Counts:
        """The counts of requests that met no session."""
        return self._without_session


def _length(ilen: object) -> tuple[int, str]:
    """Return what an ``ilen`` counts as, and what is wrong with it, if anything is."""
    if not isinstance(ilen, int):
        return 0, f"ilen is a number of bytes, not {type(ilen).__name__}"
    if ilen >> ILEN_BITS:
        return 0, f"ilen is a number of bytes from 0 to 2**{ILEN_BITS} - 1, and this one is not"
    return ilen, ""


def _queue_of(slot: Slot) -> RequestQueue[Cryptop]:
    return slot.sym.queue
