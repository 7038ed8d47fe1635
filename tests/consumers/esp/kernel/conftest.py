"""The Linux kernel's IPsec, in a kernel of the tests' own; see tests/kernels/remote.py."""

from collections.abc import Iterator

import pytest

from tests.consumers.esp.kernel.xfrm import Link
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


@pytest.fixture
def link() -> Iterator[Link]:
    """Return a link to the kernel that is over with the test, as are the kernel's associations."""
    with Link() as link:
        yield link
