"""
A clock for those who wait for an answer without a thread of their own: it rings, unless called off.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import time
from collections.abc import Callable
from typing import Final

from opencrypto._threads import renew_after_fork, started


class Alarm:
    """
    What rings once, when it is time.

    Attributes:
        at: When; seconds of `time.monotonic`.
        ring: What is called then, in the clock's thread; None once it is called off.
    """

    __slots__ = ("at", "ring")

    def __init__(self, at: float, ring: Callable[[], object]) -> None:
        self.at = at
        self.ring: Callable[[], object] | None = ring


class Clock:
    """
    Rings alarms, by one thread that is there while there is something to wait for.

    No lock is held: a signal handler may set an alarm wherever its thread is.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin, in a forked child, with no alarm: what is waited for is the parent's."""
        self._news: queue.SimpleQueue[Alarm | None] = queue.SimpleQueue()
        self._runs = False

    def set(self, seconds: float, ring: Callable[[], object]) -> Alarm:
        """Have something called in so many seconds, unless it is called off."""
        alarm = Alarm(time.monotonic() + seconds, ring)
        self._tell(alarm)
        return alarm

    def call_off(self, alarm: Alarm) -> None:
        """Have an alarm not ring; it does no harm if it has."""
        alarm.ring = None
        self._tell(None)  # so that the thread ends with the last one

    def _tell(self, news: Alarm | None) -> None:
        # First the news, then the look: who ends does it the other way round.
        self._news.put(news)
        if not self._runs and news is not None:
            self._runs = True
            if started("opencrypto-deadlines", self._run) is None:
                self._runs = False

    def _run(self) -> None:
        waiting: list[tuple[float, int, Alarm]] = []
        news = self._news
        while news is self._news:
            try:
                pause = waiting[0][0] - time.monotonic() if waiting else 0.0
                told = news.get(timeout=max(0.0, pause))
                if told is not None:
                    heapq.heappush(waiting, (told.at, next(self._numbers), told))
            except queue.Empty:
                pass
            while waiting and self._is_over(waiting[0][2]):
                heapq.heappop(waiting)
            if not waiting and news.empty():
                self._runs = False
                if news.empty():
                    return
                self._runs = True

    def _is_over(self, alarm: Alarm) -> bool:
        """Ring an alarm if it is time; tell whether it need not be waited for."""
        ring = alarm.ring
        if ring is None:
            return True
        if alarm.at > time.monotonic():
            return False
        ring()
        return True


CLOCK: Final = Clock()
