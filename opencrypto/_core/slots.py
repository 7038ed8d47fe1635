"""
The driver table: slots by id, lowest free first, growing as needed; and the sessions on them.

Slots and sessions point at each other, so they are in one room. After a migration the old SID stays
an alias of the new session until that is freed: a consumer that has not heard yet is told.

Locking: there is one lock, the table's, and each slot has it as `Slot.lock`. It guards which slot
is whose, the slots' queues, sessions and states. One, since a finalizer or a signal handler may
need it for another slot while its thread is in the midst of this one. It is re-entrant, and is held
for single steps that such a one cannot come between. No driver or consumer code runs under it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from opencrypto._core.origins import Origin
from opencrypto._core.queues import RequestQueue
from opencrypto._core.returns import let_go
from opencrypto._log import log
from opencrypto._measure.counters import Counts, LocalCounts, ThreadCounts, sum_counts
from opencrypto._request.key import Cryptkop
from opencrypto._request.sid import LID, hid_of, lid_of
from opencrypto._request.symmetric import Cryptoini, Cryptop, alg_name
from opencrypto._rules.chain import Chain, key_serial
from opencrypto._state import SESSION, SLOT, SessionEvent, SessionState, SlotEvent, SlotState, step
from opencrypto._threads import Latch
from opencrypto.constants import CRYPTOCAP_F_SYNC
from opencrypto.driver import Driver, KeyProcess, Process, driver_class
from opencrypto.exceptions import DriverBug, UsageError

NewSession = Callable[[Sequence[Cryptoini]], "int | tuple[int, Process]"]


MAX_ALIASES: Final = 4096
"""
How many former SIDs of a session lead to it, beside its first one, which always does.

