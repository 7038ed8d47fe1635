"""
``opencrypto esp sa``: what a file of SAs says, without its keys, and the same in another format.
"""

from __future__ import annotations

import os
import stat
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from opencrypto import UsageError, files
from opencrypto.cli import show
from opencrypto_esp import SecurityAssociation, load_sas, write_sas

STREAM: Final = Path("-")


class Kind(StrEnum):
    """The formats that are written."""

    TOML = "toml"
    XFRM = "xfrm"
    ESP_SA = "esp_sa"


def sa(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="SAs in any format that --sa takes, and what says more of them; - is stdin.",
        ),
    ],
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--to",
            help="Write them as TOML, as commands for ip -batch, or as Wireshark's esp_sa.",
        ),
    ] = None,
    target: Annotated[
        Path, typer.Option("--out", metavar="OUT", help="Where to; - is stdout, if nobody sees it.")
    ] = STREAM,
    as_json: Annotated[bool, typer.Option("--json", help="List them as JSON.")] = False,
    plain: show.Plain = False,
) -> None:
    """List the SAs of files without their keys, or write them in another format."""
    if kind is not None and as_json:
        raise UsageError("--json lists SAs and --to writes them; choose one")
    if kind is None and target != STREAM:
        raise UsageError("say in which format to write: --to toml, --to xfrm or --to esp_sa")
    if kind is not None and target == STREAM:
        _check_unseen()
    sas = load_sas(*paths, remark=show.warn)
    if kind is None:
        _list(sas, as_json=as_json, plain=plain)
        return
    text = write_sas(sas, kind.value, remark=show.warn)
    if target == STREAM:
        for line in text.removesuffix("\n").split("\n"):
            show.say(line)
    else:
        with files.writing(target, files.PRIVATE) as file:
            file.write(text.encode())


def _check_unseen() -> None:
    """
    See that keys do not go where others read them.

    Raises:
        UsageError: standard output is a terminal, or a file that others may read.
    """
    found = os.fstat(sys.stdout.fileno())
    if sys.stdout.isatty():
        raise UsageError("keys are not shown on a terminal; write them to a file: --out FILE")
    if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError("others may read where standard output goes; write to a file: --out FILE")


def _list(sas: list[SecurityAssociation], *, as_json: bool, plain: bool) -> None:
    rows = [_row(each) for each in sas]
    if as_json:
        show.as_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        show.lines(_COLUMNS, rows, plain=plain)


_COLUMNS: Final = (
    "name", "spi", "protocol", "direction", "mode", "from", "to", "suite", "numbers", "for",
)  # fmt: skip


def _suite(sa: SecurityAssociation) -> str:
    encryption = ""
    if sa.encryption:
        encryption = f"{sa.encryption}-{8 * (len(sa.encryption_key) - sa.cipher.salt)}"
    return "+".join(filter(None, (encryption, sa.integrity))) or "-"


def _row(sa: SecurityAssociation) -> list[str]:
    """Return what is shown of an SA: no key."""
    numbers = "64 bits" if sa.esn else "32 bits"
    selectors = (",".join(map(str, side)) or "*" for side in (sa.source, sa.destination))
    return [
        sa.name or "-",
        f"{sa.spi:#010x}" if sa.spi else "*",
        f"{sa.protocol} in {sa.encap}" if sa.encap else str(sa.protocol),
        str(sa.direction or "either"),
        str(sa.mode),
        str(sa.tunnel_source or "*"),
        str(sa.tunnel_destination or "*"),
        _suite(sa),
        f"{numbers}, from {sa.sequence + 1}" if sa.sequence else numbers,
        " to ".join(selectors),
    ]
