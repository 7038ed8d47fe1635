"""
What is asked of each session, while ``opencrypto.sessions.watch`` is 1: requests, bytes, and when.

Nothing of this runs while the value is 0: see `opencrypto._measure.watcher`.
"""

from __future__ import annotations


class Tally:
    """
    What was asked of one session, through all its moves, in one run of watching.

    Attributes:
        run: The run. What another one has counted is of no use in this one.
        requests: How many requests were accepted.
        bytes: The sum of their ``ilen``.
        last: When the last one was dispatched, on the clock of `time.monotonic`.
    """

    __slots__ = ("bytes", "last", "requests", "run")

    def __init__(self, run: int, now: float) -> None:
        self.run = run
        self.requests = 0
        self.bytes = 0
        self.last = now

    def count(self, size: int, now: float) -> None:
        """Count a request. One step where there is a lock of the interpreter: nothing is called."""
        self.requests += 1
        self.bytes += size
        self.last = now
