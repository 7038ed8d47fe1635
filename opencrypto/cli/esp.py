"""
``opencrypto esp protect`` and ``opencrypto esp unprotect``: ESP on a capture, packet by packet.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress

from opencrypto import Framework, UsageError
from opencrypto.cli import captures, esp_gateway, show
from opencrypto.cli.esp_sas import sa as list_sas
from opencrypto_esp import Direction, Esp, Flow, Reason, SecurityAssociation, load_sas, one_way
from opencrypto_esp.capture import Item, Passage, Reader

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="IPsec ESP (RFC 4303) on packet captures, by the associations of a file.",
)
app.command("sa")(list_sas)


class Format(StrEnum):
    """The formats of captures."""

    PCAP = "pcap"
    PCAPNG = "pcapng"


In = Annotated[
    Path,
    typer.Argument(
        metavar="IN",
        help="The capture to read: pcap or pcapng, also packed (gzip, xz, zstd); - is stdin.",
    ),
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="The capture to write; - is stdout.")]
Sa = Annotated[
    list[Path],
    typer.Option(
        "--sa",
        metavar="FILE",
        help="SAs, in a file that only you may read: TOML, ip xfrm, esp_sa of Wireshark, tcpdump "
        "-E; more files may say more of them. - is stdin.",
    ),
]
Kind = Annotated[
    Format | None, typer.Option("--format", help="The format of OUT; by default, that of IN.")
]
Others = Annotated[
    bool,
    typer.Option(
        "--pass-others",
        help="Pass what is not for ESP on in clear, ARP for example, instead of leaving it out.",
    ),
]
StateFile = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="Keep sequence numbers and windows in FILE, for the next run.",
    ),
]
TestKeys = Annotated[
    bool,
    typer.Option("--test-keys", help="The keys are for tests: send by counter modes with them."),
]
OldCiphers = Annotated[
    bool,
    typer.Option("--old-ciphers", help="Read DES, Blowfish, CAST and Camellia: old captures."),
]
Unverified = Annotated[
    bool,
    typer.Option(
        "--unverified",
        help="Read by SAs that have no more than icv_length: anybody may have made the packets.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]

_KINDS: Final = 12
"""How many kinds of frames a sentence names."""

_SA_FILE: Final = "compare the SA file with the other end's"
_REMEDIES: Final = {
    Reason.DUMMY: "",
    Reason.KEEP_ALIVE: "",
    Reason.MALFORMED: "look at the capture with: tshark -V -r IN",
    Reason.TRUNCATED: "record whole packets: tcpdump -s 0",
    Reason.NO_LENGTH: "record with offloads off: ethtool -K DEVICE tso off gso off gro off",
    Reason.FRAGMENT: "use tunnel mode outbound, and put fragments together before unprotecting",
    Reason.TOO_BIG: "record with a smaller MTU",
    Reason.UNKNOWN_ROUTE: "protect what has such a route with ESP",
    Reason.NO_DRIVER: "see: opencrypto drivers",
    Reason.NOT_KEPT: "make room for the state file",
}
"""What to do about packets that were dropped, where the SA file is not to blame."""


@dataclass(frozen=True)
class Common:
    """What both commands are told: each option is here, and so is what it is without."""

    source: In
    target: Out
    sa: Sa
    state: StateFile = None
    kind: Kind = None
    others: Others = False
    as_json: Json = False
    plain: show.Plain = False


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command whose options are those of `Common`, which the function gets, and its own."""
    common, own = (
        [*inspect.signature(each, eval_str=True).parameters.values()] for each in (Common, function)
    )
    options = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*common, *own[1:])]

    def command(**given: Any) -> None:
        function(Common(**{each.name: given.pop(each.name) for each in common}), **given)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # for typer
    command.__annotations__ = {each.name: each.annotation for each in options}
    app.command()(command)
    return command


@_command
def protect(common: Common, test_keys: TestKeys = False) -> None:
    """Protect every IP packet of IN, and write it to OUT."""
    _Run(common, Direction.OUT, test_keys=test_keys).go()


@_command
def unprotect(
    common: Common, old_ciphers: OldCiphers = False, unverified: Unverified = False
) -> None:
    """Verify and decrypt every ESP packet of IN, and write what it protected to OUT."""
    _Run(common, Direction.IN, old_ciphers=old_ciphers, unverified=unverified).go()


app.command("gateway")(esp_gateway.gateway)


