"""
How long the control thread is kept: the longest step of each answer, and what all of it takes.

A slice ends with the first step beyond its 20 ms, so others wait for that and one step more.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from opencrypto import CRYPTO_NULL_CBC, CryptoError, Cryptoini, Framework
from opencrypto.control.operations import OPERATIONS
from tests.benchmarks.measure import table
from tests.operators.load import Instant

pytestmark = pytest.mark.bench

REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hello", {}),
    ("drivers", {}),
    ("get", {}),
    ("nodes", {}),
    ("get", {"names": ["opencrypto.sessions.oldest"]}),
    ("get", {"names": ["opencrypto.driver"]}),
    ("set", {"name": "opencrypto.timing", "value": 1}),
    ("set", {"name": "opencrypto.timing", "value": 0}),
    ("set", {"name": "opencrypto.timin", "value": 0}),
)


@pytest.mark.parametrize(("sessions", "drivers"), [(100_000, 1), (1000, 500)])
def test_steps(sessions: int, drivers: int) -> None:
    with Framework(plugins=[Instant(f"d{n}") for n in range(drivers)]) as framework:
        for _ in range(sessions):
            framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
        rows = []
        for op, parameters in REQUESTS:
            steps = steps_of(framework, op, parameters)
            asked = " ".join([op, *map(str, parameters.get("names", parameters.values()))])
            rows.append([asked, str(len(steps)), ms(max(steps)), ms(sum(steps))])
        heads = [f"{sessions} sessions, {drivers} drivers", "steps", "longest, ms", "all, ms"]
        table("Control", heads, rows)


def steps_of(framework: Framework, op: str, parameters: dict[str, Any]) -> list[float]:
    """Answer a request, and return the seconds that each step of it takes."""
    making = OPERATIONS[op](framework, {"op": op, **parameters})
    steps: list[float] = []
    while True:
        began = time.perf_counter()
        try:
            next(making)
        except (StopIteration, CryptoError):  # made, or refused: both are answers
            return steps
        finally:
            steps.append(time.perf_counter() - began)


def ms(seconds: float) -> str:
    """Write seconds in milliseconds."""
    return f"{seconds * 1e3:.1f}"
