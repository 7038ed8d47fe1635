"""
Calls into a driver, each with an end: what does not come back is left behind, and is named.

A thread that is stuck cannot be ended from outside. It is a daemon, and ends with the process.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from pathlib import PurePath
from typing import Self, TypeVar

from opencrypto.testing.clauses import Hung

T = TypeVar("T")

LENIENCE = 4
"""Half patiences that a call has beyond its time as long as it gets on."""

CALLER = "contract-caller"
"""The name of the threads that make calls for the kit."""


class Caller:
    """A thread that makes calls for us, so that one which never returns does not stop the test."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._returned = threading.Semaphore(0)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._loop, name=CALLER, daemon=True)
        self._thread.start()
        self.stuck = False

    def run(self, call: Callable[[], object], patience: float) -> bool:
        """Make a call; tell whether it returned in time. What it raises is raised here."""
        if self.stuck:
            return False
        self._calls.put(call)
        self.stuck = not self._comes_back(patience)
        if self.stuck:
            return False
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def _comes_back(self, patience: float) -> bool:
        """Wait for a call; one that gets on, on a busy machine, has longer than one that waits."""
        if self._returned.acquire(timeout=patience):
            return True
        for _ in range(LENIENCE):
            stood = self.calls()
            if self._returned.acquire(timeout=patience / 2):
                return True
            if self.calls() == stood:
                return False
        return False

    def _loop(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException as error:
                self._error = error
            call = None  # what it closes over must not live until the next call
            self._returned.release()

    def calls(self) -> list[tuple[str, str]]:
        """Return the functions that the thread is in, innermost first, each with its place."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        found = []
        while frame is not None:
            code = frame.f_code
            place = f"{PurePath(code.co_filename).name}:{frame.f_lineno}"
            found.append((code.co_name, place))
            frame = frame.f_back
        return found

    def stop(self) -> None:
        """End the thread; one that is stuck ends with its call, or never."""
        self._calls.put(None)
        if not self.stuck:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def within(caller: Caller, patience: float, clause: str, what: str, call: Callable[[], T]) -> T:
    """
    Make a call and return its answer; one that does not come back breaks `clause`.

    Raises:
        Hung: it did not return within `patience` seconds; the message says where it stands.
    """
    answers: list[T] = []
    if not caller.run(lambda: answers.append(call()), patience):
        raise Hung(clause, late(caller, patience, what))
    return answers[0]


def at_once(patience: float, clause: str, what: str, call: Callable[[], T]) -> T:
    """Make a call by a thread for it alone; as `within`."""
    with Caller() as caller:
        return within(caller, patience, clause, what, call)


def late(caller: Caller, patience: float, what: str) -> str:
    """Say that a call is late, and where it stands."""
    own = [place for _, place in caller.calls() if not place.startswith(_NOT_THE_CAUSE)]
    stands = f", and stands at {own[0]}" if own else ""
    return (
        f"{what} did not return within {patience} s{stands}; have it wait for nobody: "
        "hand what takes long to a thread, and wait with a timeout"
    )


_NOT_THE_CAUSE = ("threading.py", "queue.py", "_bounded.py", "_base.py", "_rig.py")
