"""Poly1305 by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from cryptography.hazmat.primitives.poly1305 import Poly1305

from opencrypto.chain import BytesLike, TransformFactory
from opencrypto.constants import CRYPTO_POLY1305
from opencrypto.transforms import HashStream


class OneTime:
    """Poly1305 (RFC 8439 §2.5), whose key is for one message; its state cannot be copied."""

    __slots__ = ("_new",)

    def __init__(self, key: BytesLike) -> None:
        self._new: Callable[[], Any] | None = partial(Poly1305, key)

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the MAC of the parts, one after the other."""
        assert self._new is not None
        state = self._new()
        for part in parts:
            state.update(part)
        return bytes(state.finalize())

    def stream(self) -> HashStream:
        """Begin a message that comes in pieces."""
        assert self._new is not None
        state = self._new()
        return HashStream(state, _finalize)

    def wipe(self) -> None:
        """Drop the key."""
        self._new = None


def _finalize(state: Any) -> bytes:
    return bytes(state.finalize())


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_POLY1305: lambda cri: OneTime(cri.key or b""),
}
