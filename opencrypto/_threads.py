"""
The only threads: the framework's two soft interrupts, and the pools that drivers may have.

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
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

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
        self.after_fork()
        _interrupts.add(self)

    def after_fork(self) -> None:
        """Begin, or begin anew in a forked child, without a thread; the next kick starts it."""
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
            except BaseException as error:  # SystemExit too: without this thread all would wait
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


MAX_WORKERS: Final = 8
"""How many threads a `WorkerPool` has at most, unless its author says otherwise."""


class WorkerPool:
    """
    Threads for a driver whose work takes longer than its caller should wait.

    They are started when there is work for them, and are named ``opencrypto-<name>-<n>``. At most
    `depth` jobs wait; then `submit` refuses, the driver answers ERESTART, and `room` is called
    once half of them are gone: `Driver.unblock`, as a rule. In a forked child the pool is empty
    and has no threads: what the parent's jobs do, the parent does.

    Args:
        name: The driver's name, for the threads.
        room: Called from a worker, without a lock, when jobs are taken again after a refusal.
        size: How many threads at most; 0 for one per processor, and no more than 8.
        depth: How many jobs may wait, not counting those being done; 1 or more.
    """

    def __init__(
        self, name: str, room: Callable[[], object], *, size: int = 0, depth: int = 64
    ) -> None:
        self._name = name
        self._room = room
        self._size = size or min(os.cpu_count() or 1, MAX_WORKERS)
        self._depth = depth
        self.after_fork()
        _pools.add(self)

    def after_fork(self) -> None:
        """Begin, or begin anew in a forked child, without jobs and threads: the parent has them."""
        self._mutex = threading.Lock()  # guards all that follows
        self._bell = threading.Condition(self._mutex)
        self._jobs: deque[Callable[[], object]] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0  # threads that wait and that nobody has woken yet
        self._held = 0  # jobs that nobody has been woken for, since more were to follow
        self._refused = False
        self._closing = False

    def submit(self, job: Callable[[], object], *, more: bool = False) -> bool:
        """
        Have a job done by a worker. It must not raise; what escapes is logged.

        Args:
            job: What to do.
            more: Another one follows at once (``CRYPTO_HINT_MORE``). If a worker is awake that
                will come to it, no other is woken for each: the last one wakes as many as needed.

        Returns:
            False if too many wait, or the pool is being closed: the job was not taken.
        """
        with self._mutex:
            if self._closing or len(self._jobs) >= self._depth:
                self._refused = True
                self._wake(self._held)
                return False
            self._jobs.append(job)
            if more and len(self._threads) > self._idle:
                self._held += 1
            else:
                self._wake(1 + self._held)
        return True

    def _wake(self, count: int) -> None:
        """Have as many more threads at work, or as many as there may be."""
        self._held = 0
        for _ in range(count):
            if self._idle:
                self._idle -= 1
                self._bell.notify()
            elif len(self._threads) < self._size:
                self._start()
            else:
                return

    def _start(self) -> None:
        # Daemonic, so that a program that forgets close() can end; close() drains and joins.
        name = f"opencrypto-{self._name}-{len(self._threads) + 1}"
        crew = self._threads
        thread = threading.Thread(target=self._run, args=(crew,), name=name, daemon=True)
        crew.append(thread)
        thread.start()

    def _run(self, crew: list[threading.Thread]) -> None:
        while (job := self._next(crew)) is not None:
            self._do(job)
            del job  # or what it was about would live on while this thread waits

    def _do(self, job: Callable[[], object]) -> None:
        try:
            job()
        except Exception as error:
            log.error("job_failed", pool=self._name, error=type(error).__name__)

    def _next(self, crew: list[threading.Thread]) -> Callable[[], object] | None:
        with self._mutex:
            while not self._jobs:
                if self._closing or crew is not self._threads:
                    return None
                self._idle += 1
                self._bell.wait()
            job = self._jobs.popleft()
            room = self._refused and len(self._jobs) <= self._depth // 2 and not self._closing
            if room:
                self._refused = False
        if room:
            try:
                self._room()
            except Exception as error:
                log.error("room_failed", pool=self._name, error=type(error).__name__)
        return job

    def close(self) -> None:
        """Do what waits, end every thread and join it. The pool may be used again afterwards."""
        with self._mutex:
            self._closing = True
            self._idle = 0
            self._bell.notify_all()
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()
        with self._mutex:
            self._threads = []
            left, self._jobs = self._jobs, deque()
            self._closing = self._refused = False
        # Something is left only if the one worker there was is who called this.
        for job in left:
            self._do(job)


_interrupts: weakref.WeakSet[ThreadInterrupt] = weakref.WeakSet()
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _after_fork() -> None:
    """Forget threads that did not come along into a forked child; the next kick starts anew."""
    for interrupt in list(_interrupts):
        interrupt.after_fork()
    for pool in list(_pools):
        pool.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
