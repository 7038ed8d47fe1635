"""
All sessions: how they are found, and how they end.

A session ends with the last of its requests: its driver is told to forget it, once, and while that
driver still exists; then its names go, and its keys are wiped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from opencrypto._core.bugs import DriverBugs
from opencrypto._core.driver_table import DriverTable
from opencrypto._core.errands import Errands
from opencrypto._core.slots import Call, Session, Slot
from opencrypto._measure.counters import ChainNumbers, LockedCounts
from opencrypto._request.sid import sid_text
from opencrypto._request.symmetric import Cryptop
from opencrypto._state import SessionEvent, SessionState
from opencrypto._threads import HAS_GIL, is_held
from opencrypto.driver import Rule
from opencrypto.exceptions import UnknownSession

REFRESHED: Final = 256
"""How many sessions are refreshed at a time; in between, others get the lock."""


class Sessions:
    """
    All sessions of a framework, by SID; former SIDs lead to what they became.

    Attributes:
        watched: Somebody times or traces requests, so no session is straight (`_measure.watcher`).
        created: Sessions opened by consumers; a migration opens none, and a virtual one is one.
        freed: Those gone for good.
        one_step: What is entered for a step that nothing may come between: with a global
            interpreter lock, what calls nothing is one; without, it takes a lock.
    """

    def __init__(
        self,
        drivers: DriverTable,
        bugs: DriverBugs,
        errands: Errands,
    ) -> None:
        self.table = drivers.sids
        self.closed = False
        self.watched = False
        self.chain_numbers = ChainNumbers()
        self.created = LockedCounts()
        self.freed = LockedCounts()
        self._drivers = drivers
        self._bugs = bugs
        self._errands = errands
        self.one_step: Callable[[], AbstractContextManager[object]] = (
            nullcontext if HAS_GIL else lambda: drivers.lock
        )

    def find(self, sid: int) -> Session:
        """
        Return the session of a SID, which may have moved since: see `Session.latest`.

        Raises:
            UnknownSession: there is none.
        """
        session = self.table.get(sid)
        if session is None:
            raise UnknownSession(
                f"no session {sid_text(sid)}; it was freed already, or never opened"
            )
        return session

    @property
    def lock(self) -> threading.RLock:
        """The one lock of all drivers and their sessions: see `DriverTable`."""
        return self._drivers.lock

    @property
    def changes(self) -> int:
        """What goes up whenever a driver offers something."""
        return self._drivers.changes

    def may_wait(self) -> bool:
        """
        Tell whether the calling thread may wait for another one.

        It may not while it holds the drivers' lock: in a finalizer, or a signal handler, on top of
        a step of ours.
        """
        return not is_held(self._drivers.lock)

    def later(self, do: Callable[..., object], *values: object) -> None:
        """Leave something to the request interrupt."""
        self._errands.add((do, values))
        self._errands.hurry()

    def refresh(self) -> None:
        """Work out anew which sessions are straight, after a change of `watched`."""
        for slot in self._drivers:
            sessions = list(slot.sym.sessions.values())
            for start in range(0, len(sessions), REFRESHED):
                with slot.lock:
                    for session in sessions[start : start + REFRESHED]:
                        session.refresh(watched=self.watched)

    def active(self) -> dict[int, int]:
        """Return how many sessions consumers have open, by the row of their chain."""
        freed = self.freed.rows()  # first: so none is freed that was not opened
        return {row: count - freed.get(row, 0) for row, count in self.created.rows().items()}

    # Freeing.

    def free(self, sid: int) -> None:
        """Free a session, now or with the last of its requests."""
        if sid == 0:
            return
        session = self.find(sid).latest()
        # No lock is waited for, since a finalizer may call this wherever its thread is: the change
        # of state is one step, and so is what gives the right to tell the driver.
        try:
            with self.one_step():
                while not session.begin_to_free():
                    if session.target is None:
                        raise UnknownSession(f"session {sid_text(sid)} has been freed already")
                    session = session.latest()
            self.settle(session)
        except UnknownSession:
            raise
        except BaseException:  # of a signal handler
            self.later(self.settle, session)
            raise

    def discard(self, session: Session) -> None:
        """Free a session, or what it has become, if that has not been done. May be done again."""
        while not session.begin_to_free():
            if session.target is None:
                break
            session = session.latest()
        self.settle(session)

    def settle(self, session: Session) -> None:
        """Tell the driver to forget a session that lives no more, once its last request is done."""
        if session.inflight or session.state is SessionState.LIVE:
            return
        slot = session.slot
        sessions = slot.sym.sessions
        lid = session.lid
        number = slot.sym.number_of(session.sid)
        freesession = slot.sym.freesession
        call = Call()
        ours = False
        told = freesession is None
        try:
            slot.calls.add(call)
            with self.one_step():
                if not session.inflight and lid in sessions and sessions[lid] is session:
                    ours = True
                    del sessions[lid]
            if ours and session.stream is not None:
                session.stream.forget()
            if ours and freesession is not None:
                told = not slot.sym.frees_again
                try:
                    freesession(number)
                except Exception as error:
                    self._bugs.report(Rule.FREESESSION, slot.name, error)
                told = True
            self._forget(session, call, ours=ours, told=True)
        except BaseException:  # of a signal handler
            call.thread = 0
            self.later(self._go_on_forgetting, session, call, ours, told)
            raise

    def _go_on_forgetting(self, session: Session, call: Call, ours: bool, told: bool) -> None:
        self._forget(session, call, ours=ours, told=told)

    def _forget(self, session: Session, call: Call, *, ours: bool, told: bool) -> None:
        """Let go of a session that its driver has been told to forget. May be done again."""
        slot = session.slot
        if ours:
            if not told:
                self.tell_driver(slot, session.sid)
            session.process = _forgotten  # the driver's own may hold on to keys
            session.stream = None if session.lineage.stream is None else session.stream
            session.chain.release(session)
        self.returned(slot, call)
        if session.state is SessionState.DRAINING and not session.inflight:
            self._bury(session)

    def _bury(self, session: Session) -> None:
        """Forget a session whose last request is done: its names go, its keys are wiped."""
        lineage = session.lineage
        with self.one_step():
            whole = lineage.newest is session
            if whole:
                lineage.end(self.table)
            else:  # it never took over, and its lineage goes on without it
                lineage.withdraw(session, self.table)
        if whole:
            session.chain.abandon()
        if session.may(SessionEvent.DRAINED) and whole:
            if not lineage.is_part:
                self.freed.add(session.kind)
            lineage.let_go()

    def tell_driver(self, slot: Slot, sid: int) -> None:
        """Have a driver forget a session."""
        self.tell_once(slot, sid, [slot])

    def tell_once(self, slot: Slot, sid: int, due: list[Slot]) -> None:
        """Do that as an errand; `due` is emptied by the step that does it."""
        number = slot.sym.number_of(sid)
        freesession = slot.sym.freesession
        if not due or freesession is None:
            return
        try:
            del due[:]
            freesession(number)
        except Exception as error:
            self._bugs.report(Rule.FREESESSION, slot.name, error)

    def returned(self, slot: Slot, call: Call) -> None:
        """Note that a call of newsession or freesession has returned."""
        try:
            slot.calls.discard(call)
            self._drivers.check_drained(slot)
        except BaseException:  # of a signal handler
            call.thread = 0
            self.later(self.returned, slot, call)
            raise

    # A driver leaves.

    def orphan_all(self, slot: Slot, *, streams: bool = False) -> None:
        """
        Orphan every session of a driver that leaves.

        With `streams`, those in which a message in pieces is open stay until its last piece.
        """
        sessions = list(slot.sym.sessions.values())
        if streams:
            sessions = [session for session in sessions if session.lineage.stream is None]
        for session in sessions:
            self.orphan(session)
            self.settle(session)
        self._drivers.check_drained(slot)

    def end_streams(self, slot: Slot) -> None:
        """Give up the messages in pieces that a driver, which leaves, has open still."""
        for session in list(slot.sym.sessions.values()):
            if session.stream is not None:
                self.orphan(session)
                session.stream.end()
                self.settle(session)
        self._drivers.check_drained(slot)

    def orphan(self, session: Session) -> None:
        """Note that a session's driver is not to see any more of its requests."""
        with self.one_step():
            session.may(SessionEvent.DRIVER_LEFT)

    def close(self) -> None:
        """Forget all sessions of a framework whose drivers are gone; wipe their keys."""
        for session in list(self.table.values()):
            if session.target is None and session.state is SessionState.ORPHANED:
                self.discard(session)

    def after_fork(self) -> None:
        """
        Go on in a forked child: see `Session.after_fork`.

        What is left of sessions being freed goes with their driver: no driver is called from here.
        """
        self.created.after_fork()
        self.freed.after_fork()
        groups = (self.table, *(slot.sym.sessions for slot in self._drivers))
        for session in {id(each): each for group in groups for each in group.values()}.values():
            session.after_fork(watched=self.watched)


def _forgotten(crp: Cryptop, hint: int) -> int:
    raise AssertionError("a session that its driver has forgotten is served no more")
