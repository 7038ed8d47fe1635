"""
How many requests a driver has at a time, where it takes only so many (`Driver.max_inflight`).

What is beyond is refused for it with ERESTART, so that it waits in the framework's queue, in order;
once half of what it has is answered, it is asked again. Drivers without such a bound have none of
this on their way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from opencrypto._request.key import Cryptkop
from opencrypto._request.symmetric import Cryptop
from opencrypto.constants import CRYPTO_ASYMQ, CRYPTO_SYMQ, ERESTART
from opencrypto.driver import KeyProcess, Process

R = TypeVar("R", Cryptop, Cryptkop)


class Depth:
    """
    The places that a driver has for requests. No lock is held: taking one is one step.

    Args:
        most: How many there are.
        unblock: Has the driver asked again, for the kinds of request given.
    """

    def __init__(self, most: int, unblock: Callable[[int], object]) -> None:
        self._most = most
        self._unblock = unblock
        self.after_fork()

    def after_fork(self) -> None:
        """Begin, in a forked child, with every place free: the requests are the parent's."""
        self._free = deque([None] * self._most)
        self._held: set[Cryptop | Cryptkop] = set()
        self._refused: set[int] = set()

    def of_requests(self, process: Process) -> Process:
        """Put the bound before a driver's ``process``."""
        return self._bounded(process, CRYPTO_SYMQ)

    def of_key_requests(self, kprocess: KeyProcess) -> KeyProcess:
        """Put the bound before a driver's ``kprocess``."""
        return self._bounded(kprocess, CRYPTO_ASYMQ)

    def _bounded(self, process: Callable[[R, int], int], kind: int) -> Callable[[R, int], int]:
        def bounded(request: R, hint: int) -> int:
            if not self._take(request, kind):
                return ERESTART
            try:
                answer = process(request, hint)
            except BaseException:
                self._give_back(request)
                raise
            if answer:
                self._give_back(request)
            return answer

        return bounded

    def port(self, done: Callable[[R], object]) -> Callable[[R], None]:
        """Return ``done`` or ``kdone`` as the driver is to have it: it frees the place first."""

        def answered(request: R) -> None:
            self._give_back(request)
            done(request)

        return answered

    def _take(self, request: Cryptop | Cryptkop, kind: int) -> bool:
        free = self._free
        while True:
            try:
                free.pop()
            except IndexError:
                # Who gives a place back looks at this after it: he sees it, or we see the place.
                self._refused.add(kind)
                if not free:
                    return False
                continue
            self._held.add(request)
            return True

    def _give_back(self, request: Cryptop | Cryptkop) -> None:
        try:
            self._held.remove(request)
        except KeyError:
            return  # it was answered before, or is not this driver's
        self._free.append(None)
        if self._refused and 2 * len(self._free) >= self._most:
            for kind in self._refused.copy():
                self._refused.discard(kind)
                self._unblock(kind)
