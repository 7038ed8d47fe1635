"""The cookbook of drivers: each recipe keeps the contract, and each program runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_howto import TITLE, run

PAGE = Path(__file__).parents[2] / "docs" / "drivers" / "cookbook.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
FILES = {title[1]: code for code in BLOCKS if (title := TITLE.match(code))}
RECIPES = sorted(name for name in FILES if not name.startswith("try_"))
PROGRAMS = sorted(name for name in FILES if name.startswith("try_"))

CHECK = """
import sys
import {module}
from opencrypto import Driver
from opencrypto.chain import ChainDriver
from opencrypto.testing import check_driver
(driver,) = [each for each in vars({module}).values()
             if isinstance(each, type) and issubclass(each, Driver) and each is not ChainDriver]
report = check_driver(driver)
print(report)
sys.exit(not report.ok)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    return tmp_path


def test_every_block_is_a_file_of_its_own() -> None:
    assert len(FILES) == len(BLOCKS)
    assert len(RECIPES) == 9
    assert len(PROGRAMS) == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_keeps_the_contract(name: str, folder: Path) -> None:
    check = CHECK.format(module=name.removesuffix(".py"))
    done = run(folder, "-c", check)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs(name: str, folder: Path) -> None:
    done = run(folder, name)
    assert done.returncode == 0, done.stdout + done.stderr
