"""
The two soft interrupts, and the only threads of the framework.

Theory of operation: an interrupt has a piece of work that drains some queue to empty. `kick`
makes sure that it runs after now. A parked thread is woken by releasing a lock it waits on, and
only a parked one is; the queue itself says whether there is work, so nothing is lost between a
last look and parking: `_parked` is set first, then the queue is looked at again, both under the
mutex that `kick` takes before it rings.

`ManualInterrupt` is the twin that tests step by hand.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from opencrypto._log import log


class Interrupt(Protocol):
    """What the framework needs of a soft interrupt."""

    def kick(self) -> None:
        """Have the work run soon."""

    def stop(self) -> None:
        """Run what is left, and end."""


InterruptFactory = Callable[[str, Callable[[], None], Callable[[], bool]], Interrupt]
"""Makes an interrupt from its name, its work, and a test whether there is work."""


class ThreadInterrupt:
    """A soft interrupt with a thread of its own, started by the first `kick`."""

    def __init__(self, name: str, work: Callable[[], None], pending: Callable[[], bool]) -> None:
        self._name = name
        self._work = work
        self._pending = pending
        self._reset()
        _interrupts.add(self)

    def _reset(self) -> None:
        self._mutex = threading.Lock()  # guards the next four
        self._thread: threading.Thread | None = None
        self._parked = False
        self._stopping = False
        self._ended = False
        self._bell = threading.Lock()
        self._bell.acquire()

    def kick(self) -> None:
        """Wake the thread if it is parked; start it if there is none; after `stop`, work here."""
        if self._thread is not None and not self._parked and not self._ended:
            return
        with self._mutex:
            if self._thread is None and not self._stopping:
                self._start()
            elif self._parked:
                self._parked = False
                self._bell.release()
            ended = self._ended
        if ended:
            self._work()

    def _start(self) -> None:
        # Daemonic, so that a program that forgets close() can end; close() drains and joins.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._work()
            except Exception as error:
                log.error("interrupt_failed", interrupt=self._name, error=type(error).__name__)
            with self._mutex:
                self._parked = True
                if self._pending():
                    self._parked = False
                    continue
                if self._stopping:
                    self._parked = False
                    self._ended = True
                    return
            self._bell.acquire()

    def stop(self) -> None:
        """Let the thread drain its queue, end, and join it."""
        with self._mutex:
            self._stopping = True
            thread = self._thread
            self._ended = self._ended or thread is None
            if self._parked and thread is not None and thread.is_alive():
                self._parked = False
                self._bell.release()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if thread is not threading.current_thread() and self._pending():
            self._work()


class ManualInterrupt:
    """A soft interrupt that runs when a test says so: `step` does what the thread would do."""

    def __init__(self, name: str, work: Callable[[], None], pending: Callable[[], bool]) -> None:
        self.name = name
        self.kicked = False
        self._work = work
        self._pending = pending

    def kick(self) -> None:
        """Note that the interrupt is due."""
        self.kicked = True

    def step(self) -> bool:
        """Run the work if it is due; tell whether it was."""
        due, self.kicked = self.kicked, False
        if due:
            self._work()
        return due

    def stop(self) -> None:
        """Run until nothing is left."""
        while self._pending():
            self._work()


_interrupts: weakref.WeakSet[ThreadInterrupt] = weakref.WeakSet()


def _after_fork() -> None:
    """Forget threads that did not come along into a forked child; the next kick starts anew."""
    for interrupt in list(_interrupts):
        interrupt._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
