"""
Finding a live process, and what the commands that watch one have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from opencrypto.control import Client, find_sockets
from opencrypto.exceptions import CryptoError, UsageError

Pid: TypeAlias = Annotated[
    int | None, typer.Option("--pid", "-p", help="The process to ask, if there are several.")
]
Socket: TypeAlias = Annotated[
    Path | None, typer.Option("--socket", help="The control socket's path, if it is elsewhere.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Values: TypeAlias = Mapping[str, Any]

HINT = "start the program with OPENCRYPTO_CONTROL=1, or name its socket with --socket"


def living() -> Iterator[tuple[Client, dict[str, Any]]]:
    """Yield a connection to each framework that answers, and what it says of itself."""
    for path in find_sockets():
        try:
            client = Client(path, timeout=2.0)
        except CryptoError:
            continue  # its process is gone, or it is another user's
        with client:
            try:
                hello = client.call("hello")
            except CryptoError:
                continue
            if isinstance(hello, dict):
                yield client, hello


def connect(pid: int | None, socket: Path | None) -> Client:
    """
    Connect to the process asked for, or to the only one there is.

    Raises:
        UsageError: there is none, or there are several.
    """
    if socket is not None:
        return Client(socket)
    found = {client.path: hello for client, hello in living() if pid in {None, hello.get("pid")}}
    if not found:
        which = "no live framework" if pid is None else f"no live framework of process {pid}"
        raise UsageError(f"{which} was found; {HINT}")
    if len(found) > 1:
        names = "; ".join(f"{path} ({h.get('program')})" for path, h in found.items())
        alike = len({hello.get("pid") for hello in found.values()}) == 1
        how = "--socket, since they are of one process" if alike else "--pid or --socket"
        raise UsageError(f"there are several: name one with {how}: {names}")
    return Client(next(iter(found)))


def driver_names(values: Values) -> list[str]:
    """Return the names of the drivers in a reading of the tree."""
    prefix, suffix = "opencrypto.drivers.", ".hid"
    return [
        name.removeprefix(prefix).removesuffix(suffix)
        for name in values
        if name.startswith(prefix) and name.endswith(suffix)
    ]


def since(seconds: float) -> str:
    """Write a span of time as uptime(1) does."""
    minutes, left = divmod(int(seconds), 60)
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
