"""
What sessions there are: counted by age, and listed, page by page.

There may be a hundred thousand. They are looked at in steps of a copy of the table, so that whoever
asks can be interrupted, and no lock is held that a dispatch could wait for.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Final

from opencrypto._core.listing import SORTS, Place, SessionInfo, SessionPage, Wanted
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Session
from opencrypto._measure.tally import Tally
from opencrypto._measure.watcher import Watcher
from opencrypto._request.symmetric import alg_name
from opencrypto._rules.profile import Profile
from opencrypto.exceptions import UsageError

STEP: Final = 1000
"""How many sessions are looked at in one step: half a millisecond's worth."""

ROWS: Final = 100
"""How many of those found are described in one step."""

AGES: Final = {
    "under_1s": 1.0,
    "under_1m": 60.0,
    "under_10m": 600.0,
    "under_1h": 3600.0,
    "under_1d": 86400.0,
    "over_1d": float("inf"),
}
"""The classes of age, each by the seconds that it ends below."""

_BOUNDS: Final = tuple(AGES.values())


class Census:
    """
    One look at all sessions: how old they are. What it has found serves all who look together.

    Args:
        sessions: The sessions.
        watcher: What knows what they are asked.
    """

    def __init__(self, sessions: Sessions, watcher: Watcher) -> None:
        self._sessions = sessions
        self._watcher = watcher
        self._counted = False
        self.ages = dict.fromkeys(AGES, 0)
        self.oldest = 0.0
        self.oldest_idle = 0.0

    def steps(self) -> Iterator[None]:
        """Look, unless that has been done; a step at a time."""
        if self._counted:
            return
        now = time.monotonic()
        counts = [0] * len(AGES)
        watched = bool(self._watcher.watching)
        for some in consumers_own(self._sessions.table):
            ages = [now - session.lineage.born for session in some]
            for age in ages:
                counts[bisect.bisect_right(_BOUNDS, age)] += 1
            self.oldest = max(self.oldest, *ages, 0.0)
            if watched:
                idle = (idle_for(session, self._watcher, now) for session in some)
                self.oldest_idle = max(self.oldest_idle, *idle, 0.0)
            yield None
        self.ages = dict(zip(AGES, counts, strict=True))
        self._counted = True


def consumers_own(table: dict[int, Session]) -> Iterator[list[Session]]:
    """Yield the sessions that consumers have opened, each once, a step's worth at a time."""
    there = list(table.copy().values())
    for start in range(0, len(there), STEP):
        yield [
            each
            for each in there[start : start + STEP]
            if each.lineage.newest is each and not each.lineage.is_part
        ]


def tally_of(session: Session, watcher: Watcher) -> Tally | None:
    """Return what a session was asked in this run of watching; None if nothing was."""
    tally: Tally | None = session.lineage.tally
    return tally if tally is not None and tally.run == watcher.run else None


def idle_for(session: Session, watcher: Watcher, now: float) -> float:
    """Return for how many seconds a session has been asked nothing, as far as it was watched."""
    if session.inflight:
        return 0.0
    tally = tally_of(session, watcher)
    last = max(session.lineage.born, watcher.run_began) if tally is None else tally.last
    return max(0.0, now - last)


class Listing:
    """
    Lists sessions.

    Args:
        sessions: The sessions.
        watcher: What knows what they are asked.
        drivers: Tells the names of the drivers that serve one.
    """

    def __init__(
        self,
        sessions: Sessions,
        watcher: Watcher,
        drivers: Callable[[Session], Iterable[str]],
    ) -> None:
        self._sessions = sessions
        self._watcher = watcher
        self._drivers = drivers

    def page(self, wanted: Wanted) -> Iterator[SessionPage | None]:
        """
        Yield None after each step, and a page at the end.

        Raises:
            UsageError: what is wanted cannot be, or is not known while nobody watches.
        """
        self._check(wanted)
        now = time.monotonic()
        place = self._order(wanted.sort, now)
        found: list[tuple[Place, Session]] = []
        total = matching = further = 0
        for some in consumers_own(self._sessions.table):
            total += len(some)
            if wanted.idle:
                some = [s for s in some if idle_for(s, self._watcher, now) >= wanted.idle]
            matching += len(some)
            new = [(place(session), session) for session in some]
            if wanted.after is not None:
                new = [each for each in new if each[0] > wanted.after]
            further += len(new)
            found = sorted(found + new, key=itemgetter(0))[: wanted.most]
            yield None
        rows: list[SessionInfo] = []
        for number, (_, session) in enumerate(found):
            rows.append(self._info(session, now))
            if number % ROWS == ROWS - 1:
                yield None
        following = found[-1][0] if further > len(found) else None
        yield SessionPage(total, matching, rows, following)

    def _check(self, wanted: Wanted) -> None:
        if wanted.sort not in SORTS:
            raise UsageError(f"sessions are sorted by {', '.join(SORTS)}, not by that")
        if not 0 <= wanted.idle < float("inf"):
            raise UsageError("idle is a number of seconds, 0 or more")
        if wanted.most < 1:
            raise UsageError("at least one session is asked for")
        if (wanted.idle or wanted.sort != "age") and not self._watcher.watching:
            raise UsageError(
                "how long sessions are idle, and their requests, are known while they are watched: "
                "set opencrypto.sessions.watch=1, and wait"
            )

    def _order(self, sort: str, now: float) -> Callable[[Session], Place]:
        """Return what tells a session's place in an order; what is shown first has the least."""
        watcher = self._watcher

        def by_age(session: Session) -> Place:
            return session.lineage.born, session.sid

        def by_idle(session: Session) -> Place:
            return now - idle_for(session, watcher, now), session.sid  # when that began

        def by_requests(session: Session) -> Place:
            tally = tally_of(session, watcher)
            return -(0 if tally is None else tally.requests), session.sid

        return {"age": by_age, "idle": by_idle, "requests": by_requests}[sort]

    def _info(self, session: Session, now: float) -> SessionInfo:
        lineage = session.lineage
        info = SessionInfo(
            sid=session.sid,
            chain=tuple(alg_name(cri.alg) for cri in session.chain.inis),
            drivers=tuple(dict.fromkeys(self._drivers(session))),
            state=session.state.value,
            age=round(now - lineage.born, 3),
            inflight=len(session.inflight),
            profile=promise(session.chain.profile),
            opened=lineage.opened,
        )
        if not self._watcher.watching:
            return info
        tally = tally_of(session, self._watcher)
        return info._replace(
            idle=round(idle_for(session, self._watcher, now), 3),
            requests=0 if tally is None else tally.requests,
            bytes=0 if tally is None else tally.bytes,
        )


def promise(profile: Profile) -> str:
    """Write what a session promises in a few words: ``encrypt ordered``; an IV's prefix by size."""
    words = [profile.direction, *(name for name in _SWITCHES if getattr(profile, name))]
    if profile.iv_prefix:
        words.append(f"iv_prefix={len(profile.iv_prefix)}")
    return " ".join(filter(None, words))


_SWITCHES: Final = ("ordered", "weak_keys", "shared", "weak_auth")
