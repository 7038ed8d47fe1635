"""
What can be asked for over the control socket.

Each operation is a function of the framework and the request; what it returns is the answer, or
its pieces. None of them can reach a request's content, or a key: the tree, the drivers and the
trace have none.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from opencrypto._core.listing import PAGE, SORTS, SessionInfo, Wanted
from opencrypto._log import log
from opencrypto.control import protocol
from opencrypto.control.protocol import Message
from opencrypto.control.subject import Subject
from opencrypto.exceptions import UsageError
from opencrypto.sysctl import Node, UnknownName, Value, lineage, near_names

Job = Callable[[Subject, Message], object]

DETACH_TIMEOUT: Final = 10.0
"""Seconds a driver has to answer what it has taken, when it is detached from outside."""

COMPARED: Final = 8
"""How many names are compared with a wrong one at a time."""

CANDIDATES: Final = 500
"""How many are compared in all."""

_started: Final = time.time()


def hello(framework: Subject, message: Message) -> Iterator[str]:
    """Say who is here."""
    return protocol.object_of(_introduction(framework))


def _introduction(framework: Subject) -> Iterator[tuple[str, object]]:
    """Yield what is said of a process: its program's name alone, as arguments may hold secrets."""
    yield "protocol", protocol.VERSION
    yield "version", _release()
    yield "pid", os.getpid()
    yield "uid", os.geteuid()
    yield "program", os.path.basename(sys.argv[0] or "python")  # noqa: PTH119 - a word, not a path
    yield "started", round(_started, 3)
    yield "drivers", [info.name for info in framework.drivers if info.hid is not None]
    yield "sessions", framework.sysctl["opencrypto.sessions.active"]
    yield "ops", framework.sysctl["opencrypto.stats.ops"]


@functools.cache
def _release() -> str:
    try:
        return version("opencrypto")
    except PackageNotFoundError:
        return ""


def _selected(framework: Subject, message: Message) -> Iterator[Node | None]:
    """Yield the nodes asked for, each once, and None wherever somebody else could be served."""
    names = protocol.texts(message, "names")
    wanted = set(names)
    missing = {name for name in wanted if not framework.sysctl.has_branch(name)}
    passed: set[str] = set()
    for node in framework.sysctl.walk(wanted):
        if node.name in passed:
            continue
        passed.add(node.name)
        if not names:
            yield node
            continue
        over = wanted.intersection(lineage(node.name))
        missing -= over
        yield node if over else None
    for name in names:
        if name in missing:
            yield from _unknown(framework, name)


def _values(framework: Subject, message: Message) -> Iterator[tuple[Node, Value] | None]:
    """Yield the nodes asked for with their values, and None likewise."""
    for node in _selected(framework, message):
        for value in (None,) if node is None else node.read():
            yield None if node is None or value is None else (node, value)


def _unknown(framework: Subject, name: str) -> Iterator[None]:
    """Say that there is no such name, and which are near; comparing them all takes time."""
    names = []
    for node in framework.sysctl.walk():
        names.append(node.name)
        yield None
    if len(names) > CANDIDATES:
        names = _kin(name, names)[:CANDIDATES]
    near: list[str] = []
    for start in range(0, len(names), COMPARED):
        near = near_names(name, [*near, *names[start : start + COMPARED]])
        yield None
    raise UnknownName.of(name, near)


def _kin(name: str, names: list[str]) -> list[str]:
    """Return the names under the nearest branch that there is, or all."""
    for parent in lineage(name)[1:]:
        found = [each for each in names if each.startswith(f"{parent}.")]
        if found:
            return found
    return names


def get(framework: Subject, message: Message) -> Iterator[str]:
    """Read names, or branches of them; all of them if none is given."""
    return protocol.object_of(
        None if each is None else (each[0].name, each[1]) for each in _values(framework, message)
    )


def nodes(framework: Subject, message: Message) -> Iterator[str]:
    """Describe names, or branches of them; all of them if none is given."""
    return protocol.array_of(
        None if each is None else _describe(*each) for each in _values(framework, message)
    )


def _describe(node: Node, value: Value) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": node.name,
        "description": node.description,
        "type": node.type,
        "unit": node.unit,
        "writable": node.set is not None,
        "value": value,
    }
    if node.set is not None:
        facts |= {"low": node.low, "high": node.high}
    return facts


