"""
Which drivers to ask for a session, in which order. Pure: values in, values out.

The classes go in order (hardware, accelerated software, software); within one, the one with fewest
sessions, then the lowest id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from opencrypto.driver import CLASS_NAMES, HARDWARE

T = TypeVar("T")


class Candidate(NamedTuple):
    """
    A driver as selection sees it.

    Attributes:
        hid: Its id.
        name: Its name, for messages.
        tier: Its class, `opencrypto.driver.HARDWARE` to `SOFTWARE`.
        sessions: How many sessions it has.
        refusal: Why it cannot serve the chain at all, or an empty string.
    """

    hid: int
    name: str
    tier: int
    sessions: int
    refusal: str = ""


def order(candidates: Iterable[Candidate], hard: int) -> tuple[list[Candidate], dict[str, str]]:
    """
    Return the drivers to ask, best first, and why each of the others is not among them.

    Args:
        candidates: All drivers.
        hard: > 0 for hardware only, < 0 for software only (both its classes), 0 for all.
    """
    asked: list[Candidate] = []
    reasons: dict[str, str] = {}
    for candidate in candidates:
        reason = candidate.refusal or class_refusal(candidate.tier, hard)
        if reason:
            reasons[candidate.name] = reason
        else:
            asked.append(candidate)
    return sorted(asked, key=_rank), reasons


def key_rank(hid: int, tier: int, inflight: int, *, blocked: bool) -> tuple[bool, int, int, int]:
    """
    Rank a driver for a key request, the least being the best.

    One that takes requests comes before one that refuses them for now, since key requests have
    no session that binds them; then by class, by key requests in flight, by id.
    """
    return blocked, tier, inflight, hid


def class_refusal(tier: int, hard: int) -> str:
    """Say why a driver's class is not the one asked for, or return an empty string."""
    if hard > 0 and tier != HARDWARE:
        return f"is {CLASS_NAMES[tier]}; hardware was asked for"
    if hard < 0 and tier == HARDWARE:
        return "is hardware; software was asked for"
    return ""


def _rank(candidate: Candidate) -> tuple[int, int, int]:
    return candidate.tier, candidate.sessions, candidate.hid


def split(count: int, serve: Callable[[int, int], T | None]) -> list[T] | None:
    """
    Divide a row of things into as few runs as can be, so that somebody serves each of them.

    The longest run is tried first, from the left. That gives the fewest, since who serves a run
    serves each piece of it. The whole row is not asked for: the caller has found that nobody
    serves that.

    Args:
        count: How many things there are.
        serve: Has things `start` to `end` (exclusive) served, or returns None.

    Returns:
        What `serve` returned for each run, in order; None if something is served by nobody.
    """
    parts: list[T] = []
    start = 0
    while start < count:
        for end in range(count, start, -1):
            part = serve(start, end) if end - start < count else None
            if part is not None:
                parts.append(part)
                start = end
                break
        else:
            return None
    return parts
