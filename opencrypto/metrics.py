"""
Prometheus metrics of a framework, read from its tree of names when they are scraped.

Needs the extra ``metrics`` (prometheus-client). Nothing is counted for it beside what the
framework counts anyway, and nothing runs between scrapes::

    from prometheus_client import REGISTRY, start_http_server
    REGISTRY.register(opencrypto.metrics.Collector(framework))
    start_http_server(9464, "127.0.0.1")

Names and units follow Prometheus' conventions: seconds, bytes, ``_total``. With several
frameworks in one registry give each a name: ``Collector(framework, name="esp")``. A second one
without a name, or of the same name, is refused when it is registered (ValueError).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector as _Collector

from opencrypto._core.tree import LEVELS
from opencrypto._measure.counters import COUNTED
from opencrypto._measure.histogram import COARSE_BOUNDS, coarse
from opencrypto._measure.timing import PHASES
from opencrypto.sysctl import Node, Value, sentence

if TYPE_CHECKING:
    from opencrypto._core.framework import Framework

__all__ = ["Collector", "serving"]

NS: Final = 1e9

COUNTERS: Final = {
    "stats.intrs": "request_interrupts",
    "stats.rets": "return_interrupts",
    "stats.callback_errors": "callback_errors",
    "stats.driver_bugs": "driver_bugs",
    "sessions.created": "sessions_created",
    "sessions.freed": "sessions_freed",
}
"""Counters of the whole framework: what is after ``opencrypto.``, to the metric's name."""

GAUGES: Final = {
    "sessions.oldest": "session_oldest_age_seconds",
    "sessions.watch": "session_watch_enabled",
    "timing": "timing_enabled",
}

