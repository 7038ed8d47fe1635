"""
One client of the control socket: what has come from it, what waits to go to it, and its limits.
"""

from __future__ import annotations

import math
import selectors
import socket
from typing import Final

from opencrypto.control.protocol import MAX_LINE

RATE: Final = 100.0
"""Requests a second that a client may make in the long run; more wait until their time comes."""

BURST: Final = 200.0
"""Requests that it may make at once after a pause."""

CHUNK: Final = 65536


class Peer:
    """
    A client.

    Attributes:
        since: When it came; seconds of `time.monotonic`, as `progress`.
        progress: When it last asked, or read, something.
        spoken: It has sent a whole request.
        busy: A job of its own is being done; its further requests wait.
        unsent: What it has not yet read of its answers.
    """

    def __init__(self, client: socket.socket, uid: int, now: float) -> None:
        self.socket = client
        self.uid = uid
        self.since = self.progress = now
        self.spoken = False
        self.busy = False
        self.closed = False
        self.unsent = b""
        self._sent = 0  # how much of it has gone
        self._received = bytearray()
        self._tokens = BURST
        self._counted = now
        self._watched = selectors.EVENT_READ

    # From it.

    def receive(self) -> bool:
        """Take what has come; tell whether it is still there."""
        try:
            chunk = self.socket.recv(CHUNK)
        except BlockingIOError:
            return True
        self._received += chunk
        return bool(chunk)

    def hungry(self) -> bool:
        """Tell whether more is read from it: not while it has more to read, or a line waiting."""
        return not self.unsent and not self.busy and len(self._received) <= MAX_LINE

    def overlong(self) -> bool:
        """Tell whether it sends a line that does not end."""
        return len(self._received) > MAX_LINE and b"\n" not in self._received

    def _ready(self) -> bool:
        return not self.unsent and not self.busy and b"\n" in self._received

    def next_turn(self, now: float) -> float:
        """Return in how many seconds a request that it has sent may be answered."""
        if not self._ready():
            return math.inf
        self._refill(now)
        return max(0.0, (1.0 - self._tokens) / RATE)

    def _refill(self, now: float) -> None:
        self._tokens = min(BURST, self._tokens + (now - self._counted) * RATE)
        self._counted = now

    def next_line(self, now: float) -> bytes | None:
        """Take its next request, if it has sent one and its rate allows."""
        if not self._ready():
            return None
        self._refill(now)
        if self._tokens < 1.0:
            return None
        end = self._received.index(b"\n")
        if end >= MAX_LINE:
            return None
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._tokens -= 1.0
        self.spoken = True
        self.progress = now
        return line

    # To it.

    def queue(self, line: bytes) -> None:
        """Have a line sent as it reads."""
        self.unsent = self.unsent[self._sent :] + line
        self._sent = 0

    def flush(self, now: float) -> None:
        """Send what it takes now."""
        while self.unsent:
            try:
                # Not cut off behind: of a long answer that would be a copy each time.
                self._sent += self.socket.send(memoryview(self.unsent)[self._sent :])
            except BlockingIOError:
                return
            self.progress = now
            if self._sent == len(self.unsent):
                self.unsent = b""
                self._sent = 0

    def watch(self, selector: selectors.BaseSelector, events: int) -> None:
        """Have the selector look for these events."""
        if events == self._watched:
            return
        if not self._watched:
            selector.register(self.socket, events, self)
        elif events:
            selector.modify(self.socket, events, self)
        else:
            selector.unregister(self.socket)
        self._watched = events
