"""
Looking at each request, while somebody wants to know: timing, a trace, what each session is asked.

While nobody does, this costs nothing: no session is off its straight path for it. While somebody
does, no session is marked as ``straight``, so every request takes the branches that dispatch and
done have anyway for what is queued, and there it is stamped. This reaches also the drivers and
consumers that keep the bound methods, which a swap of the methods would not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, perf_counter_ns
from typing import Final, Protocol

from opencrypto._measure.tally import Tally
from opencrypto._measure.timing import FRESH, Times, next_epoch
from opencrypto._measure.trace import Seen, Tallied, Trace
from opencrypto._request.symmetric import Cryptop
from opencrypto._state import SessionState
from opencrypto._threads import HAS_GIL
from opencrypto.constants import CRYPTO_F_BATCH
from opencrypto.exceptions import BusyError

LIVE: Final = SessionState.LIVE  # a look-up less


class Watch:
    """
    What is looked for. Made anew at each change, so that a request which was dispatched under
    another one is recognised, and left out.
    """

    __slots__ = ("epoch", "run", "stamps", "trace")

    def __init__(self, epoch: int, trace: Trace | None, run: int) -> None:
        self.epoch = epoch  # of timing; 0 while it is off
        self.trace = trace
        self.run = run  # of watching sessions; 0 while it is off
        self.stamps = bool(epoch) or trace is not None  # whether moments are wanted


class Stamps:
    """
    The moments of one request on its way, and the watch that it was dispatched under.

    In nanoseconds of `time.perf_counter_ns`; where it comes to pass nothing, it has the one before.
    """

    __slots__ = ("dispatched", "done", "invoked", "watch")

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.dispatched = self.invoked = self.done = perf_counter_ns()


class Watched(Protocol):
    """
    What the watcher needs of all sessions together.

    Attributes:
        watched: Somebody looks, so that no session may be marked as straight.
    """

    watched: bool

    @property
    def lock(self) -> threading.RLock:
        """The lock of all of them: one change at a time."""

    def refresh(self) -> None:
        """Work out anew which sessions are straight."""


class Watcher:
    """
    Stamps requests on their way.

    Attributes:
        watch: What is looked for now; None for nothing.
        epoch: The run of timing that is on, or was last; 0 before the first.
        run: The run of watching sessions likewise.
        run_began: When that was, on the clock of `time.monotonic`.
    """

    def __init__(self, sessions: Watched, call_back: Callable[[Cryptop], None]) -> None:
        self.watch: Watch | None = None
        self.epoch = 0
        self.run = 0
        self.run_began = 0.0
        self._sessions = sessions
        self._call_back = call_back

    # What an operator sets.

    @property
    def timing(self) -> int:
        """1 while the phases of requests are measured."""
        watch = self.watch
        return int(watch is not None and watch.epoch > 0)

    @property
    def watching(self) -> int:
        """1 while it is noted what each session is asked."""
        watch = self.watch
        return int(watch is not None and watch.run > 0)

    def set_timing(self, on: int) -> None:
        """Measure from now on, starting from nothing; or stop, keeping what was measured."""
        with self._sessions.lock:
            if bool(on) == bool(self.timing):
                return
            if on:
                self.epoch = next_epoch()
            _, trace, run = self._wanted()
            self._change(self.epoch if on else 0, trace, run)
        self._sessions.refresh()

    def set_watching(self, on: int) -> None:
        """Note what each session is asked from now on, starting from nothing; or stop."""
        with self._sessions.lock:
            if bool(on) == bool(self.watching):
                return
            if on:
                self.run += 1
                self.run_began = monotonic()
            epoch, trace, _ = self._wanted()
            self._change(epoch, trace, self.run if on else 0)
        self._sessions.refresh()

    def start_trace(self) -> Trace:
        """
        Record requests from now on.

        Raises:
            BusyError: a trace is being recorded.
        """
        with self._sessions.lock:
            epoch, before, run = self._wanted()
            if before is not None:
                raise BusyError("a trace is being recorded; stop that first, or wait for its end")
            trace = Trace(perf_counter_ns())
            self._change(epoch, trace, run)
        self._sessions.refresh()
        return trace

    def stop_trace(self) -> None:
        """Record no more."""
        with self._sessions.lock:
            epoch, _, run = self._wanted()
            self._change(epoch, None, run)
        self._sessions.refresh()

    def _wanted(self) -> tuple[int, Trace | None, int]:
        """Return what is looked for now."""
        watch = self.watch
        return (0, None, 0) if watch is None else (watch.epoch, watch.trace, watch.run)

    def _change(self, epoch: int, trace: Trace | None, run: int) -> None:
        """Look for other things; the caller lets go of the lock, and refreshes the sessions."""
        if not epoch and trace is None and not run:
            self.watch = None
            self._sessions.watched = False
        else:
            # First no session becomes straight any more, then requests are stamped: so each that is
            # stamped is found so by done.
            self._sessions.watched = True
            self.watch = Watch(epoch, trace, run)

    # A request's way.

    def sees_off(self, crp: Cryptop, session: Seen) -> bool:
        """Look at a request on its way to its driver; tell whether only that kept it from there."""
        watch = self.watch
        if watch is None or session.queued or not session.slot.straight:
            return False
        if crp.flags & CRYPTO_F_BATCH or session.state is not LIVE:
            return False
        if watch.stamps:
            crp.stamps = stamps = Stamps(watch)
            stamps.invoked = perf_counter_ns()
        if watch.run:
            self._tally(crp, session, watch.run)
        return True

    def sees_queued(self, crp: Cryptop) -> None:
        """Look at a request that is about to be queued."""
        watch = self.watch
        if watch is not None and watch.stamps:
            crp.stamps = Stamps(watch)

    def tally(self, crp: Cryptop, session: Seen) -> None:
        """Note that a session was asked something, if that is watched."""
        watch = self.watch
        if watch is not None and watch.run:
            self._tally(crp, session, watch.run)

    def _tally(self, crp: Cryptop, session: Seen, run: int) -> None:
        lineage, size, now = session.lineage, crp.ilen, monotonic()
        tally = lineage.tally
        if tally is None or tally.run != run:
            tally = self._begun(lineage, Tally(run, now))
        if HAS_GIL:
            tally.count(size, now)
        else:
            with self._sessions.lock:
                tally.count(size, now)

    def _begun(self, lineage: Tallied, fresh: Tally) -> Tally:
        """Return the tally of a session in this run; the given one, if it has none yet."""
        with self._sessions.lock:
            # One step: another thread may be at the same.
            if lineage.tally is None or lineage.tally.run != fresh.run:
                lineage.tally = fresh
            return lineage.tally

    def invoked(self, crp: Cryptop) -> None:
        """Stamp a request that its driver gets from a queue."""
        stamps: Stamps | None = crp.stamps
        if stamps is not None:
            stamps.invoked = perf_counter_ns()

    def call_back(self, crp: Cryptop) -> None:
        """Give a request back, and note its moments if it was dispatched under this watch."""
        stamps: Stamps | None = crp.stamps
        session: Seen | None = crp.holder
        if stamps is None or stamps.watch is not self.watch or session is None:
            self._call_back(crp)
            return
        crp.stamps = None
        watch, trace = stamps.watch, stamps.watch.trace
        # Before the callback, which may change the request, free it, or dispatch it again.
        dispatched, invoked, done = stamps.dispatched, stamps.invoked, stamps.done
        entry = trace.entry(crp, session, dispatched) if trace is not None else None
        called = perf_counter_ns()
        self._call_back(crp)
        ended = perf_counter_ns()
        if watch.epoch:
            counts = session.slot.local.counts
            times = counts.times
            if times is None or times.epoch != watch.epoch:
                times = counts.times = Times(watch.epoch)
            fresh = times.fresh
            fresh.append((dispatched, invoked, done, called, ended))
            if len(fresh) >= FRESH:
                times.fold()
        if trace is not None and entry is not None:
            trace.put(
                entry.timed(invoked - dispatched, done - invoked, called - done, ended - called)
            )
