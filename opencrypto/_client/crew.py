"""
The threads for what is no work for an event loop, and from which size on that is so.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final

from opencrypto._threads import WorkerPool, started

BORDER: Final = 32 * 1024
"""From how many **bytes** on a message is no work for the loop's thread."""

BUDGET: Final = 0.006
"""For how many seconds in a turn of the loop small work is done before it has to wait."""

THREADS: Final = 4
"""How many threads there are at most for what is larger; fewer on a machine with fewer cores."""

UNBOUNDED: Final = 1 << 62
"""How many jobs may wait for a thread: each belongs to a coroutine, which waits for it."""


class Crew:
    """
    The threads of a framework for the large work of its coroutines, and when they are asked.

    They are started when there is work for them, and joined by `close`.

    Attributes:
        border: From how many **bytes** on a message is worked on by one of them.
        budget: For how many seconds in a turn of the loop smaller ones are.
    """

    def __init__(self) -> None:
        size = max(2, min(os.cpu_count() or 1, THREADS))
        self._pool = WorkerPool("aio", int, size=size, depth=UNBOUNDED)
        self._apart: set[threading.Thread] = set()
        self.border = BORDER
        self.budget = BUDGET

    def do(self, job: Callable[[], object]) -> None:
        """Have a job done by a thread; here, where there is none any more."""
        if not self._pool.submit(job):
            job()

    def do_apart(self, job: Callable[[], object]) -> Callable[[], object]:
        """
        Have a job done that waits for others, by a thread of its own; here, if none is had.

        Returns:
            What joins that thread, once the job is done.
        """
        apart = self._apart

        def run() -> None:
            try:
                job()
            finally:
                apart.discard(threading.current_thread())

        thread = started("opencrypto-aio-apart", run)
        if thread is None:
            job()
            return int
        apart.add(thread)
        if not thread.is_alive():
            apart.discard(thread)  # it was quicker
        return thread.join

    def close(self) -> None:
        """Do what waits, and join the threads."""
        self._pool.close()
        for thread in self._apart.copy():
            if thread is not threading.current_thread():
                thread.join()
