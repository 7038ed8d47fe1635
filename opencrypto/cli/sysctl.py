"""
``opencrypto sysctl``: read and write the names of a live process, in the manner of sysctl(8).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, NamedTuple

import typer

from opencrypto.cli import live, show
from opencrypto.control import Client
from opencrypto.exceptions import UsageError
from opencrypto.sysctl import shown

NUMBER: Final = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|[0-9]+)", re.ASCII)
"""What is a number here; Python takes more for one, as 1_0 and digits of other scripts."""

LONGEST: Final = 40
"""How many characters a number has at most: what a name takes is far below that."""


def sysctl(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME[=VALUE]]...", help="Names, branches, or values to set."),
    ] = None,
    everything: Annotated[bool, typer.Option("-a", help="All names.")] = False,
    describe: Annotated[bool, typer.Option("-d", help="Descriptions instead of values.")] = False,
    bare: Annotated[bool, typer.Option("-n", help="Values without their names.")] = False,
    only_names: Annotated[bool, typer.Option("-N", help="Names without their values.")] = False,
    equals_sign: Annotated[bool, typer.Option("-e", help="NAME=VALUE, to be read again.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="NAME and VALUE with a tab.")] = False,
    write: Annotated[bool, typer.Option("-w", help="Set: each word is NAME=VALUE.")] = False,
    as_json: live.Json = False,
    pid: live.Pid = None,
    socket: live.Socket = None,
) -> None:
    """Read, describe and set the names of a live framework."""
    if not names and not everything:
        raise UsageError("name something, or say -a for everything")
    if names and everything:
        raise UsageError("-a takes no names")
    if write and not all("=" in name for name in names or [""]):
        raise UsageError("-w sets: each word is NAME=VALUE")
    if only_names + describe + bare > 1:
        raise UsageError("-N, -d and -n are each another form; say one")
    form = _Form(describe, bare, only_names, plain, "=" if equals_sign else " = ")
    with live.connect(pid, socket) as client:
        document: dict[str, Any] = {}
        for word in names or [""]:
            name, equals, text = word.partition("=")
            if equals:
                change = client.set(name, _number(name, text))
                document[name] = change["new"]
                if not as_json:
                    _print_change(name, change, form)
            else:
                found = _read(client, name, describe)
                document.update(found)
                if not as_json:
                    _print(found, form)
        if as_json:
            show.as_json(document)


def _number(name: str, text: str) -> int:
    if len(text) > LONGEST or not NUMBER.fullmatch(text):
        raise UsageError(f"{name} takes an integer, not {shown(text)}")
    try:
        return int(text, 0)
    except ValueError:  # 010 is ten to some, and eight to others
        raise UsageError(f"{name} takes an integer, not {shown(text)}") from None


def _read(client: Client, name: str, describe: bool) -> dict[str, Any]:
    wanted = [name] if name else []
    if not describe:
        return client.get(*wanted)
    return {node["name"]: _sentence(node) for node in client.nodes(*wanted)}


def _sentence(node: dict[str, Any]) -> str:
    text = str(node["description"])
    if node.get("unit"):
        text += f" ({node['unit']})"
    if node.get("writable"):
        text += f" [writable, {node['low']} to {node['high']}]"
    return text


class _Form(NamedTuple):
    """How a name is printed."""

    describe: bool
    bare: bool
    only_names: bool
    plain: bool
    equals: str

    def say(self, name: str, text: str) -> None:
        """Print the line of a name and its value or description."""
        if self.only_names:
            show.say(name)
        elif self.bare:
            show.say(text)
        elif self.plain:
            show.tabbed((name, text))
        else:
            show.say(f"{name}: {text}" if self.describe else f"{name}{self.equals}{text}")


def _print(values: dict[str, Any], form: _Form) -> None:
    for name, value in values.items():
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        form.say(name, text)


def _print_change(name: str, change: dict[str, Any], form: _Form) -> None:
    if form.bare or form.only_names or form.plain:
        form.say(name, str(change["new"]))
    else:  # as sysctl(8) reports a change: what it was, and what it is
        show.say(f"{name}: {change['old']} -> {change['new']}")