class _Run:
    """One run of the command: from a capture to another one, and what is said of it."""

    def __init__(self, common: Common, direction: Direction, **allowed: bool) -> None:
        self._common = common
        self._allowed = allowed
        self._direction = direction
        self._inbound = direction is Direction.IN
        self._verb = "unprotected" if self._inbound else "protected"
        self._cut = ""
        self._err = captures.is_stdout(common.target)

    def go(self) -> None:
        """Do it, and say what came of it; status 1 if something was lost."""
        common = self._common
        captures.check_apart(common.source, common.target)
        if captures.STREAM in common.sa and common.source == captures.STREAM:
            raise UsageError("standard input is the capture or the SAs, not both; name a file")
        sas = one_way(load_sas(*common.sa, remark=show.warn), self._direction)
        with Framework() as framework, self._esp(framework, sas) as esp:
            esp.open()
            start = time.perf_counter()
            passage = self._stream(esp)
            seconds = time.perf_counter() - start
            counters = esp.counters()
        flow = counters.unprotected if self._inbound else counters.protected
        flow.dropped.update(passage.dropped)
        lost = flow.lost + passage.left.total()
        if common.as_json:
            self._document(flow, passage, lost, seconds)
        else:
            self._table(flow, passage, lost, seconds)
        self._sentences(flow, passage)
        if lost or self._cut:
            raise typer.Exit(1)

    def _esp(self, framework: Framework, sas: list[SecurityAssociation]) -> Esp:
        return Esp(framework, sas, state=self._common.state, **self._allowed)

    def _stream(self, esp: Esp) -> Passage:
        """Send every packet through ESP."""
        common = self._common
        with (
            captures.reading(common.source) as reader,
            captures.writing(common.target, common.kind or reader.format) as writer,
        ):
            passage = Passage(
                writer,
                esp.unprotect if self._inbound else esp.protect,
                inbound=self._inbound,
                pass_others=common.others,
                forms=esp.forms,
            )
            passage.run(_shown(reader, captures.size(common.source)))
        if reader.cut:
            self._cut = (
                f"{reader.source.name} is cut short after packet {passage.frames}: {reader.cut}"
            )
        return passage

    def _document(self, flow: Flow, passage: Passage, lost: int, seconds: float) -> None:
        show.as_json(
            {
                self._verb: flow.as_dict(),
                "frames": passage.frames,
                "passed_on_in_clear": dict(passage.passed.most_common()),
                "left_out": dict(passage.left.most_common()),
                "blocks_left_out": dict(passage.blocks.most_common()),
                "lost": lost,
                "cut_short": self._cut or None,
                "seconds": seconds,
            },
            err=self._err,
        )

    def _table(self, flow: Flow, passage: Passage, lost: int, seconds: float) -> None:
        rows: list[tuple[str, object]] = [
            (self._verb, flow.packets),
            ("bytes in", flow.octets_in),
            ("bytes out", flow.octets_out),
            ("passed on in clear", passage.passed.total()),
            ("left out", passage.left.total()),
            *((f"dropped: {reason.value}", n) for reason, n in flow.dropped.most_common()),
            *((f"served by {name}", n) for name, n in flow.drivers.most_common()),
            ("sessions moved", flow.migrations),
            ("requests sent again", flow.resubmitted),
            ("packets per second", round((flow.packets + lost) / max(seconds, 1e-9))),
        ]
        show.table(("", "count"), rows, err=self._err, plain=self._common.plain)

    def _sentences(self, flow: Flow, passage: Passage) -> None:
        """Say what a person should not overlook, and what to do about it."""
        if passage.passed:
            show.warn(f"passed on in clear: {_listed(passage.passed)}")
        if passage.left:
            way = "not ESP" if self._inbound else "not IP, which alone is protected"
            show.warn(
                f"left out, since {way}: {_listed(passage.left)}; to pass them on: --pass-others"
            )
        if passage.blocks:
            show.warn(f"blocks left out that are no packets: {_listed(passage.blocks)}")
        if flow.lost:
            todo = (_REMEDIES.get(reason, _SA_FILE) for reason, _ in flow.dropped.most_common())
            show.warn(
                f"{flow.lost} packets were dropped for the reasons above; "
                + "; ".join(dict.fromkeys(filter(None, todo)))
            )
        if self._cut:
            show.warn(f"{self._cut}; what came before is kept")


def _listed(kinds: Counter[str]) -> str:
    """Name kinds with their numbers, the most frequent first."""
    shown = [f"{kind} {n}" for kind, n in kinds.most_common(_KINDS)]
    rest = kinds.total() - sum(n for _, n in kinds.most_common(_KINDS))
    return ", ".join([*shown, f"{rest} of other kinds"] if rest else shown)


def _shown(reader: Reader, size: int | None) -> Iterator[Sequence[Item]]:
    """Hand a capture's batches on, and show a terminal how far it is."""
    if not sys.stderr.isatty():
        yield from reader.batches()  # a pipe or a log file gets no control characters
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=size)
        for batch in reader.batches():
            yield batch
            progress.update(bar, completed=reader.source.position)
