"""
Where a call comes from: a few frames of a stack as ``file:line function``, and nothing else of it.

No argument, no local variable and no line of source is looked at: they may hold a key.
"""

from __future__ import annotations

import sys
from types import CodeType
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

FRAMES: Final = 6
"""How many callers are noted, the nearest first."""

KEPT: Final = 4096
"""How many places, and how many stacks, are remembered: each is there once, however often used."""

LONGEST: Final = 200
"""How many characters of a place are kept: its end."""


class Callers:
    """Notes who calls from outside of this package."""

    def __init__(self) -> None:
        self._places: dict[tuple[CodeType, int], str] = {}
        self._stacks: dict[tuple[str, ...], tuple[str, ...]] = {}

    def now(self) -> tuple[str, ...]:
        """Return the callers of this package, the nearest first."""
        places: list[str] = []
        frame = sys._getframe(1)
        while frame is not None and len(places) < FRAMES:
            if not _is_ours(frame.f_globals.get("__name__")):
                places.append(self._place(frame.f_code, frame.f_lineno))
            frame = frame.f_back  # type: ignore[assignment]  # None at the end
        return _kept(self._stacks, tuple(places), tuple(places))

    def _place(self, code: CodeType, line: int) -> str:
        known = self._places.get((code, line))
        if known is not None:
            return known
        text = f"{code.co_filename}:{line} {code.co_qualname}"[-LONGEST:]
        return _kept(self._places, (code, line), text)


def _is_ours(module: object) -> bool:
    return module == "opencrypto" or str(module).startswith("opencrypto.")


def _kept(known: dict[K, V], key: K, value: V) -> V:
    """Return what is known, or else note it; if there is too much, from the beginning."""
    if len(known) >= KEPT:
        known.clear()
    return known.setdefault(key, value)
