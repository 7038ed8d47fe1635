"""
The driver table: slots by id, lowest free first, growing as needed.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from operator import attrgetter

from opencrypto._core.departed import Departed
from opencrypto._core.slots import Session, Slot
from opencrypto._measure.counters import ThreadCounts, sum_counts
from opencrypto._request.sid import hid_of
from opencrypto._state import SlotEvent, SlotState
from opencrypto.constants import CRYPTOCAP_F_SYNC
from opencrypto.driver import Driver, driver_class
from opencrypto.exceptions import UsageError


class DriverTable:
    """
    All slots. Iterating gives them by id.

    Attributes:
        sids: All sessions by SID; former SIDs have the stand-in of what they became. No driver gets
            an id that one of them names.
        changes: Goes up whenever a driver offers something.
        departed: The counts of drivers that left.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.sids: dict[int, Session] = {}
        self._slots: dict[int, Slot] = {}
        self.departed = Departed()
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
        slots, hid, departed = self._slots, slot.hid, self.departed
        depart = departed.slots.append
        with self.lock:
            # One step, with nothing called but the last; so not by `move`.
            if slot.state is SlotState.CLEANUP and slot.driver is None and hid in slots:
                slot.state = SlotState.FREE
                del slots[hid]
                departed.changes += 1
                depart(slot)
            departed.add_up(self._counting)

    def _counting(self) -> set[Slot]:
        """Return whose counts may go up: of sessions too that nobody takes over, or will."""
        return {session.slot for session in list(self.sids.values())}

    def counts(self) -> tuple[dict[str, tuple[Slot, ThreadCounts]], dict[str, ThreadCounts]]:
        """
        Sum the counts of the drivers in use, each with its slot, and of the drivers gone, by name.

        Each driver is in one of them, whatever comes and goes meanwhile, so no sum ever falls.
        """
        with self.lock:
            while True:
                departures = self.departed.changes
                gone: dict[str, ThreadCounts] = {}
                present = {slot.name: (slot, slot.counts.total()) for slot in self}
                for name, counts in self.departed.named():
                    counts.add_to(gone.setdefault(name, sum_counts([])))
                if departures == self.departed.changes:  # or a finalizer has had one depart
                    return present, gone

    def after_fork(self) -> None:
        """Go on in a forked child: see `Slot.after_fork`."""
        self.lock = threading.RLock()
        for slot in self:
            slot.after_fork(self.lock)
        self.departed.after_fork(self.lock)
