"""
``opencrypto drivers``: what is attached, and what could not be and why; here, or in a process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from opencrypto import DriverInfo, Framework, UsageError
from opencrypto.cli import algorithms, live, show
from opencrypto.cli.live import GONE, STRAYS
from opencrypto.options import config_path


class Source(NamedTuple):
    """Where drivers are: in a live process, or offered by what is installed."""

    of: Mapping[str, Any]
    infos: Sequence[DriverInfo]
    counts: Sequence[Mapping[str, Any]]
    options: Sequence[Mapping[str, Any]]
    errors: Sequence[Mapping[str, Any]] = ()


def drivers(
    as_json: live.Json = False,
    plain: show.Plain = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the kernel for everything; this may load modules.")
    ] = False,
    alg: algorithms.Only = None,
    options: Annotated[
        bool, typer.Option("--options", help="Show what can be set of them, and what is set.")
    ] = False,
    pid: live.Pid = None,
    socket: live.Socket = None,
) -> None:
    """
    List the drivers: class, algorithms, sessions; and those not available, with the reason.

    With --pid or --socket they are those of a live process; without, those that the installed
    plugins offer.
    """
    if pid is None and socket is None:
        source = _installed(probe=probe)
    elif probe:
        raise UsageError("--probe asks the installed plugins; leave --pid and --socket out")
    else:
        source = _in_process(pid, socket)
    source = _having(source, alg)
    if not as_json:
        _say_where(source)
    if options:
        _show_options(source, as_json=as_json, plain=plain)
    elif as_json:
        listed = [_document(info) for info in source.infos]
        show.as_json(
            {"of": source.of, "drivers": listed, "counts": source.counts, "errors": source.errors}
        )
    else:
        _show(source, plain=plain)


def _having(source: Source, names: list[str] | None) -> Source:
    """Leave out the drivers that have none of some algorithms, or not a whole chain of them."""
    if not names:
        return source
    wanted = algorithms.chains(names)
    infos = [
        info
        for info in source.infos
        if any(algorithms.are_among(info.algorithms, parts) for parts in wanted)
    ]
    return source._replace(infos=infos)


def _installed(*, probe: bool) -> Source:
    with Framework() as framework:
        if probe:
            framework.probe()
        documents = [setting.document for setting in framework.options]
        return Source({}, framework.drivers, [], documents)


def _in_process(pid: int | None, socket: Path | None) -> Source:
    with live.connect(pid, socket) as client:
        hello = client.hello()
        of = {"pid": hello["pid"], "program": hello["program"]}
        infos = [_told(each) for each in client.drivers()]
        values = client.get("opencrypto.drivers", "opencrypto.rest")
        counts, errors = list(_counts(values)), list(_errors(values))
        return Source(of, infos, counts, client.options(), errors)


COUNTS: Final = {
    "ops": "requests",
    "errs": "errors",
    "bytes": "bytes",
    "kops": "key operations",
    "kerrs": "key errors",
}
"""What is shown of each driver's counts, and in which words."""


