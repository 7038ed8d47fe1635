"""
One session of the framework's as a socket uses it: a request at a time, waited for.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence

from opencrypto import (
    CRYPTO_F_CBIMM,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    Framework,
    UnknownSession,
)
from opencrypto.client import MIGRATIONS
from opencrypto_algsocket.errors import as_kernel
from opencrypto_algsocket.names import Bound


class Asked:
    """
    A session; its operation sockets share it, and the last one that goes closes it.

    Args:
        framework: Where it is opened.
        bound: Which driver or class of driver may have it.
        chain: Its parameters, with the keys.

    Raises:
        OSError: no driver takes them (ENOENT), or the key has a wrong length (EINVAL).
    """

    def __init__(self, framework: Framework, bound: Bound, chain: Sequence[Cryptoini]) -> None:
        self._framework = framework
        try:
            self._sid = framework.newsession(chain, bound.hard, driver=bound.driver)
        except CryptoError as error:
            raise as_kernel(error) from None

    def carry_out(self, buf: bytearray, desc: Sequence[Cryptodesc]) -> None:
        """
        Carry a request out in place, and wait for its answer.

        Raises:
            CryptoError: what became of it.
        """
        crp = Cryptop(desc=desc)
        for _ in range(MIGRATIONS + 1):
            answered = threading.Lock()
            answered.acquire()
            crp.sid, crp.buf, crp.ilen = self._sid, buf, len(buf)
            crp.flags = CRYPTO_F_CBIMM
            crp.callback = _releaser(answered)
            self._framework.dispatch(crp)
            answered.acquire()
            if crp.etype != errno.EAGAIN:
                break
            self._sid = crp.sid
        crp.check()

    def close(self) -> None:
        """Free the session, which wipes its keys."""
        sid, self._sid = self._sid, 0
        try:
            self._framework.freesession(sid)
        except UnknownSession:
            pass  # the framework was closed first


def _releaser(answered: threading.Lock) -> Callable[[Cryptop], None]:
    def release(crp: Cryptop) -> None:
        answered.release()

    return release
