"""
Opening, moving and freeing sessions.

A session whose driver leaves is orphaned: the driver forgets it, the framework keeps its chain.
The first request that then meets it has it opened on another driver, and every request of the
old session gets the same new SID with EAGAIN. Where nobody can take over, each gets ENODEV. Who
may take over is the same for life: the driver that the consumer named, or the class it asked for.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from opencrypto._core import selection as _select
from opencrypto._core.bugs import DriverBugs
from opencrypto._core.guard import checked, promised
from opencrypto._core.plugins import Observers
from opencrypto._core.slots import DriverTable, Lineage, Pin, Session, Slot, check_lid
from opencrypto._log import log
from opencrypto._measure.counters import ChainNumbers, LockedCount
from opencrypto._request.sid import pack_sid, sid_text
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.chain import Chain, as_inis
from opencrypto._rules.profile import Profile
from opencrypto._state import SessionEvent, SessionState, SlotState
from opencrypto.driver import Driver, Process, Rule
from opencrypto.exceptions import CryptoError, DriverBug, NoDriverError, UnknownSession, UsageError

Compose = Callable[[Lineage], Session | None]
"""Opens a session on several drivers, or returns None."""


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
        self.created.add()
        self._observers.newsession(session.sid, session.slot.name)
        return session

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
        with slot.lock:
            plain = slot.sym.process
            if slot.state is not SlotState.ACTIVE or plain is None:
                return None
            slot.calls += 1
        chain = lineage.chain
        try:
            sid, process = self._ask(slot, lineage)
            kind = self.chain_numbers.number(cri.alg for cri in chain.inis)
            process = process or checked(chain, plain, self._done)
            process = promised(chain, process, self._done)
            session = Session(sid, slot, lineage, process, kind)
            with slot.lock:
                twice = session.lid in slot.sym.sessions
                stays = slot.state is SlotState.ACTIVE and not twice
                if stays:
                    self._enter(session)
            if twice:
                # Asked by two threads, it has said the same to both. The number is the other's.
                raise self._number_in_use(slot, session.lid)
            if not stays:
                self._tell_driver(slot, sid)
        finally:
            self._returned(slot)
        return session if stays else None

    def _returned(self, slot: Slot) -> None:
        """Note that a call of newsession or freesession has returned."""
        with slot.lock:
            slot.calls -= 1
        self._drivers.check_drained(slot)

    def _ask(self, slot: Slot, lineage: Lineage) -> tuple[int, Process | None]:
        """
        Have a driver open a session, and return its SID and compiled ``process``.

        A number that still leads to a session which moved away from this driver is not used: the
        driver is asked for another while it holds that one. If that session is this one, which
        comes back, it leads where it should.
        """
        held: list[int] = []
        try:
            while True:
                lid, process = self._call_newsession(slot, lineage.chain)
                sid = pack_sid(slot.hid, lid)
                if lid in slot.sym.sessions or sid in held:
                    raise self._number_in_use(slot, lid)
                if sid not in self.table or lineage.is_alias(sid, self.table):
                    return sid, process
                held.append(sid)
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
        with session.slot.lock:
            free = session.sid not in self.table
            if free:
                self._enter(session)
        if not free:
            session.process = process
        return free

    def _enter(self, session: Session) -> None:
        """Enter a session in the tables; its slot's lock is held."""
        session.refresh(watched=self.watched)
        session.lineage.begin(session)
        session.lineage.take_back(session.sid)
        session.slot.sym.sessions[session.lid] = session
        self.table[session.sid] = session
        session.chain.hold()

    def _call_newsession(self, slot: Slot, chain: Chain) -> tuple[int, Process | None]:
        assert slot.sym.newsession is not None
        try:
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
        session = self.find(sid)
        while True:
            session = session.latest()
            with session.lock:
                if session.target is not None:
                    continue
                if _is_freed(session):
                    raise UnknownSession(f"session {sid_text(sid)} has been freed already")
                with session.slot.lock:
                    session.move(SessionEvent.FREE)
                break
        self.settle(session)

    def settle(self, session: Session) -> None:
        """Tell the driver to forget a session that lives no more, once its last request is done."""
        if session.inflight or session.state is SessionState.LIVE:
            return
        slot = session.slot
        with slot.lock:
            if session.inflight:
                return
            ours = slot.sym.sessions.get(session.lid) is session
            if ours:
                del slot.sym.sessions[session.lid]
                slot.calls += 1
        if ours:
            try:
                self._tell_driver(slot, session.sid)
            finally:
                session.process = _forgotten  # the driver's own may hold on to keys
                session.chain.release()
                self._returned(slot)
        if session.state is SessionState.DRAINING:
            self._bury(session)

    def _bury(self, session: Session) -> None:
        """Forget a session whose last request is done: its names go, its keys are wiped."""
        with session.lock:
            if session.state is not SessionState.DRAINING or session.inflight:
                return
            session.move(SessionEvent.DRAINED)
        session.lineage.end(self.table)
        session.chain.abandon()
        if not session.lineage.is_part:
            self.freed.add()

    def _tell_driver(self, slot: Slot, sid: int) -> None:
        if slot.sym.freesession is None:
            return
        try:
            slot.sym.freesession(sid)
        except Exception as error:
            self._bugs.report(Rule.FREESESSION, slot.name, error)

    # A driver leaves, or hands a session back.

    def orphan_all(self, slot: Slot) -> list[Session]:
        """Orphan every session of a driver that leaves; return them."""
        with slot.lock:
            sessions = list(slot.sym.sessions.values())
        for session in sessions:
            self.orphan(session)
            self.settle(session)
        self._drivers.check_drained(slot)
        return sessions

    def orphan(self, session: Session) -> None:
        """Note that a session's driver is not to see any more of its requests."""
        with session.lock, session.slot.lock:
            if session.state is SessionState.LIVE:
                session.move(SessionEvent.DRIVER_LEFT)

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
            with session.lock:
                if session.target is not None:
                    continue
                if session.state is SessionState.LIVE:
                    if session.slot.state is SlotState.ACTIVE:
                        return session
                    # Its driver has begun to leave, and not come to this session yet.
                    with session.slot.lock:
                        session.move(SessionEvent.DRIVER_LEFT)
                if session.state is not SessionState.ORPHANED or self.closed:
                    return None
                new = self._migrate(session)
            break
        if new is not None:
            self._observers.migrated(session.sid, new.sid)  # which may ask for either: no lock held
        return new

    def _migrate(self, session: Session) -> Session | None:
        try:
            new = self._place(session.lineage)
        except CryptoError as error:
            if not session.lineage.stranded:  # or each of its requests would say so
                session.lineage.stranded = True
                log.warning("session_stranded", sid=session.sid, reason=error.strerror)
            return None
        self._succeed(session, new)
        return new

    def unite(self, session: Session) -> bool:
        """
        Move a virtual session to a single driver, if one takes its whole chain by now.

        Returns:
            Whether it has moved.
        """
        with session.lock:
            if session.state is not SessionState.LIVE or self.closed:
                return False
            try:
                new = self.place_on_one(session.lineage)
            except CryptoError:
                return False
            with session.slot.lock:
                session.move(SessionEvent.DRIVER_LEFT)
            self._succeed(session, new)
        self._observers.migrated(session.sid, new.sid)
        return True

    @property
    def changes(self) -> int:
        """What goes up whenever a driver offers something."""
        return self._drivers.changes

    def _succeed(self, session: Session, new: Session) -> None:
        session.move(SessionEvent.MIGRATE)
        session.lineage.succeed(new, self.table)
        session.slot.local.counts.migrated += 1
        log.info("session_migrated", sid=session.sid, new_sid=new.sid, driver=new.slot.name)

    def close(self) -> None:
        """Forget all sessions of a framework whose drivers are gone; wipe their keys."""
        for session in list(self.table.values()):
            if session.target is None and session.state is SessionState.ORPHANED:
                self.free(session.sid)

    def refresh(self) -> None:
        """Work out anew which sessions are straight, after a change of `watched`."""
        for slot in self._drivers:
            with slot.lock:
                for session in slot.sym.sessions.values():
                    session.refresh(watched=self.watched)

    def after_fork(self) -> None:
        """
        Go on in a forked child: see `Session.after_fork`.

        What is left of sessions being freed goes with their driver: no driver is called from here.
        """
        self.chain_numbers.after_fork()
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
