"""
The names of a framework, hung on its tree: what each is called, means, and reads.

Another room that has something to show hangs its own branch with `Sysctl.graft`, from here or
from `Framework`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from opencrypto._core.census import AGES, STEP, Census
from opencrypto._core.driver_table import DriverTable
from opencrypto._core.errors_by_name import OPERATIONS, error_nodes
from opencrypto._core.queues import RequestQueue
from opencrypto._core.returns import Request, ReturnQueue
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Session, Slot
from opencrypto._core.views import (
    Settings,
    Snapshot,
    blocked_for,
    blocked_since,
    failed_selftests,
)
from opencrypto._measure.counters import (
    COUNTED,
    SIZE_CLASSES,
    ChainNumbers,
    ThreadCounts,
    size_class,
)
from opencrypto._measure.histogram import BOUNDS
from opencrypto._measure.timing import PHASES, Phase
from opencrypto._request.key import Cryptkop
from opencrypto._request.symmetric import Cryptop, alg_name
from opencrypto._state import SlotState
from opencrypto.driver import CLASS_NAMES
from opencrypto.sysctl import Node, Sysctl, Value
from opencrypto.xform import FACTS

if TYPE_CHECKING:
    from opencrypto._core.key_requests import KeyRequests
    from opencrypto._core.requests import Dispatcher

R = TypeVar("R", bound=Request)

LONGEST_REASON: Final = 1000
"""How many characters of why a self-test failed are shown."""

STATE: Final = "attached, blocked (it takes no requests), or leaving (it takes no new sessions)"

LEVELS: Final = {
    "sessions": "sessions open on the driver",
    "inflight": "requests accepted and not answered yet",
    "kinflight": "key operations among them",
    "queued": "requests that wait for the driver",
    "blocked": "1 while the driver takes no requests",
    "blocked_for": "seconds that the driver has taken no requests, 0 if it takes them",
    "oldest_inflight": "age in seconds of the oldest request that the driver has not answered",
    "oldest_kop": "age in seconds of the oldest key operation among them",
    "oldest_queued": "age in seconds of the oldest request that waits for the driver",
}
"""What goes up and down with each driver: the words of all who show it."""


def add_names(
    tree: Sysctl,
    settings: Settings,
    drivers: DriverTable,
    sessions: Sessions,
    dispatcher: Dispatcher,
    keyops: KeyRequests,
) -> None:
    """Hang all names of a framework on its tree but those of its return queues."""

    def look() -> Snapshot:
        return Snapshot(drivers, dispatcher)

    tree.graft(lambda: settings_branch(settings), "kern.")
    tree.graft(lambda: stats_branch(look(), keyops), "opencrypto.stats.")
    tree.graft(lambda: timing_branch(look()), "opencrypto.timing")
    tree.graft(lambda: session_branch(sessions, look()), "opencrypto.sessions.")
    tree.graft(lambda: chain_branch(look(), sessions), "opencrypto.chains.")
    tree.graft(lambda: size_branch(look()), "opencrypto.sizes.")
    tree.graft(lambda: alg_branch(look(), drivers, sessions.chain_numbers), "opencrypto.algs.")
    chain_name = sessions.chain_numbers.name
    tree.graft(
        lambda: driver_branches(look(), chain_name), "opencrypto.drivers.", "opencrypto.rest."
    )


def add_queue(tree: Sysctl, name: str, queue: ReturnQueue[R]) -> None:
    """Hang the names of a return queue on a tree."""
    tree.graft(lambda: queue_branch(name, queue), f"opencrypto.{name}.")


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


def stats_branch(look: Snapshot, keyops: KeyRequests) -> Iterator[Node]:
    """``struct cryptostats``, and two counts of what went wrong beside requests."""
    dispatcher = look.dispatcher
    for name in ("ops", "errs", "blocks", "kblocks"):
        yield Node(f"opencrypto.stats.{name}", COUNTED[name], _attribute(lambda: look.total, name))
    # A key operation that moves on to another driver is counted for each, but is one.
    yield Node("opencrypto.stats.kops", "key operations dispatched", lambda: keyops.counts()[0])
    yield Node(
        "opencrypto.stats.kerrs",
        "key operations completed with an error",
        lambda: keyops.counts()[1],
    )
    yield Node("opencrypto.stats.intrs", "runs of the request interrupt", lambda: dispatcher.intrs)
    yield Node("opencrypto.stats.rets", "runs of the return interrupt", lambda: dispatcher.rets)
    yield Node(
        "opencrypto.stats.callback_errors",
        "callbacks that raised",
        lambda: dispatcher.callbacks.errors.value,
    )
    yield Node(
        "opencrypto.stats.driver_bugs",
        "times that a driver broke its contract",
        lambda: dispatcher.bugs.count,
    )
    yield from error_nodes("opencrypto.stats.errors", look.total.failures)
    yield from error_nodes("opencrypto.stats.kerrors", keyops.failures(), OPERATIONS)


def _attribute(counts: Callable[[], ThreadCounts], name: str) -> Callable[[], Value]:
    def get() -> Value:
        value: int = getattr(counts(), name)
        return value

    return get


def timing_branch(look: Snapshot) -> Iterator[Node]:
    """The phases of requests, over all drivers; and the switch."""
    watcher = look.dispatcher.watcher
    yield Node(
        "opencrypto.timing",
        "whether requests' phases are measured (1) or not (0); 0 to 1 starts anew",
        lambda: watcher.timing,
        watcher.set_timing,
        0,
        1,
    )
    yield Node(
        "opencrypto.timing.bounds",
        "what the histograms' buckets end below; one more holds what is longer",
        lambda: BOUNDS,
        type="integers",
        unit="ns",
    )
    for place, (phase, lasts) in enumerate(PHASES.items()):
        yield from _phase_nodes(f"opencrypto.timing.{phase}", lasts, _phase_of(look, place))


def _phase_of(look: Snapshot, place: int) -> Callable[[], Phase]:
    return lambda: look.phase(look.total, place)


def _phase_nodes(prefix: str, meaning: str, phase: Callable[[], Phase]) -> list[Node]:
    def node(name: str, what: str, get: Callable[[], int], unit: str = "ns") -> Node:
        return Node(f"{prefix}.{name}", f"{what} {meaning}", get, unit=unit)

    return [
        node("count", "how many times were measured", lambda: phase().count, ""),
        node("sum", "sum of the times", lambda: phase().total),
        node("min", "shortest time", lambda: phase().low if phase().count else 0),
        node("max", "longest time", lambda: phase().high),
        node("p50", "time that half stay under", lambda: phase().quantile(0.5)),
        node("p99", "time that 99 of 100 stay under", lambda: phase().quantile(0.99)),
        Node(
            f"{prefix}.histogram",
            f"how many times lie under each of opencrypto.timing.bounds, and beyond, {meaning}",
            lambda: tuple(phase().histogram),
            type="integers",
        ),
    ]


def session_branch(sessions: Sessions, look: Snapshot) -> Iterator[Node]:
    """How many sessions there are and were, of which chains and how old."""
    prefix = "opencrypto.sessions"
    watcher = look.dispatcher.watcher
    census = Census(sessions, watcher)
    active = sessions.active()

    def found(what: Callable[[], float]) -> Callable[[], Iterator[float | None]]:
        def steps() -> Iterator[float | None]:
            yield from census.steps()
            yield what()

        return steps

    def seconds(name: str, description: str, what: Callable[[], float]) -> Node:
        found_so = found(lambda: round(what(), 3))
        return Node.in_steps(f"{prefix}.{name}", description, found_so, type="number", unit="s")

    def how_many(name: str) -> Callable[[], int]:
        return lambda: census.ages[name]

    yield Node(
        f"{prefix}.active", "sessions open, a virtual one as one", lambda: sum(active.values())
    )
    yield Node(f"{prefix}.created", "sessions opened, ever", lambda: sessions.created.value)
    yield Node(f"{prefix}.freed", "sessions freed, ever", lambda: sessions.freed.value)
    yield Node(f"{prefix}.migrated", "moves to another driver", lambda: look.total.migrated)
    yield seconds("oldest", "age of the oldest open session", lambda: census.oldest)
    yield seconds(
        "oldest_idle",
        "longest time that an open session was asked nothing; 0 unless sessions are watched",
        lambda: census.oldest_idle,
    )
    yield Node(
        f"{prefix}.watch",
        "whether each session's requests are counted (1) or not (0); 0 to 1 starts anew",
        lambda: watcher.watching,
        watcher.set_watching,
        0,
        1,
    )
    for name in AGES:
        yield Node.in_steps(
            f"{prefix}.ages.{name}",
            f"sessions open, {name.replace('_', ' ')} old",
            found(how_many(name)),
        )
    for row in sorted(active):
        yield Node(
            f"{prefix}.chains.{sessions.chain_numbers.name(row)}",
            "sessions open, of this chain",
            _number(active[row]),
        )


def _number(value: int) -> Callable[[], int]:
    return lambda: value


def chain_branch(look: Snapshot, sessions: Sessions) -> Iterator[Node]:
    """Requests by the chain of their session, and what went wrong with them."""
    failures = look.total.failures
    for row, ops in sorted(look.total.by_chain().items()):
        prefix = f"opencrypto.chains.{sessions.chain_numbers.name(row)}"
        own = failures.of(row)
        yield Node(f"{prefix}.ops", "requests of sessions of this chain", _number(ops))
        yield Node(f"{prefix}.errs", "those that ended with an error", _number(own.total))
        yield from error_nodes(f"{prefix}.errors", own)


def _by_the_step(sessions: Iterable[Session]) -> Iterator[list[Session]]:
    """Yield the sessions that there are now, as many at a time as are looked at in one step."""
    there = list(sessions)
    for start in range(0, len(there), STEP):
        yield there[start : start + STEP]


def _by_size(sizes: dict[int, int]) -> tuple[int, ...]:
    result = [0] * (len(SIZE_CLASSES) + 1)
    for key, count in sizes.items():
        result[size_class(key)] += count
    return tuple(result)


def size_branch(look: Snapshot) -> list[Node]:
    """Requests by size."""
    return [
        Node(
            "opencrypto.sizes.bounds",
            "upper bounds of the size classes; one more is for what is longer",
            lambda: SIZE_CLASSES,
            type="integers",
            unit="bytes",
        ),
        Node(
            "opencrypto.sizes.ops",
            "requests dispatched, by size class of their ilen",
            lambda: _by_size(look.total.by_key()),
            type="integers",
        ),
        Node("opencrypto.sizes.bytes", "sum of all ilen", lambda: look.total.bytes, unit="bytes"),
    ]


def alg_branch(look: Snapshot, drivers: DriverTable, kinds: ChainNumbers) -> Iterator[Node]:
    """Requests by algorithm: those that drivers offer, and those that were ever asked for."""
    used: dict[int, dict[int, int]] = {alg: {} for slot in drivers for alg in list(slot.sym.algs)}
    for key, count in look.total.by_key().items():
        for alg in set(kinds.chain(key)):
            used.setdefault(alg, {})[key] = count
    for alg in sorted(used):
        yield from _alg_nodes(alg_name(alg), used[alg])


def _alg_nodes(name: str, sizes: dict[int, int]) -> list[Node]:
    prefix = f"opencrypto.algs.{name}"
    return [
        Node(
            f"{prefix}.ops",
            "requests of sessions that have this algorithm",
            lambda: sum(sizes.values()),
        ),
        Node(
            f"{prefix}.sizes",
            "the same by size class: see opencrypto.sizes.bounds",
            lambda: _by_size(sizes),
            type="integers",
        ),
    ]


def driver_branches(look: Snapshot, chain_name: Callable[[int], str]) -> Iterator[Node]:
    """Each driver attached, or leaving; and those that left: one or the other, at one look."""
    counts = look.drivers
    for name, slot in look.slots.items():
        yield from _driver_nodes(look, name, slot, counts[name])
        yield from _errors_of(f"opencrypto.drivers.{name}", counts[name], chain_name)
    yield from rest_branch(look, chain_name)


def _errors_of(
    prefix: str, counts: ThreadCounts, chain_name: Callable[[int], str]
) -> Iterator[Node]:
    yield from error_nodes(f"{prefix}.errors", counts.failures, ("chains", chain_name))
    yield from error_nodes(f"{prefix}.kerrors", counts.kfailures, OPERATIONS)


def _driver_nodes(look: Snapshot, driver: str, slot: Slot, counted: ThreadCounts) -> Iterator[Node]:
    prefix = f"opencrypto.drivers.{driver}"
    counts = _constant(counted)

    def inflight() -> Iterator[int | None]:
        requests = len(slot.keys.inflight)
        for some in _by_the_step(slot.sym.sessions.copy().values()):
            requests += sum(len(session.inflight) for session in some)
            yield None
        yield requests

    def queued() -> int:
        return len(slot.sym.queue) + len(slot.keys.queue)

    def algs() -> str:
        return " ".join(FACTS[alg].name for alg in sorted(slot.sym.algs))

    def blocked() -> int:
        return int(slot.sym.queue.blocked or slot.keys.queue.blocked)

    yield Node(f"{prefix}.hid", "its id", lambda: slot.hid)
    yield Node(f"{prefix}.class", "its class", lambda: CLASS_NAMES[slot.tier], type="string")
    yield Node(f"{prefix}.flags", "CRYPTOCAP_F_* flags", lambda: slot.flags)
    yield Node(f"{prefix}.sessions", LEVELS["sessions"], lambda: len(slot.sym.sessions))
    yield Node.in_steps(f"{prefix}.inflight", LEVELS["inflight"], inflight)
    yield Node(f"{prefix}.kinflight", LEVELS["kinflight"], lambda: len(slot.keys.inflight))
    yield Node(f"{prefix}.queued", LEVELS["queued"], queued)
    yield Node(f"{prefix}.blocked", LEVELS["blocked"], blocked)
    yield from _stuck_nodes(prefix, slot)
    for name, what in COUNTED.items():
        unit = "bytes" if name == "bytes" else ""
        yield Node(f"{prefix}.{name}", what, _attribute(counts, name), unit=unit)
    yield Node(f"{prefix}.algs", "algorithms it has", algs, type="string")
    yield Node(f"{prefix}.state", STATE, lambda: _state_of(slot), type="string")
    for alg, why in failed_selftests(slot):
        yield Node(
            f"{prefix}.failed.{alg}",
            "why the driver is not trusted with this",
            _always(str(why)[:LONGEST_REASON]),
            type="string",
        )
    yield from _phase_nodes(f"{prefix}.latency", PHASES["done"], lambda: look.phase(counts(), 1))


def _state_of(slot: Slot) -> str:
    if slot.state is SlotState.CLEANUP:
        return "leaving"
    return "blocked" if slot.sym.queue.blocked or slot.keys.queue.blocked else "attached"


def _always(text: str) -> Callable[[], str]:
    return lambda: text


def _stuck_nodes(prefix: str, slot: Slot) -> Iterator[Node]:
    """What tells a driver that is stuck from one that is busy."""
    queues = (slot.sym.queue, slot.keys.queue)

    def key_since(now: float) -> float:
        return min((_since(krp, now) for krp in slot.keys.inflight.copy()), default=now)

    def oldest_kop() -> float:
        now = time.monotonic()
        return round(now - key_since(now), 3)

    def oldest_inflight() -> Iterator[float | None]:
        now = time.monotonic()
        since = key_since(now)
        for some in _by_the_step(slot.sym.sessions.copy().values()):
            asked = (crp for session in some for crp in session.inflight.copy())
            since = min(since, *(_since(crp, now) for crp in asked), now)
            yield None
        yield round(now - since, 3)

    def oldest_queued() -> float:
        now = time.monotonic()
        heads = _heads(queues)
        return round(now - min((_since(head, now) for head in heads), default=now), 3)

    def seconds(name: str, get: Callable[[], float], text: str = "") -> Node:
        return Node(f"{prefix}.{name}", text or LEVELS[name], get, type="number", unit="s")

    yield seconds("blocked_for", lambda: round(blocked_for(slot), 3))
    yield seconds(
        "blocked_since",
        lambda: blocked_since(slot),
        "when that began, seconds since 1970; 0 if not",
    )
    yield Node(
        f"{prefix}.unblocked",
        "times that the driver said it takes requests again",
        lambda: sum(each.unblocks for each in queues),
    )
    yield Node.in_steps(
        f"{prefix}.oldest_inflight",
        LEVELS["oldest_inflight"],
        oldest_inflight,
        type="number",
        unit="s",
    )
    yield seconds("oldest_kop", oldest_kop)
    yield seconds("oldest_queued", oldest_queued)


def _heads(queues: Iterable[RequestQueue[Any]]) -> Iterator[Any]:
    """Yield the request at the head of each queue."""
    for queue in queues:
        try:
            yield queue.items[0]
        except IndexError:
            pass  # nothing waits


def _since(request: Cryptop | Cryptkop, now: float) -> float:
    """Tell since when a request waits; one that the driver is just called with, from now on."""
    if not request.since:
        request.since = now
    return request.since


def rest_branch(look: Snapshot, chain_name: Callable[[int], str]) -> Iterator[Node]:
    """What the totals hold beside the drivers attached now."""
    for name, meaning, those in (
        ("departed", "by drivers that left", look.departed),
        ("strays", "that met no session, or one that had moved", look.without_session),
    ):
        counts = _constant(those)
        for count in ("ops", "errs", "bytes"):
            yield Node(
                f"opencrypto.rest.{name}.{count}", f"{count} {meaning}", _attribute(counts, count)
            )
        yield from _errors_of(f"opencrypto.rest.{name}", those, chain_name)
    for driver, gone in look.gone.items():
        for count in COUNTED:
            yield Node(
                f"opencrypto.rest.drivers.{driver}.{count}",
                f"{count} by a driver of this name that left",
                _attribute(_constant(gone), count),
            )
        yield from _errors_of(f"opencrypto.rest.drivers.{driver}", gone, chain_name)


def _constant(counts: ThreadCounts) -> Callable[[], ThreadCounts]:
    return lambda: counts
