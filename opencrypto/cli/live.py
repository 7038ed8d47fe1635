"""
Finding a live process, and what the commands that watch one have in common.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import typer

from opencrypto.cli import ending
from opencrypto.control import Client, ProcessGone, look
from opencrypto.exceptions import CryptoError, DriverGone, UsageError

Pid: TypeAlias = Annotated[
    int | None, typer.Option("--pid", "-p", help="The process to ask, if there are several.")
]
Socket: TypeAlias = Annotated[
    Path | None, typer.Option("--socket", help="The control socket's path, if it is elsewhere.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Values: TypeAlias = Mapping[str, Any]

ONE: Final = 2.0
"""Seconds that one process has to say who it is."""

PATIENCE: Final = 5.0
"""Seconds that all have together."""

AT_ONCE: Final = 32
"""How many are asked at the same time."""

GONE: Final = "opencrypto.rest.drivers."
"""What the names of the counts of drivers that left begin with."""

STRAYS: Final = "opencrypto.rest.strays"
"""What met no session, or one that had moved."""

HINT = "start the program with OPENCRYPTO_CONTROL=1, or name its socket with --socket"


INTERRUPTED: Final = 130
"""The exit status of who was ended by Ctrl-C."""


@contextmanager
def watching() -> Iterator[None]:
    """Ctrl-C is the usual end of a command that watches, and wants no sentence."""
    try:
        yield
    except ending.Ended:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


class Found(NamedTuple):
    """A socket, and what its process says of itself; or why it says nothing that can be used."""

    path: Path
    hello: Mapping[str, Any]
    trouble: str = ""


def living(paths: Sequence[Path]) -> list[Found]:
    """
    Ask who is there at each of the sockets, leaving out those whose process is gone.

    All at once, and for `PATIENCE` as a whole: whoever is slow delays nobody else's answer.
    """
    deadline = time.monotonic() + PATIENCE
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda path: _ask(path, deadline), paths)
        return [each for each in found if each is not None]


def _ask(path: Path, deadline: float) -> Found | None:
    try:
        patience = min(ONE, deadline - time.monotonic())
        if patience <= 0:
            raise DriverGone(f"{path}: not asked, since others took too long")
        with Client(path, timeout=patience) as client:
            return Found(path, client.hello())
    except ProcessGone:
        return None
    except CryptoError as error:
        if error.errno == errno.ENOENT:
            return None  # gone since we looked
        return Found(path, {}, error.strerror or "")


def connect(pid: int | None, socket: Path | None) -> Client:
    """
    Connect to the process asked for, or to the only one there is.

    Raises:
        UsageError: there is none, or there are several.
    """
    if socket is not None:
        return Client(socket)
    paths, refused = look()
    asked = living(paths)
    troubles = [*refused, *(each.trouble for each in asked if each.trouble)]
    found = {
        each.path: each.hello
        for each in asked
        if not each.trouble and pid in {None, each.hello["pid"]}
    }
    if not found:
        which = "no live framework" if pid is None else f"no live framework of process {pid}"
        also = f" (passed over: {'; '.join(troubles[:5])})" if troubles else ""
        raise UsageError(f"{which} was found; {HINT}{also}")
    if len(found) > 1:
        names = "; ".join(f"{path} ({hello['program']})" for path, hello in found.items())
        alike = len({hello["pid"] for hello in found.values()}) == 1
        how = "--socket, since they are of one process" if alike else "--pid or --socket"
        raise UsageError(f"there are several: name one with {how}: {names}")
    return Client(next(iter(found)))


def driver_names(values: Values) -> list[str]:
    """Return the names of the drivers in a reading of the tree."""
    return names_between(values, "opencrypto.drivers.", ".hid")


def names_between(values: Values, prefix: str, suffix: str) -> list[str]:
    """Return what stands between these two in names of the tree, where both do."""
    return [
        name.removeprefix(prefix).removesuffix(suffix)
        for name in values
        if name.startswith(prefix) and name.endswith(suffix)
    ]


def since(seconds: float) -> str:
    """Write a span of time as uptime(1) does."""
    minutes, left = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}:{minutes:02}" if days else f"{hours}:{minutes:02}:{left:02}"


def short(number: float) -> str:
    """Write a number in at most five characters, with a decimal suffix."""
    suffixes = iter("kMGTP")
    suffix = ""
    while abs(number) >= 999.5 and suffix != "P":
        number /= 1000
        suffix = next(suffixes)
    whole = not suffix or abs(number) >= 99.95
    return f"{number:.0f}{suffix}" if whole else f"{number:.1f}{suffix}"


def duration(ns: float) -> str:
    """Write a time given in nanoseconds."""
    for unit in ("ns", "us", "ms"):
        if ns < 999.5:
            return f"{ns:.0f}{unit}" if ns >= 99.95 or unit == "ns" else f"{ns:.1f}{unit}"
        ns /= 1000
    return f"{ns:.1f}s"