Each costs some 100 bytes until the session is freed; the oldest go first.
"""

MAX_NAMES: Final = 256
"""How many names of drivers that left are remembered with their counts."""

MAX_DEPARTED: Final = 16
"""How many drivers that left keep counts of their own; those of earlier ones are added up."""


class Pin(NamedTuple):
    """The one driver that a session is for: its name and class, not the object or its id."""

    name: str
    tier: int


class Lineage:
    """
    What a consumer has opened: a session through all its moves from driver to driver.

    Attributes:
        chain: The algorithms, with the keys.
        hard: The class of drivers asked for, as `Framework.newsession` takes it. It is kept for
            life.
        pin: The driver asked for, if one was. It is kept for life too.
        is_part: Whether the framework opened it for itself, as a part of a virtual session.
        born: When it was opened; seconds of `time.monotonic`.
        first: The SID that it was opened with.
        former: Later SIDs that it has no more, oldest first.
        newest: The session that it is now; None before there is one.
        stand_in: What `first` and `former` name, once it has moved: never live, so that requests
            are sent on. There is one for all of them: a former SID costs an entry of the table.
        avoid: The driver that handed it back last, until it has moved.
        stranded: Whether it was said that nobody takes it over, since it last moved.
        ended: Whether it was freed, and its last request is done.
    """

    __slots__ = (
        "avoid", "born", "chain", "ended", "first", "former", "hard", "is_part", "newest", "pin",
        "stand_in", "stranded",
    )  # fmt: skip

    def __init__(
        self, chain: Chain, hard: int, pin: Pin | None = None, *, is_part: bool = False
    ) -> None:
        self.chain = chain
        self.hard = hard
        self.pin = pin
        self.is_part = is_part
        self.born = time.monotonic()
        self.first = 0
        self.former: deque[int] = deque()
        self.newest: Session | None = None
        self.stand_in: Session | None = None
        self.avoid: Slot | None = None
        self.stranded = False
        self.ended = False

    def admits(self, slot: Slot) -> bool:
        """Tell whether the session may be on a driver at all, whatever that can do."""
        return slot is not self.avoid and self.pin in (None, (slot.name, slot.tier))

    def succeed(self, old: Session, new: Session, table: dict[int, Session]) -> bool:
        """
        Have a session take over, and the SID of the one before lead to it.

        Returns:
            False if another has taken over meanwhile, or it is orphaned no more; then nothing was
            done.
        """
        stand_in = self.stand_in
        if stand_in is None:
            stand_in = Session(old.sid, new.slot, self, _moved, old.kind)
            for event in (SessionEvent.DRIVER_LEFT, SessionEvent.MIGRATE):
                stand_in.move(event)
        sid, former = old.sid, self.former
        # One step, with nothing called but the last: so not by `move`.
        if self.newest is not old or old.state is not SessionState.ORPHANED:
            return False
        old.state = SessionState.MIGRATED
        stand_in.slot = new.slot  # whose counts have what comes under former SIDs
        self.stand_in = stand_in
        self.avoid = None
        self.stranded = False
        table[sid] = stand_in
        self.newest = new
        if sid != self.first:
            former.append(sid)
        self._take_back(new.sid)
        self._drop_oldest(table)
        return True

    def _take_back(self, sid: int) -> None:
        """Note that one of its former SIDs has become its present one."""
        try:
            self.former.remove(sid)
        except ValueError:
            pass  # the first one, or it never had it

    def _drop_oldest(self, table: dict[int, Session]) -> None:
        """Forget the oldest of more former SIDs than are kept."""
        former, stand_in = self.former, self.stand_in
        for _ in range(len(former) - MAX_ALIASES):
            # One step: what is not in `former` any more is not in the table either.
            if former:
                oldest = former[0]
                if oldest in table and table[oldest] is stand_in:
                    del table[oldest]
                del former[0]

    def is_alias(self, sid: int, table: dict[int, Session]) -> bool:
        """Tell whether a SID is one that it had, and has no more."""
        return self.stand_in is not None and table.get(sid) is self.stand_in

    def sids(self) -> list[int]:
        """List all SIDs that lead to it."""
        newest = self.newest  # once: it may be let go of meanwhile
        present = () if newest is None else (newest.sid,)
        return [self.first, *self.former, *present]

    def end(self, table: dict[int, Session]) -> None:
        """Take its SIDs away. May be done again; `let_go` comes after it."""
        self.ended = True
        for sid in self.sids():
            # One step: by now the SID may be another's.
            if sid in table and table[sid].lineage is self:
                del table[sid]
        stand_in = self.stand_in  # once, likewise
        if stand_in is not None:
            stand_in.may(SessionEvent.FREE)

    def let_go(self) -> None:
        """Let go of its sessions, so that no circle keeps them."""
        self.newest = self.stand_in = None
        self.former.clear()

    def withdraw(self, session: Session, table: dict[int, Session]) -> None:
        """Take away the SID of a session that never took over, if it did not lead here before."""
        sid, former, stand_in = session.sid, self.former, self.stand_in
        # One step.
        if sid in table and table[sid] is session:
            if stand_in is not None and not self.ended and (sid == self.first or sid in former):
                table[sid] = stand_in
            else:
                del table[sid]


class Session:
    """
    One session on one driver; with those before and after it, it is a `Lineage`.

    Attributes:
        inflight: Its requests that the framework holds. Membership is the use count, and taking a
            request out is what makes completion happen exactly once: set operations are atomic.
        straight: Its next request may go straight to the driver. Written under the slot's lock;
            read without, after entering `inflight`, which is the order that makes it safe.
        queued: How many of `inflight` are queued or being handed over. Under the slot's lock.
        lock: Held by whoever moves it to another driver. Taken before the table's lock, never
            after.
        kind: The number of its chain of algorithms, for counting (`ChainNumbers`).
    """

    __slots__ = (
        "chain",
        "inflight",
        "kind",
        "lineage",
        "lock",
        "process",
        "queued",
        "sid",
        "slot",
        "state",
        "straight",
    )  # fmt: skip

    def __init__(
        self,
        sid: int,
        slot: Slot,
        lineage: Lineage,
        process: Callable[[Cryptop, int], int],
        kind: int = 0,
    ) -> None:
        self.sid = sid
        self.slot = slot
        self.lineage = lineage
        self.chain = lineage.chain
        self.process = process
        self.kind = kind
        self.inflight: set[Cryptop] = set()
        self.queued = 0
        self.straight = True
        self.state = SessionState.LIVE
        self.lock = threading.RLock()

    @property
    def lid(self) -> int:
        """The driver's own number of it."""
        return lid_of(self.sid)

    def move(self, event: SessionEvent) -> None:
        """Change state as the table says; only a live session is served straight."""
        if not self.may(event):
            step(SESSION, self.state, event)  # raises

    def may(self, event: SessionEvent) -> bool:
        """Change state if the table has it so; tell whether it has."""
        while True:
            before = self.state
            after = SESSION[before].get(event)
            if after is None:
                return False
            if self.state is before:  # or somebody came between, in this thread too
                self.state = after
                self.straight = False
                return True

    def begin_to_free(self) -> bool:
        """Have no new request reach it; False if it has moved, or is being freed already."""
        # One step, with nothing called: so not by `move`, nor by `may`, for which one that has
        # moved is freed with what it became.
        if self.state is not SessionState.LIVE and self.state is not SessionState.ORPHANED:
            return False
        self.state = SessionState.DRAINING
        self.straight = False
        return True

    def refresh(self, *, watched: bool) -> None:
        """Work out `straight` anew: it lives, nothing of it is queued, and nobody watches."""
        self.straight = not watched and self.state is SessionState.LIVE and not self.queued

    def after_fork(self, *, watched: bool) -> None:
        """Begin, in a forked child, with no request: those accepted are the parent's."""
        self.lock = threading.RLock()
        for crp in self.inflight:
            let_go(crp)
        self.inflight.clear()
        self.queued = 0
        self.refresh(watched=watched)

    def latest(self) -> Session:
        """Return the session that this one has become, through any number of migrations."""
        return self.lineage.newest or self

    @property
    def target(self) -> Session | None:
        """The session that has taken over from this one, if it has moved."""
        newest = self.latest()
        return None if newest is self else newest

    def __repr__(self) -> str:
        return f"<Session {self.sid:#x} {self.state} {self.chain!r} inflight={len(self.inflight)}>"


