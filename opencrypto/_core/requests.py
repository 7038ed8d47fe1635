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
from time import perf_counter_ns
from typing import Final, NoReturn

from opencrypto._core.bugs import DriverBugs
from opencrypto._core.lane import DEEPEST, Lane
from opencrypto._core.plugins import Observers
from opencrypto._core.queues import RequestQueue
from opencrypto._core.returns import Callbacks, ReturnQueue, at_once
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Session, Slot
from opencrypto._log import Limited
from opencrypto._measure.counters import Counts, LocalCounts
from opencrypto._measure.watcher import Watcher
from opencrypto._request.sid import sid_text
from opencrypto._request.symmetric import Cryptop
from opencrypto._state import RequestState, SessionState, SlotState
from opencrypto.constants import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_SYMQ,
    ERESTART,
)
from opencrypto.driver import Rule
from opencrypto.exceptions import BusyError, UsageError

IDLE: Final = int(RequestState.IDLE)
QUEUED: Final = int(RequestState.QUEUED)
SUBMITTED: Final = int(RequestState.SUBMITTED)
RETURNING: Final = int(RequestState.RETURNING)
FREED: Final = int(RequestState.FREED)
LIVE: Final = SessionState.LIVE
EAGAIN: Final = errno.EAGAIN

ILEN_BITS: Final = 48
"""An ``ilen`` has at most so many bits. It is counted, and counts neither fall nor overflow."""

TURN: Final = 256
"""How many requests of one driver the request interrupt hands over before the next one's turn."""


