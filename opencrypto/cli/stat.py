"""
``opencrypto stat``: what a live process does, a line each few seconds, as vmstat(1) shows a system.
"""

from __future__ import annotations

import itertools
import json
import time
from typing import Annotated, Final

import typer

from opencrypto.cli import live, sample, show
from opencrypto.cli.sample import Change
from opencrypto.exceptions import UsageError

HEADER_EVERY: Final = 20

COLUMNS: Final = {
    "sess": "sessions open",
    "infl": "requests accepted and not answered",
    "queue": "of these, waiting for a driver",
    "retq": "answered, waiting for their callbacks",
    "ops/s": "requests a second",
    "MB/s": "their input, in 10^6 bytes a second",
    "err/s": "requests that ended with an error",
    "kop/s": "key operations",
    "intr/s": "runs of the request interrupt",
    "ret/s": "runs of the return interrupt",
    "blk/s": "times a driver was full",
    "drop/s": "requests not handed out",
    "mig": "sessions moved, ever",
}
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
    as_json: live.Json = False,
    pid: live.Pid = None,
    socket: live.Socket = None,
) -> None:
    """
    Print what a live framework does, a line each -w seconds.

    The first line is the mean since the program started; without -w it is the only one, unless
    -c says otherwise. Both may be said as vmstat(1) has them: stat 1 3.
    """
    if (wait, seconds).count(None) == 0 or (count, lines).count(None) == 0:
        raise UsageError("say -w and -c, or the numbers alone, and not both")
    wait = seconds if wait is None else wait
    count = lines if count is None else count
    if wait is None and count is not None:
        wait = 1.0
    wanted = 1 if wait is None else count
    with live.connect(pid, socket) as client:
        started = client.hello()["started"]
        old = None
        for line in itertools.count():
            new = sample.read(client)
            row = numbers(Change(old, new, age=time.time() - started))
            if as_json:
                show.say(json.dumps(row))
            else:
                if line % HEADER_EVERY == 0:
                    show.say(" ".join(f"{name:>{WIDTH}}" for name in COLUMNS))
                show.say(" ".join(f"{live.short(value):>{WIDTH}}" for value in row.values()))
            if wanted is not None and line + 1 >= wanted:
                return
            old = new
            time.sleep(max(0.0, new.at + (wait or 1.0) - time.monotonic()))


def numbers(change: Change) -> dict[str, float]:
    """Return a line's numbers by column."""
    new, rate = change.new, change.rate
    drops = rate("opencrypto.crypto_ret_q.drops") + rate("opencrypto.crypto_ret_kq.drops")
    retq = new.number("opencrypto.crypto_ret_q.len") + new.number("opencrypto.crypto_ret_kq.len")
    values = (
        new.number("opencrypto.sessions.active"),
        change.total("inflight"),
        change.total("queued"),
        retq,
        rate("opencrypto.stats.ops"),
        rate("opencrypto.sizes.bytes") / 1e6,
        rate("opencrypto.stats.errs") + rate("opencrypto.stats.kerrs"),
        rate("opencrypto.stats.kops"),
        rate("opencrypto.stats.intrs"),
        rate("opencrypto.stats.rets"),
        rate("opencrypto.stats.blocks") + rate("opencrypto.stats.kblocks"),
        drops,
        new.number("opencrypto.sessions.migrated"),
    )
    return {name: round(value, 3) for name, value in zip(COLUMNS, values, strict=True)}
