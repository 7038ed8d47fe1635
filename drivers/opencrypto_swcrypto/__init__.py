"""The software driver: every algorithm, on any host, by pycryptodome and the standard library."""

from __future__ import annotations

from opencrypto import Driver, hookimpl
from opencrypto.exceptions import DriverUnavailable

__all__ = ["opencrypto_drivers"]


@hookimpl
def opencrypto_drivers() -> list[Driver]:
    """
    Offer the driver.

    Raises:
        DriverUnavailable: pycryptodome is not installed, or the environment asks for a library
            for key operations that is not there.
    """
    try:
        from opencrypto_swcrypto._driver import SwcryptoDriver
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("Crypto"):
            raise
        raise DriverUnavailable(
            "pycryptodome is not installed; install it with: pip install 'pycryptodome>=3.20'"
        ) from None
    return [SwcryptoDriver()]
