"""
``opencrypto drivers``: what is attached, and what could not be and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from opencrypto import DriverInfo, Framework
from opencrypto.cli import show
from opencrypto.options import Setting, config_path


def drivers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the kernel for everything; this may load modules.")
    ] = False,
    options: Annotated[
        bool, typer.Option("--options", help="Show what can be set of them, and what is set.")
    ] = False,
) -> None:
    """List the drivers: class, algorithms, sessions; and those not available, with the reason."""
    with Framework() as framework:
        if probe:
            framework.probe()
        infos = framework.drivers
        settings = framework.options
    if options:
        _show_options(settings, [row for info in infos for row in _lacking(info)], as_json)
        return
    if as_json:
        show.as_json({"drivers": [_document(info) for info in infos]})
        return
    if not infos:
        show.warn("no drivers are installed; pip install 'opencrypto[openssl]'")
        return
    attached = [info for info in infos if info.hid is not None]
    if attached:
        show.table(
            ("hid", "driver", "class", "sessions", "algorithms"),
            ((i.hid, i.name, i.tier, i.sessions, " ".join(i.algorithms)) for i in attached),
        )
        show.say()
        show.table(
            ("driver", "distribution", "version", "file"),
            ((i.name, i.distribution or "-", i.version or "-", i.file or "-") for i in attached),
        )
    served = [row for info in attached for row in _served(info)]
    if served:
        show.say()
        show.table(("driver", "served by", "algorithms"), served)
    facts = [(info.name, *fact) for info in attached for fact in info.facts]
    if facts:
        show.say()
        show.table(("driver", "fact", ""), facts)
    lacking = [row for info in infos for row in _lacking(info)]
    if lacking:
        if attached:
            show.say()
        show.table(("not available", "reason"), lacking)


def _show_options(settings: list[Setting], lacking: list[tuple[str, str]], as_json: bool) -> None:
    """Show each option with its value and where that comes from; of a secret, whether it is set."""
    path = config_path()
    if as_json:
        listed = [
            {
                "driver": each.token,
                "option": each.option.name,
                "type": each.option.type_name,
                "value": each.shown,
                "from": each.source,
                "variable": each.variable,
                "secret": each.option.secret,
                "description": each.option.description,
            }
            for each in settings
        ]
        show.as_json({"file": str(path) if path else None, "options": listed})
        return
    show.say(f"file: {path}" if path else "file: none is read, since OPENCRYPTO_CONFIG is empty")
    show.table(
        ("driver", "option", "value", "from", "type", "what it does"),
        (
            (s.token, s.option.name, s.shown, s.source, s.option.type_name, s.option.description)
            for s in settings
        ),
    )
    if lacking:
        show.say()
        show.table(("not available", "reason"), lacking)


def _served(info: DriverInfo) -> Iterator[tuple[str, str, str]]:
    """Say what serves which algorithms underneath, where that has a name."""
    together: dict[str, list[str]] = {}
    for alg, by in info.implementations:
        together.setdefault(by, []).append(alg)
    for by, algs in together.items():
        every = len(algs) == len(info.algorithms) > 1
        yield info.name, by, "all" if every else " ".join(algs)


def _lacking(info: DriverInfo) -> Iterator[tuple[str, str]]:
    """Say what a driver is without: itself, algorithms, or what it remarks."""
    if info.reason:
        yield info.name, info.reason
    together: dict[str, list[str]] = {}
    for alg, why in (*info.absent, *info.failed):
        together.setdefault(why, []).append(alg)
    for why, algs in together.items():
        yield f"{info.name} {' '.join(algs)}", why
    for remark in info.remarks:
        yield info.name, remark


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
        "reason": info.reason or None,
        "distribution": info.distribution or None,
        "version": info.version or None,
        "file": info.file or None,
    }
