"""
A lane: the way of one kind of request to all drivers: who has some waiting, and whose turn it is.

Each driver's queue is its own, under the drivers' lock (`opencrypto._core.queues`). A lane is what
the request interrupt works on: it comes to each driver that has work, and hands over a turn's
worth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from opencrypto._core.plugins import Observers
from opencrypto._core.queues import Queued, RequestQueue
from opencrypto._core.slots import Slot

R = TypeVar("R", bound=Queued)

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
            unblocks. It holds no lock. A list is emptied by the step with which it begins: until
            then the request is nobody's, and goes back to its queue if a signal handler raises.
        kick: Has the request interrupt run.
        observers: Who is told that a driver is blocked, or is no more.
        blocked: Hears that a driver is blocked.

    Attributes:
        tell: Notes a driver that has work (`RequestQueue.schedule`). ``kick`` comes after it.
        kick: Has the request interrupt run.
    """

    def __init__(
        self,
        what: int,
        turn: int,
        queue_of: Callable[[Slot], RequestQueue[R]],
        hand_over: Callable[[Slot, R, int, int, list[R]], None],
        kick: Callable[[], None],
        observers: Observers,
        blocked: Callable[[], object],
    ) -> None:
        self._what = what
        self._turn = turn
        self._queue_of = queue_of
        self._hand_over = hand_over
        self.kick = kick
        self._observers = observers
        self._blocked = blocked
        self._ready: deque[Slot] = deque()  # appending and taking are atomic
        self.tell = self._ready.append

    def see_to(self, slot: Slot) -> None:
        """Have the request interrupt come to a driver, if something waits that it can take."""
        queue = self._queue_of(slot)
        with slot.lock:
            due = queue.schedule(self.tell, slot)
        if due:
            self.kick()

    def surely_see_to(self, slot: Slot) -> None:
        """Do that after a step that an exception may have cut short of it."""
        try:
            self.see_to(slot)
        finally:
            if self._ready:
                self.kick()

    def refused(self, slot: Slot) -> None:
        """Tell of a driver that it refused a request, which is at the head of its queue again."""
        if self._queue_of(slot).blocked:
            self._blocked()
            self._observers.blocked(slot.hid, self._what)
        self.see_to(slot)

    def unblock(self, slot: Slot) -> None:
        """Let a driver have requests again."""
        queue = self._queue_of(slot)
        try:
            with slot.lock:
                queue.unblock()
                slot.refresh()
            self.see_to(slot)
        except BaseException:  # of a signal handler
            slot.refresh()
            self.surely_see_to(slot)
            raise
        self._observers.unblocked(slot.hid, self._what)

    def pending(self) -> bool:
        """Tell whether the request interrupt has work here."""
        return bool(self._ready)

    def run_turn(self) -> bool:
        """Hand over what waits for one driver, up to a turn; False if nothing waits for any."""
        ready = self._ready
        if not ready:
            return False
        slot = ready[0]  # it stays there until its turn is over, however that ends
        queue = self._queue_of(slot)
        for left in range(self._turn - 1, -1, -1):
            runnable = None
            try:
                with slot.lock:
                    runnable = queue.take(left)
                    unblocks = queue.unblocks
                    if runnable is None:
                        self._leave(slot)
            except BaseException:  # of a signal handler, where there is no thread of our own
                if runnable is not None:
                    queue.put_back(runnable[0])
                raise
            if runnable is None:
                return True
            request, hint = runnable
            due = [request]
            try:
                self._hand_over(slot, request, hint, unblocks, due)
            except BaseException:
                if due:
                    queue.put_back(due[0])
                raise
        if ready and ready[0] is slot:
            ready.rotate(-1)
        return True

    def _leave(self, slot: Slot) -> None:
        try:
            self._ready.remove(slot)
        except ValueError:
            pass  # a run within this one has come to the end of it

    def after_fork(self) -> None:
        """Begin, in a forked child, with nothing to do: what waits is the parent's."""
        self._ready.clear()
