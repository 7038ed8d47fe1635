"""
Which driver is meant: ``package``, or ``package:what_makes_it``, as commands and pytest take it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from opencrypto._core.plugins import Plugins
from opencrypto.driver import Driver
from opencrypto.exceptions import CryptoError, DriverUnavailable, UsageError

__all__ = ["Target", "targets"]


@dataclass(frozen=True, slots=True)
class Target:
    """
    A driver to be tried.

    Attributes:
        name: Its name.
        driver_class: Its class.
        make: Makes one, anew each time, with its options as they are set.
    """

    name: str
    driver_class: type[Driver]
    make: Callable[[], Driver]


def targets(text: str) -> list[Target]:
    """
    Find the drivers that a text names.

    Args:
        text: A package with the hook ``opencrypto_drivers``; or, behind a colon, a driver's class
            or a function that returns a driver or several: ``opencrypto_card:CardDriver``.

    Raises:
        UsageError: it cannot be imported, or brings no driver.
        DriverUnavailable: there is none on this host.
    """
    module, _, attribute = text.partition(":")
    offer = _factory(_imported(module), attribute) if attribute else _hook(_imported(module))
    drivers = offer()
    for driver in drivers:
        driver.close()
    return [
        Target(driver.name, type(driver), partial(_one_of, offer, number))
        for number, driver in enumerate(drivers)
    ]


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"{module} cannot be imported: {error}; name the package of a driver, such as "
            "opencrypto_swcrypto"
        ) from None


def _hook(plugin: Any) -> Callable[[], list[Driver]]:
    """Have the drivers of a plugin as a framework would, with the options that are set."""
    name = plugin.__name__
    if not hasattr(plugin, "opencrypto_drivers"):
        raise UsageError(f"{name} has no opencrypto_drivers(), so it brings no driver")

    def offer() -> list[Driver]:
        plugins = Plugins(strict=True)
        plugins.add([plugin])
        drivers = plugins.drivers()
        if not drivers:
            reasons = [failure.reason for failure in plugins.failures]
            raise DriverUnavailable("; ".join(reasons) or f"{name} offers no driver here")
        return drivers

    return offer


def _factory(module: Any, attribute: str) -> Callable[[], list[Driver]]:
    make = getattr(module, attribute, None)
    where = f"{module.__name__}:{attribute}"
    if not callable(make):
        raise UsageError(f"{where} is no class and no function that makes a driver")

    def offer() -> list[Driver]:
        try:
            made = make()
        except CryptoError as error:
            raise UsageError(f"{where}: {error.strerror}") from error
        drivers = list(made) if isinstance(made, Iterable) else [made]
        if not drivers:
            raise DriverUnavailable(f"{where} offers no driver here")
        if not all(isinstance(driver, Driver) for driver in drivers):
            raise UsageError(f"{where} makes {type(made).__name__}, which is no driver")
        return drivers

    return offer


def _one_of(offer: Callable[[], list[Driver]], number: int) -> Driver:
    """Make one of several drivers anew; those that come with it are put away."""
    drivers = offer()
    for other in drivers[:number] + drivers[number + 1 :]:
        other.close()
    return drivers[number]
