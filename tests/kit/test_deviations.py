"""Excuses, skips and the names of tests, seen by running pytest inside pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from opencrypto import Capability, DriverUnavailable, UsageError
from opencrypto.testing import check_driver, faults
from tests.kit.correct_drivers import Honest

ROOT = Path(__file__).parents[2]

MODULE = """
from opencrypto import DriverUnavailable
from opencrypto.testing import DriverContract, faults
from tests.kit.correct_drivers import Honest


class Unavailable(Honest):
    def __init__(self):
        raise DriverUnavailable("no such card")


class Leaves(Honest):
    made = 0

    def __init__(self):
        type(self).made += 1
        if self.made > 3:
            raise DriverUnavailable("the card was pulled")
        super().__init__()


class TestIt(DriverContract):
    driver_class = {driver}
    deviations = {deviations}
    may_be_absent = {absent!r}
    patience = {patience}
"""


def run(
    folder: Path,
    driver: str,
    deviations: object,
    *options: str,
    patience: float = 5.0,
    absent: str = "",
    **env: str,
) -> str:
    """Run the contract of a driver under pytest, as an outside author does; return the output."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (folder / "test_it.py").write_text(
        MODULE.format(driver=driver, deviations=deviations, patience=patience, absent=absent)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **env,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_failure_names_clause_and_trial(tmp_path: Path) -> None:
    out = run(tmp_path, "faults.OneIvForAll.of(Honest)", {}, "-k", "D13")
    assert "test_D13_fresh_ivs[AES_CBC-16]" in out, out
    assert "D13: an IV came twice" in out


@pytest.mark.slow
def test_a_deviation_is_an_expected_failure(tmp_path: Path) -> None:
    driver, why = "faults.KeepsTheRequest.of(Honest)", "the card keeps its last job, erratum 7"
    out = run(tmp_path, driver, {"D15:AES_*": why}, "-k", "nothing_of_a_request", patience=0.2)
    assert (
        f"XFAIL test_it.py::TestIt::test_D15_nothing_of_a_request_is_kept[AES_CBC-16] - {why}"
        in out
    )
    assert "3 xfailed" in out, out
    assert "2 failed" in out, "the hashes are not excused"


@pytest.mark.slow
def test_a_stale_excuse_fails(tmp_path: Path) -> None:
    out = run(tmp_path, "Honest", {"D15": "erratum 7"}, "-k", "D15_buffers")
    assert "5 failed" in out, out
    assert "take the deviation away (erratum 7)" in out


@pytest.mark.slow
@pytest.mark.parametrize("deviations", [{"D99": "why"}, {"test_D1": "why"}, {"D1": " "}])
def test_a_misspelt_deviation_fails(tmp_path: Path, deviations: dict[str, str]) -> None:
    out = run(tmp_path, "Honest", deviations, "-k", "deviations")
    assert "1 failed" in out, out


@pytest.mark.slow
def test_what_is_not_claimed_is_shown(tmp_path: Path) -> None:
    out = run(tmp_path, "Honest", {}, "-vv", "-k", "D4")
    assert "test_D4_known_answers[DES_CBC] SKIPPED" in out, out
    assert "not claimed by this driver" in out


@pytest.mark.slow
def test_a_driver_that_is_not_available_is_a_failure(tmp_path: Path) -> None:
    out = run(tmp_path, "Unavailable", {})
    assert "not tried: no such card; where that may be so, say why in may_be_absent" in out, out
    # What needs no driver passes: that deviations name what is there.
    assert " failed" in out
    assert "1 passed" in out
    assert " skipped" not in out


@pytest.mark.slow
def test_a_driver_that_may_be_absent_skips_with_both_reasons(tmp_path: Path) -> None:
    absent = "the card is in one machine only"
    out = run(tmp_path, "Unavailable", {}, absent=absent)
    assert f"not tried: no such card ({absent})" in out, out
    assert "failed" not in out
    out = run(tmp_path, "Unavailable", {}, absent=absent, OPENCRYPTO_REQUIRE="afalg,honest")
    assert " failed" in out, out


@pytest.mark.slow
def test_a_driver_that_leaves_in_the_middle_is_a_failure(tmp_path: Path) -> None:
    out = run(tmp_path, "Leaves", {}, "-k", "D2", absent="it is somewhere else")
    assert "not tried: the driver was here and is not any more: the card was pulled" in out, out
    assert " failed" in out


@pytest.mark.slow
def test_excuses_without_pytest() -> None:
    driver = faults.KeepsTheRequest.of(Honest)
    report = check_driver(driver, deviations={"D15": "erratum 7"}, clauses={"D15"}, patience=0.2)
    (result,) = (result for result in report.results if result.clause == "D15")
    # Its other test passes, for which the excuse is stale.
    assert result.excused == 5
    assert all("take the deviation away" in failure for failure in result.failures)
    assert not report.ok


def test_clauses_without_pytest_must_exist() -> None:
    with pytest.raises(UsageError, match="D99"):
        check_driver(Honest, clauses={"D99"})


def test_an_unavailable_driver_without_pytest() -> None:
    def make() -> Honest:
        raise DriverUnavailable("no such card")

    report = check_driver(Honest, make_driver=make)
    assert not report.ok
    assert report.verdict == "not tried: no such card"
    assert {result.outcome for result in report.results} == {"not tried"}


def test_a_driver_that_leaves_in_the_middle_without_pytest() -> None:
    made = []

    def make() -> Honest:
        made.append(1)
        if len(made) > 4:
            raise DriverUnavailable("the card was pulled")
        return Honest()

    report = check_driver(Honest, make_driver=make, clauses={"D2", "D4"})
    assert not report.ok
    assert not report.broken
    assert "was here and is not any more: the card was pulled" in report.verdict
    assert any(result.passed for result in report.results)


class Nothing(Honest):
    """Claims nothing."""

    capabilities: Mapping[int, Capability] = {}


def test_a_driver_that_claims_nothing_does_not_keep_the_contract() -> None:
    report = check_driver(Nothing)
    assert not report.ok
    assert report.verdict == "not tried: the driver claims no algorithm and no key operation"


def test_clauses_for_which_there_is_no_ground_are_not_kept() -> None:
    report = check_driver(Honest, clauses={"K1"})
    assert not report.ok
    assert report.verdict == "not tried: not claimed by this driver"
    (result,) = (result for result in report.results if result.clause == "K1")
    assert "skipped, not claimed by this driver: test_K1_known_answers" in str(report)
    assert result.skipped == 3


@pytest.mark.slow
def test_neither_pytest_nor_the_kit_is_imported_unasked(tmp_path: Path) -> None:
    code = (
        "import sys, opencrypto; assert 'opencrypto.testing' not in sys.modules;"
        "import opencrypto.testing.doubles, opencrypto.testing.faults, opencrypto.testing;"
        "assert not {'pytest', '_pytest'} & set(sys.modules);"
        "from opencrypto_null import NullDriver;"
        "assert opencrypto.testing.check_driver(NullDriver).ok;"
        "assert 'pytest' not in sys.modules"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "drivers")))}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=False)
    assert done.returncode == 0
