"""A driver that ends the interpreter costs one trial: each clause is tried in a child."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from opencrypto import DriverUnavailable, UsageError
from opencrypto.testing import CLAUSES, check_driver
from opencrypto.testing.isolated import check_isolated
from opencrypto.testing.report import Report
from opencrypto_null import NullDriver
from tests.cli.commands import RUN

ROOT = Path(__file__).parents[2]
MODULE = "tests.kit.segfaulting"


def isolated(text: str, *clauses: str) -> Report:
    """Check one driver, clause by clause in a child."""
    (report,) = check_isolated(text, clauses=clauses)
    return report


@pytest.mark.slow
def test_a_dead_interpreter_is_one_failure_with_clause_signal_and_place() -> None:
    report = isolated(MODULE, "D1", "D6", "D21", "D25")
    assert report.broken == {"D6", "D21"}
    assert not report.ok
    found = {result.clause: result for result in report.results}
    for trial in found["D6"].failures:
        assert "it killed the interpreter: SIGSEGV, in process (segfaulting.py:" in trial
    assert len(found["D6"].failures) == 2, "the second test went on in another child"
    (first, second) = found["D21"].failures
    assert "test_D21_beyond_300_kib" in first
    assert "SIGABRT" in second
    assert found["D21"].passed == 5, "all trials but those that ended it"
    assert found["D1"].outcome == found["D25"].outcome == "passed"


@pytest.mark.slow
def test_a_clause_that_ends_each_child_is_given_up() -> None:
    report = isolated(MODULE, "D3")
    (result,) = (result for result in report.results if result.clause == "D3")
    assert len(result.failures) == 3
    assert "after 3 dead interpreters" in str(report)


@pytest.mark.slow
def test_a_child_that_holds_the_interpreter_is_killed() -> None:
    """No thread of its own can say so: it has been silent for too long."""
    (report,) = check_isolated(f"{MODULE}:Holds", clauses={"D25"}, patience=0.2)
    assert report.broken == {"D25"}
    assert "it does not let go of the interpreter" in str(report)


@pytest.mark.slow
def test_what_dies_when_it_is_made_is_not_tried() -> None:
    with pytest.raises(DriverUnavailable, match="ended the interpreter, with exit status 3"):
        check_isolated(f"{MODULE}:EndsAtOnce")


@pytest.mark.slow
def test_it_finds_what_is_found_without_a_child() -> None:
    """The same trials, passed and skipped, in children as in this process."""
    clauses = ("D1", "D4", "D7", "D12", "D18", "K1")
    apart, here = isolated("opencrypto_null", *clauses), check_driver(NullDriver, clauses=clauses)
    assert apart.ok
    assert [(each.clause, each.passed, each.skips) for each in apart.results] == [
        (each.clause, each.passed, each.skips) for each in here.results
    ]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command, from where these tests are found."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [*RUN, "check", *words, "--isolated"],
        capture_output=True, text=True, env=env, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_finishes_its_report() -> None:
    done = command(MODULE, "--clause", "D6", "--clause", "D25")
    assert done.returncode == 1, done.stderr
    assert "driver segfaulting: breaks the contract" in done.stdout
    assert "SIGSEGV" in done.stdout
    assert "D25  passed" in done.stdout
    done = command(f"{MODULE}:EndsAtOnce")
    assert done.returncode == 1, done.stderr
    assert "not tried: while it was looked for it ended the interpreter" in done.stdout


@pytest.mark.slow
def test_what_cannot_be_checked() -> None:
    with pytest.raises(UsageError, match="D99"):
        check_isolated(MODULE, clauses={"D99"})
    with pytest.raises(UsageError, match="cannot be imported"):
        check_isolated("no_such_package", clauses={"D1"})
    assert "D1" in CLAUSES
