"""
What is exported of a framework: one list of families, which Prometheus and OpenTelemetry both read.

Pure: a look at the tree of names in, families out. A family is what a Prometheus metric is: a name,
a kind, a sentence, labels, and points. Each is written here once, so that neither has what the
other lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from opencrypto._core.tree import LEVELS
from opencrypto._measure.counters import COUNTED
from opencrypto._measure.histogram import COARSE_BOUNDS, coarse
from opencrypto._measure.timing import PHASES
from opencrypto.sysctl import Node, Value, sentence

if TYPE_CHECKING:
    from opencrypto._core.framework import Framework

NS: Final = 1e9

Kind: TypeAlias = Literal["counter", "level", "gauge", "histogram", "info"]
"""A counter only rises; a level can be summed over processes, a gauge cannot."""

SECONDS, BYTES = "seconds", "bytes"

COUNTERS: Final = {
    "stats.intrs": "request_interrupts",
    "stats.rets": "return_interrupts",
    "stats.callback_errors": "callback_errors",
    "stats.driver_bugs": "driver_bugs",
    "sessions.created": "sessions_created",
    "sessions.freed": "sessions_freed",
}
"""Counters of the whole framework: what is after ``opencrypto.``, to the family's name."""

GAUGES: Final = {
    "sessions.oldest": ("session_oldest_age", SECONDS),
    "sessions.watch": ("session_watch_enabled", ""),
    "timing": ("timing_enabled", ""),
}

DRIVER_COUNTERS: Final = {
    "ops": ("requests", ""),
    "bytes": ("request", BYTES),
    "kops": ("key_operations", ""),
    "blocks": ("blocks", ""),
    "kblocks": ("key_blocks", ""),
    "migrated": ("sessions_migrated", ""),
}
"""
Counters by driver. A driver that left keeps its series, and one of its name goes on with it, so
that rates are right and sums exact; "(none)" is for requests that met no session, or no driver.
"""

ERRORS: Final = {
    "errors": ("errs", "request_errors", "chains", "chain"),
    "kerrors": ("kerrs", "key_operation_errors", "ops", "operation"),
}
"""
Errors by driver, by errno, and by what is between them: the branch of a driver's names, the count
that they add up to, the family, the word of that between, and its label.
"""

DRIVER_LEVELS: Final = {
    "sessions": "driver_sessions",
    "inflight": "requests_in_flight",
    "kinflight": "key_operations_in_flight",
    "queued": "requests_queued",
    "blocked": "driver_blocked",
}

DRIVER_AGES: Final = {
    "blocked_for": "driver_blocked",
    "oldest_inflight": "oldest_request_in_flight",
    "oldest_kop": "oldest_key_operation_in_flight",
    "oldest_queued": "oldest_request_queued",
}

QUEUES: Final = {"request": "crypto_ret_q", "key": "crypto_ret_kq"}

QUEUE_NUMBERS: Final[Mapping[str, tuple[str, Kind]]] = {
    "len": ("return_queue_length", "level"),
    "maxlen": ("return_queue_limit", "gauge"),
    "drops": ("return_queue_drops", "counter"),
}


class Buckets(NamedTuple):
    """
    The point of a histogram.

    Attributes:
        bounds: What each bucket but the last ends below, in the family's unit.
        counts: How many are in each, not cumulated; one more than there are bounds.
        total: The sum of all that was counted.
    """

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Yield each bound, as a label has it, with how many are not above it."""
        below = 0
        for bound, count in zip([*self.bounds, float("inf")], self.counts, strict=True):
            below += count
            yield "+Inf" if bound == float("inf") else repr(float(bound)), below


Points: TypeAlias = dict[tuple[str, ...], float | Buckets]
"""Each point by the values of its labels."""


class Family(NamedTuple):
    """
    Numbers of one meaning.

    Attributes:
        name: Its name, without ``opencrypto`` before it and the unit behind it.
        kind: What the numbers are.
        text: A sentence.
        points: Each point by the labels' values, in their order; of a histogram it is `Buckets`.
        unit: ``seconds``, ``bytes``, or whatever a consumer counts in; empty for plain numbers.
        labels: Names of the labels.
        dotted: The name on the tree, if it has just one.
    """

    name: str
    kind: Kind
    text: str
    points: Points
    unit: str = ""
    labels: tuple[str, ...] = ()
    dotted: str = ""

    @property
    def full_name(self) -> str:
        """Its name and unit, as Prometheus' conventions have them."""
        return f"{self.name}_{self.unit}" if self.unit else self.name


