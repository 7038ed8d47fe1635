"""
The way back: the queue where completed requests wait for their callbacks, and their calling.

Back-pressure is at allocation: over `maxlen`, ``getreq`` hands out nothing and counts a drop,
so a consumer whose callbacks do not keep up stops itself.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from opencrypto._log import log, where
from opencrypto._measure.counters import LockedCount
from opencrypto._state import RequestState
from opencrypto.constants import CRYPTO_F_CBIFSYNC, CRYPTO_F_CBIMM, CRYPTO_F_ONRETQ

HANDED_BACK: Final = frozenset({errno.EAGAIN, errno.ENODEV, errno.ENXIO})
"""What a driver answers of which it has done nothing: the last two say that its device is gone."""

GONE: Final = "its device is gone"
"""Why a driver left that has said nothing else."""


class Request(Protocol):
    """What requests of both kinds have in common here."""

    flags: int
    state: int
    holder: Any
    callback: Any


R = TypeVar("R", bound=Request)


def let_go(request: Request) -> None:
    """Make a request idle again: the framework holds it no more."""
    request.holder = None
    request.state = RequestState.IDLE


def at_once(request: Request, *, sync: bool) -> bool:
    """
    Tell whether a request is called back when it completes, and not from the return queue.

    Args:
        request: The request.
        sync: Its driver is ``CRYPTOCAP_F_SYNC``: it completes what it takes in the caller's thread.
    """
    flags = request.flags
    return bool(flags & CRYPTO_F_CBIMM or (sync and flags & CRYPTO_F_CBIFSYNC))


class Callbacks:
    """
    Gives requests back to consumers. What their code raises is counted and logged; it stops nobody.

    Attributes:
        errors: How many callbacks raised.
    """

    def __init__(self) -> None:
        self.errors = LockedCount()

    def call(self, request: Request) -> None:
        """Give a completed request back."""
        request.holder = None
        request.state = RequestState.IDLE
        try:
            request.callback(request)
        except BaseException as error:
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """
        Note that a callback raised.

        A callback is somebody else's program: one that exits (``sys.exit()``), or hears that its
        task was cancelled, must end neither the thread that called it nor the dispatch of another.

        Raises:
            KeyboardInterrupt: that was it. It is meant for the program, not for the callback.
        """
        self.errors.add()
        log.error("callback_failed", error=type(error).__name__, where=where(error))
        if isinstance(error, KeyboardInterrupt):
            raise error

    def after_fork(self) -> None:
        """Renew the lock in a forked child: a thread of the parent may have held it."""
        self.errors.after_fork()


class ReturnQueue(Generic[R]):
    """
    Completed requests of one kind, in the order of their completion.

    Appending and taking are atomic operations of `collections.deque`, so no lock is needed.

    Attributes:
        append: Appends a completed request, in one step that nothing comes between; ``kick`` must
            follow.
        maxlen: The limit that `over` tests; 0 or less for none.
        kick: Wakes the return interrupt.
    """

    __slots__ = ("_drops", "_items", "append", "kick", "maxlen")

    def __init__(self, kick: Callable[[], None]) -> None:
        self._items: deque[R] = deque()
        self.append: Final = self._items.append
        self.kick = kick
        self.maxlen = 0
        self._drops = LockedCount()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def drops(self) -> int:
        """How often a request was not handed out."""
        return self._drops.value

    def over(self) -> bool:
        """Tell whether more requests wait here than the limit allows."""
        return 0 < self.maxlen < len(self._items)

    def drop(self) -> None:
        """Count a request that was not handed out."""
        self._drops.add()

    def put(self, request: R) -> None:
        """Append a completed request."""
        request.flags |= CRYPTO_F_ONRETQ
        self._items.append(request)
        self.kick()

    def surely_kick(self) -> None:
        """Do that after a `kick` that a signal handler may have broken off."""
        try:
            self.kick()
        except BaseException:
            self.kick()
            raise

    def drain(self) -> list[R]:
        """Take everything, in order, calling nobody back."""
        items = list(self._items.copy())
        self._items.clear()
        return items

    def after_fork(self) -> None:
        """Begin, in a forked child, with no request: those that wait are the parent's."""
        self._drops.after_fork()
        for request in self.drain():
            request.flags &= ~CRYPTO_F_ONRETQ
            let_go(request)

    def run(self, callback: Callable[[R], None]) -> int:
        """Call back what is here now, and return how many that was. Later ones wait a turn."""
        items = self._items
        count = len(items)
        for done in range(count):
            if not items:
                return done
            request = items[0]
            del items[0]
            request.flags &= ~CRYPTO_F_ONRETQ
            try:
                callback(request)
            except BaseException:  # of a signal handler, where there is no thread of our own
                if request.state == RequestState.RETURNING and request not in items:
                    items.appendleft(request)
                raise
        return count
