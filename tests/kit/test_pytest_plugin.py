"""``pytest --opencrypto-driver``: the contract on a driver, without a test file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CARD = """
from opencrypto import DriverUnavailable, hookimpl
from opencrypto.testing.faults import NameOfTwoWords
from opencrypto_null import NullDriver

class Card(NullDriver):
    name = "card.one"

class Liar(NameOfTwoWords, Card):
    pass

def two():
    return [Card(), NullDriver()]

def none():
    raise DriverUnavailable("no card is plugged in")

def text():
    return "card"

@hookimpl
def opencrypto_drivers():
    return [Card()]
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as an author does, in the folder of his package."""
    (folder / "card.py").write_text(CARD)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\npythonpath = .\n")
    call = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *words]
    return subprocess.run(
        call, cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


def test_the_contract_stands_behind_the_tests_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    done = run(tmp_path, "--opencrypto-driver", "card", "-k", "D1_ or own")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    own = next(n for n, line in enumerate(lines) if line.startswith("test_own.py::test_own PASSED"))
    clause = next(
        n for n, line in enumerate(lines)
        if line.startswith("opencrypto-contract::TestCardOne::test_D1_") and "PASSED" in line
    )  # fmt: skip
    assert own < clause


def test_the_mark_leaves_the_contract_alone(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    done = run(tmp_path, "--opencrypto-driver", "card:two", "-m", "opencrypto_contract", "-k", "D1")
    assert done.returncode == 0, done.stdout
    assert "test_own" not in done.stdout
    assert "::TestCardOne::test_D1" in done.stdout
    assert "::TestNull::test_D1" in done.stdout


def test_a_broken_clause_fails_by_its_name(tmp_path: Path) -> None:
    done = run(tmp_path, "--opencrypto-driver", "card:Liar", "-k", "D1_")
    assert done.returncode == 1, done.stdout
    assert "[D1] the name is one token" in done.stdout


def test_a_deviation_makes_it_an_expected_failure_which_must_fail(tmp_path: Path) -> None:
    words = ("--opencrypto-driver", "card:Liar", "--opencrypto-deviation", "D1=a name of old", "-k")
    done = run(tmp_path, *words, "D1_")
    assert "XFAIL (a name of old)" in done.stdout
    words = ("--opencrypto-driver", "card:Card", "--opencrypto-deviation", "D1=a name of old", "-k")
    assert "take the deviation away" in run(tmp_path, *words, "D1_").stdout


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("no_such_package", "cannot be imported"),
        ("json", "brings no driver"),
        ("card:Nothing", "is no class and no function"),
        ("card:text", "makes str, which is no driver"),
        ("card:none", "no card is plugged in"),
    ],
)
def test_what_is_no_driver(tmp_path: Path, named: str, says: str) -> None:
    done = run(tmp_path, "--opencrypto-driver", named)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_words_that_cannot_be_meant(tmp_path: Path) -> None:
    done = run(tmp_path, "--opencrypto-driver", "card", "--opencrypto-driver", "card")
    assert "is named twice" in done.stderr
    done = run(tmp_path, "--opencrypto-driver", "card", "--opencrypto-deviation", "D1")
    assert "give CLAUSE=REASON" in done.stderr


def test_without_the_option_nothing_is_added(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    done = run(tmp_path)
    assert "1 passed" in done.stdout
    assert "opencrypto-contract" not in done.stdout


def test_workers_side_by_side_have_the_same_tests(tmp_path: Path) -> None:
    done = run(tmp_path, "--opencrypto-driver", "card", "-k", "D1 or D4", "-n", "2", "-q")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
