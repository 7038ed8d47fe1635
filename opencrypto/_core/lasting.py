"""
Drivers that stay blocked: what is said of them in the log, with pauses that double.

A driver that is full for a millisecond is busy, and its first refusal is logged as such. One that
takes nothing for a second, and for two, and for four, is stuck, and nobody may be looking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, Final

from opencrypto._core.queues import RequestQueue
from opencrypto._core.slots import Slot
from opencrypto._log import log

NEVER: Final = float("inf")

FIRST: Final = 1.0
"""Seconds for which a driver is blocked when that is said for the first time."""


class Lasting:
    """Watches the drivers that are blocked. The request interrupt runs it, and wakes up for it."""

    def __init__(self, drivers: Iterable[Slot]) -> None:
        self._drivers = drivers
        self._due = NEVER  # when there may be something to say

    def begin(self) -> None:
        """Hear that a driver is blocked."""
        self._due = min(self._due, monotonic() + FIRST)

    def pause(self) -> float:
        """Tell for how many seconds there will be nothing to say; -1 for ever."""
        due = self._due
        return -1.0 if due == NEVER else max(0.0, due - monotonic())

    def check(self) -> None:
        """Say what is due."""
        now = monotonic()
        if now < self._due:
            return
        self._due = NEVER
        for slot, kind, queue in self._blocked():
            if now >= _next(queue):
                queue.said_at = now
                log.warning(
                    "driver_stays_blocked",
                    driver=slot.name,
                    what=kind,
                    seconds=round(now - queue.blocked_at, 1),
                    queued=len(queue),
                )
            self._due = min(self._due, _next(queue))

    def _blocked(self) -> Iterator[tuple[Slot, str, RequestQueue[Any]]]:
        for slot in self._drivers:
            if slot.sym.queue.blocked:
                yield slot, "requests", slot.sym.queue
            if slot.keys.queue.blocked:
                yield slot, "key requests", slot.keys.queue


def _next(queue: RequestQueue[Any]) -> float:
    """Tell when it is to be said of a queue that its driver takes nothing of it, once more."""
    begun, said = queue.blocked_at, queue.said_at
    return begun + FIRST if said < begun else said + (said - begun)
