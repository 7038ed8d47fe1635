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

if TYPE_CHECKING:
    from opencrypto._core.framework import Framework

__all__ = ["instrument"]

COUNTERS: Final = {
    "ops": ("opencrypto.requests", "{request}", "Requests dispatched"),
    "bytes": ("opencrypto.request.size", "By", "Input of the requests"),
    "errs": ("opencrypto.request.errors", "{request}", "Requests completed with an error"),
    "kops": ("opencrypto.key_operations", "{operation}", "Key operations handed to the driver"),
    "blocks": ("opencrypto.blocks", "{event}", "Times that the driver could take no request"),
    "migrated": ("opencrypto.sessions.migrated", "{session}", "Sessions that left the driver"),
}
GAUGES: Final = {
    "sessions": ("opencrypto.sessions", "{session}", "Sessions open on the driver"),
    "inflight": ("opencrypto.requests.in_flight", "{request}", "Requests not answered yet"),
    "queued": ("opencrypto.requests.queued", "{request}", "Requests that wait for the driver"),
}

Callback = Callable[[CallbackOptions], Iterable[Observation]]


def instrument(framework: Framework, provider: MeterProvider | None = None) -> Meter:
    """
    Offer a framework's counters to OpenTelemetry.

    Args:
        framework: Its tree is read whenever the SDK asks.
        provider: Whom to offer them to; the program's global one if not given.

    Returns:
        The meter that has the instruments.
    """
    meter = get_meter("opencrypto", meter_provider=provider)
    for leaf, (name, unit, text) in COUNTERS.items():
        meter.create_observable_counter(name, [_reader(framework, leaf)], unit, text)
    for leaf, (name, unit, text) in GAUGES.items():
        meter.create_observable_up_down_counter(name, [_reader(framework, leaf)], unit, text)
    return meter


def _reader(framework: Framework, leaf: str) -> Callback:
    present, gone = "opencrypto.drivers.", "opencrypto.rest.drivers."

    def read(_: CallbackOptions) -> Iterable[Observation]:
        sums: dict[str, int] = {}
        for prefix, mark in ((present, ".hid"), (gone, ".migrated")):
            nodes = framework.sysctl.nodes(prefix)
            for name in nodes:
                driver = name.removeprefix(prefix).removesuffix(mark)
                node = nodes.get(f"{prefix}{driver}.{leaf}")
                value = node.get() if node is not None and name.endswith(mark) else None
                if isinstance(value, int):
                    # A driver that left keeps its series, and one of its name goes on with it.
                    sums[driver] = sums.get(driver, 0) + value
        return [Observation(value, {"driver": driver}) for driver, value in sums.items()]

    return read
