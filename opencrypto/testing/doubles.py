"""
Drivers and interrupts that stand in for real ones: a test decides what happens, and when.

No driver touches the data of a request: what they are for is the order of events. Nothing here
needs pytest.
"""

from __future__ import annotations

import errno
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence

from opencrypto import Cryptoini, Cryptop, Framework
from opencrypto.constants import (
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
    ERESTART,
)
from opencrypto.driver import Capability, Driver, renew_after_fork
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS


class RecordingDriver(Driver):
    """
    Takes every session, answers every request at once, and remembers everything.

    Args:
        name: Its name.
        flags: ``CRYPTOCAP_F_*``; those of a synchronous software driver if not given.
        algs: What it claims; every algorithm there is if not given.

    Attributes:
        sessions: Its open sessions: number to the algorithms of the chain.
        opened: The numbers of all sessions it has opened, in order.
        freed: The numbers that freesession was called with, in order.
        processed: Each call of process, in order: the request and the hint.
        closed: How often it was closed.
    """

    name = "recording"

    def __init__(
        self, name: str = "", *, flags: int | None = None, algs: Collection[int] | None = None
    ) -> None:
        self.name = name or type(self).name
        if flags is not None:
            self.flags = flags
        self.capabilities = dict.fromkeys(FACTS if algs is None else algs, Capability())
        self.sessions: dict[int, tuple[int, ...]] = {}
        self.opened: list[int] = []
        self.freed: list[int] = []
        self.processed: list[tuple[Cryptop, int]] = []
        self.closed = 0

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        """Take any chain."""
        lid = self.newlid()
        self.sessions[lid] = tuple(cri.alg for cri in ini)
        self.opened.append(lid)
        return lid

    def freesession(self, lid: int) -> None:
        """Forget a session, and remember that."""
        self.freed.append(lid)
        self.sessions.pop(lid, None)

    def process(self, crp: Cryptop, hint: int) -> int:
        """Remember the call and answer."""
        self.processed.append((crp, hint))
        self.answer(crp)
        return 0

    def answer(self, crp: Cryptop) -> None:
        """Complete a request; override it to do something to the request before."""
        if crp.lid not in self.sessions:
            crp.fail(errno.ENOENT, f"driver {self.name} has no session {crp.lid}")
        self.done(crp)

    def close(self) -> None:
        """Count that."""
        self.closed += 1


class BlockingDriver(RecordingDriver):
    """
    Answers ERESTART while `blocking` is true; a test sets it, and calls `release` to go on.

    Attributes:
        blocking: Whether it takes nothing now.
        refused: The requests it did not take, once for each time.
    """

    name = "blocking"

    def __init__(
        self, name: str = "", *, flags: int | None = None, algs: Collection[int] | None = None
    ) -> None:
        super().__init__(name, flags=flags, algs=algs)
        self.blocking = True
        self.refused: list[Cryptop] = []

    def process(self, crp: Cryptop, hint: int) -> int:
        """Take the request unless we are blocking."""
        if self.blocking:
            self.refused.append(crp)
            return ERESTART
        return super().process(crp, hint)

    def release(self) -> None:
        """Take requests again, and tell the framework."""
        self.blocking = False
        self.unblock(CRYPTO_SYMQ)


class LateDriver(RecordingDriver):
    """
    Takes requests and answers them later: when it is told to, or at once from its own thread.

    Args:
        name: Its name.
        threaded: Answer from a thread, rather than when `release` is called.
        flags: As in `RecordingDriver`, without SYNC if not given.
        algs: As in `RecordingDriver`.

    Attributes:
        held: What it has taken and not answered, oldest first.
    """

    name = "late"
    flags = RecordingDriver.flags & ~CRYPTOCAP_F_SYNC | CRYPTOCAP_F_SOFTWARE

    def __init__(
        self,
        name: str = "",
        *,
        threaded: bool = False,
        flags: int | None = None,
        algs: Collection[int] | None = None,
    ) -> None:
        super().__init__(name, flags=flags, algs=algs)
        self.held: deque[Cryptop] = deque()
        self._port: Callable[[Cryptop], None] = self.done
        self._threaded = threaded
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Have no thread in a forked child, and hold nothing: the parent answers what it holds."""
        self.held.clear()
        self._work: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._start = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None

    def process(self, crp: Cryptop, hint: int) -> int:
        """Take the request, for later."""
        self._port = self.done
        self.processed.append((crp, hint))
        self.held.append(crp)
        if self._threaded:
            self._wake()
        return 0

    def release(self, count: int | None = None) -> int:
        """Answer the oldest `count` requests held, or all; return how many that were."""
        answered = 0
        while count is None or answered < count:
            try:
                crp = self.held.popleft()
            except IndexError:
                break
            self.answer(crp)
            answered += 1
        return answered

    def _wake(self) -> None:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"opencrypto-{self.name}", daemon=True
                )
                self._thread.start()
        self._work.put(True)

    def _run(self) -> None:
        while self._work.get():
            self.release()

    def close(self) -> None:
        """Hand back what is held and has not been taken from us, and end the thread."""
        super().close()
        while self.held:
            crp = self.held.popleft()
            if self.done == self._port:  # else the framework has given up waiting for us
                crp.fail(errno.EAGAIN)
                self.done(crp)
        if self._thread is not None:
            self._work.put(False)
            self._thread.join()


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


def step(framework: Framework) -> int:
    """
    Run the soft interrupts that are due, by hand, until none is; return how many ran.

    For a framework made with ``interrupt=ManualInterrupt``: nothing of it runs by itself, so a
    test sees every state in between.

    Raises:
        UsageError: the framework has threads of its own.
    """
    interrupts = [each for each in framework.interrupts if isinstance(each, ManualInterrupt)]
    if len(interrupts) < len(framework.interrupts):
        raise UsageError("make the framework with interrupt=ManualInterrupt")
    ran = 0
    while due := sum(interrupt.step() for interrupt in interrupts):
        ran += due
    return ran
