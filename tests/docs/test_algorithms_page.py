"""The page of algorithms says what is so: its code runs, and its tables are whole."""

from __future__ import annotations

import re
from pathlib import Path

from opencrypto.xform import FACTS, named

PAGE = (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text()


def test_its_code_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(block, "algorithms.md", "exec"), {})  # noqa: S102 - the page's own code


def test_each_algorithm_and_each_spelling_has_its_place() -> None:
    """Each constant has a driver; no spelling is left out."""
    rows = dict(re.findall(r"^\| `CRYPTO_(\w+)` \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE))
    assert set(rows) == {facts.name for facts in FACTS.values()}
    assert all(rows.values())
    table = PAGE.partition("<!-- generated: names -->")[2].partition("<!-- end -->")[0]
    cells = set(re.findall(r"`([^`]+)`", table))
    assert not [n for e in named() for n in (e.name, *e.aliases) if n not in cells]
