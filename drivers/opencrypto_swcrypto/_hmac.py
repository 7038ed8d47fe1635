"""
HMAC, by the standard library, where a copy of a keyed state costs less than a microsecond.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from opencrypto import Cryptoini
from opencrypto.chain import MacTransform, TransformFactory
from opencrypto.exceptions import UsageError
from opencrypto.transforms import HMAC_HASHES, HashStream


class Hmac:
    """RFC 2104 over a hash of hashlib; a key longer than the block is hashed first."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes | bytearray, name: str) -> None:
        self._keyed: hmac.HMAC | None = hmac.new(key, digestmod=name)

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the MAC of the parts, one after the other."""
        assert self._keyed is not None
        state = self._keyed.copy()
        for part in parts:
            state.update(part)
        return state.digest()

    def stream(self) -> HashStream:
        """Begin a message that comes in pieces."""
        assert self._keyed is not None
        return HashStream(self._keyed.copy())

    def wipe(self) -> None:
        """Drop the keyed state; OpenSSL wipes its memory."""
        self._keyed = None


def _key(cri: Cryptoini) -> bytes | bytearray:
    """Return the session's key; a copy only of what hmac would not take."""
    key = cri.key or b""
    return bytes(key) if isinstance(key, memoryview) else key


def _hmac(name: str) -> TransformFactory:
    def factory(cri: Cryptoini) -> MacTransform:
        try:
            return Hmac(_key(cri), name)
        except ValueError:
            raise UsageError(f"this Python's hashlib has no HMAC with {name}") from None

    return factory


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    alg: _hmac(name) for alg, name in HMAC_HASHES.items()
}
