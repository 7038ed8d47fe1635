"""
Lineages: what a consumer has opened, a session through all its moves from driver to driver.

After a migration the old SID stays an alias of the new session until that is freed: a consumer that
has not heard yet is told. Where the table of SIDs changes, it is by steps that no finalizer and no
signal handler comes between; who calls holds the drivers' lock where there is no global interpreter
lock.
"""

from __future__ import annotations

import time
from typing import Any, Final, Generic, NamedTuple, Protocol, Self, TypeVar

from opencrypto._measure.tally import Tally
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.chain import Chain
from opencrypto._state import SessionEvent, SessionState

MAX_ALIASES: Final = 4096
"""
How many former SIDs of a session lead to it, beside its first one, which always does.

Each costs some 100 bytes until the session is freed; the oldest go first.
"""


class Place(Protocol):
    """What a lineage knows of a driver that it may be on: see `slots.Slot`."""

    name: str
    tier: int


class OnDriver(Protocol):
    """What a lineage knows of each session that it has been: see `slots.Session`."""

    sid: int
    slot: Any
    state: SessionState
    lineage: Any

    def may(self, event: SessionEvent) -> bool:
        """Change state if the table has it so; tell whether it has."""

    def stand_in(self) -> Self:
        """Make what its SID names once it has moved."""


class Streaming(Protocol):
    """What a lineage knows of a message in pieces: see `streams.Stream`."""

    def refuse(self, crp: Cryptop) -> bool:
        """Refuse a piece of a message whose driver left; False if it begins another one."""


S = TypeVar("S", bound=OnDriver)


class Pin(NamedTuple):
    """The one driver that a session is for: its name and class, not the object or its id."""

    name: str
    tier: int


class Lineage(Generic[S]):
    """
    What a consumer has opened: a session through all its moves from driver to driver.

    Attributes:
        chain: The algorithms, with the keys.
        hard: The class of drivers asked for, as `Framework.newsession` takes it. It is kept for
            life.
        pin: The driver asked for, if one was. It is kept for life too.
        is_part: Whether the framework opened it for itself, as a part of a virtual session.
        born: When it was opened; seconds of `time.monotonic`.
        first: The SID that it was opened with.
        former: Later SIDs that it has no more, oldest first.
        newest: The session that it is now; None before there is one.
        stand_in: What `first` and `former` name, once it has moved: never live, so that requests
            are sent on. There is one for all of them: a former SID costs an entry of the table.
        stream: What has a message in pieces open in it, or broken and not ended yet.
        avoid: The driver that handed it back last, until it has moved.
        stranded: Whether it was said that nobody takes it over, since it last moved.
        ended: Whether it was freed, and its last request is done.
        opened: Where the consumer opened it, if that is noted (`_measure.callers`).
        tally: What was asked of it while sessions are watched; None if nothing was.
    """

    __slots__ = (
        "avoid", "born", "chain", "ended", "first", "former", "hard", "is_part", "newest",
        "opened", "pin", "stand_in", "stranded", "stream", "tally",
    )  # fmt: skip

    def __init__(
        self, chain: Chain, hard: int, pin: Pin | None = None, *, is_part: bool = False
    ) -> None:
        self.chain = chain
        self.hard = hard
        self.pin = pin
        self.is_part = is_part
        self.born = time.monotonic()
        self.first = 0
        self.former: list[int] = []
        self.newest: S | None = None
        self.stand_in: S | None = None
        self.stream: Streaming | None = None
        self.avoid: Place | None = None
        self.stranded = False
        self.ended = False
        self.opened: tuple[str, ...] = ()
        self.tally: Tally | None = None

    def admits(self, slot: Place) -> bool:
        """Tell whether the session may be on a driver at all, whatever that can do."""
        return slot is not self.avoid and self.pin in (None, (slot.name, slot.tier))

    def succeed(self, old: S, new: S, table: dict[int, S]) -> bool:
        """
        Have a session take over, and the SID of the one before lead to it.

        Returns:
            False if another has taken over meanwhile, or it is orphaned no more; then nothing was
            done.
        """
        stand_in = self.stand_in
        if stand_in is None:
            stand_in = old.stand_in()
        sid, former = old.sid, self.former
        # One step, with nothing called but the last: so not by `move`.
        if self.newest is not old or old.state is not SessionState.ORPHANED:
            return False
        old.state = SessionState.MIGRATED
        stand_in.slot = new.slot  # where it leads
        self.stand_in = stand_in
        self.avoid = None
        self.stranded = False
        table[sid] = stand_in
        self.newest = new
        if sid != self.first:
            former.append(sid)
        self._take_back(new.sid)
        self._drop_oldest(table)
        return True

    def _take_back(self, sid: int) -> None:
        """Note that one of its former SIDs has become its present one."""
        try:
            self.former.remove(sid)
        except ValueError:
            pass  # the first one, or it never had it

    def _drop_oldest(self, table: dict[int, S]) -> None:
        """Forget the oldest of more former SIDs than are kept."""
        former, stand_in = self.former, self.stand_in
        for _ in range(len(former) - MAX_ALIASES):
            # One step: what is not in `former` any more is not in the table either.
            if former:
                oldest = former[0]
                if oldest in table and table[oldest] is stand_in:
                    del table[oldest]
                del former[0]

    def is_alias(self, sid: int, table: dict[int, S]) -> bool:
        """Tell whether a SID is one that it had, and has no more."""
        return self.stand_in is not None and table.get(sid) is self.stand_in

    def sids(self) -> list[int]:
        """List all SIDs that lead to it."""
        newest = self.newest  # once: it may be let go of meanwhile
        present = () if newest is None else (newest.sid,)
        return [self.first, *self.former.copy(), *present]

    def end(self, table: dict[int, S]) -> None:
        """Take its SIDs away. May be done again; `let_go` comes after it."""
        self.ended = True
        for sid in self.sids():
            # One step: by now the SID may be another's.
            if sid in table and table[sid].lineage is self:
                del table[sid]
        stand_in = self.stand_in  # once, likewise
        if stand_in is not None:
            stand_in.may(SessionEvent.FREE)

    def let_go(self) -> None:
        """Let go of its sessions, so that no circle keeps them."""
        self.newest = self.stand_in = self.stream = None
        self.former.clear()

    def withdraw(self, session: S, table: dict[int, S]) -> None:
        """Take away the SID of a session that never took over, if it did not lead here before."""
        sid, former, stand_in = session.sid, self.former, self.stand_in
        # One step.
        if sid in table and table[sid] is session:
            if stand_in is not None and not self.ended and (sid == self.first or sid in former):
                table[sid] = stand_in
            else:
                del table[sid]
