"""AES-CMAC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from opencrypto.chain import BytesLike, TransformFactory
from opencrypto.constants import CRYPTO_AES_CMAC
from opencrypto.transforms import HashStream


class Cmac:
    """AES-CMAC (RFC 4493); the keyed state is copied for each request."""

    __slots__ = ("_keyed",)

    def __init__(self, key: BytesLike) -> None:
        self._keyed: CMAC | None = CMAC(AES(key))

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the MAC of the parts, one after the other."""
        assert self._keyed is not None
        state = self._keyed.copy()
        for part in parts:
            state.update(part)  # type: ignore[arg-type]  # any buffer will do
        return state.finalize()

    def stream(self) -> HashStream:
        """Begin a message that comes in pieces."""
        assert self._keyed is not None
        state = self._keyed.copy()
        return HashStream(state, _finalize)

    def wipe(self) -> None:
        """Drop the keyed state."""
        self._keyed = None


def _finalize(state: Any) -> bytes:
    return bytes(state.finalize())


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_CMAC: lambda cri: Cmac(cri.key or b""),
}
