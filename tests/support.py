"""Helpers that tests of several rooms share."""

import os
import shutil
from typing import NoReturn

import pytest

# Some distributions keep tcpdump where an ordinary user's PATH does not look.
_SBIN = os.pathsep.join(("/usr/sbin", "/sbin"))


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
    pytest.skip(message)


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
