"""
``opencrypto check``: the contract of every driver, run on one, and vectors that others publish.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from opencrypto.cli import show
from opencrypto.exceptions import UsageError
from opencrypto.testing import check_driver
from opencrypto.testing.check import PATIENCE, Report
from opencrypto.testing.suites import SuiteReport, check_suites
from opencrypto.testing.target import Target, targets


def check(
    module: Annotated[
        str,
        typer.Argument(
            help="The driver's package, as it is imported; or PACKAGE:NAME, what makes the driver."
        ),
    ],
    clause: Annotated[
        list[str] | None, typer.Option("--clause", help="Only this one (D4); may be repeated.")
    ] = None,
    patience: Annotated[
        float, typer.Option(help="Seconds before anything counts as never.", min=0.01)
    ] = PATIENCE,
    wycheproof: Annotated[
        Path | None,
        typer.Option(help="A folder of Wycheproof's JSON files: ask them, not the contract."),
    ] = None,
    acvp: Annotated[
        Path | None,
        typer.Option(help="A folder of ACVP's prompt and expectedResults files, likewise."),
    ] = None,
    subject: Annotated[
        bool,
        typer.Option("--subject", help="Answer ACVP's prompts, JSON lines on stdin, to stdout."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the contract on the drivers of a package; exit status 1 if one breaks a clause."""
    found = targets(module)
    if subject:
        _answer(found, patience)
        return
    reports: list[Report | SuiteReport]
    if wycheproof is not None or acvp is not None:
        if clause:
            raise UsageError("a clause is of the contract, which vectors are asked instead of")
        reports = [
            check_suites(
                each.make, wycheproof_folder=wycheproof, acvp_folder=acvp, patience=patience
            )
            for each in found
        ]
    else:
        reports = [
            check_driver(
                each.driver_class, make_driver=each.make, clauses=clause or (), patience=patience
            )
            for each in found
        ]
    if as_json:
        show.as_json({"drivers": [report.document for report in reports]})
    else:
        for report in reports:
            for line in str(report).splitlines():
                show.say(line)
    raise typer.Exit(0 if all(report.ok for report in reports) else 1)


def _answer(found: list[Target], patience: float) -> None:
    """Answer each line of stdin by a line of stdout."""
    from opencrypto.testing.suites.answering import answer_lines
    from opencrypto.testing.suites.subject import Subject

    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise UsageError(f"there are several drivers, {names}; name one, as PACKAGE:CLASS")
    with Subject(found[0].make(), patience) as asked:
        for response in answer_lines(asked, sys.stdin):
            show.as_line(response)
