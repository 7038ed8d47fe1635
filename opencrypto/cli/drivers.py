"""
``opencrypto drivers``: what is attached, and what could not be and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from opencrypto import DriverInfo, Framework
from opencrypto.cli import show


def drivers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the kernel for everything; this may load modules.")
    ] = False,
) -> None:
    """List the drivers: class, algorithms, sessions; and those not available, with the reason."""
    with Framework() as framework:
        if probe:
            framework.probe()
        infos = framework.drivers
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
    served = [row for info in attached for row in _served(info)]
    if served:
        show.say()
        show.table(("driver", "served by", "algorithms"), served)
    lacking = [row for info in infos for row in _lacking(info)]
    if lacking:
        if attached:
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
    for alg, why in (*info.absent, *info.failed):
        yield f"{info.name} {alg}", why
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
        "sessions": info.sessions,
        "queued": info.queued,
        "blocked": info.blocked,
        "reason": info.reason or None,
    }
