"""
Opening sessions: which driver is asked, what it answers, and the session entered in the tables.

A driver may leave while it is asked, and a finalizer or a signal handler may come between any two
steps. So a session is entered altogether, or its driver is told to forget it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opencrypto._core import selection as _select
from opencrypto._core.bugs import DriverBugs
from opencrypto._core.driver_table import DriverTable
from opencrypto._core.errands import Errands
from opencrypto._core.guard import checked, promised, without_pieces
from opencrypto._core.lineage import Lineage, Pin
from opencrypto._core.plugins import Observers
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Call, Session, Slot, check_lid
from opencrypto._measure.callers import Callers
from opencrypto._request.sid import pack_sid, sid_text
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.chain import Chain, as_inis
from opencrypto._rules.profile import Profile
from opencrypto._state import SlotState
from opencrypto.driver import Driver, Process, Rule
from opencrypto.exceptions import (
    CryptoError,
    DriverBug,
    LimitError,
    NoDriverError,
    UnknownSession,
    UsageError,
)

Compose = Callable[[Lineage[Session]], Session | None]
"""Opens a session on several drivers, or returns None."""


class Opening:
    """What opens the sessions of a framework."""

    def __init__(
        self,
        sessions: Sessions,
        drivers: DriverTable,
        bugs: DriverBugs,
        observers: Observers,
        done: Callable[[Cryptop], None],
        compose: Compose,
        errands: Errands,
        callers: Callers | None = None,
    ) -> None:
        self._callers = callers  # which note where sessions are opened, if somebody wants that
        self._sessions = sessions
        self._drivers = drivers
        self._bugs = bugs
        self._observers = observers
        self._done = done
        self._compose = compose
        self._errands = errands

    def open(
        self,
        ini: Cryptoini | Iterable[Cryptoini],
        hard: int,
        driver: int | str | Driver | None = None,
        profile: Profile | None = None,
    ) -> Session:
        """Open a session on the best driver that takes its chain, or on several together."""
        if isinstance(hard, bool) or not isinstance(hard, int):
            # It may be a key, put where `Framework.session` has one: no word of it.
            raise UsageError(f"hard is a number, > 0 for hardware only, not {type(hard).__name__}")
        chain = Chain(as_inis(ini), profile=profile)
        return self._begin(Lineage(chain, hard, self._pin(driver)))

    def open_like(self, session: Session) -> Session:
        """
        Open another session with the keys, class and pin of one that is there.

        The two take their fresh IVs from the same sequences, since they have the same keys.
        """
        chain, lineage = self._same_chain(session), session.lineage
        return self._begin(Lineage(chain, lineage.hard, lineage.pin))

    def _same_chain(self, session: Session) -> Chain:
        """Copy a session's chain, with its keys and its sequences of fresh IVs."""
        lineage = session.lineage
        user = object()
        lineage.chain.hold(user)  # or its keys might be wiped while they are copied
        try:
            if lineage.ended or lineage.chain.abandoned:
                raise UnknownSession(f"session {sid_text(session.sid)} has been freed")
            return lineage.chain.part(range(len(lineage.chain.inis)))
        finally:
            lineage.chain.release(user)

    def _begin(self, lineage: Lineage[Session]) -> Session:
        try:
            if self._callers is not None:
                lineage.opened = self._callers.now()
            session = self.place(lineage)
        except BaseException:
            lineage.chain.abandon()
            raise
        try:
            self._sessions.created.add(session.kind)
            self._observers.newsession(session.sid, session.slot.name)
        except BaseException:  # of a signal handler: the consumer will not hear of it
            self._sessions.later(self._sessions.discard, session)
            raise
        return session

    def open_for_pieces(self, session: Session, *, there: bool = False) -> Session:
        """
        Open a session for a message in pieces, with the keys, class and pin of one that is there.

        The two take their fresh IVs from the same sequences, since they have the same keys. With
        `there` it is on the same driver, whatever others could do.

        Raises:
            NoDriverError: nobody takes it, with messages in pieces.
            UnknownSession: the session was freed meanwhile.
        """
        chain, lineage, slot = self._same_chain(session), session.lineage, session.slot
        chain.profile = chain.profile._replace(streamed=True)
        pin = Pin(slot.name, slot.tier) if there else lineage.pin
        return self._begin(Lineage(chain, lineage.hard, pin))

    def _pin(self, driver: int | str | Driver | None) -> Pin | None:
        if driver is None:
            return None
        slot = self._drivers.find(driver)
        return Pin(slot.name, slot.tier)

    def place(self, lineage: Lineage[Session]) -> Session:
        """
        Open a session on the best driver that it may be on, or else on several together.

        Raises:
            NoDriverError: nobody takes it.
        """
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

    def _may_be_split(self, lineage: Lineage[Session]) -> bool:
        return lineage.pin is None and len(lineage.chain.inis) > 1

    def place_on_one(self, lineage: Lineage[Session]) -> Session:
        """
        Open a session on the best single driver of those it may be on.

        Raises:
            NoDriverError: none takes it.
        """
        slots = {slot.hid: slot for slot in self._drivers if lineage.admits(slot)}
        asked, reasons = _select.order(
            (self._candidate(slot, lineage) for slot in slots.values()),
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

    def _candidate(self, slot: Slot, lineage: Lineage[Session]) -> _select.Candidate:
        try:
            refusal = slot.refusal(lineage.chain, named=lineage.pin is not None)
            if not isinstance(refusal, str):
                raise TypeError
        except Exception as error:
            self._bugs.report(Rule.REFUSAL, slot.name, error)
            refusal = f"cannot say whether it would: {type(error).__name__} in its refusal()"
        return _select.Candidate(slot.hid, slot.name, slot.tier, len(slot.sym.sessions), refusal)

    def _try(self, slot: Slot, lineage: Lineage[Session]) -> Session | None:
        """Open the session on one driver, or return None if the driver left while it did."""
        chain, table, sessions = lineage.chain, self._sessions.table, slot.sym.sessions
        call = Call()
        opened = None
        session = None
        stays = twice = False
        try:
            with slot.lock:
                plain = slot.sym.process
                if slot.state is not SlotState.ACTIVE or plain is None:
                    return None
                if slot.is_full:
                    raise LimitError(f"driver {slot.name} has as many sessions as it takes")
                slot.calls.add(call)
            sid, process = opened = self._ask(slot, lineage)
            kind = self._sessions.chain_numbers.number(cri.alg for cri in chain.inis)
            whole = self._guarded(slot, chain, process or plain, compiled=process is not None)
            session = Session(sid, slot, lineage, whole, kind)
            lid = session.lid
            chain.hold(session)
            session.refresh(watched=self._sessions.watched)
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
                self._sessions.tell_driver(slot, sid)
                opened = None
                chain.release(session)
            self._sessions.returned(slot, call)
            # Somebody may have begun to watch meanwhile.
            session.refresh(watched=self._sessions.watched)
        except BaseException as error:
            if opened is None and isinstance(error, CryptoError):  # the driver's own
                self._sessions.returned(slot, call)
                raise
            # Of a signal handler. Nobody will hear of it: let the driver forget it, unless that
            # was what raised.
            call.thread = 0  # this thread goes on without it
            if session is not None and stays:
                self._errands.add((self._sessions.discard, (session,)))
            elif opened is not None:
                self._errands.add((self._sessions.tell_once, (slot, opened[0], [slot])))
            self._sessions.later(self._sessions.returned, slot, call)
            raise
        return session if stays else None

    def _ask(self, slot: Slot, lineage: Lineage[Session]) -> tuple[int, Process | None]:
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
                if sid not in self._sessions.table or lineage.is_alias(sid, self._sessions.table):
                    return sid, process
                held.append(sid)
                lid = -1
        except Exception:
            raise
        except BaseException:  # of a signal handler
            if lid >= 0:
                self._errands.add((self._take_back, (slot, lid, [slot])))
            raise
        finally:
            for sid in held:
                self._sessions.tell_driver(slot, sid)

    def _guarded(self, slot: Slot, chain: Chain, process: Process, *, compiled: bool) -> Process:
        """Put before a driver's ``process`` what its requests must pass."""
        alignment = slot.driver.alignment if slot.driver is not None else 1
        if slot.depth is not None:
            process = slot.depth.of_requests(process)
        if compiled and not slot.sync:
            process = without_pieces(process)
        if alignment > 1 or not compiled:
            process = checked(chain, process, self._done, alignment)
        return promised(chain, process, self._done)

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
        session.refresh(watched=self._sessions.watched)
        session.chain.hold(session)
        lineage, sid, lid = session.lineage, session.sid, session.lid
        sessions, table = session.slot.sym.sessions, self._sessions.table
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
                lid = check_lid(answer, slot)
                self._must_stream(slot, chain, lid)
                return lid, None
            lid, process = answer
            if not callable(process):
                raise TypeError
            lid = check_lid(lid, slot)
            self._must_stream(slot, chain, lid)
            return lid, process
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
                self._errands.add((self._take_back, (slot, answer, [slot])))
            raise
        finally:
            counts.depth = depth

    def _must_stream(self, slot: Slot, chain: Chain, lid: int) -> None:
        """
        Find out whether a session just opened takes messages in pieces, if it promises to get such.

        Raises:
            CryptoError: it does not; the driver has been told to forget it.
        """
        if not chain.profile.streamed:
            return
        try:
            if slot.sym.newstream is None:
                raise UsageError(f"driver {slot.name} takes whole messages only")
            slot.sym.newstream(lid, self._done).wipe()
        except Exception:
            self._sessions.tell_once(slot, pack_sid(slot.hid, lid), [slot])
            raise

    def _take_back(self, slot: Slot, answer: Any, due: list[Slot]) -> None:
        """Have a driver forget a session that it has opened for nobody: an errand."""
        lid = check_lid(answer[0] if isinstance(answer, tuple) else answer, slot)
        self._sessions.tell_once(slot, pack_sid(slot.hid, lid), due)


def _no_driver(
    lineage: Lineage[Session], reasons: dict[str, str], refusal: CryptoError | None
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
