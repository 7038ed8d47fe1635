"""
The request queue of one driver: which request next, and with which hint. Pure, no threads.

A queue per driver, rather than one that is scanned past blocked drivers, makes every step cost
the same however much is queued, and lets one blocked driver delay nobody else. Within a driver
requests go in the order of dispatch, so those of one session do too.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from opencrypto.constants import CRYPTO_HINT_MORE

R = TypeVar("R")


class RequestQueue(Generic[R]):
    """
    Requests waiting for one driver. The owner's lock guards it.

    Attributes:
        blocked: The driver answered ERESTART and has not unblocked since.
        unblocks: How often it has unblocked, ever: what tells a late mark from a true one.
        scheduled: The request interrupt knows that there is work here.
    """

    __slots__ = ("_items", "blocked", "scheduled", "unblocks")

    def __init__(self) -> None:
        self._items: deque[R] = deque()
        self.blocked = False
        self.unblocks = 0
        self.scheduled = False

    def __len__(self) -> int:
        return len(self._items)

    def append(self, request: R) -> bool:
        """Queue a request at the end; tell whether the interrupt must be told."""
        self._items.append(request)
        return self._schedule()

    def restart(self, request: R, unblocks: int) -> bool:
        """
        Put a request back at the head and mark the driver blocked, in one step.

        Args:
            request: The one its driver would not take.
            unblocks: The count before the driver was asked. If it has changed, the driver
                unblocked while it was refusing, and is asked again rather than left asleep.

        Returns:
            Whether the interrupt must be told.
        """
        self._items.appendleft(request)
        if unblocks == self.unblocks:
            self.blocked = True
        return self._schedule()

    def unblock(self) -> bool:
        """Note that the driver takes requests again; tell whether the interrupt must be told."""
        self.unblocks += 1
        self.blocked = False
        return self._schedule()

    def _schedule(self) -> bool:
        if self.scheduled or self.blocked or not self._items:
            return False
        self.scheduled = True
        return True

    def next_runnable(self, *, last: bool = False) -> tuple[R, int] | None:
        """
        Take the next request and its hint, or None if there is nothing to do for now.

        ``CRYPTO_HINT_MORE`` is given if another request for this driver follows at once: it is
        queued, and this is not the `last` that the caller will take in this turn.
        """
        if self.blocked or not self._items:
            self.scheduled = False
            return None
        request = self._items.popleft()
        return request, CRYPTO_HINT_MORE if self._items and not last else 0

    def drain(self) -> list[R]:
        """Take everything, in order."""
        items = list(self._items)
        self._items.clear()
        return items

    def after_fork(self) -> None:
        """Forget, in a forked child, what waits: these requests are the parent's."""
        self._items.clear()
        self.scheduled = False
