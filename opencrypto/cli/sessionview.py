"""
The picture of sessions that ``opencrypto top`` draws, for any size of terminal. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from opencrypto._core.listing import SORTS
from opencrypto.cli.sessions import OPENED, Session, columns
from opencrypto.cli.show import clean, overflow
from opencrypto.cli.topview import foot_lines

KEYS: Final = "q quit  l drivers  s sort  up/down choose  o where opened  w watch"


RATIOS: Final = {"chain": 2, "driver": 1}
"""Which columns share the room that is left, and how."""


@dataclass(frozen=True)
class SessionsView:
    """
    The screen of sessions.

    Attributes:
        title: Who is watched.
        page: What the process has told, the first in the order of `sort`.
        sort: What they are ordered by.
        chosen: The SID of the one that the keys act on.
        message: What came of the last key; in place of the help.
    """

    title: str
    page: Mapping[str, Any]
    sort: str = SORTS[0]
    chosen: int = 0
    message: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        rows = self.page["sessions"]
        head = (
            Text(clean(self.title), style="bold"),
            Text(f"sessions: {self.page['open']} open    sorted by {self.sort}"),
            Text(""),
        )
        foot = foot_lines(self.message, KEYS, width)
        room = max(1, height - len(head) - 1 - len(foot))
        for line in head:
            line.truncate(width, overflow=overflow())
            yield line
        yield self._table(rows[:room], width)
        for _ in range(height - len(head) - 1 - len(foot) - min(len(rows), room)):
            yield Text("")
        yield from foot

    def _table(self, rows: Sequence[Session], width: int) -> Table:
        shown = [c for c in columns(rows) if width >= c.from_width and c is not OPENED]
        table = Table(box=None, pad_edge=False, expand=True, header_style="reverse")
        table.add_column("", width=1)
        for column in shown:
            table.add_column(
                column.heading,
                justify="left" if column.left else "right",
                no_wrap=True,
                overflow=overflow(),
                ratio=RATIOS.get(column.heading),
            )
        for row in rows:
            mark = ">" if row["sid"] == self.chosen else ""
            cells = [Text(clean(column.show(row))) for column in shown]
            table.add_row(mark, *cells, style="bold" if mark else "")
        return table
