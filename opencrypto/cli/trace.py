"""
``opencrypto trace``: record what a live process asks of its drivers, look at it, play it again.

A trace is a file of JSON lines: a head with the names of the fields, then an array for each
request. It has sizes, algorithms, moments, drivers and results; no content, no key, no IV.
"""

from __future__ import annotations

import errno
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from opencrypto import files
from opencrypto._measure.trace import Entry
from opencrypto.cli import algorithms, live, show
from opencrypto.control import Client
from opencrypto.exceptions import DriverGone, UsageError, sentence

FORMAT: Final = "opencrypto-trace"
VERSION: Final = 1
POLL: Final = 0.05
"""Seconds between two looks at what has been recorded, when little is."""

app = typer.Typer(
    help="Record what a live process asks of its drivers, and play it to others.",
    no_args_is_help=True,
    add_completion=False,
)

File = Annotated[Path, typer.Argument(help="The trace.")]


@app.command()
def record(
    file: File,
    seconds: Annotated[float, typer.Option("-t", min=0.01, help="For how long.")] = 10.0,
    count: Annotated[int | None, typer.Option("-c", min=1, help="At most so many.")] = None,
    alg: algorithms.Only = None,
    as_json: live.Json = False,
    pid: live.Pid = None,
    socket: live.Socket = None,
) -> None:
    """Record requests into a file, until the time or the count is reached, or Ctrl-C."""
    gone: DriverGone | None = None
    wanted = algorithms.chains(alg)
    with (
        live.connect(pid, socket) as client,
        files.writing(file, files.PRIVATE, new=True) as out,
    ):
        fields = client.trace("start")["fields"]
        chain_at = fields.index("chain")
        head = {"format": FORMAT, "version": VERSION, "fields": fields}
        out.write(_line(head))
        written = 0
        lost = [0]
        try:
            for entries in _entries(client, seconds, lost):
                fitting = [e for e in entries if _is_wanted(e[chain_at], wanted)]
                kept = fitting[: None if count is None else count - written]
                out.writelines(map(_line, kept))
                written += len(kept)
                if count is not None and written >= count:
                    break
        except KeyboardInterrupt:
            pass  # what has been written is a whole trace
        except DriverGone as error:
            gone = error  # here too
    if as_json:
        show.as_json({"file": str(file), "requests": written, "lost": lost[0]})
    else:
        lacking = f"; {lost[0]} lost" if lost[0] else ""
        show.say(f"{written} requests recorded in {file}{lacking}")
    if gone is not None:
        raise gone


def _line(values: object) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _entries(client: Client, seconds: float, lost: list[int]) -> Iterator[list[Any]]:
    """Yield what was recorded, bit by bit; note in `lost` how many came too fast."""
    end = time.monotonic() + seconds
    stopped = False
    while True:
        if not stopped and time.monotonic() >= end:
            client.trace("stop")
            stopped = True
        answer = client.trace("read")
        lost[0] = answer["lost"]
        yield answer["entries"]
        if not answer["left"]:
            if stopped:
                return
            time.sleep(min(POLL, max(0.0, end - time.monotonic())))


def load(file: Path) -> list[Entry]:
    """
    Read a trace.

    Raises:
        UsageError: the file is no trace, or one of another version.
    """
    with file.open() as lines:
        try:
            head = json.loads(lines.readline(65536))
            if head["format"] != FORMAT or head["version"] != VERSION:
                raise UsageError(f"{file} is a trace of another version")
            fields = head["fields"]
            return [_entry(dict(zip(fields, json.loads(line), strict=True))) for line in lines]
        except UsageError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError):
            raise UsageError(f"{file} is no trace, or a damaged one") from None


def _entry(values: dict[str, Any]) -> Entry:
    known = {name: values[name] for name in Entry._fields}
    known["chain"] = tuple(_numbers(c, 3) for c in known["chain"])
    known["desc"] = tuple(_numbers(d, 5) for d in known["desc"])
    known["driver"] = str(known["driver"])
    for name in set(known) - {"chain", "desc", "driver"}:
        known[name] = _number(known[name])
    return Entry(**known)


def _number(value: object, least: int = -(1 << 64), most: int = 1 << 64) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError("no number of ours")
    return value


def _numbers(values: Any, count: int) -> tuple[int, ...]:
    numbers = tuple(_number(value, 0, 1 << 40) for value in values)
    if len(numbers) != count:
        raise ValueError("another count of numbers")
    return numbers


