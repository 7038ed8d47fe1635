"""
The driver table: slots by id, lowest free first, growing as needed; and the sessions on them.

Slots and sessions point at each other, so they are in one room. After a migration the old session
stays, under its SID, as an alias of the new one until that is freed: a consumer that has not heard
yet is told.

Locking: there is one lock, the table's, and each slot has it as `Slot.lock`. It guards which slot
is whose, the slots' queues, sessions and states. One, since a finalizer or a signal handler may
need it for another slot while its thread is in the midst of this one. It is re-entrant, and is held
for single steps that such a one cannot come between. No driver or consumer code runs under it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from opencrypto._core.queues import RequestQueue
from opencrypto._core.returns import let_go
from opencrypto._measure.counters import Counts, LocalCounts
from opencrypto._request.key import Cryptkop
from opencrypto._request.sid import LID, lid_of
from opencrypto._request.symmetric import Cryptoini, Cryptop, alg_name
from opencrypto._rules.chain import Chain, key_serial
from opencrypto._state import SESSION, SLOT, SessionEvent, SessionState, SlotEvent, SlotState, step
from opencrypto._threads import Latch
from opencrypto.constants import CRYPTOCAP_F_SYNC
from opencrypto.driver import Driver, KeyProcess, Process, driver_class
from opencrypto.exceptions import DriverBug, UsageError

NewSession = Callable[[Sequence[Cryptoini]], "int | tuple[int, Process]"]


MAX_ALIASES: Final = 32
"""How many former SIDs of one live session are kept; the oldest go first."""

MAX_NAMES: Final = 256
"""How many names of drivers that left are remembered with their counts."""

MAX_DEPARTED: Final = 16
"""How many drivers that left keep counts of their own; those of earlier ones are added up."""


class Session:
    """
    One session on one driver.

    Attributes:
        inflight: Its requests that the framework holds. Membership is the use count, and taking a
            request out is what makes completion happen exactly once: set operations are atomic.
        straight: Its next request may go straight to the driver. Written under the slot's lock;
            read without, after entering `inflight`, which is the order that makes it safe.
        queued: How many of `inflight` are queued or being handed over. Under the slot's lock.
        lock: Held by whoever moves it to another driver. Taken before the table's lock, never
            after.
        target: The session that took over, once migrated.
        aliases: Former sessions that this one took over from, oldest first.
        kind: The number of its chain of algorithms, for counting (`ChainNumbers`).
        born: When it was opened, before all migrations; seconds of `time.monotonic`.
        avoid: The driver that handed this session back, if it is still there.
    """

    __slots__ = (
        "aliases",
        "avoid",
        "born",
        "chain",
        "hard",
        "inflight",
        "kind",
        "lock",
        "process",
        "queued",
        "sid",
        "slot",
        "state",
        "straight",
        "target",
    )  # fmt: skip

    def __init__(
        self,
        sid: int,
        slot: Slot,
        chain: Chain,
        hard: int,
        process: Callable[[Cryptop, int], int],
        kind: int = 0,
    ) -> None:
        self.sid = sid
        self.slot = slot
        self.chain = chain
        self.hard = hard
        self.process = process
        self.kind = kind
        self.born = time.monotonic()
        self.inflight: set[Cryptop] = set()
        self.queued = 0
        self.straight = True
        self.state = SessionState.LIVE
        self.lock = threading.RLock()
        self.target: Session | None = None
        self.aliases: list[Session] = []
        self.avoid: int = -1

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

    def hand_over(self, new: Session) -> bool:
        """Have a session take over; False if another one has, or it is orphaned no more."""
        # One step, with nothing called: so not by `move`.
        if self.target is not None or self.state is not SessionState.ORPHANED:
            return False
        self.target = new
        self.state = SessionState.MIGRATED
        return True

    def refresh(self, *, watched: bool) -> None:
        """Work out `straight` anew: it lives, nothing of it is queued, and nobody watches."""
        self.straight = self.state is SessionState.LIVE and not self.queued and not watched

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
        session = self
        while session.target is not None:
            session = session.target
        return session

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
        queue: The requests that wait for the driver.
        sessions: Its open sessions by lid. Taking one out is the right, and the duty, to call the
            driver's freesession for it.
    """

    __slots__ = (
        "algs", "failed", "freesession", "newsession", "number_of", "process", "queue", "sessions",
    )  # fmt: skip

    def __init__(self) -> None:
        self.algs: dict[int, tuple[int, int]] = {}
        self.failed: dict[int, str] = {}
        self.newsession: NewSession | None = None
        self.freesession: Callable[[int], object] | None = None
        self.number_of: Callable[[int], int] = int
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
        names: How many SIDs in the session table name this slot; it is not reused before 0.
        calls: The calls of newsession and freesession that are under way; a driver that leaves is
            not closed before they have returned.
        closing: The thread that detaches the driver, for the second one that tries; 0 for none.
        closed: The driver's close has returned.
        seen_off: Set when it is detached.
        drained: Set when a driver that leaves has no session, no key request and no such call any
            more.
        sym: What it has for requests of sessions.
        keys: What it has for key requests.
    """

    __slots__ = (
        "calls",
        "closed",
        "closing",
        "counts",
        "drained",
        "driver",
        "flags",
        "hid",
        "keys",
        "local",
        "lock",
        "name",
        "names",
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
        self.reset()

    def reset(self) -> None:
        """Make the slot as new."""
        self.name = f"driver{self.hid}"
        self.driver: Driver | None = None
        self.flags = 0
        self.tier = 0
        self.sync = False
        self.straight = False
        self.names = 0
        self.calls: set[Call] = set()
        self.closing = 0
        self.closed = False
        self.drained = Latch()
        self.seen_off = Latch()
        self.counts = Counts()
        self.local = LocalCounts(self.counts)
        self.sym = SymmetricSide()
        self.keys = KeySide()

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

    @property
    def gone(self) -> bool:
        """Whether the driver has left, and only SIDs of former sessions still name the slot."""
        return self.state is SlotState.CLEANUP and self.driver is None and self.drained.is_set()

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
    """All slots. Iterating gives those in use, by id."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._slots: list[Slot] = []
        # The counts of drivers whose slots are free again; under the lock. They are summed late:
        # a request that met its session while that was being freed may still be counted.
        self._departed: deque[tuple[str, Counts]] = deque()
        self._long_gone: dict[str, Counts] = {}
        self.changes = 0  # goes up whenever a driver offers something

    def reserve(self, flags: int, name: str = "") -> Slot:
        """Take the lowest free slot, growing the table if there is none."""
        with self.lock:
            slot = next((s for s in self._slots if s.state is SlotState.FREE), None)
            if slot is None:
                slot = Slot(len(self._slots), self.lock)
                self._slots.append(slot)
            slot.reset()
            slot.flags = flags
            slot.tier = driver_class(flags)
            slot.sync = bool(flags & CRYPTOCAP_F_SYNC)
            slot.name = self._unique(name or slot.name, slot)
            slot.move(SlotEvent.GET_DRIVERID)
            return slot

    def _unique(self, name: str, slot: Slot) -> str:
        taken = {s.name for s in self if s is not slot and not s.gone}
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
        if isinstance(hid, int) and 0 <= hid < len(self._slots):
            slot = self._slots[hid]
            if slot.state is not SlotState.FREE:
                return slot
        raise UsageError(f"no driver has the id {hid!r}; take one from get_driverid()")

    def find(self, which: int | str | Driver) -> Slot:
        """
        Return the slot of a driver that is attached, by id, name, or the driver itself.

        Raises:
            UsageError: there is none.
        """
        for slot in self:
            same = which in (slot.hid, slot.name) or (which is slot.driver and which is not None)
            if same and not slot.gone:
                return slot
        names = ", ".join(s.name for s in self if not s.gone) or "none"
        raise UsageError(f"no driver {which!r} is attached (attached: {names})")

    def __iter__(self) -> Iterator[Slot]:
        return iter([slot for slot in self._slots if slot.state is not SlotState.FREE])

    def check_drained(self, slot: Slot) -> None:
        """Note whether a driver that leaves has answered everything, and free its slot if so."""
        left = slot.state is SlotState.CLEANUP
        if left and not slot.sym.sessions and not slot.keys.inflight and not slot.calls:
            slot.drained.set()
            self.release(slot)

    def release(self, slot: Slot) -> None:
        """Free the slot of a driver that left, once nothing names it."""
        if slot.state is not SlotState.CLEANUP:
            return
        with self.lock:
            left = slot.state is SlotState.CLEANUP and slot.drained.is_set()
            if left and not slot.names and slot.driver is None:
                self._depart(slot.name, slot.counts)
                slot.move(SlotEvent.EMPTY)

    def _depart(self, name: str, counts: Counts) -> None:
        self._departed.append((name, counts))
        if len(self._departed) > MAX_DEPARTED:
            oldest, counts = self._departed.popleft()
            if oldest not in self._long_gone and len(self._long_gone) >= MAX_NAMES:
                oldest = "others"
            self._long_gone.setdefault(oldest, Counts()).absorb(counts)

    def counts(self) -> tuple[dict[str, Counts], list[tuple[str, Counts]]]:
        """Return the counts of the drivers in use, and those of the drivers gone, by name."""
        with self.lock:
            present = {slot.name: slot.counts for slot in self if not slot.gone}
            gone = [(slot.name, slot.counts) for slot in self if slot.gone]
            return present, [*self._long_gone.items(), *self._departed, *gone]

    def after_fork(self) -> None:
        """Go on in a forked child: see `Slot.after_fork`."""
        self.lock = threading.RLock()
        for slot in self._slots:
            slot.after_fork(self.lock)
        for _, counts in (*self._departed, *self._long_gone.items()):
            counts.after_fork()


def check_lid(lid: Any, slot: Slot) -> int:
    """Return a session number that a driver gave, or raise DriverBug."""
    if isinstance(lid, bool) or not isinstance(lid, int) or not 0 <= lid <= LID:
        raise DriverBug(
            f"driver {slot.name}: newsession returned {type(lid).__name__} as a session number; "
            "it must be an int of 32 bits"
        )
    return lid
