"""The kernels that tests run in are what they should be, and so is the way back from them."""

import platform
from pathlib import Path

import pytest

from tests.kernels import remote

pytestmark = pytest.mark.kernel


def test_the_kernel_is_the_one_named(kernel: str) -> None:
    """A test marked ``kernel`` runs on the kernel in its name, which has AF_ALG."""
    assert kernel == remote.HERE
    assert remote.has_af_alg()
    if kernel == "uml":
        assert platform.release().startswith("6.1.")
        assert "User Mode Linux" in Path("/proc/cpuinfo").read_text()
