"""
The bytes that wait in an operation socket, and who waits for them.
"""

from __future__ import annotations

import errno
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from opencrypto_algsocket.control import Control
from opencrypto_algsocket.errors import refused


class Operation(ABC):
    """
    What stands behind one operation socket. All but `lock` is called under `lock`.

    Attributes:
        lock: Guards it; whoever waits is woken by it.
        changed: Called when there is more to read, or less: for whoever polls.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.changed: Callable[[], None] = lambda: None
        self.closed = False

    @abstractmethod
    def check_key(self) -> None:
        """Refuse to work without a key (ENOKEY), which is before anything else is looked at."""

    @abstractmethod
    def write(self, data: bytes, control: Control | None, *, more: bool, deadline: Deadline) -> int:
        """Take a piece of a message; return how much of it was taken."""

    @abstractmethod
    def recv(self, count: int, deadline: Deadline) -> tuple[bytes, bool]:
        """Return up to `count` bytes of an answer, and whether it was cut off there."""

    def is_readable(self) -> bool:
        """Tell whether a read would not wait."""
        return True

    def clone(self) -> Operation:
        """Make another one in the same state (EOPNOTSUPP where there is none to copy)."""
        raise refused(errno.EOPNOTSUPP, "only operation sockets of hashes are cloned")

    def restore(self, state: bytes) -> int:
        """Go on from a partial state of the proposal's (EOPNOTSUPP where there is none)."""
        raise refused(errno.EOPNOTSUPP, "no driver here restores this state")

    def close(self) -> None:
        """Wipe what is kept."""
        with self.lock:
            self.closed = True
            self.lock.notify_all()


class Deadline:
    """
    Until when a call waits.

    Args:
        timeout: Seconds as of `socket.settimeout`: None for ever, 0 not at all.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._until = None if timeout is None else time.monotonic() + timeout

    def wait(self, condition: threading.Condition, until: Callable[[], bool]) -> None:
        """
        Wait until something is so.

        Raises:
            BlockingIOError: it is not, and the call may not wait.
            TimeoutError: it took too long.
        """
        while not until():
            if self._timeout == 0:
                raise refused(errno.EAGAIN, "it would have to wait")
            left = None if self._until is None else self._until - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("timed out")
            condition.wait(left)


class Buffered(Operation):
    """An operation whose input waits in a buffer until it is read."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room
        self._buffer = bytearray()
        self.more = False
        self._begun = False

    @property
    def used(self) -> int:
        """How many bytes wait."""
        return len(self._buffer)

    @abstractmethod
    def begin(self, control: Control) -> None:
        """Take what the ancillary data say of the request."""

    @abstractmethod
    def least(self) -> int:
        """Return how many bytes must be there before anything can be read of what goes on."""

    @abstractmethod
    def read(self, count: int) -> bytes:
        """Work on what waits, and return up to `count` bytes."""

    def write(self, data: bytes, control: Control | None, *, more: bool, deadline: Deadline) -> int:
        """Let a piece of a message wait; a longer one than there is room for waits for readers."""
        self.check_key()
        if self._begun and not self.more and self._buffer:
            raise refused(errno.EINVAL, "a whole message waits here already; read its answer first")
        if control is not None:
            self.begin(control)
        self._begun = True
        taken = 0
        try:
            while True:
                taken += self._take_in(data, taken)
                if taken == len(data):
                    break
                self.more = True  # the rest of this piece follows
                self.lock.notify_all()
                self.changed()
                deadline.wait(self.lock, self._has_room)
        except OSError:
            if not taken:
                raise
            more = True
        self.more = more
        self.lock.notify_all()
        self.changed()
        return taken

    def _take_in(self, data: bytes, at: int) -> int:
        # The kernel waits for ever where a first message is longer than its buffer; this takes it.
        part = data[at:] if not self._buffer else data[at : at + max(0, self._room - self.used)]
        self._buffer += part
        return len(part)

    def _has_room(self) -> bool:
        return self.closed or self.used < self._room

    def recv(self, count: int, deadline: Deadline) -> tuple[bytes, bool]:
        """Wait for what is to be read, and return it."""
        self.check_key()
        deadline.wait(self.lock, self.is_readable)
        if self.closed:
            raise refused(errno.EBADF, "the socket is closed")
        try:
            return self.read(count), False
        finally:
            if not self._buffer:
                self._begun = self.more
            self.lock.notify_all()
            self.changed()

    def is_readable(self) -> bool:
        """Tell whether a read would not wait."""
        if self.closed:
            return True
        return self._begun and (not self.more or self.used >= self.least())

    def take(self, count: int) -> bytearray:
        """Take bytes out of the buffer."""
        data = self._buffer[:count]
        self._buffer[:count] = bytes(count)  # overwritten before it is let go
        del self._buffer[:count]
        return data

    def close(self) -> None:
        """Wipe what waits."""
        with self.lock:
            self._buffer[:] = bytes(len(self._buffer))
            self._buffer = bytearray()
        super().close()
