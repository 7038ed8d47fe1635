"""
The pool of requests: ``getreq`` takes from it, ``freereq`` gives back to it.
"""

from __future__ import annotations

from typing import Final

from opencrypto._core.returns import ReturnQueue
from opencrypto._request.symmetric import Cryptodesc, Cryptop
from opencrypto._state import RequestState
from opencrypto.exceptions import BusyError, UsageError

# The transitions are those of the table in `_state`, where a look-up costs as much as all of this.
IDLE: Final = int(RequestState.IDLE)
FREED: Final = int(RequestState.FREED)

POOL_LIMIT = 1024
"""How many freed requests of one number of descriptors are kept for the next `take`."""


class RequestPool:
    """
    Freed requests, by their number of descriptors. Taking and giving back are atomic steps.

    Args:
        returns: The return queue; nothing is handed out while that is over its limit.
    """

    def __init__(self, returns: ReturnQueue[Cryptop]) -> None:
        self._returns = returns
        self._freed: dict[int, list[Cryptop]] = {}

    def take(self, n: int) -> Cryptop | None:
        """Hand a request out. See `Framework.getreq`."""
        if self._returns.over():
            self._returns.drop()
            return None
        try:
            crp = self._freed[n].pop()
        except (KeyError, IndexError):
            crp = _new_request(n)
            self._freed.setdefault(n, [])
        crp.state = IDLE
        return crp

    def give(self, crp: Cryptop | None) -> None:
        """Take a request back. See `Framework.freereq`."""
        if crp is None:
            return
        if crp.state == FREED:
            raise UsageError("the request has been freed already; free it once")
        if crp.state:
            raise BusyError("the request is in use; free it in its callback or after")
        crp.state = FREED
        crp.reset()
        freed = self._freed.get(crp.made_with)
        if freed is not None and len(freed) < POOL_LIMIT:
            freed.append(crp)


def _new_request(n: int) -> Cryptop:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise UsageError(f"a request has at least one descriptor, not {n!r}")
    return Cryptop(desc=[Cryptodesc() for _ in range(n)]).keep_descriptors()
