"""
What a framework shows of itself: its drivers, its counters, and its sysctl names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from opencrypto._drivertable import DriverTable, Slot
from opencrypto._kops import KOPS
from opencrypto._retq import ReturnQueue
from opencrypto._stats import Stats
from opencrypto.driver import CLASS_NAMES
from opencrypto.sysctl import Node
from opencrypto.xform import FACTS

if TYPE_CHECKING:
    from opencrypto._dispatch import Dispatcher
    from opencrypto._keyops import KeyOps
    from opencrypto._migrate import Sessions
    from opencrypto._plugins import Failure


R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """
    A driver as an operator sees it; one that could not be attached has a `reason` and no `hid`.

    Attributes:
        name: Its token.
        hid: Its id, or None.
        tier: ``hardware``, ``accelerated`` or ``software``; empty if not attached.
        flags: ``CRYPTOCAP_F_*``.
        algorithms: Names of what it offers, in order of number.
        keyops: Names of its key operations, likewise.
        sessions: How many it has open.
        queued: How many requests wait for it.
        blocked: Whether it takes none for now.
        reason: Why it could not be attached; empty if it is.
    """

    name: str
    hid: int | None = None
    tier: str = ""
    flags: int = 0
    algorithms: tuple[str, ...] = ()
    keyops: tuple[str, ...] = ()
    sessions: int = 0
    queued: int = 0
    blocked: bool = False
    reason: str = ""


@dataclass(slots=True)
class Settings:
    """What an operator may set."""

    usercrypto: int = 1
    userasymcrypto: int = 1
    cryptodevallowsoft: int = 1


def driver_infos(drivers: DriverTable, failures: Iterable[Failure]) -> list[DriverInfo]:
    """List what is attached, by id, then what could not be."""
    attached = [_info(slot) for slot in drivers if slot.algs or slot.kops or slot.driver]
    return attached + [DriverInfo(each.name, reason=each.reason) for each in failures]


def _info(slot: Slot) -> DriverInfo:
    return DriverInfo(
        name=slot.name,
        hid=slot.hid,
        tier=CLASS_NAMES[slot.tier],
        flags=slot.flags,
        algorithms=tuple(FACTS[alg].name for alg in sorted(slot.algs)),
        keyops=tuple(KOPS[op].name for op in sorted(slot.kops)),
        sessions=len(slot.sessions),
        queued=len(slot.queue),
        blocked=slot.queue.blocked,
    )


def take_stats(
    drivers: DriverTable, sessions: Sessions, dispatcher: Dispatcher, keyops: KeyOps
) -> Stats:
    """Sum the counters as they are now. Drivers that left count in the totals."""
    ops, errs = dispatcher.stray_counts()
    kops, kerrs = keyops.counts()
    per_driver = {slot.name: slot.stats() for slot in drivers}
    every = [drivers.departed, *per_driver.values()]
    return Stats(
        ops=ops + sum(each.ops for each in every),
        errs=errs + sum(each.errs for each in every),
        kops=kops,
        kerrs=kerrs,
        intrs=dispatcher.intrs,
        rets=dispatcher.rets,
        blocks=dispatcher.blocks,
        kblocks=keyops.blocks,
        migrated=sessions.migrated,
        callback_errors=dispatcher.callback_errors + keyops.callback_errors,
        driver_bugs=dispatcher.driver_bugs + keyops.driver_bugs,
        drivers=per_driver,
    )


def settings_branch(settings: Settings) -> list[Node]:
    """The names of cryptodev(4)'s settings."""

    def node(attribute: str, description: str, low: int, high: int) -> Node:
        return Node(
            f"kern.{attribute}",
            description,
            lambda: getattr(settings, attribute),
            lambda value: setattr(settings, attribute, value),
            low,
            high,
        )

    return [
        node("usercrypto", "whether user programs may open sessions (1) or not (0)", 0, 1),
        node("userasymcrypto", "whether user programs may do key operations (1) or not (0)", 0, 1),
        node(
            "cryptodevallowsoft",
            "drivers for user sessions: 1 hardware only, 0 all, -1 software only",
            -1,
            1,
        ),
    ]


def queue_branch(name: str, queue: ReturnQueue[R]) -> list[Node]:
    """The names of a return queue."""

    def set_maxlen(value: int) -> None:
        queue.maxlen = value

    prefix = f"opencrypto.{name}"
    return [
        Node(
            f"{prefix}.len", "completed requests that wait for their callbacks", lambda: len(queue)
        ),
        Node(
            f"{prefix}.maxlen",
            "the length over which no requests are handed out; 0 or less for none",
            lambda: queue.maxlen,
            set_maxlen,
        ),
        Node(f"{prefix}.drops", "requests not handed out for that", lambda: queue.drops),
    ]
