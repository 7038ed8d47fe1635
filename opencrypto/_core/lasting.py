"""
Drivers that stay blocked, or do not answer: what is said of them in the log, with growing pauses.

A driver that is full for a millisecond is busy, and its first refusal is logged as such. One that
takes nothing for a second, and for two, and for four, is stuck, and nobody may be looking. So is
one that has taken a request and is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any, Final

from opencrypto._core.queues import SUBMITTED, RequestQueue
from opencrypto._core.slots import Slot
from opencrypto._log import log
from opencrypto._measure.counters import ThreadCounts

NEVER: Final = float("inf")

FIRST: Final = 1.0
"""Seconds for which a driver is blocked when that is said for the first time."""

SILENT: Final = 2.0
"""Seconds after which a request that is not answered is spoken of."""

KEYS_SILENT: Final = 10.0
"""The same of a key request: generating a key takes seconds."""

LOOK: Final = 1.0
"""Seconds between two looks at the drivers that owe answers, while there are such."""

SHARE: Final = 100
"""How many times its own length a pause is after a look, which with many sessions takes long."""


class Lasting:
    """
    Watches the drivers that are blocked, or owe answers.

    The request interrupt runs it, and wakes up for it: it does so only while a driver is blocked,
    or has not answered at once (`Slot.owes`).
    """

    def __init__(self, drivers: Iterable[Slot]) -> None:
        self._drivers = drivers
        self._due = NEVER  # when there may be something to say
        self._calls: dict[ThreadCounts, int] = {}  # threads in a driver's call, with their counts

    def begin(self) -> None:
        """Hear that a driver is blocked, or owes an answer."""
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
        owing = [slot for slot in self._drivers if self._still_owes(slot, now)]
        if owing:
            self._due = min(self._due, now + max(LOOK, SHARE * (monotonic() - now)))

    def _blocked(self) -> Iterator[tuple[Slot, str, RequestQueue[Any]]]:
        for slot in self._drivers:
            if slot.sym.queue.blocked:
                yield slot, "requests", slot.sym.queue
            if slot.keys.queue.blocked:
                yield slot, "key requests", slot.keys.queue

    def _still_owes(self, slot: Slot, now: float) -> bool:
        """Look at what a driver has not answered; say it, if that lasts."""
        if not slot.owes:
            return False
        # Before the look: who is not answered from here on sees it, and has us look again.
        slot.owes = False
        owed = False
        for kind, queue, longest, requests in (
            ("requests", slot.sym.queue, SILENT, _requests_of(slot)),
            ("key requests", slot.keys.queue, KEYS_SILENT, slot.keys.inflight.copy()),
        ):
            since = [each.since or now for each in requests if each.state == SUBMITTED]
            owed = owed or bool(since)
            self._say_silence(slot, kind, queue, longest, since, now)
        slot.owes = slot.owes or owed
        return owed

    def _say_silence(
        self,
        slot: Slot,
        kind: str,
        queue: RequestQueue[Any],
        longest: float,
        since: list[float],
        now: float,
    ) -> None:
        """Log that a driver does not answer; of one that is blocked it is said already."""
        lasts = now - min(since, default=now)
        if lasts < longest:
            queue.silence = 0.0
        elif now >= queue.silence_said + queue.silence and not queue.blocked:
            queue.silence_said = now
            queue.silence = 2 * queue.silence or longest
            log.warning(
                "driver_stays_silent",
                driver=slot.name,
                what=kind,
                seconds=round(lasts, 1),
                inflight=len(since),
            )

    def look_around(self, owes: Callable[[Slot], object]) -> None:
        """
        Date what drivers are called with and have not come back from; at rest nothing is written.

        A driver that hangs in its ``process`` has never said that it will answer later. To be
        called now and then: a call that lasts from one look to the next is noticed.

        Args:
            owes: Is told of a driver that owes an answer, as it came to light here.
        """
        calls: dict[ThreadCounts, int] = {}
        for slot in self._drivers:
            inside = {each: each.ops for each in slot.counts.running() if each.depth}
            calls |= inside
            if any(self._calls.get(each) == ops for each, ops in inside.items()) and _date(slot):
                owes(slot)
        self._calls = calls


def _date(slot: Slot) -> bool:
    """Date the requests that a driver is just called with, from now on; tell if there are some."""
    now, found = monotonic(), False
    for crp in _requests_of(slot):
        if crp.state == SUBMITTED and not crp.since:
            crp.since = now
            found = True
    return found


def _requests_of(slot: Slot) -> Iterator[Any]:
    """Yield what is in flight of a driver's sessions."""
    for session in slot.sym.sessions.copy().values():
        if session.inflight:
            yield from session.inflight.copy()


def _next(queue: RequestQueue[Any]) -> float:
    """Tell when it is to be said of a queue that its driver takes nothing of it, once more."""
    begun, said = queue.blocked_at, queue.said_at
    return begun + FIRST if said < begun else said + (said - begun)
