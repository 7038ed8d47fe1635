"""
What all benchmarks share: what a callback raises fails the benchmark, as no request may.

Tests marked ``kernel`` run inside the kernels they name; see tests/kernels/remote.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from opencrypto._core.returns import Callbacks
from tests.kernels.plugin import (
    kernel,
    pytest_collection_modifyitems,
    pytest_generate_tests,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
    pytest_sessionfinish,
)

__all__ = [
    "kernel",
    "pytest_collection_modifyitems",
    "pytest_generate_tests",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_sessionfinish",
]


@pytest.fixture(autouse=True)
def _no_refusal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Else a refusal would be timed: the framework counts what callbacks raise, and goes on."""
    errors: list[BaseException] = []
    monkeypatch.setattr(Callbacks, "failed", lambda callbacks, error: errors.append(error))
    yield
    assert not errors, errors[:1]
