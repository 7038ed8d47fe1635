"""
Moving sessions from driver to driver.

A session whose driver leaves is orphaned: the driver forgets it, the framework keeps its chain.
The first request that then meets it has it opened on another driver, and every request of the
old session gets the same new SID with EAGAIN. Where nobody can take over, each gets ENODEV. Who
may take over is the same for life: the driver that the consumer named, or the class it asked for.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from opencrypto._core.lineage import Lineage
from opencrypto._core.opening import Opening
from opencrypto._core.plugins import Observers
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Session
from opencrypto._log import log
from opencrypto._request.sid import sid_text
from opencrypto._request.symmetric import Cryptop
from opencrypto._state import SessionState, SlotState
from opencrypto.exceptions import CryptoError


class Moving:
    """What moves the sessions of a framework."""

    def __init__(self, sessions: Sessions, opening: Opening, observers: Observers) -> None:
        self._sessions = sessions
        self._opening = opening
        self._observers = observers

    def hand_back(self, crp: Cryptop, session: Session) -> None:
        """Take a session back from a driver that completed its request with EAGAIN."""
        if session.target is None:
            session.lineage.avoid = session.slot
        self._sessions.orphan(session)
        self.redirect(crp, session)

    def redirect(self, crp: Cryptop, session: Session) -> None:
        """Set a request to EAGAIN and its session's new SID, or to why there is none."""
        stream = session.lineage.stream
        if stream is not None and stream.refuse(crp):
            return
        successor = self.successor(session)
        if successor is not None:
            crp.sid = successor.sid
            crp.fail(errno.EAGAIN, "the session has moved; dispatch again with the sid now set")
        elif _is_freed(session.latest()):
            crp.fail(errno.ENOENT, f"session {sid_text(crp.sid)} has been freed")
        else:
            crp.fail(errno.ENODEV, _stranded(session.lineage))
            session.lineage.avoid = None  # better than nobody, for the next request

    def successor(self, session: Session) -> Session | None:
        """Return the live session to use instead, opening it if this is the first to ask."""
        while True:
            session = session.latest()
            if session.state is SessionState.LIVE:
                if session.slot.state is SlotState.ACTIVE:
                    return session
                # Its driver has begun to leave, and not come to this session yet.
                self._sessions.orphan(session)
            if session.target is None and not self._sessions.may_wait():
                return None
            with session.lock:
                if session.target is not None:
                    continue
                if session.state is not SessionState.ORPHANED or self._sessions.closed:
                    return None
                try:
                    new = self._move(session, self._opening.place)
                except CryptoError as error:
                    if not session.lineage.stranded:  # or each of its requests would say so
                        session.lineage.stranded = True
                        log.warning("session_stranded", sid=session.sid, reason=error.strerror)
                    return None
            if new is not None:
                self._observers.migrated(session.sid, new.sid)  # may ask for either: no lock held
                return new

    def _move(
        self, session: Session, place: Callable[[Lineage[Session]], Session]
    ) -> Session | None:
        """
        Open a session that takes over from another one, whose lock is held.

        Returns:
            None if it is wanted no more: a finalizer, a signal handler or a free has come between,
            and has moved the session itself, or ended it.

        Raises:
            CryptoError: nobody takes it over.
        """
        lineage = session.lineage
        new: Session | None = None
        try:
            new = place(lineage)
            self._sessions.orphan(session)  # if it lives until now
            with self._sessions.one_step():
                moved = lineage.succeed(session, new, self._sessions.table)
            if moved:
                session.slot.local.counts.migrated += 1
                log.info("session_migrated", sid=session.sid, new_sid=new.sid, driver=new.slot.name)
                return new
            self._sessions.discard(new)
        except BaseException:  # of a signal handler, if there is a new one
            if new is not None and lineage.newest is not new:
                self._sessions.later(self._sessions.discard, new)
            raise
        return None

    def unite(self, session: Session) -> bool:
        """
        Move a virtual session to a single driver, if one takes its whole chain by now.

        Returns:
            Whether it has moved.
        """
        if not self._sessions.may_wait():
            return False
        with session.lock:
            if session.state is not SessionState.LIVE or self._sessions.closed:
                return False
            try:
                new = self._move(session, self._opening.place_on_one)
            except CryptoError:
                return False
        if new is not None:
            self._observers.migrated(session.sid, new.sid)
        return new is not None


def _is_freed(session: Session) -> bool:
    """Tell whether a session was freed, though it may have requests left."""
    return session.lineage.ended or session.state is SessionState.DRAINING


def _stranded(lineage: Lineage[Session]) -> str:
    """Say why nobody takes a session over, and what would help."""
    if lineage.pin is not None:
        name = lineage.pin.name
        return f"the session is for driver {name} alone, which left or handed it back; attach it"
    if lineage.hard:
        kind = "hardware" if lineage.hard > 0 else "software"
        return f"the session's driver left and no other {kind}, as was asked for, takes it over"
    return "the session's driver left and no other takes it over"