class Dispatcher:
    """The request and return sides of the framework. See the module for its guarantees."""

    def __init__(
        self,
        sessions: Sessions,
        bugs: DriverBugs,
        observers: Observers,
        callbacks: Callbacks,
        kick_requests: Callable[[], None],
        kick_returns: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._table = sessions.table
        self.returns: ReturnQueue[Cryptop] = ReturnQueue(kick_returns)
        self.lane: Lane[Cryptop] = Lane(
            CRYPTO_SYMQ, TURN, _queue_of, self._run_queued, kick_requests, observers
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
        session: Session | None
        try:  # before anything is changed, since these raise where a field is no number
            session = self._table[crp.sid]
            size = crp.ilen
            kind = session.kind + (size - 1).bit_length()
            batch = crp.flags & CRYPTO_F_BATCH
        except (AttributeError, KeyError, TypeError):
            session = None
        if session is None or size >> ILEN_BITS or crp.state or crp.callback is None:
            self._refuse(crp)
            return
        crp.state = SUBMITTED
        if crp.etype:
            crp.fail(0)
        crp.holder = session
        inflight = session.inflight
        inflight.add(crp)
        slot = session.slot
        counts = slot.local.counts
        counts.sizes[kind] += 1
        counts.bytes += size
        depth = counts.depth
        if batch or depth >= DEEPEST or not (session.straight and slot.straight):
            if not self.watcher.stamp_dispatched(crp, session) or depth >= DEEPEST:
                self._detour(crp, session)
                return
        unblocks = slot.sym.queue.unblocks
        counts.depth = depth + 1
        try:
            answer = session.process(crp, 0)
        except BaseException as error:
            self._escaped(crp, session, error)
        else:
            if answer:
                self._not_taken(crp, session, answer, unblocks)
        finally:
            counts.depth = depth

    def _refuse(self, crp: Cryptop) -> None:
        if crp.state == FREED:
            raise UsageError("the request has been freed; take a new one from getreq()")
        if crp.state:
            raise BusyError("the request is dispatched already; wait for its callback")
        if crp.callback is None:
            raise UsageError("the request has no callback; set one, or nobody hears of its end")
        if not isinstance(crp.flags, int):
            raise UsageError(f"flags are CRYPTO_F_* or 0, not {type(crp.flags).__name__}")
        size, reason = _length(crp.ilen)
        counts = self._local.counts
        counts.sizes[(size - 1).bit_length()] += 1
        counts.bytes += size
        counts.errs += 1
        if reason:
            crp.fail(errno.EINVAL, reason)
        else:
            crp.fail(errno.ENOENT, f"no session {sid_text(crp.sid)}; open one with newsession()")
        self._complete(crp)

    def _detour(self, crp: Cryptop, session: Session) -> None:
        """Queue a request, or tell it that its session has moved or gone."""
        slot = session.slot
        with slot.lock:
            live = session.state is SessionState.LIVE and slot.state is SlotState.ACTIVE
            if live:
                crp.state = QUEUED
                session.queued += 1
                session.straight = False
                due = slot.sym.queue.append(crp)
        if not live:
            self._turn_away(crp, session)
        elif due:
            self.lane.schedule(slot)

    def _turn_away(self, crp: Cryptop, session: Session) -> None:
        """Complete a request that its session's driver will not see."""
        try:
            session.inflight.remove(crp)
        except KeyError:
            return
        session.slot.local.counts.errs += 1
        crp.stamps = None
        if session.state is LIVE:
            # Its driver leaves, and orphan_all has not come to it yet. Waiting for that would have
            # the consumer dispatch again and again to the same session.
            self._sessions.orphan(session)
        self._sessions.settle(session)
        self._sessions.redirect(crp, session)
        self._complete(crp)

    # The driver's answers.

    def _escaped(self, crp: Cryptop, session: Session, error: BaseException) -> None:
        """Complete a request whose driver raised; interrupts of the program go on upwards."""
        if crp in session.inflight:
            crp.fail(errno.EIO, f"driver {session.slot.name} raised {type(error).__name__}")
            self.done(crp)
        if not isinstance(error, Exception):
            raise error
        self.bugs.report(Rule.PROCESS_RAISED, session.slot.name, error)

    def _not_taken(self, crp: Cryptop, session: Session, answer: int, unblocks: int) -> None:
        """Requeue a request at the head, if the answer is ERESTART; anything else is a bug."""
        if crp not in session.inflight:
            self.bugs.report(Rule.PROCESS_DONE, session.slot.name)
            return
        if answer != ERESTART:
            self.bugs.report(Rule.PROCESS_ANSWER, session.slot.name)
            crp.fail(errno.EIO, f"driver {session.slot.name} returned neither 0 nor ERESTART")
            self.done(crp)
            return
        self._requeue(crp, session, unblocks, queued=False)

    def _requeue(self, crp: Cryptop, session: Session, unblocks: int, *, queued: bool) -> None:
        slot = session.slot
        slot.local.counts.blocks += 1
        due = False
        with slot.lock:
            # A session that is being freed too: this request was accepted before.
            kept = session.state in (SessionState.LIVE, SessionState.DRAINING)
            stays = kept and slot.state is SlotState.ACTIVE
            if stays:
                crp.state = QUEUED
                session.straight = False
                if not queued:
                    session.queued += 1
                due = slot.sym.queue.restart(crp, unblocks)
                slot.refresh()
            elif queued:
                session.queued -= 1
        if not stays:
            self._turn_away(crp, session)
            return
        if slot.sym.queue.blocked:
            self._blocked.warning(slot.name)
        self.lane.refused(slot, due=due)

    # The request interrupt.

    def run_requests(self, key_turn: Callable[[], bool] = bool) -> None:
        """
        Hand queued requests to their drivers: the request interrupt's work.

        Args:
            key_turn: Hands key requests to one driver, and tells whether there were any. It comes
                before each driver's turn here, so that neither kind waits for the other to end.
        """
        self.intrs += 1
        while key_turn() | self.lane.run_turn():
            pass

    def _run_queued(self, slot: Slot, crp: Cryptop, hint: int, unblocks: int) -> None:
        """Give a driver a request that was queued."""
        session: Session = crp.holder
        crp.state = SUBMITTED
        if self.watcher.watch is not None:
            self.watcher.invoked(crp)
        try:
            answer = session.process(crp, hint)
            if answer == ERESTART and crp in session.inflight:
                self._requeue(crp, session, unblocks, queued=True)
                return
            if answer:
                self._not_taken(crp, session, answer, unblocks)
        except BaseException as error:
            try:
                self._escaped(crp, session, error)
            finally:
                self._leave_queue(session)
        else:
            self._leave_queue(session)

    def _leave_queue(self, session: Session) -> None:
        """Note that a request is queued no more; with the last one the way is straight again."""
        with session.slot.lock:
            session.queued -= 1
            session.refresh(watched=self._sessions.watched)

    def flush(self, slot: Slot) -> None:
        """Complete everything queued for a driver that leaves: its sessions migrate."""
        with slot.lock:
            requests = slot.sym.queue.drain()
            for crp in requests:
                crp.holder.queued -= 1
        for crp in requests:
            self._turn_away(crp, crp.holder)

    def reclaim(self, session: Session) -> int:
        """Complete, with EAGAIN, what a driver took and will never answer; return how many."""
        taken = list(session.inflight)
        for crp in taken:
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
        if crp.etype:
            session.slot.local.counts.errs += 1
            if crp.etype == EAGAIN:
                self._sessions.hand_back(crp, session)
        flags = crp.flags
        if not session.straight:
            if session.state is not LIVE:
                self._sessions.settle(session)
            if crp.stamps is not None:
                crp.stamps.done = perf_counter_ns()
                if flags & CRYPTO_F_CBIMM or (flags & CRYPTO_F_CBIFSYNC and session.slot.sync):
                    self.watcher.call_back(crp)
                    return
        if flags & CRYPTO_F_CBIMM or (flags & CRYPTO_F_CBIFSYNC and session.slot.sync):
            crp.holder = None
            crp.state = IDLE
            try:
                crp.callback(crp)  # type: ignore[misc]
            except BaseException as error:
                self.callbacks.failed(error)
        else:
            crp.state = RETURNING
            self.returns.put(crp)

    def _done_twice(self, crp: Cryptop) -> NoReturn:
        session: Session | None = crp.holder
        name = session.slot.name if session is not None else ""
        self.bugs.done_twice(Rule.DONE_ONCE, "done", name, sid=crp.sid)

    def _complete(self, crp: Cryptop) -> None:
        """Complete a request that no driver answered."""
        if at_once(crp, sync=False):
            self.call_back(crp)
        else:
            crp.state = RETURNING
            self.returns.put(crp)

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
        self.watcher.after_fork()

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
