"""
One session on one driver: its chain, its requests, and what it has become.

After a migration the old SID stays in the table of sessions as an alias of the new session until
that is freed, so a consumer that has not heard yet is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from opencrypto._core.returns import let_go
from opencrypto._request.sid import lid_of
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.chain import Chain
from opencrypto._state import SESSION, SessionEvent, SessionState, step

if TYPE_CHECKING:
    from opencrypto._core.slots import Slot

MAX_ALIASES: Final = 32
"""How many former SIDs of one live session are kept; the oldest go first."""


class Session:
    """
    One session on one driver.

    Attributes:
        inflight: Its requests that the framework holds. Membership is the use count, and taking a
            request out is what makes completion happen exactly once: set operations are atomic.
        straight: Its next request may go straight to the driver. Written under the slot's lock;
            read without, after entering `inflight`, which is the order that makes it safe.
        queued: How many of `inflight` are queued or being handed over. Under the slot's lock.
        lock: Guards `state`, `target` and `aliases` against two migrations or frees at once.
            Taken before the slot's lock, never after.
        target: The session that took over, once migrated.
        aliases: Former sessions that this one took over from, oldest first.
        kind: The number of its chain of algorithms, for counting (`ChainNumbers`).
        born: When it was opened, before all migrations; seconds of `time.monotonic`.
        avoid: The driver that handed this session back, if it is still there.
    """

    __slots__ = (
        "aliases",
        "avoid",
        "born",
        "chain",
        "hard",
        "inflight",
        "kind",
        "lock",
        "process",
        "queued",
        "sid",
        "slot",
        "state",
        "straight",
        "target",
    )  # fmt: skip

    def __init__(
        self,
        sid: int,
        slot: Slot,
        chain: Chain,
        hard: int,
        process: Callable[[Cryptop, int], int],
        kind: int = 0,
    ) -> None:
        self.sid = sid
        self.slot = slot
        self.chain = chain
        self.hard = hard
        self.process = process
        self.kind = kind
        self.born = time.monotonic()
        self.inflight: set[Cryptop] = set()
        self.queued = 0
        self.straight = True
        self.state = SessionState.LIVE
        self.lock = threading.Lock()
        self.target: Session | None = None
        self.aliases: list[Session] = []
        self.avoid: int = -1

    @property
    def lid(self) -> int:
        """The driver's own number of it."""
        return lid_of(self.sid)

    def move(self, event: SessionEvent) -> None:
        """Change state as the table says; only a live session is served straight."""
        self.state = step(SESSION, self.state, event)
        self.straight = False

    def refresh(self, *, watched: bool) -> None:
        """Work out `straight` anew: it lives, nothing of it is queued, and nobody watches."""
        self.straight = self.state is SessionState.LIVE and not self.queued and not watched

    def after_fork(self, *, watched: bool) -> None:
        """Begin, in a forked child, with no request: those accepted are the parent's."""
        self.lock = threading.Lock()
        self.chain.after_fork()
        for crp in self.inflight:
            let_go(crp)
        self.inflight.clear()
        self.queued = 0
        self.refresh(watched=watched)

    def latest(self) -> Session:
        """Return the session that this one has become, through any number of migrations."""
        session = self
        while session.target is not None:
            session = session.target
        return session

    def __repr__(self) -> str:
        return f"<Session {self.sid:#x} {self.state} {self.chain!r} inflight={len(self.inflight)}>"
