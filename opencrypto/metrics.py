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

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector as _Collector

from opencrypto._exported import Buckets, Family, families

if TYPE_CHECKING:
    from opencrypto._core.framework import Framework

__all__ = ["Collector", "serving"]

NUMBERS: Final = {
    "counter": CounterMetricFamily,
    "level": GaugeMetricFamily,
    "gauge": GaugeMetricFamily,
}
"""What Prometheus calls a family of plain numbers, by its kind."""


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
        return map(self._metric, families(self._framework))

    def _metric(self, family: Family) -> Metric:
        name, text = f"opencrypto_{family.full_name}", family.text
        values = [*self._labels.values()]
        labels = [*self._labels, *family.labels]
        if family.kind == "info":
            info = InfoMetricFamily(name, text, labels=[*self._labels])
            for given in family.points:
                info.add_metric(values, dict(zip(family.labels, given, strict=True)))
            return info
        if family.kind == "histogram":
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for given, point in family.points.items():
                assert isinstance(point, Buckets)
                histogram.add_metric([*values, *given], [*point.cumulative()], point.total)
            return histogram
        plain: CounterMetricFamily | GaugeMetricFamily = NUMBERS[family.kind](
            name, text, labels=labels
        )
        for given, point in family.points.items():
            assert not isinstance(point, Buckets)
            plain.add_metric([*values, *given], point)
        return plain


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
