"""What is written down twice says the same: folders, wheel, entry points, extras."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
ENTRY_POINTS: dict[str, str] = PROJECT["project"]["entry-points"]["opencrypto"]


def folders(root: str) -> set[str]:
    """Return the packages in a source root, as the wheel names them."""
    return {
        f"{root}/{folder.name}"
        for folder in (ROOT / root).iterdir()
        if folder.is_dir() and folder.name != "__pycache__"
    }


def test_the_wheel_has_every_package() -> None:
    assert len(WHEEL) == len(set(WHEEL))
    assert set(WHEEL) == {"opencrypto"} | folders("drivers") | folders("consumers")


def test_every_driver_has_its_entry_point() -> None:
    tokens = {folder.removeprefix("drivers/opencrypto_") for folder in folders("drivers")}
    assert {token: f"opencrypto_{token}" for token in tokens} == ENTRY_POINTS


@pytest.mark.parametrize("root", ["drivers", "consumers"])
def test_source_roots_are_no_packages(root: str) -> None:
    assert not list((ROOT / root).glob("*.py")), f"{root}/ holds packages and nothing else"


@pytest.mark.parametrize("package", WHEEL)
def test_every_package_is_named_and_typed(package: str) -> None:
    folder = ROOT / package
    assert folder.name == "opencrypto" or folder.name.startswith("opencrypto_")
    assert (folder / "__init__.py").is_file()
    assert (folder / "py.typed").is_file()


def test_the_version_is_a_release_of_the_changelog_or_unreleased() -> None:
    log = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in log or f"## [{PROJECT['project']['version']}]" in log


def _lowest(requirement: str) -> str:
    """Return the requirement of the lowest version alone, on any Python."""
    return requirement.partition(";")[0].strip().replace(">=", "==")


def test_every_requirement_names_the_lowest_version_that_is_tried() -> None:
    """`make lowest` reads its constraints here: each requirement but the tools' is there."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "lowest_versions.py"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"]]
    wanted += [each for name, some in extras.items() if name != "dev" for each in some]
    assert sorted(done.stdout.split()) == sorted(map(_lowest, wanted))
