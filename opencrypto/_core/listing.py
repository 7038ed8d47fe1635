"""
A listing of sessions: what is asked for, and what is told of each. Data alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PAGE: Final = 500
"""How many sessions one page has, unless it is said otherwise."""

SORTS: Final = ("age", "idle", "requests")
"""What sessions can be listed by: the oldest, the longest idle, or the busiest first."""

Place = tuple[float, int]
"""Where a session stands in an order: what it is ordered by, and its SID."""


class SessionInfo(NamedTuple):
    """
    A session as an operator sees it: a virtual one as one, and none that the framework has inside.

    Attributes:
        sid: Its SID of today.
        chain: The names of its algorithms, in order.
        drivers: The names of the drivers that serve it; several if it is a virtual session.
        state: ``live``, ``orphaned`` (its driver left; its next request moves it), or ``draining``
            (freed; it waits for its last request).
        age: Seconds since it was opened, on whichever driver.
        inflight: Its requests that are not answered.
        profile: What it promises, in the words of `Profile`; empty if nothing.
        idle: Seconds since its last request, 0.0 if one is in flight; None unless
            ``opencrypto.sessions.watch`` is 1. Of a session that had none since then, those since
            it was opened, or since watching began.
        requests: How many it had since watching began; None likewise.
        bytes: Their ``ilen`` together, likewise.
        opened: Where its consumer opened it, the nearest caller first, each as ``file:line
            function``; empty without ``Framework(trace_sessions=True)``.
    """

    sid: int
    chain: tuple[str, ...]
    drivers: tuple[str, ...]
    state: str
    age: float
    inflight: int
    profile: str = ""
    idle: float | None = None
    requests: int | None = None
    bytes: int | None = None
    opened: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """
    Which sessions are asked for.

    Attributes:
        idle: Those that have been idle for so many seconds, or more.
        sort: The order: one of `SORTS`.
        most: How many at most.
        after: Those behind this place, where the page before ended; None for the first.
    """

    idle: float = 0.0
    sort: str = SORTS[0]
    most: int = PAGE
    after: Place | None = None


class SessionPage(NamedTuple):
    """
    Some of the sessions asked for.

    Attributes:
        open: How many are open in all.
        matching: How many are as asked for, those of other pages too.
        rows: These here.
        next: Where the next page begins; None if this is the last.
    """

    open: int
    matching: int
    rows: list[SessionInfo]
    next: Place | None
