"""
What a framework shows of itself: its drivers and its counters; by name they are in `tree`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from opencrypto._core.driver_table import DriverTable
from opencrypto._core.slots import Slot
from opencrypto._measure.counters import Stats, ThreadCounts, sum_counts
from opencrypto._measure.timing import Phase
from opencrypto._request.key import KOPS
from opencrypto._state import SlotState
from opencrypto.driver import CLASS_NAMES, Capability, Driver
from opencrypto.xform import FACTS

if TYPE_CHECKING:
    from opencrypto._core.key_requests import KeyRequests
    from opencrypto._core.plugins import Plugins
    from opencrypto._core.requests import Dispatcher


class DriverInfo(NamedTuple):
    """
    A driver as an operator sees it. One that could not be attached, or has left by itself, has a
    `reason` and no `hid`.

    Attributes:
        name: Its token.
        hid: Its id, or None.
        tier: ``hardware``, ``accelerated`` or ``software``; empty if not attached.
        flags: ``CRYPTOCAP_F_*``.
        algorithms: Names of what it offers, in order of number.
        keyops: Names of its key operations, likewise.
        rngs: Names of its random number generators, sorted.
        implementations: Names of algorithms that something with a name of its own serves, and it.
        absent: Names of algorithms that turned out not to be there after all, and why.
        failed: Names of what it is not trusted with, and why: its known answers failed, or it
            withholds a key operation itself.
        remarks: What it says of itself, such as why it hands sessions back.
        facts: What it is bound to, where that is not the usual: the word of `opencrypto.Driver`, or
            the name of an algorithm or key operation, and what it says of it.
        sessions: How many it has open.
        queued: How many requests wait for it.
        blocked: Whether it takes none for now.
        blocked_since: When that began, in seconds since 1970; 0.0 if it takes requests.
        offered: Whether a plugin has offered it, and so attaching it by name can bring it back.
        leaving: Whether it takes no new sessions, and goes when its requests are answered.
        reason: Why it could not be attached, or left; empty if it is attached.
        distribution: The distribution that it comes with; empty if a program has brought it.
        version: That distribution's version.
        file: Where the plugin's code is.
    """

    name: str
    hid: int | None = None
    tier: str = ""
    flags: int = 0
    algorithms: tuple[str, ...] = ()
    keyops: tuple[str, ...] = ()
    rngs: tuple[str, ...] = ()
    implementations: tuple[tuple[str, str], ...] = ()
    absent: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    sessions: int = 0
    queued: int = 0
    blocked: bool = False
    blocked_since: float = 0.0
    offered: bool = False
    leaving: bool = False
    reason: str = ""
    distribution: str = ""
    version: str = ""
    file: str = ""


class Settings:
    """What an operator may set: cryptodev(4)'s ``kern.`` names, at their defaults."""

    def __init__(self) -> None:
        self.usercrypto = 1
        self.userasymcrypto = 1
        self.cryptodevallowsoft = 1


def driver_infos(drivers: DriverTable, plugins: Plugins) -> list[DriverInfo]:
    """List what is attached, by id, then what could not be, then what left by itself."""
    attached = [_info(slot, plugins) for slot in drivers if _is_there(slot)]
    failed = [
        DriverInfo(each.name, reason=each.reason, **each.origin.words) for each in plugins.failures
    ]
    left = [
        DriverInfo(name, reason=f"left: {reason}", **origin.words)
        for name, (reason, origin) in drivers.departed.reasons.copy().items()
    ]
    return attached + failed + left


def _is_there(slot: Slot) -> bool:
    return not slot.reason and bool(slot.sym.algs or slot.keys.ops or slot.driver)


def blocked_for(slot: Slot) -> float:
    """Return for how many seconds a driver has taken no requests; 0.0 if it takes them."""
    now = time.monotonic()
    queues = (slot.sym.queue, slot.keys.queue)
    return max([now - each.blocked_at for each in queues if each.blocked], default=0.0)


def blocked_since(slot: Slot) -> float:
    """Return when that began, in seconds since 1970; 0.0 if it takes them."""
    lasts = blocked_for(slot)
    return round(time.time() - lasts, 3) if lasts else 0.0


def _info(slot: Slot, plugins: Plugins) -> DriverInfo:
    driver = slot.driver  # which may leave meanwhile
    return DriverInfo(
        name=slot.name,
        hid=slot.hid,
        tier=CLASS_NAMES[slot.tier],
        flags=slot.flags,
        algorithms=tuple(FACTS[alg].name for alg in sorted(slot.sym.algs)),
        keyops=tuple(KOPS[op].name for op in sorted(slot.keys.ops)),
        rngs=tuple(sorted(slot.driver.rngs)) if slot.driver is not None else (),
        implementations=_known(slot, lambda capability: capability.implementation),
        absent=_known(slot, lambda capability: capability.absence),
        failed=tuple(failed_selftests(slot)),
        remarks=tuple(driver.remarks) if driver is not None else (),
        facts=tuple(_facts(driver)) if driver is not None else (),
        sessions=len(slot.sym.sessions),
        queued=len(slot.sym.queue) + len(slot.keys.queue),
        blocked=slot.sym.queue.blocked or slot.keys.queue.blocked,
        blocked_since=blocked_since(slot),
        offered=driver is not None and plugins.offers(driver.name),
        leaving=slot.state is SlotState.CLEANUP,
        **slot.origin.words,
    )


