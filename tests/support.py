"""Helpers that tests of several rooms share."""

import importlib
import os
import shutil
from collections.abc import Sequence
from typing import Any, Final, NoReturn, TypeVar

import pytest

# Some distributions keep tcpdump where an ordinary user's PATH does not look.
_SBIN = os.pathsep.join(("/usr/sbin", "/sbin"))

QUICK: Final = bool(os.environ.get("OPENCRYPTO_QUICK"))
"""Whether this is the everyday loop; `make quick` says so."""

A_PART: Final = 8
"""The everyday loop tries one in so many of what is drawn by chance or tried over and over."""

T = TypeVar("T")


def examples(many: int) -> int:
    """Return how many examples to draw: `many`, or a part of them in the everyday loop."""
    return max(many // A_PART, 1) if QUICK else many


def sample_of(many: Sequence[T]) -> Sequence[T]:
    """Return all of `many`, or one in so many, the first among them, in the everyday loop."""
    return many[::A_PART] if QUICK else many


def everything_required() -> bool:
    """Say whether a missing tool is a failure: in CI, and where somebody asks for it."""
    return any(
        os.environ.get(name, "").lower() not in {"", "0", "false", "no"}
        for name in ("CI", "OPENCRYPTO_REQUIRE_ALL")
    )


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test, or fail it where everything is required; either way name the remedy."""
    message = f"{what} is missing: {remedy}"
    if everything_required():
        pytest.fail(message)
    pytest.skip(message, allow_module_level=True)


def require_module(name: str, package: str = "") -> Any:
    """Return the module `name`; where there is none, see `missing`: pip has it as `package`."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        missing(f"the module {name}", f"pip install {package or name.partition('.')[0]}")


def require_tool(name: str, package: str) -> str:
    """
    Return the path of the command `name`.

    Where there is none the test is skipped, naming the Debian `package` that has it; under ``CI``
    or ``OPENCRYPTO_REQUIRE_ALL`` it fails instead, since there a skip is a test nobody runs.
    """
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), _SBIN)))
    if path is None:
        missing(f"the command {name}", f"apt-get install {package}")
    return path
