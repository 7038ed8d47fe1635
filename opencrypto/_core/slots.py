"""
The driver table: slots by id, lowest free first, growing as needed.

Locking: the table's lock guards which slot is whose; each slot's lock guards its queue, its
sessions and its state. Order: session, table, slot. No driver or consumer code runs under a
slot's lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from opencrypto._core.queues import RequestQueue
from opencrypto._core.returns import let_go
from opencrypto._core.session import Session
from opencrypto._measure.counters import Counts, DriverStats, LocalCounts
from opencrypto._request.key import Cryptkop
from opencrypto._request.sid import LID
from opencrypto._request.symmetric import Cryptoini, Cryptop, alg_name
from opencrypto._rules.chain import Chain, key_serial
from opencrypto._state import SLOT, SlotEvent, SlotState, step
from opencrypto.constants import CRYPTOCAP_F_SYNC
from opencrypto.driver import Driver, KeyProcess, Process, driver_class
from opencrypto.exceptions import DriverBug, UsageError

NewSession = Callable[[Sequence[Cryptoini]], "int | tuple[int, Process]"]


MAX_NAMES: Final = 256
"""How many names of drivers that left are remembered with their counts."""

MAX_DEPARTED: Final = 16
"""How many drivers that left have counts of their own still, before these are added up."""


class Slot:
    """
    One driver's place in the table.

    Attributes:
        straight: Requests may go straight to the driver: it is active and not blocked.
        algs: Algorithm number to the (maxoplen, flags) it was registered with.
        failed: Algorithm number to why its known answer failed; these are not offered.
        sessions: Its open sessions by lid. Taking one out is the right, and the duty, to call the
            driver's freesession for it.
        names: How many SIDs in the session table name this slot; it is not reused before 0.
        kops: Key operation to the flags it was registered with.
        kinflight: The key requests that it has, or that wait in `kqueue`.
        calls: How many calls of newsession and freesession are under way; a driver that leaves is
            not closed before they have returned.
        closing: Somebody detaches the driver; for the second who tries.
        drained: Set when a driver that leaves has no session, no key request and no such call any
            more.
    """

    __slots__ = (
        "algs",
        "calls",
        "closing",
        "counts",
        "drained",
        "driver",
        "failed",
        "flags",
        "freesession",
        "hid",
        "kinflight",
        "kops",
        "kprocess",
        "kqueue",
        "local",
        "lock",
        "name",
        "names",
        "newsession",
        "process",
        "queue",
        "sessions",
        "state",
        "straight",
        "sync",
        "tier",
    )  # fmt: skip

    def __init__(self, hid: int) -> None:
        self.hid = hid
        self.lock = threading.Lock()
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
        self.algs: dict[int, tuple[int, int]] = {}
        self.failed: dict[int, str] = {}
        self.kops: dict[int, int] = {}
        self.newsession: NewSession | None = None
        self.freesession: Callable[[int], object] | None = None
        self.process: Process | None = None
        self.queue: RequestQueue[Cryptop] = RequestQueue()
        self.kprocess: KeyProcess | None = None
        self.kqueue: RequestQueue[Cryptkop] = RequestQueue()
        self.kinflight: set[Cryptkop] = set()
        self.sessions: dict[int, Session] = {}
        self.names = 0
        self.calls = 0
        self.closing = False
        self.drained = threading.Event()
        self.counts = Counts()
        self.local = LocalCounts(self.counts)

    def move(self, event: SlotEvent) -> None:
        """Change state as the table says, and with it whether requests go straight through."""
        self.state = step(SLOT, self.state, event)
        self.refresh()

    def refresh(self) -> None:
        """Work out `straight` anew, after a change of state or of blocking."""
        self.straight = self.state is SlotState.ACTIVE and not self.queue.blocked

    def refusal(self, chain: Chain) -> str:
        """Say why this driver cannot serve a chain, or return an empty string."""
        if self.state is not SlotState.ACTIVE or self.newsession is None:
            return "is leaving" if self.state is SlotState.CLEANUP else "serves no algorithm"
        missing = [alg_name(alg) for alg in chain.positions if alg not in self.algs]
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

    def after_fork(self) -> None:
        """Begin, in a forked child, with no request and no call: they are the parent's."""
        self.lock = threading.Lock()
        self.counts.after_fork()
        self.calls = 0
        self.queue.after_fork()
        self.kqueue.after_fork()
        for krp in self.kinflight:
            let_go(krp)
        self.kinflight.clear()

    def stats(self) -> DriverStats:
        """Sum the driver's counters."""
        return self.counts.total().driver_stats()

    def __repr__(self) -> str:
        return f"<Slot {self.hid} {self.name} {self.state} sessions={len(self.sessions)}>"


class DriverTable:
    """All slots. Iterating gives those in use, by id."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
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
                slot = Slot(len(self._slots))
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

    def forget(self, slot: Slot) -> None:
        """Count one SID less that names a slot; free the slot if a leaving driver has none left."""
        with slot.lock:
            slot.names -= 1
        self.release(slot)

    def check_drained(self, slot: Slot) -> None:
        """Note it when a driver that leaves has answered all, and free its slot if it can be."""
        with slot.lock:
            left = slot.state is SlotState.CLEANUP
            drained = left and not slot.sessions and not slot.kinflight and not slot.calls
        if drained:
            slot.drained.set()
            self.release(slot)

    def release(self, slot: Slot) -> None:
        """Free the slot of a driver that left, once nothing names it."""
        with self.lock, slot.lock:
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
        self.lock = threading.Lock()
        for slot in self._slots:
            slot.after_fork()
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
