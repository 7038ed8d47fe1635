"""
The picture that ``opencrypto top`` draws, for any size of terminal. Pure: a change in, lines out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from opencrypto.cli.live import GONE, STRAYS, duration, short, since
from opencrypto.cli.sample import Change
from opencrypto.cli.show import clean, overflow
from opencrypto.cli.sums import queues, refused, totals

SORTS: Final = ("sick", "rate", "inflight", "sessions", "errors", "p99", "name")
KEYS: Final = "q quit  ? help  s sort  up/down choose  d detach  a attach  t timing  l sessions"

FRAME: Final = 4
"""Lines that are there in any case: title, a blank one, the table's heading, the keys."""

LONGEST: Final = 6
"""How many lines a message has at most."""

NARROWEST: Final = 5
"""How many characters a column of numbers has at least, so that it stands still."""

BESIDE: Final = 3
"""How many a row has beside its name and its numbers: the mark, and blanks."""

SICK: Final = 1.0
"""Seconds for which a driver is blocked, or owes an answer, when it comes first."""


@dataclass(frozen=True)
class Row:
    """
    The line of a driver; or of what a driver of this name did that left, or what met none.

    Attributes:
        attached: Whether it is there now.
        inflight: What it has and has not answered, without what waits for it.
    """

    name: str
    attached: bool
    tier: str
    blocked: bool
    blocked_for: float
    oldest: float
    sessions: float
    inflight: float
    keys: float
    queued: float
    rate: float
    bytes: float
    errors: float
    p50: float | None
    p99: float | None

    @property
    def sickness(self) -> float:
        """For how many seconds it has been stuck; 0 if that is not long."""
        longest = max(self.blocked_for, self.oldest)
        return longest if longest >= SICK else 0.0


_ORDER: Final[Mapping[str, Callable[[Row], Any]]] = {
    "sick": lambda row: (-row.sickness, -row.rate, row.name),
    "rate": lambda row: (-row.rate, row.name),
    "inflight": lambda row: (-row.inflight, row.name),
    "sessions": lambda row: (-row.sessions, row.name),
    "errors": lambda row: (-row.errors, row.name),
    "p99": lambda row: (-(row.p99 or 0), row.name),
    "name": lambda row: row.name,
}


def rows(change: Change, sort: str) -> list[Row]:
    """Return the drivers' lines in the order asked for, and below them those of what is not one."""
    there = [_row(change, name, f"opencrypto.drivers.{name}") for name in change.drivers()]
    rest = [
        _row(change, f"{name} (left)", f"{GONE}{name}", attached=False)
        for name in sorted(change.departed())
    ]
    if change.did_something(STRAYS):
        rest.append(_row(change, "(no driver)", STRAYS, attached=False))
    return sorted(there, key=_ORDER[sort]) + rest


def attached(change: Change, sort: str) -> list[str]:
    """Return the names of the drivers that are there, in that order."""
    return [row.name for row in rows(change, sort) if row.attached]


def _row(change: Change, name: str, prefix: str, *, attached: bool = True) -> Row:
    number = change.new.number
    queued = number(f"{prefix}.queued")
    return Row(
        name=name,
        attached=attached,
        tier=str(change.new.values.get(f"{prefix}.class", "-")),
        blocked=bool(number(f"{prefix}.blocked")),
        blocked_for=number(f"{prefix}.blocked_for"),
        oldest=max(number(f"{prefix}.oldest_inflight"), number(f"{prefix}.oldest_queued")),
        sessions=number(f"{prefix}.sessions"),
        inflight=max(0.0, number(f"{prefix}.inflight") - queued),
        keys=number(f"{prefix}.kinflight"),
        queued=queued,
        rate=change.rate(f"{prefix}.ops") + change.rate(f"{prefix}.kops"),
        bytes=change.rate(f"{prefix}.bytes"),
        errors=change.rate(f"{prefix}.errs") + change.rate(f"{prefix}.kerrs"),
        p50=change.quantile(f"{prefix}.latency.histogram", 0.5),
        p99=change.quantile(f"{prefix}.latency.histogram", 0.99),
    )


