"""
``opencrypto check``: the contract of every driver, run on one, and vectors that others publish.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from opencrypto.cli import algorithms, show
from opencrypto.exceptions import DriverUnavailable, UsageError
from opencrypto.testing import Report, check_driver
from opencrypto.testing.check import PATIENCE, Options
from opencrypto.testing.isolated import check_isolated
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
    alg: algorithms.Only = None,
    patience: Annotated[
        float, typer.Option(help="Seconds before anything counts as never.", min=0.01)
    ] = PATIENCE,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few trials of each clause: seconds.")
    ] = False,
    soak: Annotated[
        float, typer.Option(help="Seconds that each long run goes on for.", min=0)
    ] = 0.0,
    isolated: Annotated[
        bool,
        typer.Option(
            "--isolated", help="Each clause in a process of its own, which the driver may end."
        ),
    ] = False,
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
    """Run the contract on the drivers of a package; exit status 1 unless all keep it."""
    vectors = wycheproof is not None or acvp is not None
    if (subject or vectors) and (clause or alg or quick or soak or isolated):
        raise UsageError(
            "--clause, --alg, --quick, --soak and --isolated are of the contract, which is not "
            "tried where vectors are asked; leave them out"
        )
    if subject and vectors:
        raise UsageError("a subject is asked by stdin; leave --wycheproof and --acvp out")
    options = Options(
        clauses=clause or (), algorithms=algorithms.numbers(alg), patience=patience,
        quick=quick, soak=soak,
    )  # fmt: skip
    try:
        if subject:
            _answer(targets(module), patience)
            return
        reports: Sequence[Report | SuiteReport]
        if vectors:
            reports = [
                check_suites(
                    each.make, wycheproof_folder=wycheproof, acvp_folder=acvp, patience=patience
                )
                for each in targets(module)
            ]
        elif isolated:
            reports = check_isolated(module, **options)
        else:
            reports = [
                check_driver(each.driver_class, make_driver=each.make, **options)
                for each in targets(module)
            ]
    except DriverUnavailable as error:
        _not_tried(module, error.reason, as_json)
        raise typer.Exit(1) from None
    if as_json:
        show.as_json({"drivers": [report.document for report in reports]})
    else:
        for report in reports:
            for line in str(report).splitlines():
                show.say(line)
    status = 0 if all(report.ok for report in reports) else 1
    if any(isinstance(report, Report) and report.left_behind for report in reports):
        sys.stdout.flush()
        os._exit(status)  # what hangs in a driver would hold up the end
    raise typer.Exit(status)


def _not_tried(module: str, reason: str, as_json: bool) -> None:
    """Say why there is nothing to try: a driver that is not here keeps nothing."""
    verdict = f"not tried: {reason}"
    if as_json:
        show.as_json({"drivers": [{"driver": module, "ok": False, "verdict": verdict}]})
    else:
        show.say(f"driver {module}: {verdict}")


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
