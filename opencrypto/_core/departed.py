"""
What is kept of drivers that left: why, and their counts, the latest each of its own, those of
earlier ones added up by name.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from opencrypto._core.origins import Origin
from opencrypto._core.slots import Slot
from opencrypto._measure.counters import Counts

MAX_NAMES: Final = 256
"""How many names of drivers that left are remembered with their counts."""

MAX_DEPARTED: Final = 16
"""How many drivers that left keep counts of their own; those of earlier ones are added up."""


class Departed:
    """
    What is kept of drivers that are in the table no more. The table's lock guards it.

    Attributes:
        slots: The latest, oldest first. They are summed late: a request that met its session while
            that was being freed may still be counted.
        changes: Goes up with each change.
        reasons: Why drivers left that have said so and not come back, by name, and where they came
            from; the latest `MAX_NAMES` of them.
    """

    def __init__(self) -> None:
        self.slots: deque[Slot] = deque()
        self._long_gone: dict[str, Counts] = {}
        self.changes = 0
        self.reasons: dict[str, tuple[str, Origin]] = {}

    def note(self, slot: Slot) -> None:
        """Note that a driver leaves, and why."""
        reasons = self.reasons
        reasons.pop(slot.name, None)
        reasons[slot.name] = slot.reason, slot.origin
        for name in list(reasons)[:-MAX_NAMES]:
            reasons.pop(name, None)

    def named(self) -> list[tuple[str, Counts]]:
        """Return what is kept, by the drivers' names."""
        left = [(slot.name, slot.counts) for slot in tuple(self.slots)]
        return [*self._long_gone.copy().items(), *left]

    def add_up(self, counting: Callable[[], set[Slot]]) -> None:
        """
        Add up the oldest of more than are kept apart.

        Args:
            counting: Returns the slots whose counts may still go up; these stay apart.
        """
        while len(self.slots) > MAX_DEPARTED and self._add_up_oldest(counting()):
            pass

    def _add_up_oldest(self, counting: set[Slot]) -> bool:
        """Add one that departed early to those long gone; False if each may still count."""
        slots, long_gone = self.slots, self._long_gone
        oldest = next((each for each in tuple(slots) if each not in counting), None)
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
        if oldest in slots and (name not in long_gone or long_gone[name] is before):
            long_gone[name] = total
            self.changes += 1
            slots.remove(oldest)
        return True

    def after_fork(self, lock: threading.RLock) -> None:
        """Go on in a forked child: see `Slot.after_fork`."""
        for slot in self.slots:
            slot.after_fork(lock)
        for counts in self._long_gone.values():
            counts.after_fork()
