"""
``opencrypto esp protect`` and ``opencrypto esp unprotect``: ESP on a capture, packet by packet.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from opencrypto import Framework
from opencrypto.cli import show
from opencrypto.cli.captures import Capture, Time, reading, writing
from opencrypto.exceptions import UsageError
from opencrypto_esp import Direction, Esp, Flow, Result, load_sas, one_way

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="IPsec ESP (RFC 4303) on packet captures, by the associations of a file.",
)

In = Annotated[Path, typer.Argument(metavar="IN", help="The capture to read: pcap or pcapng.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="The capture to write: pcap.")]
Sa = Annotated[
    Path, typer.Option("--sa", metavar="FILE", help="TOML file of SAs; only you may read it.")
]
StateFile = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="Keep sequence numbers and windows in FILE, for the next run.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]

_EVERY = 256
"""Packets between two looks at the progress bar, whose drawing costs more than a packet."""


@app.command()
def protect(
    source: In, target: Out, sa: Sa, state: StateFile = None, as_json: Json = False
) -> None:
    """Protect every IP packet of IN, and write it to OUT."""
    _run(source, target, sa, state, as_json=as_json, direction=Direction.OUT)


@app.command()
def unprotect(
    source: In, target: Out, sa: Sa, state: StateFile = None, as_json: Json = False
) -> None:
    """Verify and decrypt every ESP packet of IN, and write what it protected to OUT."""
    _run(source, target, sa, state, as_json=as_json, direction=Direction.IN)


def _run(
    source: Path, target: Path, sa: Path, state: Path | None, *, as_json: bool,
    direction: Direction,
) -> None:  # fmt: skip
    sas = one_way(load_sas(sa), direction)
    inbound = direction is Direction.IN
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{target} is the capture to be read; name another file to write")
    with Framework() as framework, Esp(framework, sas, state=state) as esp:
        esp.open()
        start = time.perf_counter()
        with reading(source) as capture, writing(target, capture) as write:
            work = esp.unprotect if inbound else esp.protect
            passed = _stream(capture, write, work, size=source.stat().st_size)
        seconds = time.perf_counter() - start
        counters = esp.counters()
    flow = counters.unprotected if inbound else counters.protected
    _summary(flow, passed, seconds, as_json=as_json, verb="unprotected" if inbound else "protected")
    if flow.lost:
        raise typer.Exit(1)


def _stream(
    capture: Capture,
    write: Callable[[bytes, Time], None],
    work: Callable[[bytes], Result],
    *,
    size: int,
) -> int:
    """Send every packet through `work`; return how many frames held none and went on unchanged."""
    passed = 0
    # A pipe or a log file gets no control characters.
    # Quiet too: rich before 14.3 ends even a disabled bar with a newline.
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("", total=size)
        for number, (when, frame) in enumerate(capture):
            if not number % _EVERY:
                progress.update(bar, completed=capture.position())
            packet = capture.packet(frame)
            if packet is None:
                passed += 1
                write(frame, when)
                continue
            made = work(packet).packet
            if made is not None:
                write(capture.reframe(frame, made), when)
    return passed


def _summary(flow: Flow, passed: int, seconds: float, *, as_json: bool, verb: str) -> None:
    if as_json:
        show.as_json(
            {verb: flow.as_dict(), "not_ip": passed, "lost": flow.lost, "seconds": seconds}
        )
        return
    rows: list[tuple[str, object]] = [
        (verb, flow.packets),
        ("bytes in", flow.octets_in),
        ("bytes out", flow.octets_out),
        ("not IP, passed on", passed),
        *((f"dropped: {reason.value}", n) for reason, n in flow.dropped.most_common()),
        *((f"served by {name}", n) for name, n in flow.drivers.most_common()),
        ("sessions moved", flow.migrations),
        ("requests sent again", flow.resubmitted),
        ("packets per second", round((flow.packets + flow.lost) / max(seconds, 1e-9))),
    ]
    show.table(("", "count"), rows)
    if flow.lost:
        show.warn(
            f"{flow.lost} packets were dropped for the reasons above; "
            "compare the SA file with the other end's"
        )
