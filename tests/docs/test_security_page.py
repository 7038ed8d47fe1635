"""The page on security names all that there is; exceptions to the linter's rules have reasons."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from opencrypto.driver import KOPS
from opencrypto.xform import FACTS
from opencrypto_openssl._driver import OpensslDriver
from opencrypto_swcrypto._driver import SwcryptoDriver
from opencrypto_swcrypto._key_engine import KEYOPS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
CODE = [
    file
    for folder in ("opencrypto", "drivers", "consumers", "tests", "tools")
    for file in sorted((ROOT / folder).rglob("*.py"))
]


def rows() -> dict[str, list[str]]:
    """Return the cells beside each name that stands first in a row of the page's tables."""
    found: dict[str, list[str]] = {}
    for line in PAGE.splitlines():
        first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"\b[0-9A-Z][0-9A-Z_]+\b", first) if cells else ():
            found.setdefault(name, cells)
    return found


@pytest.mark.parametrize(("driver", "column"), [(OpensslDriver, 0), (SwcryptoDriver, 1)])
def test_every_algorithm_of_a_driver_is_in_its_column(
    driver: type[OpensslDriver | SwcryptoDriver], column: int
) -> None:
    """With words where it has the algorithm, and a dash where it has not."""
    table = rows()
    missing = [facts.name for facts in FACTS.values() if facts.name not in table]
    assert not missing
    for alg, facts in FACTS.items():
        has = table[facts.name][column] != "-"
        assert has == (alg in driver.capabilities), facts.name


def test_every_key_operation_is_there() -> None:
    """Those of swcrypto are all that there are."""
    assert set(KOPS) == KEYOPS
    assert not [facts.name for facts in KOPS.values() if facts.name not in rows()]


def test_what_the_python_ciphers_are_is_said() -> None:
    """The two whose tables are in Python are not praised."""
    for name in ("SKIPJACK_CBC", "CAMELLIA_CBC"):
        assert "tables, in Python" in rows()[name][1]


def test_the_way_to_report_is_found() -> None:
    """From the page, from the index and from the README."""
    for page in ("docs/security.md", "docs/index.md", "README.md"):
        assert "SECURITY.md" in (ROOT / page).read_text()
    assert "private" in (ROOT / "SECURITY.md").read_text()


def test_an_exception_to_a_security_rule_says_why() -> None:
    """In the code beside its place, in pyproject.toml beside its number."""
    bare = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in CODE
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if re.search(r"# noqa: (?:\w+, )*S\d+(?:, \w+)*\s*$", line)
    ]
    assert not bare
    text = (ROOT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    ignored = [
        *lint["ignore"],
        *(each for some in lint["per-file-ignores"].values() for each in some),
    ]
    for rule in {each for each in ignored if re.fullmatch(r"S\d*", each)}:
        assert re.search(rf'"{rule}", *# \w', text), rule


def test_an_exception_to_any_other_rule_says_why() -> None:
    """Of the linter or of the types, beside its place; what tests do wrong they do on purpose."""
    bare = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in CODE
        if file.relative_to(ROOT).parts[0] != "tests"
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if re.search(r"# (?:noqa|type: ignore|pragma: no cover)\b", line)
        and not re.search(r"# noqa: \w+(?:, \w+)* - \w|# type: ignore\[[\w, -]+\]  # \w", line)
    ]
    assert not bare
