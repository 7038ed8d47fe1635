"""
Two readings of a live process, and what happened between them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from opencrypto._measure.histogram import BUCKETS, quantile
from opencrypto.cli.live import GONE, Values, driver_names, names_between
from opencrypto.control import Client

BRANCHES: Final = (
    "opencrypto.stats",
    "opencrypto.sessions",
    "opencrypto.sizes",
    "opencrypto.drivers",
    "opencrypto.rest",
    "opencrypto.crypto_ret_q",
    "opencrypto.crypto_ret_kq",
    "opencrypto.timing",
)


@dataclass(frozen=True)
class Reading:
    """The values at one moment, on the clock of `time.monotonic`."""

    at: float
    values: Values

    def number(self, name: str) -> float:
        """Return a value; 0 if the name is not there, as for a driver that has left."""
        value = self.values.get(name, 0)
        return value if isinstance(value, int | float) else 0


def read(client: Client) -> Reading:
    """Take a reading."""
    values: dict[str, Any] = client.get(*BRANCHES)
    return Reading(time.monotonic(), values)


class Change:
    """What happened between two readings; from the start of all counts if the first is None."""

    def __init__(self, old: Reading | None, new: Reading, age: float = 0.0) -> None:
        self.old = old
        self.new = new
        self.seconds = max(1e-9, new.at - old.at if old is not None else age)

    def rate(self, name: str) -> float:
        """How much a counter rose a second."""
        rise = self.new.number(name) - (self.old.number(name) if self.old is not None else 0)
        return max(0.0, rise) / self.seconds

    def total(self, leaf: str) -> float:
        """Sum a value of all drivers."""
        return sum(self.new.number(f"opencrypto.drivers.{name}.{leaf}") for name in self.drivers())

    def drivers(self) -> list[str]:
        """Return the drivers' names."""
        return driver_names(self.new.values)

    def departed(self) -> list[str]:
        """Return the names of drivers that left and had something to do."""
        gone = names_between(self.new.values, GONE, ".migrated")
        return [name for name in gone if self.did_something(f"{GONE}{name}")]

    def did_something(self, branch: str) -> bool:
        """Tell whether a branch of counts is not all nothing."""
        return any(self.new.number(f"{branch}.{leaf}") for leaf in ("ops", "kops"))

    def quantile(self, name: str, part: float) -> float | None:
        """Estimate a quantile of a histogram's rise, in nanoseconds; None without samples."""
        now = self.new.values.get(name)
        before = self.old.values.get(name) if self.old is not None else None
        if not isinstance(now, list) or len(now) != BUCKETS or min(now) < 0:
            return None
        if isinstance(before, list) and len(before) == len(now) and sum(now) >= sum(before):
            now = [max(0, b - a) for a, b in zip(before, now, strict=True)]
        return quantile(now, part) if any(now) else None
