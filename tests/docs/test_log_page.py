"""The page of the log has each event of the code, with its level and its fields, and no other."""

from __future__ import annotations

import ast
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from opencrypto import Framework
from tests.operators.load import Instant

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "log.md"
LEVELS: Final = ("info", "warning", "error")
ORIGIN: Final = {"distribution", "version", "file"}
EXPANDED: Final = {
    "words": ORIGIN,
    "details": {"error", "where", "sid", "op", "requests", "kops"},
}
"""What stands behind ``**words`` where an event is logged."""


class Event(NamedTuple):
    """An event, as the code or the page has it."""

    name: str
    level: str
    fields: frozenset[str]


def logged() -> Iterator[Event]:
    """Yield each event that the framework logs."""
    for file in sorted((ROOT / "opencrypto").rglob("*.py")):
        if "testing" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            first, called = node.args[0], ast.unparse(node.func)
            if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
                continue
            if called == "Limited":
                key = node.args[1]
                assert isinstance(key, ast.Constant)
                yield Event(first.value, "warning", frozenset({str(key.value), "left_out"}))
            elif called in {f"log.{level}" for level in LEVELS}:
                fields: set[str] = set()
                for word in node.keywords:
                    named = ast.unparse(word.value).rpartition(".")[2]
                    fields |= {word.arg} if word.arg else EXPANDED[named]
                yield Event(first.value, called.removeprefix("log."), frozenset(fields))


def events() -> set[Event]:
    """Return each with all fields that it has anywhere."""
    together: dict[tuple[str, str], set[str]] = {}
    for name, level, fields in logged():
        together.setdefault((name, level), set()).update(fields)
    return {Event(*of, frozenset(fields)) for of, fields in together.items()}


def on_the_page() -> Iterator[Event]:
    """Yield each row of the table."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    for name, level, fields in rows:
        yield Event(name, level, frozenset(re.findall(r"\w+", fields)))


def test_each_event_is_on_the_page_with_its_fields() -> None:
    assert set(on_the_page()) == events()
    assert len(events()) > 25


def test_the_page_is_in_order() -> None:
    names = [event.name for event in on_the_page()]
    assert names == sorted(set(names))


def test_details_of_bugs_are_those_that_the_page_names() -> None:
    """What is reported beside driver, rule and error, wherever that is done."""
    given = {
        word.arg
        for file in (ROOT / "opencrypto" / "_core").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and re.search(r"bugs\.(report|done_twice)$", ast.unparse(node.func))
        for word in node.keywords
    }
    assert {"error", "where", *given} == EXPANDED["details"]


def test_the_handler_for_the_journal_sends_fields(tmp_path: Path) -> None:
    """The page's own code, with another socket in the journal's place."""
    *_, code = re.findall(r"```python\n((?:.|\n)*?)```", PAGE.read_text())
    path = tmp_path / "journal"
    names: dict[str, object] = {}
    logger = logging.getLogger("opencrypto")
    before, level = logger.handlers[:], logger.level
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        journal.settimeout(10)
        exec(code.replace("/run/systemd/journal/socket", str(path)), names)  # noqa: S102 - it is the page's
        logger.setLevel(logging.INFO)
        try:
            with Framework(plugins=[Instant("it")]):
                sent = journal.recv(4096).decode().splitlines()
        finally:
            logger.setLevel(level)
            for handler in logger.handlers[:]:
                if handler not in before:
                    logger.removeHandler(handler)
                    handler.close()
    assert sent[0].startswith("MESSAGE=event=driver_attached driver=it hid=0")
    assert sent[1:] == ["PRIORITY=6", "OPENCRYPTO_EVENT=driver_attached"]
