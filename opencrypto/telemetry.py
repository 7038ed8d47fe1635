"""
OpenTelemetry metrics of a framework: its API alone, so that the program's own SDK decides.

Needs the extra ``telemetry`` (opentelemetry-api). The instruments are observable: the SDK asks
when it exports, and nothing is done between::

    opencrypto.telemetry.instrument(framework)

They are what `opencrypto.metrics` has, by the same names behind ``opencrypto.``:
``opencrypto.requests``, ``opencrypto.driver_blocked_seconds``. There are no observable histograms;
one is three counters, ``.bucket`` with the attribute ``le``, ``.sum`` and ``.count``.

Without an SDK the API does nothing, at no cost. There are no spans per request: one costs ten
times what the framework's whole path does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter

from opencrypto._exported import Buckets, Family, families

if TYPE_CHECKING:
    from opencrypto._core.framework import Framework

__all__ = ["instrument"]

UNITS: Final = {"seconds": "s", "bytes": "By"}
"""What UCUM calls our units."""

FRESH: Final = 1.0
"""Seconds for which a look serves the instruments of one export that have not been asked yet."""

Callback = Callable[[CallbackOptions], Iterable[Observation]]


def instrument(framework: Framework, provider: MeterProvider | None = None) -> Meter:
    """
    Offer a framework's numbers to OpenTelemetry: all that `opencrypto.metrics` shows.

    Args:
        framework: Its tree is read whenever the SDK asks, once for all instruments. Of what
            consumers count, it offers what is on the tree now.
        provider: Whom to offer them to; the program's global one if not given.

    Returns:
        The meter that has the instruments. Nothing is raised: what the SDK asks is answered with
        what there is.
    """
    meter = get_meter("opencrypto", meter_provider=provider)
    looks = _Looks(framework)
    for family in families(framework):
        name = family.dotted or f"opencrypto.{family.full_name}"
        if family.kind == "histogram":
            for part, read in _PARTS.items():
                unit = UNITS[family.unit] if part == "sum" else "1"
                asked = looks.callback(family.full_name, part, read)
                meter.create_observable_counter(f"{name}.{part}", [asked], unit, family.text)
            continue
        create = {
            "counter": meter.create_observable_counter,
            "level": meter.create_observable_up_down_counter,
        }.get(family.kind, meter.create_observable_gauge)
        unit = UNITS.get(family.unit, family.unit or "1")
        create(name, [looks.callback(family.full_name, "", _numbers)], unit, family.text)
    return meter


def _numbers(family: Family) -> Iterator[Observation]:
    for given, point in family.points.items():
        assert not isinstance(point, Buckets)
        yield Observation(point, dict(zip(family.labels, given, strict=True)))


def _buckets(family: Family) -> Iterator[Observation]:
    for attributes, point in _histograms(family):
        for le, below in point.cumulative():
            yield Observation(below, {**attributes, "le": le})


def _sums(family: Family) -> Iterator[Observation]:
    return (Observation(point.total, attributes) for attributes, point in _histograms(family))


def _counts(family: Family) -> Iterator[Observation]:
    return (Observation(sum(point.counts), attributes) for attributes, point in _histograms(family))


def _histograms(family: Family) -> Iterator[tuple[dict[str, str], Buckets]]:
    for given, point in family.points.items():
        assert isinstance(point, Buckets)
        yield dict(zip(family.labels, given, strict=True)), point


Read = Callable[[Family], Iterator[Observation]]

_PARTS: Final[dict[str, Read]] = {"bucket": _buckets, "sum": _sums, "count": _counts}
"""What a histogram is made of."""


class _Seen(NamedTuple):
    """A look at the tree: when it was taken, what it saw, and which instruments have asked."""

    at: float
    families: dict[str, Family]
    asked: set[tuple[str, str]]


class _Looks:
    """
    Looks at a framework's tree, each for all instruments of an export.

    Who asks for the second time is of another export, and gets another look.
    """

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        self._seen = _Seen(-FRESH, {}, set())

    def callback(self, family: str, part: str, read: Read) -> Callback:
        """Make what the SDK calls for an instrument."""

        def answer(_: CallbackOptions) -> Iterable[Observation]:
            there = self._family(family, part)
            return [] if there is None else read(there)

        return answer

    def _family(self, name: str, part: str) -> Family | None:
        seen = self._seen
        if (name, part) in seen.asked or time.monotonic() - seen.at >= FRESH:
            look = {each.full_name: each for each in families(self._framework)}
            seen = self._seen = _Seen(time.monotonic(), look, set())
        seen.asked.add((name, part))
        return seen.families.get(name)
