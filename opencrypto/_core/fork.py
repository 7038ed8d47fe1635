"""
What becomes of a framework in a forked child.

Of the parent's threads only the one that forked goes on in the child. What the others held there
is free again, and what they had half done is undone. Requests accepted before the fork are the
parent's: it calls them back, once. The child begins with none, its copies of them are idle.
Sessions and drivers are there in both; a driver with threads or devices sees to them itself.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from opencrypto._core.session import Session
from opencrypto._measure.counters import Counts, LockedCount
from opencrypto._state import RequestState, SessionState

if TYPE_CHECKING:
    from opencrypto._core.framework import Framework
    from opencrypto._core.slots import Slot

_frameworks: weakref.WeakSet[Framework] = weakref.WeakSet()


def watch(framework: Framework) -> None:
    """Have a framework go on in children of this process."""
    _frameworks.add(framework)


def _after_fork() -> None:
    for framework in list(_frameworks):
        _renew(framework)


def _renew(framework: Framework) -> None:
    table, sessions = framework._drivers, framework._sessions
    table.lock = threading.Lock()
    sessions.chain_numbers._lock = threading.Lock()
    framework._dispatcher.watcher._lock = threading.Lock()
    for counts in _every_counts(framework):
        counts._lock = threading.Lock()
    for count in _every_count(framework):
        count._lock = threading.Lock()
    framework.driver_bugs.after_fork()
    for slot in table._slots:
        _renew_slot(slot)
    framework._dispatcher._ready.clear()
    framework._keyops._ready.clear()
    for crp in framework._retq.drain():
        crp.state, crp._session = RequestState.IDLE, None
    for krp in framework._retkq.drain():
        krp.state, krp._routing = RequestState.IDLE, None
    # What is left of those being freed goes with its driver: no driver is called from here.
    for session in _every_session(framework):
        _renew_session(session, watched=sessions.watched)


def _every_session(framework: Framework) -> Iterator[Session]:
    seen: set[int] = set()
    for group in (framework._sessions.table, *(slot.sessions for slot in framework._drivers)):
        for session in group.values():
            if id(session) not in seen:
                seen.add(id(session))
                yield session


def _every_counts(framework: Framework) -> Iterator[Counts]:
    table = framework._drivers
    yield from (slot.counts for slot in table._slots)
    yield from (counts for _, counts in table._departed)
    yield from table._long_gone.values()
    yield from (framework._dispatcher._without_session, framework._keyops._counts)


def _every_count(framework: Framework) -> Iterator[LockedCount]:
    rooms = (framework._sessions, framework._dispatcher, framework._keyops)
    for room in rooms:
        yield from (value for value in vars(room).values() if isinstance(value, LockedCount))
    yield from (framework._retq._drops, framework._retkq._drops)


def _renew_slot(slot: Slot) -> None:
    slot.lock = threading.Lock()
    slot.calls = 0
    slot.queue.drain()
    slot.queue.scheduled = False
    slot.kqueue.drain()
    slot.kqueue.scheduled = False
    for krp in slot.kinflight:
        krp.state, krp._routing = RequestState.IDLE, None
    slot.kinflight.clear()


def _renew_session(session: Session, *, watched: bool) -> None:
    session.lock = threading.Lock()
    session.chain._lock = threading.Lock()
    for crp in session.inflight:
        crp.state, crp._session = RequestState.IDLE, None
    session.inflight.clear()
    session.queued = 0
    session.straight = not watched and session.state is SessionState.LIVE


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
