"""
Output: tables for people, JSON for programs, who need not wait for what draws tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

import typer


def as_json(document: object, *, err: bool = False) -> None:
    """Print a document as JSON, on one line if nobody looks; to stderr where stdout is taken."""
    looks = (sys.stderr if err else sys.stdout).isatty()
    typer.echo(json.dumps(document, indent=2 if looks else None), err=err)


def lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a line for each row, however long, as ps(1) does: for who reads on by a program."""
    rows = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    err: bool = False,
) -> None:
    """Print a table, numbers to the right; to stderr where stdout is taken."""
    from rich.console import Console
    from rich.table import Table

    rows = [list(row) for row in rows]
    made = Table(title=title or None, title_justify="left", show_edge=False, pad_edge=False)
    for n, name in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[n], int | float) for row in rows)
        made.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        # Text: a name in square brackets is a name, not a style.
        made.add_row(*(_plain(value) for value in row))
    Console(highlight=False, markup=False, stderr=err).print(made)


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