def sums(change: Change) -> tuple[str, ...]:
    """Return a line each of requests, sessions, key operations, the way back; and of totals."""
    number, rate = change.new.number, change.rate
    timing = "on" if number("opencrypto.timing") else "off (t turns it on)"
    queued = change.total("queued")
    inflight = max(0.0, change.total("inflight") - queued)
    idle = ""
    if number("opencrypto.sessions.watch"):
        idle = f", idle {since(number('opencrypto.sessions.oldest_idle'))}"
    return (
        f"requests: {short(rate('opencrypto.stats.ops'))}/s, "
        f"{short(rate('opencrypto.sizes.bytes'))}B/s, "
        f"{short(rate('opencrypto.stats.errs'))} err/s, "
        f"{short(inflight)} in flight, {short(queued)} queued",
        f"sessions: {short(number('opencrypto.sessions.active'))} open, "
        f"{short(rate('opencrypto.sessions.created'))} new/s, "
        f"{short(rate('opencrypto.sessions.migrated'))} moved/s, "
        f"oldest {since(number('opencrypto.sessions.oldest'))}{idle}",
        f"key ops:  {short(rate('opencrypto.stats.kops'))}/s, "
        f"{short(rate('opencrypto.stats.kerrs'))} err/s    timing: {timing}",
        f"way back: {short(queues(change, 'len'))} to call back, {_way_back(change)}"
        f"{short(refused(change))} refused/s, "
        f"{short(rate('opencrypto.stats.driver_bugs'))} bugs/s",
        "in all:   "
        + ", ".join(f"{short(value)} {name}" for name, value in totals(change).items()),
    )


def _way_back(change: Change) -> str:
    """Say how long answers wait for their callbacks, and how long these take, if it is known."""
    said = ""
    for phase, word in (("cb", "waiting"), ("finis", "in callbacks")):
        p99 = change.quantile(f"opencrypto.timing.{phase}.histogram", 0.99)
        said += "" if p99 is None else f"p99 {duration(p99)} {word}, "
    return said


@dataclass(frozen=True)
class View:
    """
    All that is on the screen.

    Attributes:
        title: Who is watched.
        chosen: The driver that the keys act on.
        message: A question, or what came of the last key; in place of the help.
    """

    title: str
    change: Change
    sort: str = SORTS[0]
    chosen: str = ""
    message: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        height = options.height or console.height
        drivers = rows(self.change, self.sort)
        foot = foot_lines(self.message, KEYS, width)
        lines = [*self._head(height + 1 - len(drivers) - len(foot)), Text("")]
        # A header line and, at the end, the keys or the message; what is left is for drivers, or
        # all but one of it, which says how many are hidden.
        room = height - len(lines) - 1 - len(foot)
        room = max(1, room if len(drivers) <= room else room - 1)
        for line in lines:
            line.truncate(width, overflow=overflow())
            yield line
        yield self._table(drivers[:room], width)
        hidden = len(drivers) - room
        if hidden > 0:
            yield Text(f"and {hidden} more", style="dim")
        elif not drivers:
            yield Text("no driver is attached")
        used = len(lines) + 1 + max(1, min(len(drivers), room)) + (hidden > 0)
        for _ in range(max(0, height - used - len(foot))):
            yield Text("")
        yield from foot

    def _head(self, room: int) -> list[Text]:
        """Return the lines above the drivers: all, or three where the drivers need the rest."""
        requests, sessions, keys, *more = sums(self.change)
        rest = f"{keys}    sorted by {self.sort}"
        wanted = [requests, sessions, rest, *more][: max(3, room - FRAME)]
        return [Text(clean(self.title), style="bold"), *map(Text, wanted)]

    def _table(self, drivers: list[Row], width: int) -> Table:
        table = Table(box=None, pad_edge=False, expand=True, header_style="reverse")
        table.add_column("", width=1)
        table.add_column("driver", no_wrap=True, ratio=1, min_width=16, overflow=overflow())
        labels = [
            clean(f"{row.name} {_state(row)}" if row.blocked else row.name) for row in drivers
        ]
        columns = _columns(drivers, width - BESIDE - max(map(len, labels), default=0), width)
        for column in columns:
            justify: Literal["left", "right"] = "left" if column.heading == "class" else "right"
            table.add_column(
                column.heading,
                justify=justify,
                no_wrap=True,
                min_width=NARROWEST,
                overflow=overflow(),
            )
        for row, label in zip(drivers, labels, strict=True):
            # Not by colour alone: a mark for the chosen one, a word for the blocked one.
            mark = ">" if row.name == self.chosen else ""
            cells = [Text(clean(column.show(row))) for column in columns]
            table.add_row(mark, Text(label), *cells, style="bold" if mark else "")
        return table


