"""
The calls of opencrypto(9) that hand requests out and take them back, as `Framework` has them.
"""

from __future__ import annotations

from opencrypto._request import Cryptodesc, Cryptop
from opencrypto._retq import ReturnQueue
from opencrypto._state import REQUEST, RequestEvent, RequestState, step
from opencrypto.exceptions import BusyError, UsageError

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
            crp = self._pools[n].pop() if n else _new_request(n)
        except (KeyError, IndexError):
            return _new_request(n)
        crp.state = RequestState.IDLE
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
        if crp.state == RequestState.FREED:
            raise UsageError("the request has been freed already; free it once")
        if crp.state:
            raise BusyError("the request is in use; free it in its callback or after")
        crp.state = step(REQUEST, RequestState.IDLE, RequestEvent.FREEREQ)
        crp.reset()
        if type(crp) is Cryptop and isinstance(crp.desc, list):
            pool = self._pools.setdefault(len(crp.desc), [])
            if len(pool) < POOL_LIMIT:
                pool.append(crp)


def _new_request(n: int) -> Cryptop:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise UsageError(f"a request has at least one descriptor, not {n!r}")
    return Cryptop(desc=[Cryptodesc() for _ in range(n)])