class Look:
    """One look at a framework's tree, whose values belong together."""

    def __init__(self, framework: Framework) -> None:
        self.nodes: Mapping[str, Node] = framework.sysctl.nodes()
        self.values: Mapping[str, Value] = {name: node.get() for name, node in self.nodes.items()}
        self.drivers = self.between("opencrypto.drivers.", ".hid")
        self.gone = self.between("opencrypto.rest.drivers.", ".migrated")

    def number(self, name: str) -> float:
        """Return a number of the tree."""
        value = self.values[name]
        assert isinstance(value, int | float), name
        return value

    def text(self, name: str) -> str:
        """Return what a name means, as a sentence."""
        return sentence(self.nodes[name].description)

    def between(self, prefix: str, suffix: str) -> list[str]:
        """Return what stands between these two in names of the tree, where both do."""
        return [
            name.removeprefix(prefix).removesuffix(suffix)
            for name in self.values
            if name.startswith(prefix) and name.endswith(suffix)
        ]

    def times(self, prefix: str) -> Buckets:
        """Return the histogram of a phase, in seconds."""
        histogram = self.values[f"{prefix}.histogram"]
        assert isinstance(histogram, tuple), prefix
        bounds = tuple(bound / NS for bound in COARSE_BOUNDS)
        return Buckets(bounds, coarse(histogram), self.number(f"{prefix}.sum") / NS)


def families(framework: Framework) -> Iterator[Family]:
    """Look at the tree once, and yield all that is exported, with its points as they are now."""
    look = Look(framework)
    yield from _whole(look)
    yield from _sessions(look)
    yield from _drivers(look)
    yield from _errors(look)
    yield from _queues(look)
    yield from _work(look)
    yield from _times(look)
    yield from _consumers(look)


def _whole(look: Look) -> Iterator[Family]:
    named: Iterable[tuple[str, str, Kind, str]] = (
        *((key, name, "counter", "") for key, name in COUNTERS.items()),
        *((key, name, "gauge", unit) for key, (name, unit) in GAUGES.items()),
    )
    for key, name, kind, unit in named:
        of = f"opencrypto.{key}"
        yield Family(name, kind, look.text(of), {(): look.number(of)}, unit)


def _sessions(look: Look) -> Iterator[Family]:
    """Show how many sessions are open: of each chain that there ever was, and of each age."""
    prefix = "opencrypto.sessions"
    for branch, name, label, text in (
        ("chains", "sessions", "chain", "Sessions open"),
        ("ages", "sessions_by_age", "age", "Sessions open, by age"),
    ):
        # Of chains there is something to see from the beginning.
        points: Points = {("",): 0} if branch == "chains" else {}
        for row in look.between(f"{prefix}.{branch}.", ""):
            points[row,] = look.number(f"{prefix}.{branch}.{row}")
        yield Family(name, "level", text, points, labels=(label,))
    watched = look.values[f"{prefix}.watch"]  # else nobody knows
    yield Family(
        "session_oldest_idle",
        "gauge",
        "Longest time that an open session was asked nothing, while sessions are watched",
        {(): look.number(f"{prefix}.oldest_idle")} if watched else {},
        SECONDS,
    )


def _errors(look: Look) -> Iterator[Family]:
    """
    Show errors by driver, errno, and chain or key operation.

    Each driver has one series from the beginning, of no errno, which stays 0: so that there is
    something to see where nothing has gone wrong, and the first error is a rise of a sum.
    """
    branches = [
        *((name, f"opencrypto.drivers.{name}") for name in look.drivers),
        *((name, f"opencrypto.rest.drivers.{name}") for name in look.gone),
        ("(none)", "opencrypto.rest.strays"),
    ]
    for leaf, (total, name, word, label) in ERRORS.items():
        sums = {(driver, "", ""): 0.0 for driver, _ in branches}
        for driver, branch in branches:
            for each in look.between(f"{branch}.{leaf}.", ""):
                code, *rest = each.split(".")
                if len(rest) == 2 and rest[0] == word:
                    key = driver, rest[1], code
                    sums[key] = sums.get(key, 0.0) + look.number(f"{branch}.{leaf}.{each}")
        points: Points = dict(sorted(sums.items()))
        yield Family(
            name, "counter", sentence(COUNTED[total]), points, labels=("driver", label, "errno")
        )


