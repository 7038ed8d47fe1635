"""
``opencrypto sessions``: the sessions that a live process has open, and which it may have forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

import typer

from opencrypto._core.listing import PAGE, SORTS
from opencrypto.cli import live, show
from opencrypto.cli.live import short, since
from opencrypto.control import Client
from opencrypto.exceptions import UsageError

Session = Mapping[str, Any]
"""What a process tells of one session."""

SHOWN: Final = 50
"""How many are shown unless it is said otherwise."""

PLAIN: Final[Mapping[str, Callable[[Mapping[str, Any]], object]]] = {
    "sid": lambda row: f"{row['sid']:#x}",
    "chain": lambda row: "+".join(row["chain"]),
    "driver": lambda row: "+".join(row["drivers"]),
    "state": lambda row: row["state"],
    "age": lambda row: row["age"],
    "inflight": lambda row: row["inflight"],
    "idle": lambda row: _known(row["idle"]),
    "requests": lambda row: _known(row["requests"]),
    "bytes": lambda row: _known(row["bytes"]),
    "profile": lambda row: row["profile"] or "-",
    "opened": lambda row: " < ".join(row["opened"]) or "-",
}
"""The columns for a program: times in seconds, numbers whole, ``-`` for what is not known."""


class Column(NamedTuple):
    """A column: its heading, what it shows, where it stands, and from which width on."""

    heading: str
    show: Callable[[Session], str]
    left: bool = False
    from_width: int = 0


def _number(name: str) -> Callable[[Session], str]:
    return lambda row: "-" if row[name] is None else short(row[name])


COLUMNS: Final = (
    Column("sid", lambda row: f"{row['sid']:#x}", left=True),
    Column("chain", lambda row: "+".join(row["chain"]), left=True),
    Column("driver", lambda row: "+".join(row["drivers"]), left=True, from_width=70),
    Column("state", lambda row: row["state"], left=True, from_width=90),
    Column("age", lambda row: since(row["age"])),
    Column("infl", lambda row: short(row["inflight"])),
)
WATCHED: Final = (
    Column("idle", lambda row: "-" if row["idle"] is None else since(row["idle"])),
    Column("reqs", _number("requests")),
    Column("bytes", _number("bytes"), from_width=80),
)
"""More, while sessions are watched."""

PROFILE: Final = Column("profile", lambda row: row["profile"] or "-", left=True, from_width=100)
OPENED: Final = Column("opened", lambda row: " < ".join(row["opened"]) or "-", left=True)
"""More, where it is noted: the nearest caller first."""


def columns(rows: Sequence[Session]) -> tuple[Column, ...]:
    """Return the columns that have something to show."""
    watched = WATCHED if any(row["idle"] is not None for row in rows) else ()
    opened = (OPENED,) if any(row["opened"] for row in rows) else ()
    return (*COLUMNS, *watched, PROFILE, *opened)


def sessions(
    idle: Annotated[
        float, typer.Option("--idle", min=0.0, help="Those idle for so many seconds, or more.")
    ] = 0.0,
    sort: Annotated[
        str, typer.Option("--sort", help="age, idle, or requests: what comes first has the most.")
    ] = "age",
    count: Annotated[int, typer.Option("-n", min=0, help="How many at most; 0 for all.")] = SHOWN,
    as_json: live.Json = False,
    plain: show.Plain = False,
    pid: live.Pid = None,
    socket: live.Socket = None,
) -> None:
    """
    List the open sessions of a live framework: whose, how old, how long idle.

    While opencrypto.sessions.watch is 1 also how long each has been idle, its requests and bytes;
    where each was opened, if the program says Framework(trace_sessions=True).
    """
    if sort not in SORTS:
        raise UsageError(f"--sort takes {', '.join(SORTS)}")
    with live.connect(pid, socket) as client:
        found = collect(client, idle, sort, count)
    rows = found["sessions"]
    if as_json:
        show.as_json(found)
        return
    if show.is_plain(plain):
        show.table([*PLAIN], [[tell(row) for tell in PLAIN.values()] for row in rows], plain=True)
    else:
        shown = columns(rows)
        cells = [[column.show(row) for column in shown] for row in rows]
        show.lines([column.heading for column in shown], cells)
    left = found["matching"] - len(rows)
    more = f"; {left} more: -n 0 shows all" if left > 0 else ""
    which = f", {found['matching']} idle for {idle:g} s or longer" if idle else ""
    show.warn(f"{found['open']} sessions open{which}{more}")


def collect(client: Client, idle: float, sort: str, count: int) -> dict[str, Any]:
    """Ask for so many sessions, or all, page by page: one that changes its place comes once."""
    rows: dict[int, dict[str, Any]] = {}
    after = None
    while True:
        most = None if not count else min(count - len(rows), PAGE)
        page = client.sessions(idle=idle, sort=sort, most=most, after=after)
        rows |= {row["sid"]: row for row in page["sessions"]}
        after = page["next"]
        if after is None or 0 < count <= len(rows):
            return {**page, "sessions": [*rows.values()]}


def _known(value: object) -> object:
    return "-" if value is None else value