class Call:
    """A call of a driver's newsession or freesession that is under way, and whose it is."""

    __slots__ = ("thread",)

    def __init__(self) -> None:
        self.thread = threading.get_ident()


class SymmetricSide:
    """
    What a slot has for requests of sessions.

    Attributes:
        algs: Algorithm number to the (maxoplen, flags) it was registered with.
        failed: Algorithm number to why its known answer failed; these are not offered.
        number_of: Gives what the driver's freesession names a session by: its SID, or its lid.
        frees_again: Whether its freesession bears being called again, after it was broken off.
        queue: The requests that wait for the driver.
        sessions: Its open sessions by lid. Taking one out is the right, and the duty, to call the
            driver's freesession for it.
    """

    __slots__ = (
        "algs", "failed", "frees_again", "freesession", "newsession", "number_of", "process",
        "queue", "sessions",
    )  # fmt: skip

    def __init__(self) -> None:
        self.algs: dict[int, tuple[int, int]] = {}
        self.failed: dict[int, str] = {}
        self.newsession: NewSession | None = None
        self.freesession: Callable[[int], object] | None = None
        self.number_of: Callable[[int], int] = int
        self.frees_again = False
        self.process: Process | None = None
        self.queue: RequestQueue[Cryptop] = RequestQueue()
        self.sessions: dict[int, Session] = {}


class KeySide:
    """
    What a slot has for key requests.

    Attributes:
        ops: Key operation to the flags it was registered with.
        queue: The key requests that wait for the driver.
        inflight: Those that it has, or that wait in `queue`.
    """

    __slots__ = ("inflight", "ops", "process", "queue")

    def __init__(self) -> None:
        self.ops: dict[int, int] = {}
        self.process: KeyProcess | None = None
        self.queue: RequestQueue[Cryptkop] = RequestQueue()
        self.inflight: set[Cryptkop] = set()