def _drivers(look: Look) -> Iterator[Family]:
    yield Family(
        "driver",
        "info",
        "A driver attached",
        labels=("driver", "class"),
        points={
            (driver, str(look.values[f"opencrypto.drivers.{driver}.class"])): 1
            for driver in look.drivers
        },
    )
    yield _failed_selftests(look)
    for key, (name, unit) in DRIVER_COUNTERS.items():
        counts: Points = {
            (driver,): _count(look, driver, key) for driver in sorted({*look.drivers, *look.gone})
        }
        if f"opencrypto.rest.strays.{key}" in look.values:
            counts["(none)",] = look.number(f"opencrypto.rest.strays.{key}")
        text = sentence(COUNTED[key])
        yield Family(name, "counter", text, counts, unit, ("driver",))
    levels: Iterable[tuple[str, str, Kind, str]] = (
        *((key, name, "level", "") for key, name in DRIVER_LEVELS.items()),
        *((key, name, "gauge", SECONDS) for key, name in DRIVER_AGES.items()),
    )
    for key, name, kind, unit in levels:
        points: Points = {
            (driver,): look.number(f"opencrypto.drivers.{driver}.{key}") for driver in look.drivers
        }
        yield Family(name, kind, sentence(LEVELS[key]), points, unit, ("driver",))


def _count(look: Look, driver: str, key: str) -> float:
    """Count what a driver has done, and those of its name before it."""
    places = (("opencrypto.drivers", look.drivers), ("opencrypto.rest.drivers", look.gone))
    return sum(look.number(f"{at}.{driver}.{key}") for at, those in places if driver in those)


def _failed_selftests(look: Look) -> Family:
    """Say with 1 what each driver is not trusted with; `sysctl` has the reasons."""
    failed: Points = {
        (driver, alg): 1
        for driver in look.drivers
        for alg in look.between(f"opencrypto.drivers.{driver}.failed.", "")
        if "." not in alg  # or it is of a driver whose own name goes on so
    }
    text = "1: the driver is not trusted with this algorithm or key operation."
    return Family("selftest_failed", "gauge", text, failed, labels=("driver", "alg"))


def _queues(look: Look) -> Iterator[Family]:
    for leaf, (name, kind) in QUEUE_NUMBERS.items():
        points: Points = {
            (of,): look.number(f"opencrypto.{queue}.{leaf}") for of, queue in QUEUES.items()
        }
        text = look.text(f"opencrypto.{QUEUES['request']}.{leaf}")
        yield Family(name, kind, text, points, labels=("kind",))


def _work(look: Look) -> Iterator[Family]:
    yield Family(
        "algorithm_requests",
        "counter",
        "Requests of sessions that have the algorithm",
        labels=("algorithm",),
        points={
            (alg,): look.number(f"opencrypto.algs.{alg}.ops")
            for alg in look.between("opencrypto.algs.", ".ops")
        },
    )
    bounds, counts = (look.values[f"opencrypto.sizes.{leaf}"] for leaf in ("bounds", "ops"))
    assert isinstance(bounds, tuple)
    assert isinstance(counts, tuple)
    sizes = Buckets(bounds, counts, look.number("opencrypto.sizes.bytes"))
    yield Family("request_size", "histogram", "Requests by their input", {(): sizes}, BYTES)


def _times(look: Look) -> Iterator[Family]:
    for phase, lasts in PHASES.items():
        yield Family(
            f"request_{phase}",
            "histogram",
            f"Time {lasts}, while opencrypto.timing is 1",
            {(): look.times(f"opencrypto.timing.{phase}")},
            SECONDS,
        )
    yield Family(
        "driver_latency",
        "histogram",
        f"Time {PHASES['done']}, while opencrypto.timing is 1",
        {(driver,): look.times(f"opencrypto.drivers.{driver}.latency") for driver in look.drivers},
        SECONDS,
        ("driver",),
    )


def _consumers(look: Look) -> Iterator[Family]:
    """What consumers count, each number under the name that it has on the tree."""
    for name, node in look.nodes.items():
        if node.kind:
            called = name.replace(".", "_")
            if node.unit:
                called = called.removesuffix(f"_{node.unit}")
            points: Points = {(): look.number(name)}
            text = sentence(node.description)
            yield Family(called, node.kind, text, points, node.unit, dotted=name)