DRIVER_COUNTERS: Final = {
    "ops": "requests",
    "bytes": "request_bytes",
    "kops": "key_operations",
    "blocks": "blocks",
    "kblocks": "key_blocks",
    "migrated": "sessions_migrated",
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
that they add up to, the metric, the word of that between, and its label.
"""

DRIVER_GAUGES: Final = {
    "sessions": "driver_sessions",
    "inflight": "requests_in_flight",
    "queued": "requests_queued",
    "blocked": "driver_blocked",
    "blocked_for": "driver_blocked_seconds",
    "oldest_inflight": "oldest_request_in_flight_seconds",
    "oldest_queued": "oldest_request_queued_seconds",
}

QUEUES: Final = {"request": "crypto_ret_q", "key": "crypto_ret_kq"}


class Collector(_Collector):
    """
    Shows a framework's tree to a Prometheus registry.

    A framework that is closed shows what it last counted; no method raises.

    Args:
        framework: The framework; its tree is read at each scrape.
        name: The value of a label ``framework``; without it there is no such label.
    """

    def __init__(self, framework: Framework, name: str = "") -> None:
        self._framework = framework
        self._labels = {"framework": name} if name else {}

    def describe(self) -> Iterable[Metric]:
        """
        Claim this collector's place in a registry, which then need not scrape when it registers.

        Another one with the same name would show the same series once more, which Prometheus
        refuses at each scrape; so the registry refuses it, with the claim in its ValueError.
        """
        return [_Claim(self._labels.get("framework", ""))]

    def collect(self) -> Iterator[Metric]:
        """Read the tree once, and yield it as metrics."""
        nodes = self._framework.sysctl.nodes()
        values = {name: node.get() for name, node in nodes.items()}
        yield from self._whole(nodes, values)
        yield from self._sessions(values)
        yield from self._drivers(values)
        yield from self._queues(nodes, values)
        yield from self._work(values)
        yield from self._times(values)
        yield from self._consumers(nodes, values)

    def _keys(self, *more: str) -> list[str]:
        return [*self._labels, *more]

    def _values(self, *more: str) -> list[str]:
        return [*self._labels.values(), *more]

    def _whole(self, nodes: Mapping[str, Node], values: Mapping[str, Value]) -> Iterator[Metric]:
        for key, name in COUNTERS.items():
            text = sentence(nodes[f"opencrypto.{key}"].description)
            counter = CounterMetricFamily(f"opencrypto_{name}", text, labels=self._keys())
            counter.add_metric(self._values(), _number(values, f"opencrypto.{key}"))
            yield counter
        for key, name in GAUGES.items():
            text = sentence(nodes[f"opencrypto.{key}"].description)
            gauge = GaugeMetricFamily(f"opencrypto_{name}", text, labels=self._keys())
            gauge.add_metric(self._values(), _number(values, f"opencrypto.{key}"))
            yield gauge

    def _sessions(self, values: Mapping[str, Value]) -> Iterator[Metric]:
        """Show how many sessions are open: of each chain that there ever was, and of each age."""
        prefix = "opencrypto.sessions"
        for branch, name, label, text in (
            ("chains", "sessions", "chain", "Sessions open"),
            ("ages", "sessions_by_age", "age", "Sessions open, by age"),
        ):
            gauge = GaugeMetricFamily(f"opencrypto_{name}", text, labels=self._keys(label))
            if branch == "chains":
                gauge.add_metric(self._values(""), 0)  # something to see from the beginning
            for row in _between(values, f"{prefix}.{branch}.", ""):
                gauge.add_metric(self._values(row), _number(values, f"{prefix}.{branch}.{row}"))
            yield gauge
        if values[f"{prefix}.watch"]:  # else nobody knows
            idle = GaugeMetricFamily(
                "opencrypto_session_oldest_idle_seconds",
                "Longest time that an open session was asked nothing, while sessions are watched",
                labels=self._keys(),
            )
            idle.add_metric(self._values(), _number(values, f"{prefix}.oldest_idle"))
            yield idle

    def _consumers(
        self, nodes: Mapping[str, Node], values: Mapping[str, Value]
    ) -> Iterator[Metric]:
        """What consumers count, each number under the name that it has on the tree."""
        for name, node in nodes.items():
            if node.kind:
                family = CounterMetricFamily if node.kind == "counter" else GaugeMetricFamily
                unit = f"_{node.unit}" if node.unit and not name.endswith(node.unit) else ""
                called = f"opencrypto_{name.replace('.', '_')}{unit}"
                metric = family(called, sentence(node.description), labels=self._keys())
                metric.add_metric(self._values(), _number(values, name))
                yield metric

    def _failed_selftests(self, names: Iterable[str], values: Mapping[str, Value]) -> Metric:
        """Say with 1 what each driver is not trusted with; `sysctl` has the reasons."""
        failed = GaugeMetricFamily(
            "opencrypto_selftest_failed",
            "1: the driver is not trusted with this algorithm or key operation.",
            labels=self._keys("driver", "alg"),
        )
        for driver in names:
            for alg in _between(values, f"opencrypto.drivers.{driver}.failed.", ""):
                if "." not in alg:  # or it is of a driver whose own name goes on so
                    failed.add_metric(self._values(driver, alg), 1)
        return failed

    def _drivers(self, values: Mapping[str, Value]) -> Iterator[Metric]:
        names = _between(values, "opencrypto.drivers.", ".hid")
        gone = _between(values, "opencrypto.rest.drivers.", ".migrated")
        info = InfoMetricFamily("opencrypto_driver", "A driver attached", labels=self._keys())
        for driver in names:
            tier = str(values[f"opencrypto.drivers.{driver}.class"])
            info.add_metric(self._values(), {"driver": driver, "class": tier})
        yield info
        yield self._failed_selftests(names, values)
        for key, name in DRIVER_COUNTERS.items():
            text = sentence(COUNTED[key])
            counter = CounterMetricFamily(f"opencrypto_{name}", text, labels=self._keys("driver"))
            for driver in sorted({*names, *gone}):
                value = sum(
                    _number(values, f"{branch}.{driver}.{key}")
                    for branch, those in (
                        ("opencrypto.drivers", names),
                        ("opencrypto.rest.drivers", gone),
                    )
                    if driver in those
                )
                counter.add_metric(self._values(driver), value)
            if f"opencrypto.rest.strays.{key}" in values:
                value = _number(values, f"opencrypto.rest.strays.{key}")
                counter.add_metric(self._values("(none)"), value)
            yield counter
        yield from self._errors(names, gone, values)
        for key, name in DRIVER_GAUGES.items():
            text = sentence(LEVELS[key])
            gauge = GaugeMetricFamily(f"opencrypto_{name}", text, labels=self._keys("driver"))
            for driver in names:
                value = _number(values, f"opencrypto.drivers.{driver}.{key}")
                gauge.add_metric(self._values(driver), value)
            yield gauge

    def _errors(
        self, names: Iterable[str], gone: Iterable[str], values: Mapping[str, Value]
    ) -> Iterator[Metric]:
        """
        Show errors by driver, errno, and chain or key operation.

        Each driver has one series from the beginning, of no errno, which stays 0: so that there is
        something to see where nothing has gone wrong, and the first error is a rise of a sum.
        """
        branches = [
            *((name, f"opencrypto.drivers.{name}") for name in names),
            *((name, f"opencrypto.rest.drivers.{name}") for name in gone),
            ("(none)", "opencrypto.rest.strays"),
        ]
        for leaf, (total, name, word, label) in ERRORS.items():
            counter = CounterMetricFamily(
                f"opencrypto_{name}", sentence(COUNTED[total]),
                labels=self._keys("driver", label, "errno"),
            )  # fmt: skip
            sums = {(driver, "", ""): 0.0 for driver, _ in branches}
            for driver, branch in branches:
                for each in _between(values, f"{branch}.{leaf}.", ""):
                    code, *rest = each.split(".")
                    if len(rest) == 2 and rest[0] == word:
                        key = driver, rest[1], code
                        value = _number(values, f"{branch}.{leaf}.{each}")
                        sums[key] = sums.get(key, 0.0) + value
            for key, value in sorted(sums.items()):
                counter.add_metric(self._values(*key), value)
            yield counter

    def _queues(self, nodes: Mapping[str, Node], values: Mapping[str, Value]) -> Iterator[Metric]:
        for leaf, name, family in (
            ("len", "return_queue_length", GaugeMetricFamily),
            ("maxlen", "return_queue_limit", GaugeMetricFamily),
            ("drops", "return_queue_drops", CounterMetricFamily),
        ):
            text = sentence(nodes[f"opencrypto.{QUEUES['request']}.{leaf}"].description)
            metric = family(f"opencrypto_{name}", text, labels=self._keys("kind"))
            for kind, queue in QUEUES.items():
                metric.add_metric(self._values(kind), _number(values, f"opencrypto.{queue}.{leaf}"))
            yield metric

    def _work(self, values: Mapping[str, Value]) -> Iterator[Metric]:
        algs = CounterMetricFamily(
            "opencrypto_algorithm_requests",
            "Requests of sessions that have the algorithm",
            labels=self._keys("algorithm"),
        )
        for alg in _between(values, "opencrypto.algs.", ".ops"):
            algs.add_metric(self._values(alg), _number(values, f"opencrypto.algs.{alg}.ops"))
        yield algs
        yield self._histogram(
            "opencrypto_request_size_bytes",
            "Requests by their input",
            ((), (values["opencrypto.sizes.bounds"], values["opencrypto.sizes.ops"],
                  _number(values, "opencrypto.sizes.bytes"))),
        )  # fmt: skip

    def _times(self, values: Mapping[str, Value]) -> Iterator[Metric]:
        bounds = tuple(bound / NS for bound in COARSE_BOUNDS)
        for phase in PHASES:
            prefix = f"opencrypto.timing.{phase}"
            total = _number(values, f"{prefix}.sum") / NS
            yield self._histogram(
                f"opencrypto_request_{phase}_seconds",
                f"Time {PHASES[phase]}, while opencrypto.timing is 1",
                ((), (bounds, _coarse(values, prefix), total)),
            )
        drivers = _between(values, "opencrypto.drivers.", ".hid")
        series = []
        for driver in drivers:
            prefix = f"opencrypto.drivers.{driver}.latency"
            total = _number(values, f"{prefix}.sum") / NS
            series.append(((driver,), (bounds, _coarse(values, prefix), total)))
        yield self._histogram(
            "opencrypto_driver_latency_seconds",
            f"Time {PHASES['done']}, while opencrypto.timing is 1",
            *series,
            labels=("driver",),
        )

    def _histogram(
        self,
        name: str,
        text: str,
        *series: tuple[tuple[str, ...], tuple[Any, Any, float]],
        labels: tuple[str, ...] = (),
    ) -> Metric:
        family = HistogramMetricFamily(name, text, labels=self._keys(*labels))
        for given, (bounds, counts, total) in series:
            family.add_metric(self._values(*given), _cumulative(bounds, counts), total)
        return family


@contextmanager
def serving(framework: Framework, port: int, address: str = "127.0.0.1") -> Iterator[int]:
    """
    Answer Prometheus over HTTP with a framework's metrics and no others, while the block runs.

    Args:
        framework: The framework.
        port: The TCP port; 0 for any.
        address: Where it listens.

    Yields:
        The port.

    Raises:
        OSError: the port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(Collector(framework))
    server, thread = start_http_server(port, address, registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Claim(Metric):
    """A name that a registry has but once, and shows to who registers another: a sentence."""

    def __init__(self, name: str) -> None:
        whose = f"named {name!r}" if name else "without a name"
        self.name = (
            f"a Collector of a framework {whose}; give each one of its own, "
            "Collector(framework, name=...)"
        )
        self.type = "unknown"


def _coarse(values: Mapping[str, Value], prefix: str) -> list[int]:
    histogram = values[f"{prefix}.histogram"]
    assert isinstance(histogram, tuple), prefix
    return coarse(histogram)


def _number(values: Mapping[str, Value], name: str) -> float:
    value = values[name]
    assert isinstance(value, int | float), name
    return value


def _between(values: Mapping[str, Value], prefix: str, suffix: str) -> list[str]:
    return [
        name.removeprefix(prefix).removesuffix(suffix)
        for name in values
        if name.startswith(prefix) and name.endswith(suffix)
    ]


def _cumulative(bounds: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Make Prometheus' buckets, each of which holds those below it, from ours, which do not."""
    below = 0
    buckets = []
    for bound, count in zip([*bounds, float("inf")], counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(below)))
    return buckets