class Slot:
    """
    One driver's place in the table.

    Attributes:
        straight: Requests may go straight to the driver: it is active and not blocked.
        calls: The calls of newsession and freesession that are under way; a driver that leaves is
            not closed before they have returned.
        closing: The thread that detaches the driver, for the second one that tries; 0 for none.
        closed: The driver's close has returned.
        seen_off: Set when it is detached.
        drained: Set when a driver that leaves has no session, no key request and no such call any
            more.
        sym: What it has for requests of sessions.
        keys: What it has for key requests.
        origin: Where its driver comes from.
        counted: Its counts are in the totals. Those of virtual sessions are not: their parts' are.
    """

    __slots__ = (
        "_announced",
        "calls",
        "closed",
        "closing",
        "counted",
        "counts",
        "drained",
        "driver",
        "flags",
        "hid",
        "keys",
        "local",
        "lock",
        "name",
        "origin",
        "seen_off",
        "state",
        "straight",
        "sym",
        "sync",
        "tier",
    )  # fmt: skip

    def __init__(self, hid: int, lock: threading.RLock) -> None:
        self.hid = hid
        self.lock = lock
        self.state = SlotState.FREE
        self.name = f"driver{hid}"
        self.driver: Driver | None = None
        self.flags = 0
        self.tier = 0
        self.sync = False
        self.straight = False
        self.calls: set[Call] = set()
        self.closing = 0
        self.closed = False
        self.drained = Latch()
        self.seen_off = Latch()
        self.counts = Counts()
        self.counted = True
        self.local = LocalCounts(self.counts)
        self.sym = SymmetricSide()
        self.keys = KeySide()
        self.origin = Origin()
        self._announced = False

    def announce(self, what: object) -> None:
        """Log, once, that another distribution's driver is the first choice, and sees keys."""
        if self.origin.outside and not self._announced:
            self._announced = True
            words = self.origin.words
            log.warning("outside_driver_chosen", driver=self.name, what=str(what), **words)

    def move(self, event: SlotEvent) -> None:
        """Change state as the table says, and with it whether requests go straight through."""
        while True:
            before = self.state
            after = step(SLOT, before, event)
            if self.state is before:  # or somebody came between, in this thread too
                self.state = after
                break
        self.refresh()

    def refresh(self) -> None:
        """Work out `straight` anew, after a change of state or of blocking."""
        self.straight = self.state is SlotState.ACTIVE and not self.sym.queue.blocked

    def refusal(self, chain: Chain) -> str:
        """Say why this driver cannot serve a chain, or return an empty string."""
        if self.state is not SlotState.ACTIVE or self.sym.newsession is None:
            return "is leaving" if self.state is SlotState.CLEANUP else "serves no algorithm"
        missing = [alg_name(alg) for alg in chain.positions if alg not in self.sym.algs]
        if missing:
            return f"has no {', '.join(missing)}"
        driver = self.driver  # once: it may be leaving meanwhile
        if any(map(key_serial, chain.inis)) and not (driver and driver.key_serials):
            return "takes no key by its serial number"
        if driver is None:
            return ""
        for cri in chain.inis:
            refusal = driver.capabilities[cri.alg].refusal(cri)
            if refusal:
                return f"{refusal} for {alg_name(cri.alg)}"
        return driver.refusal(chain.inis, chain.profile)

    def after_fork(self, lock: threading.RLock) -> None:
        """Begin, in a forked child, with no request and no call: they are the parent's."""
        self.lock = lock
        self.counts.after_fork()
        self.calls.clear()
        self.closing = 0
        self.sym.queue.after_fork()
        self.keys.queue.after_fork()
        for krp in self.keys.inflight:
            let_go(krp)
        self.keys.inflight.clear()

    def __repr__(self) -> str:
        return f"<Slot {self.hid} {self.name} {self.state} sessions={len(self.sym.sessions)}>"


