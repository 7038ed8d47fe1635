"""
OpenTelemetry metrics of a framework: its API alone, so that the program's own SDK decides.

Needs the extra ``telemetry`` (opentelemetry-api). The instruments are observable: the SDK asks
when it exports, and nothing is done between::

    opencrypto.telemetry.instrument(framework)

Without an SDK the API does nothing, at no cost. There are no spans per request: one costs ten
times what the framework's whole path does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter

from opencrypto._core.tree import LEVELS
from opencrypto._measure.counters import COUNTED
from opencrypto.sysctl import sentence

if TYPE_CHECKING:
    from opencrypto._core.framework import Framework

__all__ = ["instrument"]

COUNTERS: Final = {
    "ops": ("opencrypto.requests", "{request}"),
    "bytes": ("opencrypto.request.size", "By"),
    "errs": ("opencrypto.request.errors", "{request}"),
    "kops": ("opencrypto.key_operations", "{operation}"),
    "blocks": ("opencrypto.blocks", "{event}"),
    "migrated": ("opencrypto.sessions.migrated", "{session}"),
}
"""What is counted for each driver, to the instrument's name and unit."""

GAUGES: Final = {
    "sessions": ("opencrypto.sessions", "{session}"),
    "inflight": ("opencrypto.requests.in_flight", "{request}"),
    "queued": ("opencrypto.requests.queued", "{request}"),
}

AGES: Final = {
    "blocked_for": "opencrypto.driver.blocked",
    "oldest_inflight": "opencrypto.requests.oldest_in_flight",
    "oldest_queued": "opencrypto.requests.oldest_queued",
}
"""Names of the tree below a driver that are seconds."""

Callback = Callable[[CallbackOptions], Iterable[Observation]]


def instrument(framework: Framework, provider: MeterProvider | None = None) -> Meter:
    """
    Offer a framework's counters to OpenTelemetry.

    Args:
        framework: Its tree is read whenever the SDK asks. Of what consumers count, it offers
            what is on the tree now.
        provider: Whom to offer them to; the program's global one if not given.

    Returns:
        The meter that has the instruments. Nothing is raised: what the SDK asks is answered with
        what there is.
    """
    meter = get_meter("opencrypto", meter_provider=provider)
    for leaf, (name, unit) in COUNTERS.items():
        text = sentence(COUNTED[leaf])
        meter.create_observable_counter(name, [_reader(framework, leaf)], unit, text)
    for leaf, (name, unit) in GAUGES.items():
        text = sentence(LEVELS[leaf])
        meter.create_observable_up_down_counter(name, [_reader(framework, leaf)], unit, text)
    for leaf, name in AGES.items():
        text = sentence(LEVELS[leaf])
        meter.create_observable_gauge(name, [_reader(framework, leaf)], "s", text)
    for node in framework.sysctl.nodes().values():
        if node.kind:  # a consumer's
            make = (
                meter.create_observable_counter
                if node.kind == "counter"
                else meter.create_observable_gauge
            )
            unit = {"bytes": "By"}.get(node.unit, node.unit)
            make(node.name, [_number_of(framework, node.name)], unit, sentence(node.description))
    return meter


def _number_of(framework: Framework, name: str) -> Callback:
    def read(_: CallbackOptions) -> Iterable[Observation]:
        node = framework.sysctl.nodes(name).get(name)
        value = None if node is None else node.get()
        return [Observation(value)] if isinstance(value, int | float) else []

    return read


def _reader(framework: Framework, leaf: str) -> Callback:
    present, gone = "opencrypto.drivers.", "opencrypto.rest.drivers."

    def read(_: CallbackOptions) -> Iterable[Observation]:
        sums: dict[str, float] = {}
        nodes = framework.sysctl.nodes("opencrypto.")  # one look: a driver may leave meanwhile
        for prefix, mark in ((present, ".hid"), (gone, ".migrated")):
            for name in nodes:
                if not (name.startswith(prefix) and name.endswith(mark)):
                    continue
                driver = name.removeprefix(prefix).removesuffix(mark)
                node = nodes.get(f"{prefix}{driver}.{leaf}")
                value = None if node is None else node.get()
                if isinstance(value, int | float):
                    # A driver that left keeps its series, and one of its name goes on with it.
                    sums[driver] = sums.get(driver, 0) + value
        return [Observation(value, {"driver": driver}) for driver, value in sums.items()]

    return read