def set_(framework: Subject, message: Message) -> Iterator[str]:
    """Write a name."""
    name = protocol.text(message, "name")
    value = message.get("value")
    if not isinstance(value, int | float | str):
        raise UsageError(f"{name} takes an integer, not {type(value).__name__}")
    for node in framework.sysctl.walk({name}):
        if node.name == name:
            yield protocol.written(_change(node, value))
            return
        yield ""
    for _ in _unknown(framework, name):
        yield ""


def _change(node: Node, value: float | str) -> dict[str, Any]:
    old = node.get()
    node.write(value)
    log.info("control_set", name=node.name, old=old, new=value)
    return {"name": node.name, "old": old, "new": node.get()}


def drivers(framework: Subject, message: Message) -> Iterator[str]:
    """List what is attached, and what could not be, and why."""
    return protocol.array_of(
        {name: _bounded(value) for name, value in info._asdict().items()}
        for info in framework.drivers
    )


def sessions(framework: Subject, message: Message) -> Iterator[str]:
    """List open sessions: one page, of those and in the order that are asked for."""
    return protocol.object_of(_page(framework, _sessions_wanted(message)))


def _sessions_wanted(message: Message) -> Wanted:
    """Read which sessions a client asks for; what the fields may be the listing says."""
    idle = message.get("idle", 0)
    most = message.get("most", PAGE)
    sort = protocol.text(message, "sort", 16) if "sort" in message else SORTS[0]
    after = message.get("after")
    if not protocol.is_number(idle):
        raise UsageError('"idle" is a number of seconds')
    if type(most) is not int or not 1 <= most <= PAGE:
        raise UsageError(f'"most" is a number from 1 to {PAGE}')
    if after is not None and not (
        isinstance(after, list) and len(after) == 2 and all(map(protocol.is_number, after))
    ):
        raise UsageError('"after" is what "next" of the page before was')
    return Wanted(idle, sort, most, None if after is None else (after[0], after[1]))


def _page(framework: Subject, wanted: Wanted) -> Iterator[tuple[str, object] | None]:
    for page in framework.session_page(wanted):
        if page is None:
            yield None
            continue
        yield "open", page.open
        yield "matching", page.matching
        yield "sessions", [_bounded_row(row) for row in page.rows]
        yield "next", page.next


def _bounded_row(row: SessionInfo) -> dict[str, object]:
    return {name: _bounded(value) for name, value in row._asdict().items()}


def options(framework: Subject, message: Message) -> Iterator[str]:
    """List what is set of the drivers' options; of a secret, only whether it is."""
    return protocol.array_of(
        {name: _bounded(value) for name, value in setting.document.items()}
        for setting in framework.options
    )


def _bounded(value: object) -> object:
    """Have what drivers say of themselves be text that our client takes."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, tuple):
        return [_bounded(each) for each in value]
    return str(value)[: protocol.MAX_WORDS]


def attach(framework: Subject, message: Message) -> object:
    """Attach a driver that an installed plugin offers."""
    name = protocol.text(message, "driver")
    log.info("control_attach", driver=name)
    hid = framework.attach(framework.offered(name))
    # While sessions still know one of this name that left, the new one is "name#2".
    given = [info.name for info in framework.drivers if info.hid == hid]
    return {"driver": given[0] if given else name, "hid": hid}


def detach(framework: Subject, message: Message) -> object:
    """Detach a driver: its sessions migrate."""
    name = protocol.text(message, "driver")
    log.info("control_detach", driver=name)
    framework.detach(name, timeout=DETACH_TIMEOUT)
    return {"driver": name}


OPERATIONS: Final[Mapping[str, Callable[[Subject, Message], Iterator[str]]]] = {
    "hello": hello,
    "get": get,
    "nodes": nodes,
    "set": set_,
    "drivers": drivers,
    "options": options,
    "sessions": sessions,
}
"""What is answered piece by piece, since with many drivers or sessions it takes long."""

JOBS: Final[Mapping[str, Job]] = {"attach": attach, "detach": detach}
"""What may take seconds, and is done beside: one at a time."""
