"""
A long answer, made piece by piece, so that other clients are served in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from opencrypto._log import log
from opencrypto.control import protocol
from opencrypto.control.peer import Peer
from opencrypto.exceptions import CryptoError

SLICE: Final = 0.02
"""Seconds of the control thread after which it looks for other clients."""


class Slice:
    """A stretch of time. `seconds` are counted from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> bool:
        """Tell whether some of it is left."""
        return time.monotonic() < self._end


class Work:
    """
    An answer in the making.

    Args:
        peer: Who gets it.
        ident: What it is the answer to.
        pieces: The text of the result, in pieces of which none takes long; empty ones are there
            to give way. What they raise becomes the answer.
    """

    def __init__(self, peer: Peer, ident: object, pieces: Iterator[str]) -> None:
        self.peer = peer
        self._ident = ident
        self._pieces = pieces
        self._made: list[str] = []

    def go_on(self, time_: Slice) -> bytes | None:
        """Make more of it; return it if it is whole."""
        try:
            for piece in self._pieces:
                self._made.append(piece)
                if not time_.left():
                    return None
        except CryptoError as error:
            return protocol.failure(self._ident, error)
        except Exception as error:
            return internal(self._ident, error)
        return protocol.answer_of_text(self._ident, "".join(self._made))


def internal(ident: object, error: Exception) -> bytes:
    """Report the unforeseen by its type alone: its text could quote anything."""
    log.error("control_failed", error=type(error).__name__)
    return protocol.failure(ident, CryptoError(f"internal error: {type(error).__name__}"))
