"""
A lane: the way of one kind of request to all drivers: who has some waiting, and whose turn it is.

Each driver's queue is its own, under its slot's lock (`opencrypto._core.queues`). A lane is what
the request interrupt works on: it comes to each driver that has work, and hands over a turn's
worth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from opencrypto._core.plugins import Observers
from opencrypto._core.queues import RequestQueue
from opencrypto._core.slots import Slot

R = TypeVar("R")

DEEPEST: Final = 32
"""How deep calls of one driver may nest in a thread before a request is queued instead."""


class Lane(Generic[R]):
    """
    The drivers that have requests of one kind waiting.

    Args:
        what: The kind, as unblock and the observers name it: ``CRYPTO_SYMQ`` or ``CRYPTO_ASYMQ``.
        turn: How many requests of one driver are handed over before the next one's turn.
        queue_of: Finds the queue of this kind in a slot.
        hand_over: Gives a driver a request that was queued, with the hint and the count of
            unblocks. It holds no lock.
        kick: Has the request interrupt run.
        observers: Who is told that a driver is blocked, or is no more.
    """

    def __init__(
        self,
        what: int,
        turn: int,
        queue_of: Callable[[Slot], RequestQueue[R]],
        hand_over: Callable[[Slot, R, int, int], None],
        kick: Callable[[], None],
        observers: Observers,
    ) -> None:
        self._what = what
        self._turn = turn
        self._queue_of = queue_of
        self._hand_over = hand_over
        self._kick = kick
        self._observers = observers
        self._ready: deque[Slot] = deque()  # appending and taking are atomic

    def schedule(self, slot: Slot) -> None:
        """Have the request interrupt come to a driver; for who was told so by its queue."""
        self._ready.append(slot)
        self._kick()

    def refused(self, slot: Slot, *, due: bool) -> None:
        """Go on after a driver refused a request, which is back in its queue (``restart``)."""
        if self._queue_of(slot).blocked:
            self._observers.blocked(slot.hid, self._what)
        if due:
            self.schedule(slot)

    def unblock(self, slot: Slot) -> None:
        """Let a driver have requests again."""
        with slot.lock:
            due = self._queue_of(slot).unblock()
            slot.refresh()
        if due:
            self.schedule(slot)
        self._observers.unblocked(slot.hid, self._what)

    def pending(self) -> bool:
        """Tell whether the request interrupt has work here."""
        return bool(self._ready)

    def run_turn(self) -> bool:
        """Hand over what waits for one driver, up to a turn; False if nothing waits for any."""
        try:
            slot = self._ready.popleft()
        except IndexError:
            return False
        queue = self._queue_of(slot)
        for left in range(self._turn - 1, -1, -1):
            with slot.lock:
                runnable = queue.next_runnable(last=not left)
                if runnable is None:
                    return True
                unblocks = queue.unblocks
            try:
                self._hand_over(slot, *runnable, unblocks)
            except BaseException:
                self._ready.append(slot)
                raise
        self._ready.append(slot)
        return True

    def after_fork(self) -> None:
        """Begin, in a forked child, with nothing to do: what waits is the parent's."""
        self._ready.clear()