def foot_lines(message: str, keys: str, width: int) -> list[Text]:
    """Return the lines at the bottom: a message, whole at any width; or the keys, in one line."""
    if not message:
        line = Text(keys, style="dim")
        line.truncate(width, overflow=overflow())
        return [line]
    wrapped = (textwrap.wrap(clean(part), width) for part in message.split("\n"))
    lines = [line for part in wrapped for line in part]
    return [Text(line, style="reverse") for line in lines[:LONGEST]]


class Column(NamedTuple):
    """A column of the drivers' table: its heading, what it shows, and from which width on."""

    heading: str
    show: Callable[[Row], str]
    from_width: int = 0

    def width(self, drivers: Sequence[Row]) -> int:
        """Return how many characters it takes, with the blank before it."""
        return 1 + max([NARROWEST, len(self.heading), *(len(self.show(row)) for row in drivers)])


def _age(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds >= SICK else ""


def _time(ns: float | None) -> str:
    return "-" if ns is None else duration(ns)


COLUMNS: Final = (
    Column("class", lambda row: row.tier, 100),
    Column("sess", lambda row: short(row.sessions), 75),
    Column("infl", lambda row: short(row.inflight)),
    Column("keys", lambda row: short(row.keys), 110),
    Column("queue", lambda row: short(row.queued), 80),
    Column("oldest", lambda row: _age(row.oldest) or "-", 70),
    Column("rate/s", lambda row: short(row.rate)),
    Column("B/s", lambda row: short(row.bytes), 85),
    Column("err/s", lambda row: short(row.errors)),
    Column("p50", lambda row: _time(row.p50), 90),
    Column("p99", lambda row: _time(row.p99)),
)
"""What is shown of each driver. On a narrow screen the names and the worst stay."""


def _columns(drivers: Sequence[Row], room: int, width: int) -> list[Column]:
    """Choose what is shown, so that each name is whole: what wide screens alone have goes first."""
    columns = [each for each in COLUMNS if width >= each.from_width]
    while sum(each.width(drivers) for each in columns) > room:
        widest = max(columns, key=lambda each: each.from_width)
        if not widest.from_width:
            break
        columns.remove(widest)
    return columns


LISTED: Final = ("driver", "state", *(column.heading for column in COLUMNS))
"""The columns of a listing: it has no width, and so all."""


def listing(change: Change, sort: str) -> list[tuple[str, ...]]:
    """Return a line of cells for each driver, as `LISTED` names them."""
    return [
        (row.name, _state(row), *(column.show(row) for column in COLUMNS))
        for row in rows(change, sort)
    ]


def _label(row: Row) -> str:
    return clean(f"{row.name} {_state(row)}" if row.blocked else row.name)


def _state(row: Row) -> str:
    return f"BLOCKED {_age(row.blocked_for)}".rstrip() if row.blocked else "-"
