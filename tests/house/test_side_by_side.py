"""Tests run side by side: each once, by whichever process comes to its module first."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES, EACH = 12, 5

# Two processes at once: more than a second.
pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make modules of tests that note who has run them, and what is set up for each module."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(
        "import os, pathlib, time, pytest\n"
        "def note(what):\n"
        "    with open('notes', 'a') as file: file.write(f'{os.getpid()} {what}\\n')\n"
        "@pytest.fixture(autouse=True, scope='module')\n"
        "def module(request):\n"
        "    note('begin ' + request.node.name); yield; note('end ' + request.node.name)\n"
        "@pytest.fixture(autouse=True, scope='session')\n"
        "def session():\n"
        "    note('session')\n"
        "    for _ in range(1000):  # a busy machine may start them one after the other\n"
        "        if pathlib.Path('notes').read_text().count('session') > 1: break\n"
        "        time.sleep(0.02)\n"
        "    yield\n"
        "@pytest.fixture(autouse=True)\n"
        "def test(request): time.sleep(0.01); note('test ' + request.node.nodeid)\n"
    )
    for number in range(MODULES):
        (tmp_path / f"test_{number}.py").write_text(
            f"import pytest\n@pytest.mark.parametrize('n', range({EACH}))\n"
            f"def test_it(n): assert ({number}, n) != (7, 3)\n"
        )
    return tmp_path


def run(folder: Path, *more: str) -> tuple[subprocess.CompletedProcess[str], Sequence[list[str]]]:
    """Run the folder's tests in three processes; return how it ended, and the notes."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "side_by_side.py", "3", "-q", "-p", "no:cacheprovider",
         "--rootdir", folder, "-c", folder / "pytest.ini", *more, "."],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    notes = (folder / "notes").read_text() if (folder / "notes").exists() else ""
    return done, [line.split(" ", 2) for line in notes.splitlines()]


def test_each_runs_once_and_a_module_is_one_processs(folder: Path) -> None:
    done, notes = run(folder)
    assert done.returncode == 1
    assert "test_7.py::test_it[3]" in done.stdout
    assert sum(map(int, re.findall(r"(\d+) passed", done.stdout))) == MODULES * EACH - 1
    tests = [rest[0] for _, what, *rest in notes if what == "test"]
    assert len(tests) == len(set(tests)) == MODULES * EACH
    begun = [rest[0] for _, what, *rest in notes if what == "begin"]
    assert len(begun) == len(set(begun)) == MODULES
    assert sorted(rest[0] for _, what, *rest in notes if what == "end") == sorted(begun)
    sessions = [process for process, what, *_ in notes if what == "session"]
    assert len(sessions) == len(set(sessions)) > 1, "what a session sets up is kept to its end"


def test_one_that_stops_at_a_failure_says_so(folder: Path) -> None:
    done, _ = run(folder, "-x")
    assert done.returncode != 0
    assert "stopping after 1 failures" in done.stdout


def test_what_cannot_be_collected_is_a_failure(folder: Path) -> None:
    """And nothing is run, as in one process."""
    (folder / "test_broken.py").write_text("import nothing_of_this_name\n")
    done, notes = run(folder)
    assert done.returncode == 2
    assert "1 error during collection" in done.stdout
    assert not notes
