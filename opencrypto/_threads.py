"""
The only threads: the framework's two soft interrupts, and the pools that drivers may have.

Theory of operation: an interrupt has a piece of work that drains some queue to empty. `kick` makes
sure that it runs after now. It rings a bell, which is a lock that the thread waits to acquire: rung
once or often, the thread goes round once more after the last ring, so nothing that was queued
before a ring is left lying. Ringing is one step of the interpreter and holds nothing, so a signal
handler, a finalizer or a callback may kick at any moment, in the midst of another kick too.

Threads can be refused: too many processes, no memory, an interpreter without daemon threads. The
work is then done by whoever kicks, and the thread is asked for again at the next kick. A pool of
workers does the same.

`opencrypto.testing.ManualInterrupt` is the twin that tests step by hand.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Protocol

from opencrypto._log import Limited, log


class Interrupt(Protocol):
    """What the framework needs of a soft interrupt."""

    def kick(self) -> None:
        """Have the work run soon."""

    def stop(self) -> None:
        """Run what is left, and end."""


InterruptFactory = Callable[[str, Callable[[], None], Callable[[], bool]], Interrupt]
"""Makes an interrupt from its name, its work, and a test whether there is work."""

_refused: Final = Limited("thread_refused", "thread")


def started(name: str, run: Callable[[], object]) -> threading.Thread | None:
    """
    Start a thread and return it, or None where the system has none to give.

    Daemonic, so that a program that forgets close() can end; close() drains and joins.
    """
    try:
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
    except (RuntimeError, MemoryError):
        _refused.warning(name)
        return None
    return thread


HAS_GIL: Final = bool(getattr(sys, "_is_gil_enabled", lambda: True)())
"""Whether other threads, signal handlers and finalizers run only where a call ends, or a loop."""


def is_held(lock: threading.RLock) -> bool:
    """Tell whether the calling thread holds a re-entrant lock."""
    return lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # typeshed has it not


class Latch:
    """
    Something that comes to pass once, and those who wait for it.

    As `threading.Event`, but it holds no lock: a signal handler or a finalizer may set it in the
    midst of a setting.
    """

    __slots__ = ("_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[threading.Lock] = []  # copied in one step, as no deque is

    def is_set(self) -> bool:
        """Tell whether it has come to pass."""
        return self._is_set

    def set(self) -> None:
        """Wake those who wait; to do it again does no harm."""
        self._is_set = True
        for each in self._waiting.copy():  # one step, with or without a lock of the interpreter
            try:
                each.release()
            except RuntimeError:
                pass  # somebody else has woken it

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds; tell whether it has come to pass."""
        mine = threading.Lock()
        mine.acquire()
        self._waiting.append(mine)
        if not self._is_set:
            mine.acquire(timeout=max(0.0, min(timeout, threading.TIMEOUT_MAX)))
        self._waiting.remove(mine)
        return self._is_set


def check_threads() -> None:
    """Warn where no thread can be started: in an isolated subinterpreter, or at the limit."""
    try:
        threading.Thread(target=int, name="opencrypto-check", daemon=True).start()
    except (RuntimeError, MemoryError) as error:
        warnings.warn(
            f"no thread can be started here ({error}): queued requests are served, and their "
            "callbacks made, by whoever dispatches or completes the next one; use CRYPTO_F_CBIMM",
            RuntimeWarning,
            stacklevel=3,
        )


class Forkable(Protocol):
    """What has something that a forked child must have anew: a lock, a thread, work half done."""

    def after_fork(self) -> None:
        """Begin anew in a forked child."""


_forkable: Final[weakref.WeakSet[Forkable]] = weakref.WeakSet()


def renew_after_fork(thing: Forkable) -> None:
    """
    Have `thing.after_fork` called in each forked child, for as long as it lives.

    In no order that may be relied on. What it raises is logged, and keeps nothing else from being
    renewed. Of the threads of a process only the one that forked goes on in the child. A lock that
    another one held stays held there for ever, unless whoever has it makes a new one.
    """
    _forkable.add(thing)


