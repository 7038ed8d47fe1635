"""
The request queue of one driver: which request next, and with which hint. Pure, no threads.

A queue per driver, rather than one that is scanned past blocked drivers, makes every step cost
the same however much is queued, and lets one blocked driver delay nobody else. Within a driver
requests go in the order of dispatch, so those of one session do too.

Each method changes everything in one step that no signal handler and no finalizer comes between:
they run only where a call ends, so nothing is called in it, or one C function last of all. What
queues a request changes more than the queue, so that step is not here, but with who takes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from opencrypto._state import RequestState
from opencrypto.constants import CRYPTO_HINT_MORE

QUEUED: Final = int(RequestState.QUEUED)
SUBMITTED: Final = int(RequestState.SUBMITTED)


class Queued(Protocol):
    """What waits here: something that has the state of a request."""

    state: int


R = TypeVar("R", bound=Queued)
Owner = TypeVar("Owner")


class RequestQueue(Generic[R]):
    """
    Requests waiting for one driver. The owner's lock guards it.

    Attributes:
        items: The requests, the next one first.
        blocked: The driver answered ERESTART and has not unblocked since.
        blocked_at: When it did, the last time, on the clock of `time.monotonic`.
        said_at: When it was last said that it stays so (`opencrypto._core.lasting`).
        silence: Seconds until it is said again that its driver does not answer; 0.0 while it does.
        silence_said: When that was said, the last time.
        unblocks: How often it has unblocked, ever. If that has changed since the driver was asked,
            it unblocked while it refused, and is asked again rather than marked as blocked.
        scheduled: The request interrupt knows that there is work here.
    """

    __slots__ = (
        "blocked", "blocked_at", "items", "said_at", "scheduled", "silence", "silence_said",
        "unblocks",
    )  # fmt: skip

    def __init__(self) -> None:
        self.items: deque[R] = deque()
        self.blocked = False
        self.blocked_at = 0.0
        self.said_at = 0.0
        self.silence = 0.0
        self.silence_said = 0.0
        self.unblocks = 0
        self.scheduled = False

    def __len__(self) -> int:
        return len(self.items)

    def unblock(self) -> None:
        """Note that the driver takes requests again."""
        self.unblocks += 1
        self.blocked = False

    def schedule(self, tell: Callable[[Owner], object], owner: Owner) -> bool:
        """
        Tell the request interrupt of what waits here, if it can go on and that does not know.

        Args:
            tell: What it is told by: a C function, such as ``append`` of a deque.
            owner: Whom it is told of.

        Returns:
            Whether it was told.
        """
        if self.scheduled or self.blocked or not self.items:
            return False
        self.scheduled = True
        tell(owner)
        return True

    def take(self, more: int = 1) -> tuple[R, int] | None:
        """
        Take the next request and its hint, or None if there is nothing to do for now.

        ``CRYPTO_HINT_MORE`` is given if another request for this driver follows at once: it is
        queued, and the caller takes that too, since he takes `more` in this turn.
        """
        items = self.items
        if self.blocked or not items:
            self.scheduled = False
            return None
        request = items[0]
        request.state = SUBMITTED
        del items[0]
        return request, CRYPTO_HINT_MORE if items and more else 0

    def put_back(self, request: R) -> None:
        """Undo `take`: the request did not reach its driver."""
        request.state = QUEUED
        self.items.appendleft(request)

    def after_fork(self) -> None:
        """Forget, in a forked child, what waits: these requests are the parent's."""
        self.items.clear()
        self.scheduled = False
