"""
How a session asks: a request is sent, waited for, and sent again where the session has moved.
"""

from __future__ import annotations

import errno
import threading
from typing import Final

from opencrypto._client.calls import NONE, Calls, compile_calls
from opencrypto._client.deadline import Deadline
from opencrypto._client.subject import Subject
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.message import Layout, Maker
from opencrypto.exceptions import UnknownSession

MIGRATIONS: Final = 8
"""How often in a row one request follows its session to another driver before it gives up."""


class Bell:
    """
    The answer to one request, which mostly has come before anybody waits for it.

    Who answers notes that first and then looks for the lock; who waits shows the lock first and
    then looks at the note: one of the two sees the other.
    """

    __slots__ = ("_lock", "_rung")

    def __init__(self) -> None:
        self._rung = False
        self._lock: threading.Lock | None = None

    def ring(self, crp: Cryptop) -> None:
        """Note that a request is answered; its callback."""
        self._rung = True
        lock = self._lock
        if lock is not None:
            lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait at most so many seconds, -1 for as long as it takes; tell whether it has come."""
        if self._rung:
            return True
        lock = threading.Lock()
        lock.acquire()
        self._lock = lock
        return self._rung or lock.acquire(timeout=seconds)


class Asking:
    """What all parts of a session share: where it is, and how it asks there."""

    _sid = 0  # until it is opened, and after it is closed
    _framework: Subject
    _layout: Layout
    _timeout: float | None = None
    _calls: Calls = NONE

    def _be_at(self, sid: int) -> None:
        """Note where the session is now. Calls compiled for where it was are not taken there."""
        self._sid = sid
        self._calls = compile_calls(self._framework.short_way(sid), self._layout)

    def _run(self, make: Maker) -> Cryptop:
        """Carry a request out; each try is made anew, whatever the one before it has left."""
        deadline = Deadline(self._timeout)
        for _ in range(MIGRATIONS + 1):
            crp = make()
            crp.sid = crp.opaque = self._sid
            bell = Bell()
            crp.callback = bell.ring
            self._framework.dispatch(crp)
            if not bell.wait(deadline.left()):
                raise deadline.passed(self._framework.holders_of(crp))
            if not self._follow(crp, deadline):
                break
        return self._answered(crp)

    def _follow(self, crp: Cryptop, deadline: Deadline) -> bool:
        """Go where the session has moved, if there is time; tell whether to ask there."""
        if crp.etype == errno.ENOENT:  # it may have a new key, and its former session be freed
            if self._sid in (0, crp.sid):
                return False
        elif crp.etype != errno.EAGAIN:
            return False
        elif self._sid == (crp.opaque or self._sid) != 0:
            self._be_at(crp.sid)  # unless somebody has moved it, or closed it, meanwhile
        if not deadline.left():
            raise deadline.passed(self._drivers())
        return True

    def _drivers(self) -> tuple[str, ...]:
        try:
            return self._framework.driver_of(self._sid)
        except UnknownSession:
            return ()

    def _answered(self, crp: Cryptop) -> Cryptop:
        """Return a request that went well; raise what became of another."""
        if crp.etype == errno.ENOENT:
            self._explain(crp)
        crp.check()
        return crp

    def _explain(self, crp: Cryptop) -> None:
        """Say of a request that met no session why there is none."""
        if self._framework.closed:
            crp.error = "the framework is closed, and this session with it; make new ones"
        elif not self._sid:
            crp.error = "the session is closed; open a new one"
