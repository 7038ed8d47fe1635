"""The pages of the runbook as a script reads them: two steps of commands, and their signs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = ROOT / "docs" / "runbook"
SECTIONS: Final = ["What you see", "Where to look", "What it means", "What to do"]

_STEP: Final = re.compile(r"^(\d)\. (?:.|\n)*?```console\n((?:.|\n)*?)```", re.MULTILINE)
_NUMBER: Final = re.compile(r"(?:0x[0-9a-f]+|-?\d[\d.,:]*[a-zA-Z/%]*)")


class Step(NamedTuple):
    """A step of a page: what is run, and lines that are to be in what it prints."""

    commands: tuple[str, ...]
    signs: tuple[str, ...]


def sections(page: str) -> list[str]:
    """Return the headings of a page."""
    return re.findall(r"^## (.+)$", (PAGES / f"{page}.md").read_text(), re.MULTILINE)


def steps(page: str) -> list[Step]:
    """Return the steps of "Where to look", in order."""
    text = (PAGES / f"{page}.md").read_text()
    look = text.partition("## Where to look\n")[2].partition("\n## ")[0]
    found: list[Step] = []
    for number, block in _STEP.findall(look):
        assert int(number) == len(found) + 1, f"{page}: step {number}"
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        commands = tuple(line[2:] for line in lines if line.startswith("$ "))
        found.append(Step(commands, tuple(line for line in lines if not line.startswith("$ "))))
    return found


def has(printed: str, sign: str) -> bool:
    """
    Tell whether a line like this one was printed.

    Blanks and tabs are alike, an ellipsis stands for any words, and a number for any number: it is
    another process, on another day.
    """
    words = r"\s+".join(map(_like, sign.split()))
    return re.search(rf"^\s*{words}\s*$", printed, re.MULTILINE) is not None


def _like(word: str) -> str:
    if word == "…":
        return r"\S.*"
    if _NUMBER.fullmatch(word) and word != "0":
        return _NUMBER.pattern
    return re.escape(word)
