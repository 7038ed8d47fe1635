"""
Fresh IVs: unpredictable for block modes, never repeated for counter modes.

A counter mode breaks when an IV comes twice under one key, so the sequence belongs to the chain
(and moves with it when a session migrates), not to the driver that happens to serve it.
"""

import os
import threading

_forks = 0
"""How many forks lie between this process and the one that imported this."""

_restarting = threading.Lock()


def _forked() -> None:
    global _forks, _restarting  # noqa: PLW0603 - a fork is of the process, not of an object
    _forks += 1
    _restarting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class IvSource:
    """
    Makes the IVs of one algorithm of one session. Safe to call from any thread.

    Counter modes get a random start and then count: 64 bits, big-endian, after a random prefix
    if the IV is longer. Other modes get bytes from the system's generator. In a forked child the
    sequence starts anew at random: parent and child have the same key and must not count alike.
    """

    __slots__ = ("_counter", "_forks", "_length", "_lock", "_next", "_prefix")

    def __init__(self, length: int, *, counter: bool) -> None:
        self._length = length
        self._counter = counter
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()  # guards _next
        self._prefix = os.urandom(max(0, self._length - 8)) if self._counter else b""
        self._next = int.from_bytes(os.urandom(8)) if self._counter else 0
        self._forks = _forks  # last: it is looked at without a lock

    def fresh(self) -> bytes:
        """Return an IV that this source has never returned before."""
        if not self._counter:
            return os.urandom(self._length)
        if self._forks != _forks:
            self._restart()
        with self._lock:
            value = self._next
            self._next = (value + 1) & 0xFFFFFFFFFFFFFFFF
        return self._prefix + value.to_bytes(8)

    def _restart(self) -> None:
        # Under a lock of the child's own: this one may have been held at the fork, by a thread
        # that did not come along.
        with _restarting:
            if self._forks != _forks:
                self._start()
