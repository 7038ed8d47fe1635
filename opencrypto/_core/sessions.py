"""
Opening, moving and freeing sessions.

A session whose driver leaves is orphaned: the driver forgets it, the framework keeps its chain.
The first request that then meets it has it opened on another driver, and every request of the
old session gets the same new SID with EAGAIN. Where nobody can take over, each gets ENODEV.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from opencrypto._core import selection as _select
from opencrypto._core.bugs import DriverBugs
from opencrypto._core.guard import checked, promised
from opencrypto._core.plugins import Observers
from opencrypto._core.slots import MAX_ALIASES, DriverTable, Session, Slot, check_lid
from opencrypto._log import log
from opencrypto._measure.counters import ChainNumbers, LockedCount
from opencrypto._request.sid import pack_sid, sid_text
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.chain import Chain, as_inis
from opencrypto._rules.profile import Profile
from opencrypto._state import SessionEvent, SessionState, SlotState
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
        self.created.add()
        self._observers.newsession(session.sid, session.slot.name)
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
            if pinned is None:
                slots[candidate.hid].announce(chain)
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
        with slot.lock:
            plain = slot.sym.process
            if slot.state is not SlotState.ACTIVE or plain is None:
                return None
            slot.calls += 1
        try:
            sid, process = self._ask(slot, chain)
            kind = self.chain_numbers.number(cri.alg for cri in chain.inis)
            process = process or checked(chain, plain, self._done)
            process = promised(chain, process, self._done)
            session = Session(sid, slot, chain, hard, process, kind)
            with slot.lock:
                stays = slot.state is SlotState.ACTIVE
                if stays:
                    session.refresh(watched=self.watched)
                    slot.sym.sessions[session.lid] = session
                    slot.names += 1
                    self.table[sid] = session
                    chain.hold()
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

    def _ask(self, slot: Slot, chain: Chain) -> tuple[int, Process | None]:
        """
        Have a driver open a session, and return its SID and compiled ``process``.

        A number that still names a session which moved away from this driver is not used: the
        driver is asked for another while it holds that one.
        """
        held: list[int] = []
        try:
            while True:
                lid, process = self._call_newsession(slot, chain)
                sid = pack_sid(slot.hid, lid)
                if lid in slot.sym.sessions or sid in held:
                    raise DriverBug(f"driver {slot.name}: session number {lid} is in use already")
                if sid not in self.table:
                    return sid, process
                held.append(sid)
        finally:
            for sid in held:
                self._tell_driver(slot, sid)

    def enter(self, session: Session) -> Session:
        """Enter a virtual session, whose slot never leaves, in the tables."""
        session.process = promised(session.chain, session.process, self._done)
        with session.slot.lock:
            session.refresh(watched=self.watched)
            session.slot.sym.sessions[session.lid] = session
            session.slot.names += 1
            self.table[session.sid] = session
            session.chain.hold()
        return session

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
                if session.state is SessionState.DRAINING or session.state is SessionState.FREED:
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
            former, session.aliases = session.aliases, []
        for each in (session, *former):
            if each is not session:
                each.move(SessionEvent.FREE)
            self._unname(each)
        session.chain.abandon()
        self.freed.add()

    def _unname(self, session: Session) -> None:
        if self.table.pop(session.sid, None) is not None:
            self._drivers.forget(session.slot)

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
        # The class asked for is kept if it can be; a session is worth more than its class.
        for hard in dict.fromkeys((session.hard, 0)):
            try:
                new = self._place(session.chain, hard, avoid=session.avoid)
            except CryptoError as error:
                failure = error
                continue
            new.hard = session.hard
            self._succeed(session, new)
            return new
        log.warning("session_stranded", sid=session.sid, reason=failure.strerror)
        return None

    def _succeed(self, session: Session, new: Session) -> None:
        new.aliases = [*session.aliases, session]
        session.aliases = []
        while len(new.aliases) > MAX_ALIASES:
            self._unname(new.aliases.pop(0))
        session.target = new
        session.move(SessionEvent.MIGRATE)
        new.born = session.born
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