def _facts(driver: Driver) -> Iterator[tuple[str, str]]:
    """Yield what a driver is bound to, in the order of the words of `Driver`."""
    for word in ("max_sessions", "max_inflight"):
        if most := getattr(driver, word):
            yield word, str(most)
    if driver.alignment > 1:
        yield "alignment", f"{driver.alignment} bytes"
    for word in ("exclusive", "only_if_named"):
        if getattr(driver, word):
            yield word, "yes"
    for alg, capability in driver.capabilities.items():
        if capability.direction:
            yield FACTS[alg].name, f"{capability.direction} only"
    if isinstance(driver.keyops, Mapping):
        for op, bounds in driver.keyops.items():
            if str(bounds):
                yield KOPS[op].name, str(bounds)


def failed_selftests(slot: Slot) -> Iterator[tuple[str, str]]:
    """Yield what a driver is not trusted with, algorithms before key operations, and why."""
    for alg in sorted(slot.sym.failed):
        yield FACTS[alg].name, slot.sym.failed[alg]
    driver = slot.driver  # which may leave meanwhile
    withheld = dict(driver.withheld) if driver is not None else {}
    for op in sorted(withheld):
        if op in KOPS:
            yield KOPS[op].name, withheld[op]


def _known(slot: Slot, what: Callable[[Capability], str]) -> tuple[tuple[str, str], ...]:
    """Return what is known of each algorithm, by name, where there is something to say."""
    driver = slot.driver
    known = driver.capabilities if driver is not None else {}
    said = ((FACTS[alg].name, what(known[alg])) for alg in sorted(slot.sym.algs) if alg in known)
    return tuple((name, text) for name, text in said if text)


class Snapshot:
    """The counters as they are at one moment; each is looked up when it is first wanted."""

    def __init__(self, drivers: DriverTable, dispatcher: Dispatcher) -> None:
        self._drivers = drivers
        self.dispatcher = dispatcher

    @cached_property
    def _counts(self) -> tuple[dict[str, tuple[Slot, ThreadCounts]], dict[str, ThreadCounts]]:
        return self._drivers.counts()

    @property
    def slots(self) -> dict[str, Slot]:
        """The slot of each driver attached, or leaving, by name."""
        return {name: slot for name, (slot, _) in self._counts[0].items()}

    @property
    def drivers(self) -> dict[str, ThreadCounts]:
        """The counts of each of them, by name."""
        return {name: counts for name, (_, counts) in self._counts[0].items()}

    @property
    def gone(self) -> dict[str, ThreadCounts]:
        """The counts of drivers that left, by the names they had."""
        return self._counts[1]

    @cached_property
    def departed(self) -> ThreadCounts:
        """The counts of all drivers that left."""
        departed = sum_counts([])
        for each in self.gone.values():
            departed.add(each)
        return departed

    @cached_property
    def without_session(self) -> ThreadCounts:
        """The counts of requests that met no session."""
        return self.dispatcher.without_session.total()

    @cached_property
    def total(self) -> ThreadCounts:
        """The counts of all."""
        total = sum_counts([])
        for each in (*self.drivers.values(), self.departed, self.without_session):
            total.add(each)
        return total

    def phase(self, counts: ThreadCounts, place: int) -> Phase:
        """Return a phase as the present run of timing, or the last one, has measured it."""
        times = counts.times
        if times is None or times.epoch != self.dispatcher.watcher.epoch:
            return Phase()
        return times.phases[place]


def take_stats(drivers: DriverTable, dispatcher: Dispatcher, keyops: KeyRequests) -> Stats:
    """Sum the counters as they are now. Drivers that left count in the totals."""
    look = Snapshot(drivers, dispatcher)
    kops, kerrs = keyops.counts()
    return Stats(
        ops=look.total.ops,
        errs=look.total.errs,
        kops=kops,
        kerrs=kerrs,
        intrs=dispatcher.intrs,
        rets=dispatcher.rets,
        blocks=look.total.blocks,
        kblocks=look.total.kblocks,
        migrated=look.total.migrated,
        callback_errors=dispatcher.callbacks.errors.value,
        driver_bugs=dispatcher.bugs.count,
        drivers={name: counts.driver_stats() for name, counts in look.drivers.items()},
    )