@app.command("show")
def show_trace(
    file: File,
    first: Annotated[int, typer.Option("-n", min=0, help="How many requests to list.")] = 20,
    alg: algorithms.Only = None,
    as_json: live.Json = False,
    plain: show.Plain = False,
) -> None:
    """Show a trace: its sums, and its first requests."""
    entries = _only(load(file), alg)
    summary = _summary(entries)
    if as_json:
        shown = [
            entry._asdict() | {"result": result_name(entry.etype)} for entry in entries[:first]
        ]
        show.as_json(summary | {"requests": shown})
        return
    for name in ("count", "seconds", "sessions", "bytes", "errors"):
        show.say(f"{name}: {summary[name]}")
    show.table(("algorithms", "requests"), [*summary["algorithms"].items()], plain=plain)
    show.say()
    reasons = Counter(entry.etype for entry in entries if entry.etype).most_common()
    if reasons:
        show.table(
            ("error", "requests", "meaning"),
            [(result_name(etype), count, sentence(etype)) for etype, count in reasons],
            plain=plain,
        )
        show.say()
    show.table(
        ("at ms", "driver", "algorithms", "bytes", "result", "wait us", "driver us", "callback us"),
        [
            (
                round(e.at / 1e6, 3),
                e.driver,
                chain_name(e),
                e.size,
                result_name(e.etype),
                round((e.invoke + e.cb) / 1e3, 1),
                round(e.done / 1e3, 1),
                round(e.finis / 1e3, 1),
            )
            for e in entries[:first]
        ],
        plain=plain,
    )


def _only(entries: list[Entry], names: list[str] | None) -> list[Entry]:
    """Return the entries of sessions that have one of some algorithms or chains; all if none."""
    wanted = algorithms.chains(names)
    return [entry for entry in entries if _is_wanted(entry.chain, wanted)]


def _is_wanted(chain: Sequence[algorithms.Spec], wanted: Sequence[algorithms.Chain]) -> bool:
    return not wanted or any(algorithms.carries(chain, each) for each in wanted)


def chain_name(entry: Entry) -> str:
    """Name the algorithms of an entry's session."""
    return algorithms.spec_name(entry.chain)


def result_name(etype: int) -> str:
    """Name how a request ended: ``ok``, or the name of its errno."""
    return errno.errorcode.get(etype, f"errno {etype}") if etype else "ok"


def _summary(entries: list[Entry]) -> dict[str, Any]:
    span = max((e.at for e in entries), default=0) - min((e.at for e in entries), default=0)
    return {
        "count": len(entries),
        "seconds": round(span / 1e9, 6),
        "sessions": len({entry.sid for entry in entries}),
        "bytes": sum(entry.size for entry in entries),
        "errors": sum(bool(entry.etype) for entry in entries),
        "results": dict(Counter(result_name(e.etype) for e in entries).most_common()),
        "algorithms": dict(Counter(map(chain_name, entries)).most_common()),
        "drivers": dict(Counter(e.driver for e in entries).most_common()),
    }


@app.command("replay")
def replay_trace(
    file: File,
    drivers: Annotated[
        list[str] | None,
        typer.Option("--driver", "-D", help="Only these drivers; may be given several times."),
    ] = None,
    alg: algorithms.Only = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.0, help="Times as fast as recorded; 0 for no waits.")
    ] = 0.0,
    as_json: live.Json = False,
    plain: show.Plain = False,
) -> None:
    """
    Play a trace to drivers of this host, with keys and data of its own, and compare.

    Each driver that is named plays it by itself; without a name all play it together.
    """
    from opencrypto.cli import replay  # with the framework that it plays to

    entries = sorted(_only(load(file), alg), key=lambda entry: entry.at)
    if not entries:
        which = f" of {' or '.join(alg)}" if alg else ""
        raise UsageError(f"{file} has no requests{which}")
    players = replay.all_players(entries, drivers or None, speed)
    recorded = replay.recorded(entries)
    if as_json:
        show.as_json({"recorded": recorded, "played": players})
    else:
        show.table(
            ("", "requests", "errors", "seconds", "requests/s", "MB/s", "p50 us", "p99 us"),
            [
                (name, *(row[key] for key in replay.COLUMNS))
                for name, row in (
                    ("recorded", recorded),
                    *((each["driver"] or "all drivers", each) for each in players),
                )
            ],
            plain=plain,
        )
        for each in players:
            by = f" by {each['driver']}" if each["driver"] else ""
            for chain, why in each["refused"].items():
                show.warn(f"not played{by}: {chain}: {why}")
    idle = [each["driver"] for each in players if not each["requests"]]
    if idle:
        which = "the drivers" if idle == [None] else ", ".join(idle)
        raise DriverGone(f"{which} could not play any of it")
