"""What CMAC and BLAKE2 have in common: a keyed state that can be copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opencrypto.transforms import HashStream


class Keyed:
    """An authenticator whose keyed state is kept, and copied for each request."""

    __slots__ = ("_keyed",)

    def __init__(self, keyed: Any) -> None:
        self._keyed = keyed

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole MAC of a region."""
        state = self._keyed.copy()
        for part in parts:
            state.update(part)
        return bytes(state.digest())

    def stream(self) -> HashStream:
        """Begin a message that comes in pieces."""
        return HashStream(self._keyed.copy())

    def wipe(self) -> None:
        """Drop the keyed state."""
        self._keyed = None