def _counting(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield who counts, with the branch of the counts: drivers, those that left, and nobody."""
    for name in live.driver_names(values):
        yield name, f"opencrypto.drivers.{name}"
    for name in live.names_between(values, GONE, ".migrated"):
        yield f"{name} (left)", f"{GONE}{name}"
    yield "(no driver)", STRAYS


def _errors(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what ended with an error: by whom, how often, and what was said of the last one."""
    for name, branch in _counting(values):
        for kind in ("errors", "kerrors"):
            for code in live.names_between(values, f"{branch}.{kind}.", ".class"):
                of = f"{branch}.{kind}.{code}"
                yield {
                    "driver": name,
                    "error": code,
                    "class": values.get(f"{of}.class", ""),
                    "count": values.get(of, 0),
                    "last": values.get(f"{of}.last", ""),
                    "at": values.get(f"{of}.at", 0),
                }


def _counts(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what each driver has done, those that left too, and what met none."""
    for name, branch in _counting(values):
        counts = {word: values.get(f"{branch}.{count}", 0) for count, word in COUNTS.items()}
        yield {"driver": name, **counts}


def _told(driver: Mapping[str, Any]) -> DriverInfo:
    """Return what a process says of a driver, as it would say it to itself."""
    pairs = ("implementations", "absent", "failed", "facts")
    told = {name: tuple(map(tuple, driver[name])) for name in pairs}
    words = {name: tuple(driver[name]) for name in ("algorithms", "keyops", "remarks")}
    return DriverInfo(**{**driver, **told, **words})


def _say_where(source: Source) -> None:
    if source.of:
        show.warn(f"drivers of {source.of['program']} (pid {source.of['pid']})")
    else:
        show.warn("these are the installed plugins; --pid or --socket asks a live process")


def _show(source: Source, *, plain: bool) -> None:
    infos = source.infos
    if not infos:
        show.warn(
            "the process has no drivers"
            if source.of
            else "no drivers are installed; pip install 'opencrypto[openssl]'"
        )
        return
    there = [info for info in infos if info.hid is not None]
    tables: list[tuple[Sequence[str], Iterable[Sequence[object]]]] = [
        (
            ("hid", "driver", "class", "state", "sessions", "queued", "algorithms"),
            [
                (i.hid, i.name, i.tier, state(i), i.sessions, i.queued, " ".join(i.algorithms))
                for i in there
            ],
        ),
        (
            ("driver", "distribution", "version", "file"),
            [(i.name, i.distribution or "-", i.version or "-", i.file or "-") for i in there],
        ),
        (("driver", *COUNTS.values()), [[*each.values()] for each in source.counts]),
        (("driver", "error", "count", "when", "last said"), [_told_of(e) for e in source.errors]),
        (("driver", "served by", "algorithms"), [row for info in there for row in _served(info)]),
        (("driver", "fact", ""), [(info.name, *fact) for info in there for fact in info.facts]),
        (("driver", "not trusted with", "reason"), [row for i in infos for row in _failed(i)]),
        (("not available", "reason"), [row for info in infos for row in _lacking(info)]),
        (("driver", "remark"), [(info.name, each) for info in infos for each in info.remarks]),
    ]
    between = False
    for columns, rows in tables:
        if rows:
            if between:
                show.say()
            show.table(columns, rows, plain=plain)
            between = True


def _told_of(error: Mapping[str, Any]) -> tuple[object, ...]:
    at = error["at"]
    ago = live.since(time.time() - at) if isinstance(at, int | float) else "?"
    return error["driver"], error["error"], error["count"], f"{ago} ago", error["last"]


def state(info: DriverInfo) -> str:
    """Say in a word or two what becomes of requests for a driver that is attached."""
    if info.leaving:
        return "leaving"
    if not info.blocked:
        return "attached"
    return f"BLOCKED for {live.since(time.time() - info.blocked_since)}"


def _show_options(source: Source, *, as_json: bool, plain: bool) -> None:
    """Show each option with its value and where that comes from; of a secret, whether it is set."""
    path = None if source.of else config_path()
    if as_json:
        where = {"of": source.of} if source.of else {"file": str(path) if path else None}
        show.as_json({**where, "options": source.options})
        return
    if not source.of:
        none = "none is read, since OPENCRYPTO_CONFIG is empty"
        show.say(f"file: {path or none}")
    names = ("driver", "option", "value", "from", "type", "description")
    show.table(
        (*names[:-1], "what it does"),
        [[each[name] for name in names] for each in source.options],
        plain=plain,
    )
    lacking = [row for info in source.infos for row in _lacking(info)]
    if lacking:
        show.say()
        show.table(("not available", "reason"), lacking, plain=plain)


def _served(info: DriverInfo) -> Iterator[tuple[str, str, str]]:
    """Say what serves which algorithms underneath, where that has a name."""
    together: dict[str, list[str]] = {}
    for alg, by in info.implementations:
        together.setdefault(by, []).append(alg)
    for by, algs in together.items():
        every = len(algs) == len(info.algorithms) > 1
        yield info.name, by, "all" if every else " ".join(algs)


def _lacking(info: DriverInfo) -> Iterator[tuple[str, str]]:
    """Say what a driver is without: itself, or algorithms."""
    if info.reason:
        yield info.name, info.reason
    for why, algs in _by_reason(info.absent):
        yield f"{info.name} {' '.join(algs)}", why


def _failed(info: DriverInfo) -> Iterator[tuple[str, str, str]]:
    """Say which self-tests of a driver failed, and how."""
    for why, algs in _by_reason(info.failed):
        yield info.name, " ".join(algs), why


def _by_reason(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[str]]]:
    together: dict[str, list[str]] = {}
    for alg, why in pairs:
        together.setdefault(why, []).append(alg)
    return together.items()


def _document(info: DriverInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "available": info.hid is not None,
        "hid": info.hid,
        "class": info.tier or None,
        "algorithms": list(info.algorithms),
        "implementations": dict(info.implementations),
        "absent": dict(info.absent),
        "failed": dict(info.failed),
        "remarks": list(info.remarks),
        "facts": dict(info.facts),
        "sessions": info.sessions,
        "queued": info.queued,
        "blocked": info.blocked,
        "blocked_since": info.blocked_since or None,
        "leaving": info.leaving,
        "offered": info.offered,
        "reason": info.reason or None,
        "distribution": info.distribution or None,
        "version": info.version or None,
        "file": info.file or None,
    }
