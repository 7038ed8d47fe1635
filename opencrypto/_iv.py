"""
Fresh IVs: unpredictable for block modes, never repeated for counter modes.

A counter mode breaks when an IV comes twice under one key, so the sequence belongs to the chain
(and moves with it when a session migrates), not to the driver that happens to serve it.
"""

import os
import threading


class IvSource:
    """
    Makes the IVs of one algorithm of one session. Safe to call from any thread.

    Counter modes get a random start and then count: 64 bits, big-endian, after a random prefix
    if the IV is longer. Other modes get bytes from the system's generator.
    """

    __slots__ = ("_counter", "_length", "_lock", "_next", "_prefix")

    def __init__(self, length: int, *, counter: bool) -> None:
        self._length = length
        self._counter = counter
        self._lock = threading.Lock()  # guards _next
        self._prefix = os.urandom(max(0, length - 8)) if counter else b""
        self._next = int.from_bytes(os.urandom(8)) if counter else 0

    def fresh(self) -> bytes:
        """Return an IV that this source has never returned before."""
        if not self._counter:
            return os.urandom(self._length)
        with self._lock:
            value = self._next
            self._next = (value + 1) & 0xFFFFFFFFFFFFFFFF
        return self._prefix + value.to_bytes(8)
