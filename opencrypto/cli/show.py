"""
Output: tables for people, JSON for programs, who need not wait for what draws tables.

All that a command prints goes through here, and comes out fit for a terminal: names of files,
drivers and programs are from outside, and whoever looks at them may be root.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import typer

if TYPE_CHECKING:
    import logging

Plain: TypeAlias = Annotated[
    bool,
    typer.Option("--plain", help="Print tables as lines with tabs, as is done into a pipe."),
]


def clean(text: object) -> str:
    """Make text from outside fit for a terminal: no escape sequence and no line of its own."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def say(text: object = "", *, err: bool = False) -> None:
    """Print one line."""
    typer.echo(clean(text), err=err)


def warn(sentence: object) -> None:
    """Print a sentence to stderr, behind the command's name."""
    say(f"opencrypto: {sentence}", err=True)


def formatter() -> logging.Formatter:
    """Return what writes the log as all else is written."""
    import logging

    class Clean(logging.Formatter):
        """Each line is cleaned; a traceback has several."""

        def format(self, record: logging.LogRecord) -> str:
            """Write a record."""
            return "\n".join(map(clean, super().format(record).split("\n")))

    return Clean("%(name)s: %(message)s")


def as_json(document: object, *, err: bool = False) -> None:
    """Print a document as JSON, on one line if nobody looks; to stderr where stdout is taken."""
    looks = (sys.stderr if err else sys.stdout).isatty()
    typer.echo(json.dumps(document, indent=2 if looks else None), err=err)


def as_line(document: object) -> None:
    """Print a document as one line of JSON, at once: who reads it may wait for it."""
    typer.echo(json.dumps(document))
    sys.stdout.flush()


COERCED: Final = {"C.UTF-8", "C.utf8", "UTF-8"}
"""What the interpreter sets LC_CTYPE to, where the locale is C (PEP 538)."""


def is_ascii() -> bool:
    """Tell whether the terminal may have no more than ASCII: by its encoding, or LANG=C."""
    of_all, of_characters, lang = (os.environ.get(x) for x in ("LC_ALL", "LC_CTYPE", "LANG"))
    if of_characters in COERCED:
        of_characters = None
    locale = of_all or of_characters or lang or "C"
    return locale in {"C", "POSIX"} or not (sys.stdout.encoding or "").lower().startswith("utf")


def overflow() -> Literal["crop", "ellipsis"]:
    """Tell how what does not fit is cut off: with the character for that, if there is one."""
    return "crop" if is_ascii() else "ellipsis"


def is_plain(asked: bool, *, err: bool = False) -> bool:
    """Tell whether a table is for a program: somebody asked for it so, or nobody looks."""
    return asked or not (sys.stderr if err else sys.stdout).isatty()


def lines(columns: Sequence[str], rows: Iterable[Sequence[str]], *, plain: bool = False) -> None:
    """Print a line for each row, however long, as ps(1) does; with tabs if it is for a program."""
    rows = [columns, *([clean(cell) for cell in row] for row in rows)]
    if is_plain(plain):
        for row in rows:
            tabbed(row)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    err: bool = False,
    plain: bool = False,
) -> None:
    """
    Print a table, numbers to the right; to stderr where stdout is taken.

    For a program (`is_plain`) it is a line for each row, whole, with tabs between the cells.
    """
    rows = [list(row) for row in rows]
    if is_plain(plain, err=err):
        for each in (columns, *rows):
            tabbed(each, err=err)
        return
    from rich.console import Console
    from rich.table import Table

    made = Table(show_edge=False, pad_edge=False)
    for n, name in enumerate(columns):
        numbers = _numbers([row[n] for row in rows])
        made.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        # Text: a name in square brackets is a name, not a style.
        made.add_row(*(_grouped(value) for value in row))
    Console(highlight=False, markup=False, stderr=err).print(made)


def _numbers(column: Sequence[object]) -> bool:
    """Tell whether a column has numbers, and nothing else but a dash where there is none."""
    present = [value for value in column if value != "-"]
    return bool(present) and all(isinstance(value, int | float) for value in present)


def tabbed(row: Iterable[object], *, err: bool = False) -> None:
    """Print a row as one line, with tabs between the cells."""
    typer.echo("\t".join(map(clean, row)), err=err)


def _grouped(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else clean(value)
