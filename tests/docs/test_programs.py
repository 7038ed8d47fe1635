"""The pages that are one program, read from the top to the end: they run, and their types hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_howto import HOWTO, ROOT, blocks, run

OTHERS = {"write-a-driver.md", "test-your-driver.md"}
"""Pages whose blocks are files of their own; tests/docs/test_howto.py runs those."""

PROGRAMS = sorted(page.name for page in HOWTO.glob("*.md") if page.name not in OTHERS)


def program(page: str, folder: Path) -> Path:
    """Write the blocks of a page into one file."""
    code = blocks(page)
    assert code, f"{page} has no Python"
    file = folder / f"{page.removesuffix('.md').replace('-', '_')}_page.py"
    file.write_text("\n".join(code))
    return file


@pytest.mark.parametrize("page", PROGRAMS)
def test_a_page_runs(page: str, tmp_path: Path) -> None:
    """With warnings as errors: what is left open, too."""
    done = run(tmp_path, program(page, tmp_path).name)
    assert done.returncode == 0, done.stderr


def checked(call: list[str], folder: Path) -> None:
    """Run a checker of types, which must have nothing to say."""
    done = subprocess.run(
        [sys.executable, "-m", *call],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    """Make a project of the pages, as a stranger has one who has installed the package."""
    for page in PROGRAMS:
        program(page, tmp_path)
    source = [str(ROOT), str(ROOT / "drivers"), str(ROOT / "consumers")]
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "extraPaths": source}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nstrict = True\npython_version = 3.11\nmypy_path = {':'.join(source)}\n"
        "explicit_package_bases = True\n"
    )
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mypy_understands_the_pages(typed: Path) -> None:
    files = [file.name for file in typed.glob("*.py")]
    checked(["mypy", f"--cache-dir={typed}/cache", *files], typed)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pyright_understands_the_pages(typed: Path) -> None:
    checked(["basedpyright", "--pythonpath", sys.executable, "--warnings"], typed)