def _after_fork() -> None:
    """Have everything renewed in a forked child; threads start anew with the next kick."""
    _refused.after_fork()
    for each in list(_forkable):
        try:
            each.after_fork()
        except BaseException as error:
            log.error("after_fork_failed", what=type(each).__name__, error=type(error).__name__)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class ThreadInterrupt:
    """
    A soft interrupt with a thread of its own, started by the first `kick`.

    Attributes:
        pause: Tells for how many seconds the thread may wait for the next one; -1 for ever.
    """

    def __init__(self, name: str, work: Callable[[], None], pending: Callable[[], bool]) -> None:
        self._name = name
        self._work = work
        self._pending = pending
        self.pause: Callable[[], float] = lambda: -1.0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the thread that did not come along into a forked child."""
        self._thread: threading.Thread | None = None  # set by the thread itself
        self._stopping = False
        self._ended = False  # the thread looks no more: whoever kicks does the work
        self._bell = threading.Lock()  # held until somebody rings
        self._bell.acquire()
        self._at_work = threading.RLock()  # held by whoever does the work: one at a time, in order
        self._manned = threading.Lock()  # held by the one thread for all its life

    def kick(self) -> None:
        """Wake the thread, start it if there is none, or do the work if none can be had."""
        if self._bell.locked():
            self._ring()
        if self._thread is None or self._ended:
            self._serve()

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            pass  # somebody rang meanwhile

    def _serve(self) -> None:
        """Start the thread, or do its work here."""
        if self._ended or self._stopping or started(self._name, self._run) is None:
            self._work_here()

    def _work_here(self) -> None:
        """Do the work unless somebody is at it, who then comes to what is new as well."""
        while self._pending():
            if is_held(self._at_work):
                return  # this is on top of it
            try:
                if not self._at_work.acquire(blocking=False):
                    return
                self._guarded()
            finally:
                # The lock alone knows whether we have it: a signal handler may have raised between
                # the end of `acquire` and the look at what it said.
                try:
                    self._at_work.release()
                except RuntimeError:
                    pass

    def _run(self) -> None:
        if not self._manned.acquire(blocking=False):
            return  # two were started at one moment, and the other one was first
        self._thread = threading.current_thread()
        while True:
            self._bell.acquire(timeout=self.pause())
            with self._at_work:
                self._guarded()
            if self._pending():
                self._ring()
            elif self._stopping:
                self._ended = True
                self._work_here()  # what came between the last two lines
                return

    def _guarded(self) -> None:
        try:
            self._work()
        except BaseException as error:  # SystemExit too: without this thread all would wait
            if isinstance(error, KeyboardInterrupt) and not self._is_here():
                raise
            log.error("interrupt_failed", interrupt=self._name, error=type(error).__name__)

    def _is_here(self) -> bool:
        return self._thread is threading.current_thread()

    def stop(self) -> None:
        """
        Let the thread drain its queue, end, and join it; what is kicked later is done there.

        May be interrupted and called again, from several threads too: each waits for the end.
        """
        self._stopping = True
        self._ring()
        thread = self._thread
        if thread is None:
            self._ended = True
        elif not self._is_here():
            thread.join()
        if not self._is_here():
            self._work_here()
            self._outlast()

    def _outlast(self) -> None:
        """Wait for a thread that was being started, and has come to the work before its end."""
        if is_held(self._at_work):
            return  # this is on top of the work
        try:
            self._at_work.acquire(timeout=LATE)
        finally:
            try:
                self._at_work.release()
            except RuntimeError:
                pass


LATE: Final = 10.0
"""Seconds for which `ThreadInterrupt.stop` waits for work that was begun at that moment."""

MAX_WORKERS: Final = 8
"""How many threads a `WorkerPool` has at most, unless its author says otherwise."""


class WorkerPool:
    """
    Threads for a driver whose work takes longer than its caller should wait.

    They are started when there is work for them, and are named ``opencrypto-<name>-<n>``. At most
    `depth` jobs wait; then `submit` refuses, the driver answers ERESTART, and `room` is called
    once half of them are gone: `Driver.unblock`, as a rule. Where the system gives no thread at
    all, `submit` does the job itself. In a forked child the pool is empty and has no threads: what
    the parent's jobs do, the parent does.

    No lock is held at any time, so every method may be called from a signal handler, a finalizer,
    or a job.

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
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the jobs and the threads that are the parent's."""
        self._jobs: deque[Callable[[], object]] = deque()
        self._crew = _Crew()
        self._refused = False

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
        crew = self._crew
        if crew.closing:
            return False
        if self._full():
            self._have_done(crew)  # what was held back for one that would follow
            return False
        self._jobs.append(job)
        if not more or not crew.is_awake():
            self._have_done(crew)
        return True

    def _full(self) -> bool:
        if len(self._jobs) < self._depth:
            return False
        # A worker looks at this after it has taken a job: it sees the refusal, or we see the room.
        self._refused = True
        return len(self._jobs) >= self._depth

    def _have_done(self, crew: _Crew) -> None:
        """See to it that as many threads are awake as there are jobs, or as there may be."""
        crew.wake(len(self._jobs))
        begun = 0
        for number in range(self._size):
            if len(self._jobs) <= len(crew.idle) + begun:
                return
            if number not in crew.threads:
                if not self._start(crew, number):
                    break
                begun += 1
        if not crew.threads:
            self._drain()

    def _start(self, crew: _Crew, number: int) -> bool:
        thread = started(f"opencrypto-{self._name}-{number + 1}", lambda: self._run(crew, number))
        if thread is None:
            return False
        crew.started.append(thread)
        crew.threads.setdefault(number, thread)  # it may not have come to it yet
        return True

    def _run(self, crew: _Crew, number: int) -> None:
        thread = threading.current_thread()
        if crew.threads.setdefault(number, thread) is not thread:
            return  # two were started at one moment, and the other one was first
        while (job := self._next(crew)) is not None:
            self._do(job)
            del job  # or what it was about would live on while this thread waits

    def _next(self, crew: _Crew) -> Callable[[], object] | None:
        """Wait for a job; None when the crew is to end, or is a forked parent's."""
        while crew is self._crew:
            try:
                job = self._jobs.popleft()
            except IndexError:
                if crew.closing:
                    return None
                crew.sleep(lambda: bool(self._jobs))
                continue
            self._make_room()
            return job
        return None

    def _make_room(self) -> None:
        """Say that jobs are taken again, if one was refused and half of what waited is gone."""
        if self._refused and len(self._jobs) <= self._depth // 2 and not self._crew.closing:
            self._refused = False
            try:
                self._room()
            except BaseException as error:
                log.error("room_failed", pool=self._name, error=type(error).__name__)

    def _do(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:  # SystemExit too: a worker less would be for good
            log.error("job_failed", pool=self._name, error=type(error).__name__)
            if (
                isinstance(error, KeyboardInterrupt)
                and threading.current_thread() is threading.main_thread()
            ):
                raise

    def _drain(self) -> None:
        """Do what waits in the calling thread."""
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            self._make_room()
            self._do(job)

    def close(self) -> None:
        """
        Do what waits, end every thread and join it. The pool may be used again afterwards.

        May be interrupted and called again, from several threads too: each waits for the end.
        """
        crew = self._crew
        crew.closing = True
        crew.wake(self._size)
        here = threading.current_thread()
        for thread in [*crew.started, *crew.threads.values()]:
            if thread is not here:
                thread.join()
        # Something is left only if the one worker there was is who called this, or none could be
        # started.
        self._drain()
        if crew is self._crew:
            self._crew = _Crew()
            self._refused = False


class _Crew:
    """
    The threads of a pool from its first job to its close.

    Attributes:
        threads: Those at work or asleep, by number; who started one puts it here, or it itself.
        started: All that were ever started, to be joined.
        idle: Those asleep. A thread joins before it looks a last time whether there is work.
        closing: Those that find no job end.
    """

    __slots__ = ("_bell", "closing", "idle", "started", "threads")

    def __init__(self) -> None:
        self.threads: dict[int, threading.Thread] = {}
        self.started: list[threading.Thread] = []
        self.idle: set[threading.Thread] = set()
        self.closing = False
        self._bell: SimpleQueue[None] = SimpleQueue()  # whose put may be called at any moment

    def is_awake(self) -> bool:
        """Tell whether a thread is awake that will come to every job."""
        return len(self.threads) > len(self.idle)

    def wake(self, count: int) -> None:
        """Wake as many of those asleep."""
        asleep = self.threads if self.closing else self.idle
        for _ in range(min(count, len(asleep)) - self._bell.qsize()):
            self._bell.put(None)

    def sleep(self, is_work: Callable[[], bool]) -> None:
        """Sleep until somebody wakes the calling thread, unless there is work after all."""
        me = threading.current_thread()
        self.idle.add(me)
        if not is_work() and not self.closing:
            self._bell.get()
        self.idle.discard(me)
