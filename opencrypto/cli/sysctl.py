"""
``opencrypto sysctl``: read and write the names of a live process, in the manner of sysctl(8).
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from opencrypto.cli import live, show
from opencrypto.control import Client
from opencrypto.exceptions import UsageError


def sysctl(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME[=VALUE]]...", help="Names, branches, or values to set."),
    ] = None,
    everything: Annotated[bool, typer.Option("-a", help="All names.")] = False,
    describe: Annotated[bool, typer.Option("-d", help="Descriptions instead of values.")] = False,
    bare: Annotated[bool, typer.Option("-n", help="Values without their names.")] = False,
    as_json: live.Json = False,
    pid: live.Pid = None,
    socket: live.Socket = None,
) -> None:
    """Read, describe and set the names of a live framework."""
    if not names and not everything:
        raise UsageError("name something, or say -a for everything")
    if names and everything:
        raise UsageError("-a takes no names")
    with live.connect(pid, socket) as client:
        document: dict[str, Any] = {}
        for word in names or [""]:
            name, equals, text = word.partition("=")
            if equals:
                change = client.set(name, _number(name, text))
                document[name] = change["new"]
                if not as_json:
                    _print_change(name, change, bare)
            else:
                found = _read(client, name, describe)
                document.update(found)
                if not as_json:
                    _print(found, describe, bare)
        if as_json:
            show.as_json(document)


def _number(name: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"{name} takes an integer, not {text!r}") from None


def _read(client: Client, name: str, describe: bool) -> dict[str, Any]:
    wanted = [name] if name else []
    if not describe:
        return client.get(*wanted)
    return {node["name"]: _sentence(node) for node in client.call("nodes", names=wanted)}


def _sentence(node: dict[str, Any]) -> str:
    text = str(node["description"])
    if node.get("unit"):
        text += f" ({node['unit']})"
    if node.get("writable"):
        text += f" [writable, {node['low']} to {node['high']}]"
    return text


def _print(values: dict[str, Any], describe: bool, bare: bool) -> None:
    for name, value in values.items():
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        if bare:
            typer.echo(live.clean(text))
        else:
            typer.echo(live.clean(f"{name}{':' if describe else ' ='} {text}"))


def _print_change(name: str, change: dict[str, Any], bare: bool) -> None:
    # As sysctl(8) reports a change: what it was, and what it is.
    typer.echo(live.clean(change["new"] if bare else f"{name}: {change['old']} -> {change['new']}"))
