"""A driver for opencrypto: NULL_CBC by way of ROT13, and SHA1_HMAC."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from opencrypto import (
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1_HMAC,
    Capability,
    Cryptoini,
    Driver,
    hookimpl,
)
from opencrypto.chain import ChainDriver, Segments, TransformFactory

__all__ = ["Rot13Driver", "opencrypto_drivers"]

# bytes.translate wants to know what each of the 256 bytes becomes.
ROT13 = bytes(
    (base + (byte - base + 13) % 26)
    if (base := 65 if 65 <= byte <= 90 else 97) <= byte < base + 26
    else byte
    for byte in range(256)
)


class Rot26:
    """A cipher: ROT13, twice. That is the identity, so it is NULL_CBC (RFC 2410)."""

    def __init__(self, cri: Cryptoini) -> None:
        """Take any key, and forget it."""

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Work in place: a segment is a view of the consumer's own buffer."""
        for part in parts:
            part[:] = bytes(part).translate(ROT13).translate(ROT13)


class Sha1Hmac:
    """An authenticator: HMAC-SHA1 (RFC 2104), keyed once for the session."""

    def __init__(self, cri: Cryptoini) -> None:
        self._keyed = hmac.new(bytes(cri.key or b""), digestmod="sha1")

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return all of the MAC; the framework cuts it, injects it or compares it."""
        state = self._keyed.copy()  # threads share the session, so none may use up its state
        for part in parts:
            state.update(part)
        return state.digest()


class Rot13Driver(ChainDriver):
    """Two algorithms, done in the thread that asks."""

    name = "rot13"
    capabilities: Mapping[int, Capability] = {
        CRYPTO_NULL_CBC: Capability(implementation="ROT13"),
        CRYPTO_SHA1_HMAC: Capability(implementation="hmac"),
    }
    factories: Mapping[int, TransformFactory] = {
        CRYPTO_NULL_CBC: Rot26,
        CRYPTO_SHA1_HMAC: Sha1Hmac,
    }


@hookimpl
def opencrypto_drivers() -> list[Driver]:
    """Offer the driver. Raise opencrypto.DriverUnavailable with the reason where it cannot work."""
    return [Rot13Driver()]
