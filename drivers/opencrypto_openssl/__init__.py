"""The accelerated software driver: OpenSSL by way of the package `cryptography`."""

from __future__ import annotations

from opencrypto import Driver, hookimpl
from opencrypto.exceptions import DriverUnavailable

__all__ = ["opencrypto_drivers"]


@hookimpl
def opencrypto_drivers() -> list[Driver]:
    """
    Offer the driver.

    Raises:
        DriverUnavailable: the package `cryptography` is not installed, or too old.
    """
    remedy = "install it with: pip install 'opencrypto[openssl]'"
    try:
        from opencrypto_openssl._driver import OpensslDriver
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("cryptography"):
            raise
        # Whole module missing, or one that older versions have elsewhere.
        what = "is not installed" if error.name == "cryptography" else "is older than 44"
        raise DriverUnavailable(f"the package cryptography {what}; {remedy}") from None
    return [OpensslDriver()]