class DriverTable:
    """
    All slots. Iterating gives them by id.

    Attributes:
        sids: All sessions by SID; former SIDs have the stand-in of what they became. No driver gets
            an id that one of them names.
        changes: Goes up whenever a driver offers something.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.sids: dict[int, Session] = {}
        self._slots: dict[int, Slot] = {}
        # Slots of drivers that left, for their counts; under the lock. They are summed late: a
        # request that met its session while that was being freed may still be counted.
        self._departed: deque[Slot] = deque()
        self._long_gone: dict[str, Counts] = {}
        self._departures = 0  # goes up with each change of these two
        self.changes = 0

    def reserve(self, flags: int, name: str = "") -> Slot:
        """
        Make a slot under the lowest id that is free.

        An id is free if no driver has it, and no SID names it: not even one of a session that
        moved away long ago, which would else come to name another's session.
        """
        with self.lock:
            while True:
                slots, seen, changes = self._slots, self._slots.copy(), self.changes
                hid = self._free_id()
                slot = Slot(hid, self.lock)
                slot.flags = flags
                slot.tier = driver_class(flags)
                slot.sync = bool(flags & CRYPTOCAP_F_SYNC)
                slot.name = self._unique(name or slot.name)
                slot.move(SlotEvent.GET_DRIVERID)
                # One step, unless a finalizer or a signal handler has had a driver come or go.
                if slots == seen and self.changes == changes:
                    slots[hid] = slot
                    return slot

    def _free_id(self) -> int:
        named = {hid_of(sid) for sid in list(self.sids)}
        return next(n for n in itertools.count() if n not in self._slots and n not in named)

    def _unique(self, name: str) -> str:
        taken = {s.name for s in self}
        unit, result = 1, name
        while result in taken:
            unit += 1
            result = f"{name}#{unit}"
        return result

    def get(self, hid: int) -> Slot:
        """
        Return the slot of a driver id.

        Raises:
            UsageError: no driver has this id.
        """
        slot = self._slots.get(hid) if type(hid) is int else None
        if slot is not None:
            return slot
        raise UsageError(f"no driver has the id {hid!r}; take one from get_driverid()")

    def find(self, which: int | str | Driver) -> Slot:
        """
        Return the slot of a driver that is attached, by id, name, or the driver itself.

        Raises:
            UsageError: there is none.
        """
        for slot in self:
            named = which == (slot.hid if type(which) is int else slot.name)
            if named or (which is slot.driver and which is not None):
                return slot
        names = ", ".join(s.name for s in self) or "none"
        raise UsageError(f"no driver {which!r} is attached (attached: {names})")

    def __iter__(self) -> Iterator[Slot]:
        return iter(sorted(self._slots.values(), key=attrgetter("hid")))

    def check_drained(self, slot: Slot) -> None:
        """Note whether a driver that leaves has answered everything, and free its slot if so."""
        left = slot.state is SlotState.CLEANUP
        if left and not slot.sym.sessions and not slot.keys.inflight and not slot.calls:
            slot.drained.set()
            self.release(slot)

    def release(self, slot: Slot) -> None:
        """Drop the slot of a driver that left, once that has nothing more to say."""
        if slot.state is not SlotState.CLEANUP or not slot.drained.is_set():
            return
        slots, hid = self._slots, slot.hid
        depart = self._departed.append
        with self.lock:
            # One step, with nothing called but the last; so not by `move`.
            if slot.state is SlotState.CLEANUP and slot.driver is None and hid in slots:
                slot.state = SlotState.FREE
                del slots[hid]
                self._departures += 1
                depart(slot)
            while len(self._departed) > MAX_DEPARTED and self._add_up_oldest():
                pass

    def _add_up_oldest(self) -> bool:
        """Add one that departed early to those long gone; False if each may still count."""
        # Requests of sessions that nobody takes over still count with the driver they had.
        counting = {session.slot for session in list(self.sids.values())}
        departed, long_gone = self._departed, self._long_gone
        oldest = next((each for each in tuple(departed) if each not in counting), None)
        if oldest is None:
            return False
        name = oldest.name
        if name not in long_gone and len(long_gone) >= MAX_NAMES:
            name = "others"
        before = long_gone.get(name)
        total = Counts()
        for counts in (before, oldest.counts):
            if counts is not None:
                total.absorb(counts)
        # One step, with nothing called but the last.
        if oldest in departed and (name not in long_gone or long_gone[name] is before):
            long_gone[name] = total
            self._departures += 1
            departed.remove(oldest)
        return True

    def counts(self) -> tuple[dict[str, tuple[Slot, ThreadCounts]], dict[str, ThreadCounts]]:
        """
        Sum the counts of the drivers in use, each with its slot, and of the drivers gone, by name.

        Each driver is in one of them, whatever comes and goes meanwhile, so no sum ever falls.
        """
        with self.lock:
            while True:
                departures = self._departures
                gone: dict[str, ThreadCounts] = {}
                present = {slot.name: (slot, slot.counts.total()) for slot in self}
                for name, counts in self.departed():
                    counts.add_to(gone.setdefault(name, sum_counts([])))
                if departures == self._departures:  # or a finalizer has had one depart
                    return present, gone

    def departed(self) -> list[tuple[str, Counts]]:
        """Return what is kept of the drivers that are in the table no more, by their names."""
        left = [(slot.name, slot.counts) for slot in tuple(self._departed)]
        return [*self._long_gone.copy().items(), *left]

    def after_fork(self) -> None:
        """Go on in a forked child: see `Slot.after_fork`."""
        self.lock = threading.RLock()
        for slot in (*self, *self._departed):
            slot.after_fork(self.lock)
        for counts in self._long_gone.values():
            counts.after_fork()


def _moved(crp: Cryptop, hint: int) -> int:
    raise AssertionError("requests under a former SID are sent on, and served by nobody")


def check_lid(lid: Any, slot: Slot) -> int:
    """Return a session number that a driver gave, or raise DriverBug."""
    if isinstance(lid, bool) or not isinstance(lid, int) or not 0 <= lid <= LID:
        raise DriverBug(
            f"driver {slot.name}: newsession returned {type(lid).__name__} as a session number; "
            "it must be an int of 32 bits"
        )
    return lid
