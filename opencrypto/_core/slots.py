"""
A driver's slot, and the sessions on it. They point at each other, so they are in one room.

Locking: there is one lock, the driver table's, and each slot has it as `Slot.lock`. It guards which
slot is whose, the slots' queues, sessions and states. One, since a finalizer or a signal handler
may need it for another slot while its thread is in the midst of this one. It is re-entrant, and is
held for single steps that such a one cannot come between. No driver or consumer code runs under it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opencrypto._core.depth import Depth
from opencrypto._core.lineage import Lineage
from opencrypto._core.origins import Origin
from opencrypto._core.queues import RequestQueue
from opencrypto._core.returns import let_go
from opencrypto._log import log
from opencrypto._measure.counters import Counts, LocalCounts
from opencrypto._request.key import Cryptkop
from opencrypto._request.sid import LID, lid_of
from opencrypto._request.symmetric import Cryptoini, Cryptop, alg_name
from opencrypto._rules.chain import Chain, key_serial
from opencrypto._state import SESSION, SLOT, SessionEvent, SessionState, SlotEvent, SlotState, step
from opencrypto._threads import Latch
from opencrypto.driver import Driver, DriverStream, KeyProcess, Process
from opencrypto.exceptions import DriverBug

NewSession = Callable[[Sequence[Cryptoini]], "int | tuple[int, Process]"]
NewStream = Callable[[int, Callable[[Cryptop], None]], DriverStream]


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
        stream: What takes its messages in pieces (`streams.Stream`), since there was one.
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
        "stream",
    )  # fmt: skip

    def __init__(
        self,
        sid: int,
        slot: Slot,
        lineage: Lineage[Session],
        process: Callable[[Cryptop, int], int],
        kind: int = 0,
    ) -> None:
        self.sid = sid
        self.slot = slot
        self.lineage = lineage
        self.chain = lineage.chain
        self.process = process
        self.kind = kind
        self.stream: Any = None
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

    def stand_in(self) -> Session:
        """Make what its SID names once it has moved: a session on which nothing is served."""
        session = Session(self.sid, self.slot, self.lineage, _moved, self.kind)
        for event in (SessionEvent.DRIVER_LEFT, SessionEvent.MIGRATE):
            session.move(event)
        return session

    def after_fork(self, *, watched: bool) -> None:
        """Begin, in a forked child, with no request: those accepted are the parent's."""
        self.lock = threading.RLock()
        for crp in self.inflight:
            let_go(crp)
        self.inflight.clear()
        if self.stream is not None:
            self.stream.after_fork()
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
        "algs", "failed", "frees_again", "freesession", "newsession", "newstream", "number_of",
        "process", "queue", "sessions",
    )  # fmt: skip

    def __init__(self) -> None:
        self.algs: dict[int, tuple[int, int]] = {}
        self.failed: dict[int, str] = {}
        self.newsession: NewSession | None = None
        self.freesession: Callable[[int], object] | None = None
        self.newstream: NewStream | None = None
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
        unblocks: That of its queue of requests, for who has no time to look there. It may lag
            behind for a moment: a driver that refuses then is asked once more.
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
        is_driver: Whether it is a driver's, and no virtual sessions': one that may leave, and
            whose counts are in the totals, as those of the virtual ones' parts are.
        reason: Why its driver left, if it has said that it does.
        owes: Whether it has not answered something at once, and nobody has seen since that all is
            answered (`_core.lasting`).
        depth: The places that its driver has for requests; None if it has any number.
    """

    __slots__ = (
        "_announced",
        "calls",
        "closed",
        "closing",
        "counts",
        "depth",
        "drained",
        "driver",
        "flags",
        "hid",
        "is_driver",
        "keys",
        "local",
        "lock",
        "name",
        "origin",
        "owes",
        "reason",
        "seen_off",
        "state",
        "straight",
        "sym",
        "sync",
        "tier",
        "unblocks",
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
        self.unblocks = 0
        self.calls: set[Call] = set()
        self.closing = 0
        self.closed = False
        self.drained = Latch()
        self.seen_off = Latch()
        self.counts = Counts()
        self.local = LocalCounts(self.counts)
        self.sym = SymmetricSide()
        self.keys = KeySide()
        self.origin = Origin()
        self.is_driver = True
        self.reason = ""
        self.owes = False
        self.depth: Depth | None = None
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
        self.unblocks = self.sym.queue.unblocks
        self.straight = self.state is SlotState.ACTIVE and not self.sym.queue.blocked

    def _lacks(self, missing: Iterable[int]) -> str:
        """Say which algorithms this driver does not have, and which it is not trusted with."""
        failed = self.sym.failed
        never = ", ".join(alg_name(alg) for alg in missing if alg not in failed)
        said = [f"has no {never}"] if never else []
        said += [
            f"is not trusted with {alg_name(alg)}: {failed[alg]}"
            for alg in missing
            if alg in failed
        ]
        return ", and ".join(said)

    def refusal(self, chain: Chain, *, named: bool = False) -> str:
        """
        Say why this driver cannot serve a chain, or return an empty string.

        Args:
            chain: The chain.
            named: Whether the consumer has named this driver.
        """
        if self.state is not SlotState.ACTIVE or self.sym.newsession is None:
            return "is leaving" if self.state is SlotState.CLEANUP else "serves no algorithm"
        missing = [alg for alg in chain.positions if alg not in self.sym.algs]
        if missing:
            return self._lacks(missing)
        driver = self.driver  # once: it may be leaving meanwhile
        if any(map(key_serial, chain.inis)) and not (driver and driver.key_serials):
            return "takes no key by its serial number"
        if driver is None:
            return ""
        if driver.only_if_named and not named:
            return f"is used only if it is named: driver={self.name!r}"
        if self.is_full:
            return f"has as many sessions as it takes, {driver.max_sessions}"
        for cri in chain.inis:
            capability = driver.capabilities[cri.alg]
            refusal = capability.refusal(cri)
            if refusal:
                return f"{refusal} for {alg_name(cri.alg)}"
            if capability.direction not in ("", chain.profile.direction):
                way = capability.direction
                return f"can only {way} by {alg_name(cri.alg)}; promise Profile(direction={way!r})"
        return driver.refusal(chain.inis, chain.profile, named)

    @property
    def is_full(self) -> bool:
        """Whether the driver takes no more sessions; those being opened and freed count."""
        most = self.driver.max_sessions if self.driver is not None else 0
        return 0 < most <= len(self.sym.sessions) + len(self.calls)

    def after_fork(self, lock: threading.RLock) -> None:
        """Begin, in a forked child, with no request and no call: they are the parent's."""
        self.lock = lock
        self.counts.after_fork()
        self.calls.clear()
        self.closing = 0
        self.owes = False
        self.sym.queue.after_fork()
        self.keys.queue.after_fork()
        for krp in self.keys.inflight:
            let_go(krp)
        self.keys.inflight.clear()
        if self.depth is not None:
            self.depth.after_fork()

    def __repr__(self) -> str:
        return f"<Slot {self.hid} {self.name} {self.state} sessions={len(self.sym.sessions)}>"


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
