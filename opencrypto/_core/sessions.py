"""
Opening, moving and freeing sessions.

A session whose driver leaves is orphaned: the driver forgets it, the framework keeps its chain.
The first request that then meets it has it opened on another driver, and every request of the
old session gets the same new SID with EAGAIN. Where nobody can take over, each gets ENODEV. Who
may take over is the same for life: the driver that the consumer named, or the class it asked for.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from opencrypto._core import selection as _select
from opencrypto._core.bugs import DriverBugs
from opencrypto._core.errands import Errands
from opencrypto._core.guard import checked, promised
from opencrypto._core.plugins import Observers
from opencrypto._core.slots import Call, DriverTable, Lineage, Pin, Session, Slot, check_lid
from opencrypto._log import log
from opencrypto._measure.counters import ChainNumbers, LockedCount
from opencrypto._request.sid import pack_sid, sid_text
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.chain import Chain, as_inis
from opencrypto._rules.profile import Profile
from opencrypto._state import SessionEvent, SessionState, SlotState
from opencrypto._threads import HAS_GIL, is_held
from opencrypto.driver import Driver, Process, Rule
from opencrypto.exceptions import CryptoError, DriverBug, NoDriverError, UnknownSession, UsageError

Compose = Callable[[Lineage], Session | None]
"""Opens a session on several drivers, or returns None."""

REFRESHED: Final = 256
"""How many sessions are refreshed at a time; in between, others get the lock."""


class Sessions:
    """
    All sessions of a framework, by SID; former SIDs lead to what they became.

    Attributes:
        watched: Somebody times or traces requests, so no session is straight (`_measure.watcher`).
        created: Sessions opened by consumers; a migration opens none, and a virtual one is one.
        freed: Those gone for good.
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
        self.table = drivers.sids
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
        if isinstance(hard, bool) or not isinstance(hard, int):
            raise UsageError(f"hard is a number, > 0 for hardware only, not {hard!r}")
        chain = Chain(as_inis(ini), profile=profile)
        try:
            session = self._place(Lineage(chain, hard, self._pin(driver)))
        except BaseException:
            chain.abandon()
            raise
        try:
            self.created.add()
            self._observers.newsession(session.sid, session.slot.name)
        except BaseException:  # of a signal handler: the consumer will not hear of it
            self.later(self.discard, session)
            raise
        return session

    def later(self, do: Callable[..., object], *values: object) -> None:
        """Leave something to the request interrupt."""
        self._errands.add((do, values))
        self._errands.hurry()

    def _pin(self, driver: int | str | Driver | None) -> Pin | None:
        if driver is None:
            return None
        slot = self._drivers.find(driver)
        return Pin(slot.name, slot.tier)

    def _place(self, lineage: Lineage) -> Session:
        while True:
            changes = self._drivers.changes
            try:
                return self.place_on_one(lineage)
            except NoDriverError:
                if self._drivers.changes != changes:
                    continue  # one that was looked at too early has come meanwhile
                together = self._compose(lineage) if self._may_be_split(lineage) else None
                if together is not None:
                    return together
                if self._drivers.changes == changes:
                    raise

    def _may_be_split(self, lineage: Lineage) -> bool:
        return lineage.pin is None and len(lineage.chain.inis) > 1

    def place_on_one(self, lineage: Lineage) -> Session:
        """
        Open a session on the best single driver of those it may be on.

        Raises:
            NoDriverError: none takes it.
        """
        slots = {slot.hid: slot for slot in self._drivers if lineage.admits(slot)}
        asked, reasons = _select.order(
            (self._candidate(slot, lineage.chain) for slot in slots.values()),
            lineage.hard if lineage.pin is None else 0,  # the driver's class is in the pin
        )
        refusal: CryptoError | None = None
        for candidate in asked:
            if lineage.pin is None:
                slots[candidate.hid].announce(lineage.chain)
            try:
                session = self._try(slots[candidate.hid], lineage)
            except CryptoError as error:
                refusal = error
                reasons[candidate.name] = error.strerror or ""
                continue
            if session is not None:
                return session
            reasons[candidate.name] = "left meanwhile"
        raise _no_driver(lineage, reasons, refusal)

    def _candidate(self, slot: Slot, chain: Chain) -> _select.Candidate:
        try:
            refusal = slot.refusal(chain)
            if not isinstance(refusal, str):
                raise TypeError
        except Exception as error:
            self._bugs.report(Rule.REFUSAL, slot.name, error)
            refusal = f"cannot say whether it would: {type(error).__name__} in its refusal()"
        return _select.Candidate(slot.hid, slot.name, slot.tier, len(slot.sym.sessions), refusal)

    def _try(self, slot: Slot, lineage: Lineage) -> Session | None:
        """Open the session on one driver, or return None if the driver left while it did."""
        chain, table, sessions = lineage.chain, self.table, slot.sym.sessions
        call = Call()
        opened = None
        session = None
        stays = twice = False
        try:
            with slot.lock:
                plain = slot.sym.process
                if slot.state is not SlotState.ACTIVE or plain is None:
                    return None
                slot.calls.add(call)
            sid, process = opened = self._ask(slot, lineage)
            kind = self.chain_numbers.number(cri.alg for cri in chain.inis)
            process = process or checked(chain, plain, self._done)
            process = promised(chain, process, self._done)
            session = Session(sid, slot, lineage, process, kind)
            lid = session.lid
            chain.hold(session)
            session.refresh(watched=self.watched)
            with slot.lock:
                # One step, with nothing called: it is entered altogether, or not.
                if slot.state is SlotState.ACTIVE:
                    twice = lid in sessions or (sid in table and table[sid] is not lineage.stand_in)
                    if not twice:
                        sessions[lid] = session
                        table[sid] = session
                        if not lineage.first:
                            lineage.first = sid
                            lineage.newest = session
                        stays = True
            if twice:
                # Asked by two threads, it has said the same to both. The number is the other's.
                opened = None
                chain.release(session)
                raise self._number_in_use(slot, lid)
            if not stays:
                self._tell_driver(slot, sid)
                opened = None
                chain.release(session)
            self._returned(slot, call)
            session.refresh(watched=self.watched)  # somebody may have begun to watch meanwhile
        except BaseException as error:
            if opened is None and isinstance(error, CryptoError):  # the driver's own
                self._returned(slot, call)
                raise
            # Of a signal handler. Nobody will hear of it: let the driver forget it, unless that
            # was what raised.
            call.thread = 0  # this thread goes on without it
            if session is not None and stays:
                self._errands.add((self.discard, (session,)))
            elif opened is not None:
                self._errands.add((self._tell_driver, (slot, opened[0])))
            self.later(self._returned, slot, call)
            raise
        return session if stays else None

    def _returned(self, slot: Slot, call: Call) -> None:
        """Note that a call of newsession or freesession has returned."""
        try:
            slot.calls.discard(call)
            self._drivers.check_drained(slot)
        except BaseException:  # of a signal handler
            call.thread = 0
            self.later(self._returned, slot, call)
            raise

    def discard(self, session: Session) -> None:
        """Free a session, or what it has become, if that has not been done. May be done again."""
        while not session.begin_to_free():
            if session.target is None:
                break
            session = session.latest()
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

    def _ask(self, slot: Slot, lineage: Lineage) -> tuple[int, Process | None]:
        """
        Have a driver open a session, and return its SID and compiled ``process``.

        A number that still leads to a session which moved away from this driver is not used: the
        driver is asked for another while it holds that one. If that session is this one, which
        comes back, it leads where it should.
        """
        held: list[int] = []
        lid = -1
        try:
            while True:
                lid, process = self._call_newsession(slot, lineage.chain)
                sid = pack_sid(slot.hid, lid)
                if lid in slot.sym.sessions or sid in held:
                    raise self._number_in_use(slot, lid)
                if sid not in self.table or lineage.is_alias(sid, self.table):
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

    def _number_in_use(self, slot: Slot, lid: int) -> DriverBug:
        self._bugs.report(Rule.SESSION_NUMBER, slot.name)
        return DriverBug(f"driver {slot.name}: session number {lid} is in use already")

    def enter(self, session: Session) -> bool:
        """
        Enter a virtual session, whose slot never leaves, in the tables.

        Returns:
            False if its SID is one that leads to another session; then nothing was done.
        """
        process = session.process
        session.process = promised(session.chain, process, self._done)
        session.refresh(watched=self.watched)
        session.chain.hold(session)
        lineage, sid, lid = session.lineage, session.sid, session.lid
        sessions, table = session.slot.sym.sessions, self.table
        with session.slot.lock:
            # One step, as in `_try`.
            free = sid not in table
            if free:
                sessions[lid] = session
                table[sid] = session
                if not lineage.first:
                    lineage.first = sid
                    lineage.newest = session
        if not free:
            session.process = process
            session.chain.release(session)
        return free

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
                self._tell_driver(slot, session.sid)
            session.process = _forgotten  # the driver's own may hold on to keys
            session.chain.release(session)
        self._returned(slot, call)
        if session.state is SessionState.DRAINING and not session.inflight:
            self._bury(session)

    def _bury(self, session: Session) -> None:
        """Forget a session whose last request is done: its names go, its keys are wiped."""
        lineage = session.lineage
        with self._one_step():
            whole = lineage.newest is session
            if whole:
                lineage.end(self.table)
            else:  # it never took over, and its lineage goes on without it
                lineage.withdraw(session, self.table)
        if whole:
            session.chain.abandon()
        if session.may(SessionEvent.DRAINED) and whole:
            if not lineage.is_part:
                self.freed.add()
            lineage.let_go()

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
        if session.target is None:
            session.lineage.avoid = session.slot
        self.orphan(session)
        self.redirect(crp, session)

    def redirect(self, crp: Cryptop, session: Session) -> None:
        """Set a request to EAGAIN and its session's new SID, or to why there is none."""
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
                self.orphan(session)
            if session.target is None and not self.may_wait():
                return None
            with session.lock:
                if session.target is not None:
                    continue
                if session.state is not SessionState.ORPHANED or self.closed:
                    return None
                try:
                    new = self._move(session, self._place)
                except CryptoError as error:
                    if not session.lineage.stranded:  # or each of its requests would say so
                        session.lineage.stranded = True
                        log.warning("session_stranded", sid=session.sid, reason=error.strerror)
                    return None
            if new is not None:
                self._observers.migrated(session.sid, new.sid)  # may ask for either: no lock held
                return new

    def _move(self, session: Session, place: Callable[[Lineage], Session]) -> Session | None:
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
            self.orphan(session)  # if it lives until now
            with self._one_step():
                moved = lineage.succeed(session, new, self.table)
            if moved:
                session.slot.local.counts.migrated += 1
                log.info("session_migrated", sid=session.sid, new_sid=new.sid, driver=new.slot.name)
                return new
            self.discard(new)
        except BaseException:  # of a signal handler, if there is a new one
            if new is not None and lineage.newest is not new:
                self.later(self.discard, new)
            raise
        return None

    def unite(self, session: Session) -> bool:
        """
        Move a virtual session to a single driver, if one takes its whole chain by now.

        Returns:
            Whether it has moved.
        """
        if not self.may_wait():
            return False
        with session.lock:
            if session.state is not SessionState.LIVE or self.closed:
                return False
            try:
                new = self._move(session, self.place_on_one)
            except CryptoError:
                return False
        if new is not None:
            self._observers.migrated(session.sid, new.sid)
        return new is not None

    @property
    def changes(self) -> int:
        """What goes up whenever a driver offers something."""
        return self._drivers.changes

    def close(self) -> None:
        """Forget all sessions of a framework whose drivers are gone; wipe their keys."""
        for session in list(self.table.values()):
            if session.target is None and session.state is SessionState.ORPHANED:
                self.discard(session)

    def refresh(self) -> None:
        """Work out anew which sessions are straight, after a change of `watched`."""
        for slot in self._drivers:
            sessions = list(slot.sym.sessions.values())
            for start in range(0, len(sessions), REFRESHED):
                with slot.lock:
                    for session in sessions[start : start + REFRESHED]:
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


def _is_freed(session: Session) -> bool:
    """Tell whether a session was freed, though it may have requests left."""
    return session.lineage.ended or session.state is SessionState.DRAINING


def _stranded(lineage: Lineage) -> str:
    """Say why nobody takes a session over, and what would help."""
    if lineage.pin is not None:
        name = lineage.pin.name
        return f"the session is for driver {name} alone, which left or handed it back; attach it"
    if lineage.hard:
        kind = "hardware" if lineage.hard > 0 else "software"
        return f"the session's driver left and no other {kind}, as was asked for, takes it over"
    return "the session's driver left and no other takes it over"


def _no_driver(
    lineage: Lineage, reasons: dict[str, str], refusal: CryptoError | None
) -> CryptoError:
    names = " + ".join(facts.name for facts in lineage.chain.facts)
    nobody = "none is attached" if lineage.pin is None else f"{lineage.pin.name} is not attached"
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or nobody
    error = NoDriverError(
        f"no driver serves {names}: {why}",
        reasons,
        errno=refusal.errno if refusal is not None else None,
    )
    error.__cause__ = refusal
    return error


def _forgotten(crp: Cryptop, hint: int) -> int:
    raise AssertionError("a session that its driver has forgotten is served no more")
