"""
``opencrypto check``: the contract of every driver, run on one, without a test file.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Annotated, Any

import typer

from opencrypto.cli import show
from opencrypto.driver import Driver
from opencrypto.exceptions import DriverUnavailable, UsageError
from opencrypto.testing import check_driver
from opencrypto.testing.check import PATIENCE


def check(
    module: Annotated[str, typer.Argument(help="The package of the driver, as it is imported.")],
    clause: Annotated[
        list[str] | None, typer.Option("--clause", help="Only this one (D4); may be repeated.")
    ] = None,
    patience: Annotated[
        float, typer.Option(help="Seconds before anything counts as never.", min=0.01)
    ] = PATIENCE,
) -> None:
    """Run the contract on the drivers of a package; exit status 1 if one breaks a clause."""
    plugin = _plugin(module)
    kept = True
    for number, driver_class in enumerate(_classes(plugin)):
        report = check_driver(
            driver_class,
            make_driver=partial(_made, plugin, number),
            clauses=clause or (),
            patience=patience,
        )
        for line in str(report).splitlines():
            show.say(line)
        kept &= report.ok
    raise typer.Exit(0 if kept else 1)


def _plugin(module: str) -> Any:
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{module} cannot be imported: {error}; name the package of a driver, such as "
            "opencrypto_swcrypto"
        ) from None
    if not hasattr(plugin, "opencrypto_drivers"):
        raise UsageError(f"{module} has no opencrypto_drivers(), so it brings no driver")
    return plugin


def _classes(plugin: Any) -> list[type[Driver]]:
    try:
        drivers = list(plugin.opencrypto_drivers())
    except DriverUnavailable as error:
        raise UsageError(f"{plugin.__name__} has no driver here: {error.reason}") from None
    for driver in drivers:
        driver.close()
    return [type(driver) for driver in drivers]


def _made(plugin: Any, number: int) -> Driver:
    """Make one of the plugin's drivers anew; those that come with it are put away."""
    drivers: list[Driver] = list(plugin.opencrypto_drivers())
    for other in drivers[:number] + drivers[number + 1 :]:
        other.close()
    return drivers[number]
