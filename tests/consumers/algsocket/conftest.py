"""Tests marked ``kernel`` run inside the kernels they name; see tests/kernels/remote.py."""

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
