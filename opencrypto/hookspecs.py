"""
What a plugin may implement (pluggy project and entry-point group ``opencrypto``).

A plugin is a module, class or instance with methods of these names, marked with
``@opencrypto.hookimpl``. `opencrypto_drivers` brings drivers; the others observe. Observers are
called from whatever thread the event happens in, with no lock held, and never per request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import pluggy

from opencrypto._hookimpl import PROJECT, hookimpl
from opencrypto.driver import Driver

if TYPE_CHECKING:
    from opencrypto.options import Option, Options

__all__ = [
    "PROJECT", "hookimpl", "opencrypto_attached", "opencrypto_blocked", "opencrypto_detached",
    "opencrypto_drivers", "opencrypto_migrated", "opencrypto_newsession", "opencrypto_options",
    "opencrypto_unblocked",
]  # fmt: skip

hookspec: Final = pluggy.HookspecMarker(PROJECT)


@hookspec
def opencrypto_options() -> Iterable[Option[Any]]:  # type: ignore[empty-body]  # a specification has none
    """Return what an operator can set of the plugin's drivers; see `opencrypto.options`."""


@hookspec
def opencrypto_drivers(options: Options) -> Iterable[Driver]:  # type: ignore[empty-body]  # a specification has none
    """
    Return the drivers that this host can offer, not yet attached.

    It may be called again, and is then to return new ones. Those that are not wanted are closed.
    An implementation without the parameter is called without it.

    Args:
        options: What was declared by `opencrypto_options`, as an operator has set it.

    Raises:
        DriverUnavailable: it can offer none; the reason is listed in ``Framework.drivers``.
    """


@hookspec
def opencrypto_attached(hid: int, name: str, distribution: str, version: str, file: str) -> None:
    """
    Note that a driver was attached, and where it comes from.

    Distribution and version are empty for one that the program has brought itself.
    """


@hookspec
def opencrypto_detached(hid: int, name: str) -> None:
    """Note that a driver has left."""


@hookspec
def opencrypto_newsession(sid: int, driver: str) -> None:
    """Note that a session was opened."""


@hookspec
def opencrypto_migrated(sid: int, new_sid: int) -> None:
    """Note that a session moved to another driver."""


@hookspec
def opencrypto_blocked(hid: int, what: int) -> None:
    """Note that a driver takes no requests for now (``CRYPTO_SYMQ`` or ``CRYPTO_ASYMQ``)."""


@hookspec
def opencrypto_unblocked(hid: int, what: int) -> None:
    """Note that a driver takes requests again."""
