"""
Counters: plain integers on the hot path, summed when somebody looks.

Each thread counts for itself, so that no increment is lost and none needs a lock. The counts of a
thread that has ended are folded into the rest at the next look.
"""

from __future__ import annotations

import bisect
import itertools
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from opencrypto._measure.failures import OTHER, Failures
from opencrypto._measure.timing import Times
from opencrypto._request.symmetric import alg_name


class DriverStats(NamedTuple):
    """What one driver has done: requests, bytes, errors, migrations away from it."""

    ops: int = 0
    bytes: int = 0
    errs: int = 0
    kops: int = 0
    kerrs: int = 0
    migrated: int = 0


class Stats(NamedTuple):
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
    drivers: Mapping[str, DriverStats] = MappingProxyType({})


MAX_THREADS: Final = 64
"""With so many threads' counts of a driver, those of threads that have ended are added up."""

MAX_CHAINS: Final = 128
"""How many chains have rows of their own where something is shown by chain: the first ones."""

SIZE_BITS: Final = 6
"""Bits of an index of `ThreadCounts.sizes` that hold the size; the others number the chain."""

_OF_A_CHAIN: Final = (0,) * (1 << SIZE_BITS)

COUNTED: Final = {
    "ops": "requests dispatched",
    "errs": "requests completed with an error",
    "kops": "key operations handed to the driver",
    "kerrs": "key operations that the driver ended with an error",
    "blocks": "times that a driver could take no request for the moment (ERESTART)",
    "kblocks": "times that a driver could take no key operation for the moment",
    "bytes": "input of the requests",
    "migrated": "sessions that left the driver",
}
"""What is counted for each driver: the words of `ThreadCounts`, and of all who show them."""

SUMS: Final = ("ops", "errs", "kerrs")
"""Those that are sums of something more closely counted."""

