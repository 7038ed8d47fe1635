"""
``opencrypto stat``: what a live process does, a line each few seconds, as vmstat(1) shows a system.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer

from opencrypto.cli import live, sample, show
from opencrypto.cli.sample import Change
from opencrypto.cli.sums import queues, refused, totals
from opencrypto.control import Client
from opencrypto.exceptions import UsageError

HEADER_EVERY: Final = 20

COLUMNS: Final = {
    "sess": "sessions open",
    "infl": "requests that drivers have, and have not answered",
    "queue": "requests that wait for a driver",
    "retq": "answered, waiting for their callbacks",
    "ops/s": "requests a second",
    "kB/s": "their input, in 1000 bytes a second",
    "err/s": "requests that ended with an error",
    "kop/s": "key operations",
    "intr/s": "runs of the request interrupt",
    "ret/s": "runs of the return interrupt",
    "blk/s": "times a driver was full",
    "drop/s": "requests not handed out",
    "bug/s": "times that a driver broke its contract",
    "mig/s": "sessions moved to another driver",
}
LATENCY: Final = {
    "p50": ("done", 0.5),
    "p99": ("done", 0.99),
    "cb99": ("cb", 0.99),
    "fin99": ("finis", 0.99),
}
"""
More columns, while opencrypto.timing is 1: a phase, and the part of the requests that stay under
the time, in nanoseconds. Until the driver answers; until the callback starts; in the callback.
"""

WIDTH: Final = 6


def stat(
    seconds: Annotated[
        float | None, typer.Argument(metavar="[WAIT", min=0.05, help="As -w.", show_default=False)
    ] = None,
    lines: Annotated[
        int | None, typer.Argument(metavar="[COUNT]]", min=1, help="As -c.", show_default=False)
    ] = None,
    wait: Annotated[
        float | None, typer.Option("-w", min=0.05, help="Seconds between the lines.")
    ] = None,
    count: Annotated[int | None, typer.Option("-c", min=1, help="How many lines.")] = None,
    whole: Annotated[bool, typer.Option("-s", help="Totals since the start, a line each.")] = False,
    as_json: live.Json = False,
    plain: show.Plain = False,
    pid: live.Pid = None,
    socket: live.Socket = None,
) -> None:
    """
    Print what a live framework does, a line each -w seconds.

    The first line is the mean since the program started; without -w it is the only one, unless
    -c says otherwise. Both may be said as vmstat(1) has them: stat 1 3. Latencies are there while
    opencrypto.timing is 1: p50 and p99 until the driver answers, cb99 from there to the callback,
    fin99 in the callback. -s prints what has come to pass since the start, and ends.
    """
    if whole and (wait, seconds, count, lines) != (None,) * 4:
        raise UsageError("-s prints the totals, once; leave the numbers out")
    if (wait, seconds).count(None) == 0 or (count, lines).count(None) == 0:
        raise UsageError("say -w and -c, or the numbers alone, and not both")
    wait = seconds if wait is None else wait
    count = lines if count is None else count
    if wait is None and count is not None:
        wait = 1.0
    wanted = 1 if wait is None else count
    with live.watching(), live.connect(pid, socket) as client:
        if whole:
            _print_totals(client, as_json=as_json, plain=plain)
            return
        started = client.hello()["started"]
        old = None
        printer = show.as_line if as_json else Printer(plain=plain)
        for line in itertools.count(1):
            new = sample.read(client)
            printer(numbers(Change(old, new, age=time.time() - started)))
            if wanted is not None and line >= wanted:
                return
            old = new
            time.sleep(max(0.0, new.at + (wait or 1.0) - time.monotonic()))


def _print_totals(client: Client, *, as_json: bool, plain: bool) -> None:
    """Print the totals, as vmstat -s does: they are no rates, and stand apart from these."""
    found = totals(Change(None, sample.read(client), age=1.0))
    if as_json:
        show.as_json(found)
    elif show.is_plain(plain):
        for name, value in found.items():
            show.tabbed((f"{value:.0f}", name))
    else:
        for name, value in found.items():
            show.say(f"{value:>12.0f} {name}")


class Printer:
    """Prints lines below a header, which comes again when other columns do, and on a screen."""

    def __init__(self, *, plain: bool) -> None:
        self._plain = show.is_plain(plain)
        self._columns: list[str] = []
        self._left = 0

    def __call__(self, row: Mapping[str, float | None]) -> None:
        if [*row] != self._columns or not (self._left or self._plain):
            self._columns = [*row]
            self._left = HEADER_EVERY
            self._say(self._columns)
        self._left -= 1
        self._say([self._cell(name, value) for name, value in row.items()])

    def _say(self, cells: Sequence[str]) -> None:
        if self._plain:
            show.tabbed(cells)
        else:
            show.say(" ".join(f"{cell:>{WIDTH}}" for cell in cells))
        sys.stdout.flush()

    def _cell(self, name: str, value: float | None) -> str:
        if value is None:
            return "-"
        if self._plain:
            return f"{value:g}" if value < 1e5 else f"{value:.0f}"
        return live.duration(value) if name in LATENCY else live.short(value)


def numbers(change: Change) -> dict[str, float | None]:
    """Return a line's numbers by column; without a request there is no latency."""
    new, rate = change.new, change.rate
    queued = change.total("queued")
    values = (
        new.number("opencrypto.sessions.active"),
        max(0, change.total("inflight") - queued),
        queued,
        queues(change, "len"),
        rate("opencrypto.stats.ops"),
        rate("opencrypto.sizes.bytes") / 1e3,
        rate("opencrypto.stats.errs") + rate("opencrypto.stats.kerrs"),
        rate("opencrypto.stats.kops"),
        rate("opencrypto.stats.intrs"),
        rate("opencrypto.stats.rets"),
        rate("opencrypto.stats.blocks") + rate("opencrypto.stats.kblocks"),
        refused(change),
        rate("opencrypto.stats.driver_bugs"),
        rate("opencrypto.sessions.migrated"),
    )
    row: dict[str, float | None] = {
        name: round(value, 3) for name, value in zip(COLUMNS, values, strict=True)
    }
    if new.number("opencrypto.timing"):
        for name, (phase, part) in LATENCY.items():
            row[name] = change.quantile(f"opencrypto.timing.{phase}.histogram", part)
    return row
