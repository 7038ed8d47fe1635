"""The pages hang together: links lead somewhere, and what must be named is named."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import opencrypto
from opencrypto import Driver, hookspecs

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    missing = [link for link in targets if not (page.parent / link).exists()]
    assert not missing


def test_every_howto_is_found_from_the_index() -> None:
    links = LINK.findall((DOCS / "index.md").read_text())
    missing = [
        page.name
        for page in (DOCS / "howto").glob("*.md")
        if str(page.relative_to(DOCS)) not in links
    ]
    assert not missing


def test_every_error_is_on_its_page() -> None:
    text = (DOCS / "errors.md").read_text()
    errors = [
        name
        for name in opencrypto.__all__
        if inspect.isclass(thing := getattr(opencrypto, name)) and issubclass(thing, Exception)
    ]
    assert errors
    assert not [name for name in errors if f"`{name}`" not in text]


def test_what_an_author_writes_and_calls_is_in_the_guide() -> None:
    text = (DOCS / "howto" / "write-a-driver.md").read_text()
    essential = {"newsession", "freesession", "process", "close", "refusal", "newlid"}
    assert essential <= set(vars(Driver)), "a method has gone; change the guide"
    assert not [name for name in essential | {"done", "unblock"} if f"{name}(" not in text]
    assert hookspecs.opencrypto_drivers.__name__ in text


def test_the_glossary_is_in_order_and_says_nothing_twice() -> None:
    rows = re.findall(r"^\| \*\*([^*]+)\*\*", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(rows) > 30
    assert rows == sorted(set(rows), key=str.lower)
