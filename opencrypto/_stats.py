"""
Counters: plain integers on the hot path, summed when somebody looks.

Each thread counts into a shard of its own, so that no increment is lost and none needs a lock. A
shard whose thread has ended is folded into the rest at the next look.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DriverStats:
    """What one driver has done: requests, bytes, errors, migrations away from it."""

    ops: int = 0
    bytes: int = 0
    errs: int = 0
    kops: int = 0
    kerrs: int = 0
    migrated: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """
    A snapshot of the counters, in the words of ``struct cryptostats``.

    Attributes:
        ops: Requests dispatched.
        errs: Requests completed with an error.
        kops: Key operations dispatched.
        kerrs: Key operations completed with an error.
        intrs: Runs of the request interrupt.
        rets: Runs of the return interrupt.
        blocks: Times a driver refused a request for the moment (ERESTART).
        kblocks: Likewise for key operations.
        migrated: Sessions moved to another driver.
        callback_errors: Callbacks that raised.
        driver_bugs: Times a driver broke the contract.
        drivers: Per driver, by name.
    """

    ops: int = 0
    errs: int = 0
    kops: int = 0
    kerrs: int = 0
    intrs: int = 0
    rets: int = 0
    blocks: int = 0
    kblocks: int = 0
    migrated: int = 0
    callback_errors: int = 0
    driver_bugs: int = 0
    drivers: Mapping[str, DriverStats] = field(default_factory=dict)


class Shard:
    """One thread's counts. Only that thread writes them."""

    __slots__ = ("bytes", "errs", "kerrs", "kops", "ops", "thread")

    def __init__(self, thread: Callable[[], threading.Thread | None]) -> None:
        self.thread = thread
        self.ops = 0
        self.bytes = 0
        self.errs = 0
        self.kops = 0
        self.kerrs = 0

    def ended(self) -> bool:
        """Tell whether the thread that wrote this shard is gone."""
        thread = self.thread()
        return thread is None or not thread.is_alive()


class Tally(threading.local):
    """
    The counts of one driver: ``tally.shard`` is the calling thread's own.

    `threading.local` runs ``__init__`` again in each thread that first touches it.
    """

    def __init__(self, shards: Shards) -> None:
        self.shard = shards.new()


class Shards:
    """All shards of one driver."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards both
        self._shards: list[Shard] = []
        self._ended = Shard(_nobody)

    def new(self) -> Shard:
        """Start the shard of the calling thread."""
        shard = Shard(weakref.ref(threading.current_thread()))
        with self._lock:
            if len(self._shards) >= 64:
                self._fold()
            self._shards.append(shard)
        return shard

    def _fold(self) -> None:
        running = []
        for shard in self._shards:
            if shard.ended():
                _add(self._ended, shard)
            else:
                running.append(shard)
        self._shards = running

    def total(self) -> Shard:
        """Sum all shards."""
        result = Shard(_nobody)
        with self._lock:
            for shard in (self._ended, *self._shards):
                _add(result, shard)
        return result


def _add(into: Shard, shard: Shard) -> None:
    into.ops += shard.ops
    into.bytes += shard.bytes
    into.errs += shard.errs
    into.kops += shard.kops
    into.kerrs += shard.kerrs


def _nobody() -> None:
    """Stand in for the reference to a thread that is gone."""
    return
