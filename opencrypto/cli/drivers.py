"""
``opencrypto drivers``: what is attached, and what could not be and why.
"""

from __future__ import annotations

from typing import Annotated

import typer

from opencrypto import DriverInfo, Framework
from opencrypto.cli import show


def drivers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the drivers: class, algorithms, sessions; and those not available, with the reason."""
    with Framework() as framework:
        infos = framework.drivers
    if as_json:
        show.as_json({"drivers": [_document(info) for info in infos]})
        return
    if not infos:
        typer.echo(
            "opencrypto: no drivers are installed; pip install 'opencrypto[openssl]'", err=True
        )
        return
    attached = [info for info in infos if info.hid is not None]
    missing = [info for info in infos if info.hid is None]
    if attached:
        show.table(
            ("hid", "driver", "class", "sessions", "algorithms"),
            ((i.hid, i.name, i.tier, i.sessions, " ".join(i.algorithms)) for i in attached),
        )
    served = [(i.name, alg, by) for i in attached for alg, by in i.implementations]
    if served:
        typer.echo()
        show.table(("driver", "algorithm", "served by"), served)
    if missing:
        if attached:
            typer.echo()
        show.table(("not available", "reason"), ((i.name, i.reason) for i in missing))


def _document(info: DriverInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "available": info.hid is not None,
        "hid": info.hid,
        "class": info.tier or None,
        "algorithms": list(info.algorithms),
        "implementations": dict(info.implementations),
        "sessions": info.sessions,
        "queued": info.queued,
        "blocked": info.blocked,
        "reason": info.reason or None,
    }
