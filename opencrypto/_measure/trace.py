"""
A trace: what was asked of the framework, when, and what came of it. Never what it was asked about.

An entry has sizes, algorithms, flags, moments, the driver and the result, and neither content nor
key nor IV: enough to play the same load to other drivers.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, Protocol

from opencrypto._measure.counters import LocalCounts
from opencrypto._measure.tally import Tally
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.chain import Chain
from opencrypto._state import SessionState

LIMIT: Final = 65536
"""How many entries wait to be read; older ones are lost then, and counted."""

MAX_SPECS: Final = 4096
"""How many sessions' algorithms are remembered at a time."""


class SeenSlot(Protocol):
    """A driver's slot, as far as it is looked at here."""

    @property
    def name(self) -> str:
        """The driver's name."""

    @property
    def local(self) -> LocalCounts:
        """Where each thread counts for it."""

    @property
    def straight(self) -> bool:
        """Whether requests may go straight to it."""


class Tallied(Protocol):
    """A session through all its moves, as far as it is looked at here."""

    tally: Tally | None


class Seen(Protocol):
    """A session, as far as it is looked at here."""

    @property
    def lineage(self) -> Tallied:
        """What it is through all its moves."""

    @property
    def sid(self) -> int:
        """Its number."""

    @property
    def chain(self) -> Chain:
        """Its algorithms."""

    @property
    def slot(self) -> SeenSlot:
        """Where its driver is."""

    @property
    def state(self) -> SessionState:
        """Whether it lives."""

    @property
    def queued(self) -> int:
        """How many of its requests are queued."""


class Entry(NamedTuple):
    """
    One request. Times in **nanoseconds**; `at` counts from the start of the trace.

    Attributes:
        at: When it was dispatched.
        sid: Its session.
        chain: The session's algorithms: number, key length in bits, MAC length in bytes.
        size: Its ``ilen``, in bytes.
        flags: Its ``CRYPTO_F_*``.
        desc: Its descriptors: alg, skip, len, inject, flags.
        driver: Who carried it out.
        etype: 0, or its errno.
        invoke: From dispatch to the driver.
        done: From there to ``done``.
        cb: From there to the callback.
        finis: The callback.
    """

    at: int
    sid: int
    chain: tuple[tuple[int, int, int], ...]
    size: int
    flags: int
    desc: tuple[tuple[int, int, int, int, int], ...]
    driver: str
    etype: int
    invoke: int = 0
    done: int = 0
    cb: int = 0
    finis: int = 0

    def timed(self, invoke: int, done: int, cb: int, finis: int) -> Entry:
        """Return the entry with its times."""
        return self._replace(invoke=invoke, done=done, cb=cb, finis=finis)


class Trace:
    """
    Entries waiting to be read, the newest `limit` of them.

    Adding and taking are atomic operations of `collections.deque`; `lost` may miss a few when
    several threads overrun the limit at once.
    """

    def __init__(self, start: int, limit: int = LIMIT) -> None:
        self.start = start
        self.lost = 0
        self._entries: deque[Entry] = deque(maxlen=limit)
        self._limit = limit
        self._specs: dict[int, tuple[tuple[int, int, int], ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, crp: Cryptop, session: Seen, dispatched: int) -> Entry:
        """Note a request before its callback, which may change or free it."""
        return Entry(
            at=dispatched - self.start,
            sid=session.sid,
            chain=self._spec(session),
            size=crp.ilen,
            flags=crp.flags,
            desc=tuple((int(d.ini.alg), d.skip, d.len, d.inject, d.flags) for d in crp.desc),
            driver=session.slot.name,
            etype=crp.etype,
        )

    def _spec(self, session: Seen) -> tuple[tuple[int, int, int], ...]:
        spec = self._specs.get(session.sid)
        if spec is None:
            if len(self._specs) >= MAX_SPECS:
                self._specs.clear()
            # Numbers only: an entry must not keep a key alive.
            spec = tuple((int(c.alg), c.klen, c.mlen) for c in session.chain.inis)
            self._specs[session.sid] = spec
        return spec

    def put(self, entry: Entry) -> None:
        """Add an entry; the oldest goes if there is no room."""
        if len(self._entries) >= self._limit:
            self.lost += 1
        self._entries.append(entry)

    def take(self, most: int) -> list[Entry]:
        """Take out up to `most` entries, oldest first."""
        taken: list[Entry] = []
        while len(taken) < most:
            try:
                taken.append(self._entries.popleft())
            except IndexError:
                break
        return taken
