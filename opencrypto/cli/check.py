"""
``opencrypto check``: the contract of every driver, run on one, without a test file.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from opencrypto.cli import show
from opencrypto.exceptions import DriverUnavailable
from opencrypto.testing import Report, check_driver
from opencrypto.testing.check import PATIENCE, Options
from opencrypto.testing.isolated import Source, check_isolated


def check(
    driver: Annotated[
        str,
        typer.Argument(
            help="The package of the driver, as it is imported; or package:maker, "
            "where maker() makes one."
        ),
    ],
    clause: Annotated[
        list[str] | None, typer.Option("--clause", help="Only this one (D4); may be repeated.")
    ] = None,
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
) -> None:
    """Run the contract on the drivers of a package; exit status 1 unless all keep it."""
    source = Source.parse(driver)
    options = Options(clauses=clause or (), patience=patience, quick=quick, soak=soak)
    reports = []
    try:
        for number in range(source.count()):
            reports.append(_report(source.of(number), isolated, options))
            for line in str(reports[-1]).splitlines():
                show.say(line)
    except DriverUnavailable as error:
        show.say(f"driver {driver}: not tried: {error.reason}")
        raise typer.Exit(1) from None
    kept = bool(reports) and all(report.ok for report in reports)
    if not reports:
        show.say(f"driver {driver}: not tried: it offers no driver")
    if any(report.left_behind for report in reports):
        sys.stdout.flush()
        os._exit(0 if kept else 1)  # what hangs in a driver would hold up the end
    raise typer.Exit(0 if kept else 1)


def _report(source: Source, isolated: bool, options: Options) -> Report:
    driver_class = source.driver_class()
    if isolated:
        return check_isolated(source, driver_class.name, **options)
    return check_driver(driver_class, make_driver=source.make, **options)
