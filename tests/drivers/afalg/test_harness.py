"""The kernels that tests run in are what they should be, and so is the way back from them."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels import remote
from tests.support import require_tool

ROOT = Path(__file__).parents[3]
DELIBERATE = "tests/drivers/afalg/harness_samples.py"


@pytest.mark.kernel
def test_the_kernel_is_the_one_named(kernel: str) -> None:
    """A test marked ``kernel`` runs on the kernel in its name, which has AF_ALG."""
    assert kernel == remote.HERE
    assert remote.has_af_alg()
    if kernel == "uml":
        assert platform.release().startswith("6.1.")
        assert "User Mode Linux" in Path("/proc/cpuinfo").read_text()


def outer(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the deliberate failures as `make test` would."""
    command = [sys.executable, "-m", "pytest", DELIBERATE, "-p", "no:cacheprovider", *arguments]
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "OPENCRYPTO_REQUIRE_ALL")}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment | env
    )


@pytest.mark.slow
def test_a_failure_inside_is_a_failure_outside() -> None:
    """Test by test, with the words of the inner one; so is a kernel that dies under a test."""
    require_tool("linux.uml", "user-mode-linux")
    done = outer("-s", "-v")
    assert done.returncode == 1
    assert "test_passes[uml] PASSED" in done.stdout.replace("\n", " ").replace("  ", " ")
    assert "printed inside" in done.stdout
    assert "on purpose, on Linux 6.1." in done.stdout
    assert done.stdout.count("the kernel ended before this test") == 2
    assert "3 failed, 1 passed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("required", "outcome"), [("true", "4 failed"), ("", "4 skipped")])
def test_a_kernel_that_cannot_be_had(required: str, outcome: str) -> None:
    """A failure where everything is required; elsewhere a skip that says what to install."""
    done = outer("-rs", CI=required, PATH="/nowhere")
    assert outcome in done.stdout
    assert "apt-get install user-mode-linux" in done.stdout
