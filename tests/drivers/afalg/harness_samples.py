"""Not collected by itself: tests that fail inside a kernel, for `test_harness` to see outside."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel("uml")


def test_passes() -> None:
    """The last that is heard of the kernel."""
    print("printed inside")


def test_fails() -> None:
    """With words that only the kernel's own name can make."""
    pytest.fail(f"on purpose, on Linux {platform.release()}")


def test_the_kernel_dies() -> None:
    """Without a word from pytest."""
    Path("/proc/sysrq-trigger").write_text("o")
    os._exit(3)


def test_after_that() -> None:
    """Never run."""
