"""
The calls of opencrypto(9) that hand requests out and take them back, as `Framework` has them.
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
"""How many freed requests of one number of descriptors are kept for the next `getreq`."""


class RequestCalls:
    """A part of `Framework`: what it is made of, the rest makes."""

    _pools: dict[int, list[Cryptop]]
    _retq: ReturnQueue[Cryptop]

    def getreq(self, n: int) -> Cryptop | None:
        """
        Take a request with `n` descriptors, all fields zero.

        Returns:
            The request; None while the return queue is over ``opencrypto.crypto_ret_q.maxlen``.

        Raises:
            UsageError: `n` is less than 1.
        """
        if self._retq.over():
            self._retq.drop()
            return None
        try:
            crp = self._pools[n].pop()
        except (KeyError, IndexError):
            crp = _new_request(n)
            self._pools.setdefault(n, [])
        crp.state = IDLE
        return crp

    def freereq(self, crp: Cryptop | None) -> None:
        """
        Give a request back. None does nothing.

        Raises:
            BusyError: it is dispatched and not called back yet.
            UsageError: it has been freed already.
        """
        if crp is None:
            return
        if crp.state == FREED:
            raise UsageError("the request has been freed already; free it once")
        if crp.state:
            raise BusyError("the request is in use; free it in its callback or after")
        crp.state = FREED
        crp.reset()
        pool = self._pools.get(len(crp._own))
        if pool is not None and len(pool) < POOL_LIMIT:
            pool.append(crp)


def _new_request(n: int) -> Cryptop:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise UsageError(f"a request has at least one descriptor, not {n!r}")
    crp = Cryptop(desc=[Cryptodesc() for _ in range(n)])
    crp._own = tuple(crp.desc)
    return crp
