"""
The example of a driver from elsewhere: installed by pip as its author's users would, found by its
entry point, and put through the contract by its own tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "opencrypto-rot13"

pytestmark = pytest.mark.slow

LISTED = """
from opencrypto import CRYPTO_NULL_CBC, Cryptoini, Framework
with Framework() as framework:
    (found,) = [info for info in framework.drivers if info.name == "rot13"]
    assert found.tier == "software" and not found.reason, found
    assert found.algorithms == ("SHA1_HMAC", "NULL_CBC"), found.algorithms
    framework.freesession(framework.newsession(Cryptoini(CRYPTO_NULL_CBC), driver="rot13"))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example into a folder; no network: what it is built with is there."""
    target = tmp_path_factory.mktemp("site")
    call = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run(
        [*call, *options, str(EXAMPLE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def run(installed: Path, folder: Path, *call: str) -> str:
    """Run Python where both the framework and the example are installed."""
    path = [str(installed), str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    done = subprocess.run(
        [sys.executable, *call],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_found_by_its_entry_point(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "-W", "error", "-c", LISTED)


def test_its_own_tests_run_the_contract(installed: Path, tmp_path: Path) -> None:
    # Copied, so that no configuration of ours is in force.
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    out = run(installed, tmp_path, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert " passed" in out
    assert "failed" not in out


def test_it_is_typed_as_strictly_as_we_are(installed: Path, tmp_path: Path) -> None:
    source = EXAMPLE / "src" / "opencrypto_rot13"
    env = {**os.environ, "MYPYPATH": str(ROOT)}
    call = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", str(source)]
    done = subprocess.run(
        call, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
