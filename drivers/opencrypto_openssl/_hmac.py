"""HMAC. A copy of a keyed state costs 0.2 us, a new one 1.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from opencrypto import Cryptoini
from opencrypto.chain import BytesLike, MacTransform, TransformFactory
from opencrypto.exceptions import UsageError
from opencrypto.transforms import HMAC_HASHES, HashStream


class Hmac:
    """
    RFC 2104; a key longer than the block is hashed first.

    Attributes:
        keyed: The keyed state, of which each request takes a copy; empty once wiped.
    """

    __slots__ = ("keyed",)

    def __init__(self, key: BytesLike, algorithm: hashes.HashAlgorithm) -> None:
        self.keyed = [HMAC(key, algorithm)]

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the MAC of the parts, one after the other."""
        state = self.keyed[0].copy()
        for part in parts:
            state.update(part)
        return state.finalize()

    def stream(self) -> HashStream:
        """Begin a message that comes in pieces."""
        state = self.keyed[0].copy()
        return HashStream(state, _finalize)

    def wipe(self) -> None:
        """Drop the keyed state; OpenSSL wipes its memory."""
        self.keyed.clear()


def _finalize(state: Any) -> bytes:
    return bytes(state.finalize())


def _hmac(algorithm: hashes.HashAlgorithm, cri: Cryptoini) -> MacTransform:
    try:
        return Hmac(cri.key or b"", algorithm)
    except UnsupportedAlgorithm:
        raise UsageError(f"this OpenSSL has no HMAC with {algorithm.name}") from None


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    alg: partial(_hmac, getattr(hashes, name.upper())()) for alg, name in HMAC_HASHES.items()
}
