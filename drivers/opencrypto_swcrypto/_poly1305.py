"""Poly1305 (RFC 8439) by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from Crypto.Hash.Poly1305 import Poly1305_MAC

from opencrypto import Cryptoini
from opencrypto.chain import MacTransform, TransformFactory
from opencrypto.constants import CRYPTO_POLY1305
from opencrypto.transforms import HashStream


class OneTime:
    """Its state, which the library cannot copy, is made for each request."""

    __slots__ = ("_new",)

    def __init__(self, new: Callable[[], Any]) -> None:
        self._new: Callable[[], Any] | None = new
        new()  # so that a key the library does not take refuses the session

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole MAC of a region."""
        assert self._new is not None
        state = self._new()
        for part in parts:
            state.update(part)
        return bytes(state.digest())

    def stream(self) -> HashStream:
        """Begin a message that comes in pieces."""
        assert self._new is not None
        return HashStream(self._new())

    def wipe(self) -> None:
        """Drop the key."""
        self._new = None


def _poly1305(cri: Cryptoini) -> MacTransform:
    key: Any = memoryview(cri.key or b"")
    return OneTime(partial(Poly1305_MAC, key[:16], key[16:], None))


FACTORIES: Final[Mapping[int, TransformFactory]] = {CRYPTO_POLY1305: _poly1305}
