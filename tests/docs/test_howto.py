"""The Python on the pages of howto/ about drivers is run, as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOWTO = ROOT / "docs" / "howto"
BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TITLE = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")

CHECK = """
import sys
from opencrypto.testing import check_driver
from opencrypto_sync import SyncDriver
report = check_driver(SyncDriver)
print(report)
sys.exit(not report.ok)
"""


def blocks(page: str) -> list[str]:
    """Return the blocks of code on a page, in order."""
    return [code for _, code in BLOCK.findall((HOWTO / page).read_text())]


def run(folder: Path, *call: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder whose modules are found first."""
    path = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return subprocess.run(
        [sys.executable, "-W", "error", *call],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def pytest_run(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests in a folder; its own pytest.ini keeps ours out."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the files that the guide for drivers shows under their names."""
    for code in blocks("write-a-driver.md"):
        title = TITLE.match(code)
        assert title, f"say which file this is, in the first line:\n{code}"
        path = tmp_path / title[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    return tmp_path


@pytest.mark.slow
def test_write_a_driver_ends_green(folder: Path) -> None:
    done = pytest_run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.slow
def test_the_driver_without_the_ready_base_keeps_the_contract(folder: Path) -> None:
    done = run(folder, "-c", CHECK)
    assert done.returncode == 0, done.stdout + done.stderr


TESTING = blocks("test-your-driver.md")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(TESTING)))
def test_test_your_driver_runs(number: int, tmp_path: Path) -> None:
    code = TESTING[number]
    if "class Test" not in code:
        (tmp_path / "script.py").write_text(code)
        done = run(tmp_path, "script.py")
        assert done.returncode == 0, done.stderr
        return
    (tmp_path / "test_contract.py").write_text(code)
    done = pytest_run(tmp_path)
    if "deviations" in code:
        # The page says so: the null driver needs no excuse.
        assert "take the deviation away" in done.stdout, done.stdout
    else:
        assert done.returncode == 0, done.stdout + done.stderr