SIZE_CLASSES: Final = (64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
"""Upper bounds, in **bytes**, of the size classes shown; one more class is for what is longer."""


class ChainNumbers:
    """
    Numbers for the chains of algorithms that sessions have had, so that counting needs no tuple.

    Number 0 stands for requests that met no session.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, ...], int] = {(): 0}
        self._chains: dict[int, tuple[int, ...]] = {0: ()}
        self._next = itertools.count(1)  # taking the next one is one step, as each line below

    def number(self, algs: Iterable[int]) -> int:
        """Return the number of a chain, ready to be added to a size: see `SIZE_BITS`."""
        chain = tuple(algs)
        number = self._numbers.get(chain)
        if number is None:
            number = next(self._next)
            self._chains[number] = chain  # for good, even if somebody else's number is kept
            number = self._numbers.setdefault(chain, number)
        return number << SIZE_BITS

    def chain(self, key: int) -> tuple[int, ...]:
        """
        Return the chain that an index of `ThreadCounts.sizes` belongs to.

        Empty for a number that no chain has: a request's ``ilen`` was negative or absurd.
        """
        return self._chains.get(key >> SIZE_BITS, ())

    def name(self, row: int) -> str:
        """Name the chain of a row (`row_of`): ``AES_CBC+SHA1_HMAC``, ``none``, or ``other``."""
        if row <= 0:
            return "other" if row == OTHER else "none"
        return "+".join(map(alg_name, self._chains.get(row, ())))


def row_of(kind: int) -> int:
    """Return the row in which a kind of session is shown: the number of its chain, or `OTHER`."""
    number = kind >> SIZE_BITS
    return number if number < MAX_CHAINS else OTHER


def size_class(key: int) -> int:
    """
    Return the place in `SIZE_CLASSES` of an index of `ThreadCounts.sizes`.

    What is longer than the last class gets the place behind it.
    """
    return bisect.bisect_left(SIZE_CLASSES, 1 << (key & ((1 << SIZE_BITS) - 1)))


class ThreadCounts:
    """
    One thread's counts of one driver. Only that thread writes them.

    Attributes:
        sizes: Requests by kind of session and by size: ``kind << 6 | (ilen - 1).bit_length()``.
            Their sum is the number of requests, so that one addition serves three counts. A list,
            since a dictionary's two look-ups are twice as dear; it grows when it must (`count`).
        failures: Requests that ended with an error. Their number is `errs`.
        kfailures: Key requests likewise: `kerrs`.
        times: Where `opencrypto.timing` puts what it measures; None while it never did.
        depth: How many calls of the driver this thread is in the midst of: more than one where a
            callback, called within ``done``, dispatches again. It is no count, and here because
            one look at what is the thread's own must do for a request.
    """

    __slots__ = (
        "blocks", "bytes", "depth", "failures", "kblocks", "kfailures", "kops", "migrated", "sizes",
        "thread", "times",
    )  # fmt: skip

    def __init__(self, thread: Callable[[], threading.Thread | None]) -> None:
        self.thread = thread
        self.sizes: list[int] = []
        self.times: Times | None = None
        self.depth = 0
        self.bytes = 0
        self.failures = Failures()
        self.kfailures = Failures()
        self.kops = 0
        self.blocks = 0
        self.kblocks = 0
        self.migrated = 0

    @property
    def ops(self) -> int:
        """How many requests were counted."""
        return sum(self.sizes.copy())

    def count(self, key: int, size: int) -> None:
        """Count a request: its place in `sizes`, and its **bytes**."""
        self.add_requests(key, 1)
        self.bytes += size

    def add_requests(self, key: int, requests: int) -> None:
        """Count several requests of one place of `sizes`; their **bytes** are the caller's."""
        self.widen(key)
        self.sizes[key] += requests

    def widen(self, key: int) -> None:
        """Have `sizes` reach to a place; what is counted stays."""
        while key >= len(self.sizes):
            self.sizes.extend(_OF_A_CHAIN)

    def by_key(self) -> dict[int, int]:
        """Return how many requests were counted at each place of `sizes` where there are any."""
        # The copy is one step of the interpreter: the other's thread may be adding to it.
        return {key: requests for key, requests in enumerate(self.sizes.copy()) if requests}

    @property
    def errs(self) -> int:
        """How many of them ended with an error."""
        return self.failures.total

    @property
    def kerrs(self) -> int:
        """How many key requests did."""
        return self.kfailures.total

    def failed(self, kind: int, code: object, text: str) -> None:
        """Count a request of a kind of session that ended with an error."""
        self.failures.count(row_of(kind), code, text)

    def by_chain(self) -> dict[int, int]:
        """Return how many requests there were, by the row of their chain."""
        found: dict[int, int] = {}
        for key, count in self.by_key().items():
            row = row_of(key)
            found[row] = found.get(row, 0) + count
        return found

    def ended(self) -> bool:
        """Tell whether the thread that wrote these counts is gone."""
        thread = self.thread()
        return thread is None or not thread.is_alive()

    def add(self, other: ThreadCounts) -> None:
        """Add another's counts to these."""
        for key, requests in other.by_key().items():
            self.add_requests(key, requests)
        self.failures.add(other.failures)
        self.kfailures.add(other.kfailures)
        for name in COUNTED:
            if name not in SUMS:
                setattr(self, name, getattr(self, name) + getattr(other, name))
        times = other.times
        if times is not None:
            if self.times is None or self.times.epoch < times.epoch:
                self.times = Times(times.epoch)
            self.times.add(times)

    def driver_stats(self) -> DriverStats:
        """Return the counts as users see them."""
        return DriverStats(
            ops=self.ops, bytes=self.bytes, errs=self.errs,
            kops=self.kops, kerrs=self.kerrs, migrated=self.migrated,
        )  # fmt: skip


class LockedCount:
    """A count off the hot path, which any thread adds to."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.value = 0

    def add(self) -> None:
        """Add one."""
        with self._lock:
            self.value += 1

    def after_fork(self) -> None:
        """Renew the lock in a forked child: a thread of the parent may have held it."""
        self._lock = threading.RLock()


class LockedCounts:
    """Counts off the hot path, by the row of a chain (`row_of`). Their sum is `value`."""

    __slots__ = ("_lock", "_rows")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: defaultdict[int, int] = defaultdict(int)

    def add(self, kind: int) -> None:
        """Add one of a kind of session."""
        row = row_of(kind)
        with self._lock:
            self._rows[row] += 1

    @property
    def value(self) -> int:
        """The sum."""
        return sum(self._rows.copy().values())

    def rows(self) -> dict[int, int]:
        """Return the counts by row."""
        return self._rows.copy()

    def after_fork(self) -> None:
        """Renew the lock in a forked child: a thread of the parent may have held it."""
        self._lock = threading.RLock()


class _FirstUse:
    """Makes ``local.counts`` in each thread that has none; then what it made comes before it."""

    def __get__(self, local: LocalCounts, _: type) -> ThreadCounts:
        local.counts = counts = local.all_threads.new()
        return counts


class LocalCounts(threading.local):
    """
    The counts of one driver: ``local.counts`` is the calling thread's own.

    Not made by an ``__init__``, which `threading.local` would run in each thread: a finalizer or a
    signal handler in the midst of that would find none.
    """

    __slots__ = ("all_threads",)  # one for all threads, unlike what is not named here
    counts: ThreadCounts

    def __init__(self, counts: Counts) -> None:
        self.all_threads = counts


LocalCounts.counts = _FirstUse()  # type: ignore[assignment]  # a descriptor that gives them


class Counts:
    """
    The counts of one driver, thread by thread.

    No lock is waited for: a finalizer or a signal handler may come here on top of itself. Who adds
    up looks first at the threads' counts and then at the sum of those that have ended, which says
    whose it has in it: so none is missed, and none counted twice.
    """

    def __init__(self) -> None:
        self._counts: list[ThreadCounts] = []
        self._ended = (ThreadCounts(_nobody), frozenset[ThreadCounts]())  # replaced, not changed
        self._folding = threading.Lock()  # tried only

    def new(self) -> ThreadCounts:
        """Start the counts of the calling thread."""
        counts = ThreadCounts(weakref.ref(threading.current_thread()))
        if len(self._counts) >= MAX_THREADS:
            self._fold()
        self._counts.append(counts)
        return counts

    def _fold(self) -> None:
        """Add the counts of the threads that have ended to the rest."""
        if not self._folding.acquire(blocking=False):
            return
        try:
            total, before = self._ended
            ended = frozenset(each for each in tuple(self._counts) if each.ended())
            fresh = ThreadCounts(_nobody)
            for each in (total, *(ended - before)):
                fresh.add(each)
            self._ended = (fresh, ended | before.intersection(self._counts))
            for each in ended:
                self._counts.remove(each)
        finally:
            self._folding.release()

    def absorb(self, others: Counts) -> None:
        """Add another driver's counts to these, for good."""
        total, ended = self._ended
        fresh = ThreadCounts(_nobody)
        fresh.add(total)
        self._ended = (others.add_to(fresh), ended)

    def running(self) -> list[ThreadCounts]:
        """Return the counts of each thread apart; some of them may have ended."""
        return self._counts.copy()

    def total(self) -> ThreadCounts:
        """Sum the counts of all threads."""
        return self.add_to(ThreadCounts(_nobody))

    def add_to(self, result: ThreadCounts) -> ThreadCounts:
        """Add the counts of all threads to a sum, and return it."""
        running = tuple(self._counts)
        total, ended = self._ended
        result.add(total)
        for counts in running:
            if counts not in ended:
                result.add(counts)
        return result

    def after_fork(self) -> None:
        """Renew the lock in a forked child: a thread of the parent may have held it."""
        self._folding = threading.Lock()


def sum_counts(several: Iterable[Counts]) -> ThreadCounts:
    """Sum the counts of several drivers."""
    result = ThreadCounts(_nobody)
    for counts in several:
        counts.add_to(result)
    return result


def _nobody() -> None:
    """Stand in for the reference to a thread that is gone."""
    return
