"""
Opening, moving and freeing sessions.

A session whose driver leaves is orphaned: the driver forgets it, the framework keeps its chain.
The first request that then meets it has it opened on another driver, and every request of the
old session gets the same new SID with EAGAIN. Where nobody can take over, each gets ENODEV.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from opencrypto._core import selection as _select
from opencrypto._core.bugs import DriverBugs
from opencrypto._core.errands import Errands
from opencrypto._core.guard import checked, promised
from opencrypto._core.plugins import Observers
from opencrypto._core.slots import MAX_ALIASES, Call, DriverTable, Session, Slot, check_lid
from opencrypto._log import log
from opencrypto._measure.counters import ChainNumbers, LockedCount
from opencrypto._request.sid import pack_sid, sid_text
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.chain import Chain, as_inis
from opencrypto._rules.profile import Profile
from opencrypto._state import SessionEvent, SessionState, SlotState
from opencrypto._threads import HAS_GIL, is_held
from opencrypto.driver import Driver, Process, Rule
from opencrypto.exceptions import CryptoError, DriverBug, NoDriverError, UnknownSession

Compose = Callable[[Chain, int, int], Session | None]
"""Opens a session on several drivers, given `hard` and whom to avoid, or returns None."""


class Sessions:
    """
    All sessions of a framework, by SID; former SIDs lead to what they became.

    Attributes:
        watched: Somebody times or traces requests, so no session is straight (`_measure.watcher`).
        created: Sessions opened by consumers; a migration opens none.
        freed: Sessions gone for good.
    """

    def __init__(
        self,
        drivers: DriverTable,
        bugs: DriverBugs,
        observers: Observers,
        done: Callable[[Cryptop], None],
        compose: Compose,
        errands: Errands,
    ) -> None:
        self.table: dict[int, Session] = {}
        self.closed = False
        self.watched = False
        self.chain_numbers = ChainNumbers()
        self.created = LockedCount()
        self.freed = LockedCount()
        self._drivers = drivers
        self._bugs = bugs
        self._observers = observers
        self._done = done
        self._compose = compose
        self._errands = errands
        # With a global interpreter lock, what calls nothing is one step; without, it takes a lock.
        self._one_step: Callable[[], AbstractContextManager[object]] = (
            nullcontext if HAS_GIL else lambda: drivers.lock
        )

    # Opening.

    def open(
        self,
        ini: Cryptoini | Iterable[Cryptoini],
        hard: int,
        driver: int | str | Driver | None = None,
        profile: Profile | None = None,
    ) -> Session:
        """Open a session on the best driver that takes its chain, or on several together."""
        chain = Chain(as_inis(ini), profile=profile)
        pinned = None if driver is None else self._drivers.find(driver)
        try:
            session = self._place(chain, hard, pinned)
        except BaseException:
            chain.abandon()
            raise
        try:
            self.created.add()
            self._observers.newsession(session.sid, session.slot.name)
        except BaseException:  # of a signal handler: the consumer will not hear of it
            self._errands.add((self.discard, (session,)))
            self._errands.hurry()
            raise
        return session

    def _place(
        self, chain: Chain, hard: int, pinned: Slot | None = None, avoid: int = -1
    ) -> Session:
        while True:
            changes = self._drivers.changes
            try:
                return self.place_on_one(chain, hard, pinned, avoid)
            except NoDriverError:
                together = None
                if pinned is None and len(chain.inis) > 1:
                    together = self._compose(chain, hard, avoid)
                if together is not None:
                    return together
                if self._drivers.changes == changes:
                    raise
                # One that was looked at too early may have come meanwhile, as another left.

    def place_on_one(
        self, chain: Chain, hard: int, pinned: Slot | None = None, avoid: int = -1
    ) -> Session:
        """
        Open a session of a chain on the best single driver.

        Raises:
            NoDriverError: none takes it.
        """
        slots = (
            {slot.hid: slot for slot in self._drivers} if pinned is None else {pinned.hid: pinned}
        )
        asked, reasons = _select.order(
            (self._candidate(slot, chain) for slot in slots.values() if slot.hid != avoid),
            hard if pinned is None else 0,
        )
        refusal: CryptoError | None = None
        for candidate in asked:
            try:
                session = self._try(slots[candidate.hid], chain, hard)
            except CryptoError as error:
                refusal = error
                reasons[candidate.name] = error.strerror or ""
                continue
            if session is not None:
                return session
            reasons[candidate.name] = "left meanwhile"
        raise _no_driver(chain, reasons, refusal)

    def _candidate(self, slot: Slot, chain: Chain) -> _select.Candidate:
        try:
            refusal = slot.refusal(chain)
            if not isinstance(refusal, str):
                raise TypeError
        except Exception as error:
            self._bugs.report(Rule.REFUSAL, slot.name, error)
            refusal = f"cannot say whether it would: {type(error).__name__} in its refusal()"
        return _select.Candidate(slot.hid, slot.name, slot.tier, len(slot.sym.sessions), refusal)

    def _try(self, slot: Slot, chain: Chain, hard: int) -> Session | None:
        """Open the session on one driver, or return None if the driver left while it did."""
        call = Call()
        opened = None
        session = None
        stays = False
        try:
            with slot.lock:
                plain = slot.sym.process
                if slot.state is not SlotState.ACTIVE or plain is None:
                    return None
                slot.calls.add(call)
            sid, process = opened = self._ask(slot, chain)
            kind = self.chain_numbers.number(cri.alg for cri in chain.inis)
            process = process or checked(chain, plain, self._done)
            process = promised(chain, process, self._done)
            session = Session(sid, slot, chain, hard, process, kind)
            lid = session.lid
            chain.hold(session)
            session.refresh(watched=self.watched)
            with slot.lock:
                # One step, with nothing called: it is entered altogether, or not.
                if slot.state is SlotState.ACTIVE:
                    slot.sym.sessions[lid] = session
                    slot.names += 1
                    self.table[sid] = session
                    stays = True
            if not stays:
                self._tell_driver(slot, sid)
                opened = None
                chain.release(session)
            self._returned(slot, call)
            session.refresh(watched=self.watched)  # somebody may have begun to watch meanwhile
        except BaseException:
            # Nobody will hear of it: let the driver forget it, unless that raised itself.
            call.thread = 0  # this thread goes on without it
            if session is not None and stays:
                self._errands.add((self.discard, (session,)))
            elif opened is not None:
                self._errands.add((self._tell_driver, (slot, opened[0])))
            self._errands.add((self._returned, (slot, call)))
            self._errands.hurry()
            raise
        return session if stays else None

    def _returned(self, slot: Slot, call: Call) -> None:
        """Note that a call of newsession or freesession has returned."""
        try:
            slot.calls.discard(call)
            self._drivers.check_drained(slot)
        except BaseException:  # of a signal handler
            call.thread = 0
            self._errands.add((self._returned, (slot, call)))
            self._errands.hurry()
            raise

    def discard(self, session: Session) -> None:
        """Free a session that its consumer has never heard of."""
        if session.may(SessionEvent.FREE):
            self.settle(session)

    def may_wait(self) -> bool:
        """
        Tell whether the calling thread may wait for another one.

        It may not while it holds the drivers' lock: in a finalizer, or a signal handler, on top of
        a step of ours.
        """
        return not is_held(self._drivers.lock)

    @property
    def lock(self) -> threading.RLock:
        """The one lock of all drivers and their sessions: see `DriverTable`."""
        return self._drivers.lock

    def _ask(self, slot: Slot, chain: Chain) -> tuple[int, Process | None]:
        """
        Have a driver open a session, and return its SID and compiled ``process``.

        A number that still names a session which moved away from this driver is not used: the
        driver is asked for another while it holds that one.
        """
        held: list[int] = []
        lid = -1
        try:
            while True:
                lid, process = self._call_newsession(slot, chain)
                sid = pack_sid(slot.hid, lid)
                if lid in slot.sym.sessions or sid in held:
                    raise DriverBug(f"driver {slot.name}: session number {lid} is in use already")
                if sid not in self.table:
                    return sid, process
                held.append(sid)
                lid = -1
        except Exception:
            raise
        except BaseException:  # of a signal handler
            if lid >= 0:
                self._errands.add((self._take_back, (slot, lid)))
            raise
        finally:
            for sid in held:
                self._tell_driver(slot, sid)

    def enter(self, session: Session) -> Session:
        """Enter a virtual session, whose slot never leaves, in the tables."""
        session.process = promised(session.chain, session.process, self._done)
        session.refresh(watched=self.watched)
        lid = session.lid
        with session.slot.lock:
            session.chain.hold(session)
            session.slot.sym.sessions[lid] = session
            session.slot.names += 1
            self.table[session.sid] = session
        return session

    def _call_newsession(self, slot: Slot, chain: Chain) -> tuple[int, Process | None]:
        assert slot.sym.newsession is not None
        counts = slot.local.counts
        depth = counts.depth
        answer = None
        try:
            counts.depth = depth + 1
            answer = slot.sym.newsession(chain.inis)
            if not isinstance(answer, tuple):
                return check_lid(answer, slot), None
            lid, process = answer
            if not callable(process):
                raise TypeError
            return check_lid(lid, slot), process
        except DriverBug:
            self._bugs.report(Rule.SESSION_NUMBER, slot.name)
            raise
        except CryptoError:
            raise
        except Exception as error:
            self._bugs.report(Rule.NEWSESSION, slot.name, error)
            raise DriverBug(
                f"driver {slot.name}: newsession raised {type(error).__name__}, or returned wrong"
            ) from None
        except BaseException:  # of a signal handler
            if answer is not None:
                self._errands.add((self._take_back, (slot, answer)))
            raise
        finally:
            counts.depth = depth

    def _take_back(self, slot: Slot, answer: Any) -> None:
        """Have a driver forget a session that it has opened for nobody."""
        lid = check_lid(answer[0] if isinstance(answer, tuple) else answer, slot)
        self._tell_driver(slot, pack_sid(slot.hid, lid))

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

    # Freeing.

    def free(self, sid: int) -> None:
        """Free a session, now or with the last of its requests."""
        if sid == 0:
            return
        session = self.find(sid).latest()
        # No lock is waited for, since a finalizer may call this wherever its thread is: the change
        # of state is one step, and so is what gives the right to tell the driver.
        try:
            with self._one_step():
                while not session.may(SessionEvent.FREE):
                    if session.target is None:
                        raise UnknownSession(f"session {sid_text(sid)} has been freed already")
                    session = session.latest()
            self.settle(session)
        except UnknownSession:
            raise
        except BaseException:  # of a signal handler
            self._errands.add((self.settle, (session,)))
            self._errands.hurry()
            raise

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
            with self._one_step():
                if not session.inflight and lid in sessions and sessions[lid] is session:
                    ours = True
                    del sessions[lid]
            if ours and freesession is not None:
                told = True
                try:
                    freesession(number)
                except Exception as error:
                    self._bugs.report(Rule.FREESESSION, slot.name, error)
            self._forget(session, call, ours=ours, told=True)
        except BaseException:  # of a signal handler
            call.thread = 0
            self._errands.add((self._go_on_forgetting, (session, call, ours, told)))
            self._errands.hurry()
            raise

    def _go_on_forgetting(self, session: Session, call: Call, ours: bool, told: bool) -> None:
        self._forget(session, call, ours=ours, told=told)

    def _forget(self, session: Session, call: Call, *, ours: bool, told: bool) -> None:
        """Let go of a session that its driver has been told to forget. May be done again."""
        slot = session.slot
        if ours:
            if not told:
                self._tell_driver(slot, session.sid)
            session.process = _forgotten  # the driver's own may hold on to keys
            session.chain.release(session)
        self._returned(slot, call)
        if session.state is SessionState.DRAINING and not session.inflight:
            self._bury(session)

    def _bury(self, session: Session) -> None:
        """Forget a session whose last request is done: its names go, its keys are wiped."""
        for each in session.aliases:
            each.may(SessionEvent.FREE)
            self._unname(each)
        self._unname(session)
        session.chain.abandon()
        if session.may(SessionEvent.DRAINED):
            self.freed.add()

    def _unname(self, session: Session) -> None:
        slot = session.slot
        with self._one_step():
            if session.sid in self.table:
                del self.table[session.sid]
                slot.names -= 1
        self._drivers.release(slot)

    def _tell_driver(self, slot: Slot, sid: int) -> None:
        number = slot.sym.number_of(sid)
        try:
            if slot.sym.freesession is not None:
                slot.sym.freesession(number)
        except Exception as error:
            self._bugs.report(Rule.FREESESSION, slot.name, error)

    # A driver leaves, or hands a session back.

    def orphan_all(self, slot: Slot) -> list[Session]:
        """Orphan every session of a driver that leaves; return them."""
        sessions = list(slot.sym.sessions.values())
        for session in sessions:
            self.orphan(session)
            self.settle(session)
        self._drivers.check_drained(slot)
        return sessions

    def orphan(self, session: Session) -> None:
        """Note that a session's driver is not to see any more of its requests."""
        with self._one_step():
            session.may(SessionEvent.DRIVER_LEFT)

    def hand_back(self, crp: Cryptop, session: Session) -> None:
        """Take a session back from a driver that completed its request with EAGAIN."""
        session.avoid = session.slot.hid if session.slot.state is SlotState.ACTIVE else -1
        self.orphan(session)
        self.redirect(crp, session)

    def redirect(self, crp: Cryptop, session: Session) -> None:
        """Set a request to EAGAIN and its session's new SID, or to why there is none."""
        successor = self.successor(session)
        if successor is not None:
            crp.sid = successor.sid
            crp.fail(errno.EAGAIN, "the session has moved; dispatch again with the sid now set")
        elif session.latest().state in (SessionState.DRAINING, SessionState.FREED):
            crp.fail(errno.ENOENT, f"session {sid_text(crp.sid)} has been freed")
        else:
            crp.fail(errno.ENODEV, "the session's driver left and no other takes it over")

    def successor(self, session: Session) -> Session | None:
        """Return the live session to use instead, opening it if this is the first to ask."""
        while True:
            session = session.latest()
            if session.state is SessionState.LIVE:
                if session.slot.state is SlotState.ACTIVE:
                    return session
                # Its driver has begun to leave, and not come to this session yet.
                self.orphan(session)
            if session.target is None and not self.may_wait():
                return None
            with session.lock:
                if session.target is not None:
                    continue
                if session.state is not SessionState.ORPHANED or self.closed:
                    return None
                new = self._migrate(session)
            break
        if new is not None:
            self._observers.migrated(session.sid, new.sid)  # which may ask for either: no lock held
        return new

    def _migrate(self, session: Session) -> Session | None:
        # The class asked for is kept if it can be; a session is worth more than its class.
        for hard in dict.fromkeys((session.hard, 0)):
            try:
                new = self._place(session.chain, hard, avoid=session.avoid)
            except CryptoError as error:
                failure = error
                continue
            new.hard = session.hard
            try:
                if self._succeed(session, new):
                    return new
            except BaseException:  # of a signal handler
                if session.target is not new:
                    self._errands.add((self.discard, (new,)))
                raise
            # A signal handler has come between, which has moved the session itself, or freed it.
            self.discard(new)
            return session.target
        log.warning("session_stranded", sid=session.sid, reason=failure.strerror)
        return None

    def _succeed(self, session: Session, new: Session) -> bool:
        """Have a new session take over; False if it is not wanted any more."""
        new.aliases = [*session.aliases, session]
        new.born = session.born
        if not session.hand_over(new):
            return False
        session.aliases = []
        while len(new.aliases) > MAX_ALIASES:
            self._unname(new.aliases.pop(0))
        session.slot.local.counts.migrated += 1
        log.info("session_migrated", sid=session.sid, new_sid=new.sid, driver=new.slot.name)
        return True

    def close(self) -> None:
        """Forget all sessions of a framework whose drivers are gone; wipe their keys."""
        for session in list(self.table.values()):
            if session.target is None and session.state is SessionState.ORPHANED:
                self.free(session.sid)

    def refresh(self) -> None:
        """Work out anew which sessions are straight, after a change of `watched`."""
        for slot in self._drivers:
            for session in list(slot.sym.sessions.values()):
                with slot.lock:
                    session.refresh(watched=self.watched)

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


def _no_driver(chain: Chain, reasons: dict[str, str], refusal: CryptoError | None) -> CryptoError:
    names = " + ".join(facts.name for facts in chain.facts)
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "none is attached"
    error = NoDriverError(
        f"no driver serves {names}: {why}",
        reasons,
        errno=refusal.errno if refusal is not None else None,
    )
    error.__cause__ = refusal
    return error


def _forgotten(crp: Cryptop, hint: int) -> int:
    raise AssertionError("a session that its driver has forgotten is served no more")
