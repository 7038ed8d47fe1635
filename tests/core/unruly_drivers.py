"""A driver that does its work well and answers badly: late, from a thread, twice, never, or not."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import pytest

import opencrypto_swcrypto
from opencrypto import (
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    Cryptkop,
    Cryptoini,
    Cryptop,
    Driver,
    DriverBug,
)
from opencrypto.driver import Process

R = TypeVar("R", Cryptop, Cryptkop)

WAYS = ("answer", "thread", "late", "twice", "refuse", "hand back", "raise", "garbage")
"""What a driver may do with a request. It answers late, or never: then it leaves first."""


def in_a_thread(work: Callable[[], None]) -> None:
    """Do something in a thread that is not the caller's, and wait for its end."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


class Moody(Driver):
    """
    The software driver's mathematics behind the manners that it is told to have.

    Attributes:
        way: What it does with the next requests, one of `WAYS`.
        kept: What it has taken and not answered.
        parting: What becomes of that when it leaves: "answers", "hands back", or nothing.
        bugs: How often it has broken the contract.
        opened: The numbers of the sessions it ever opened.
        freed: The numbers that freesession was called with.
        closed: How often close was called.
    """

    def __init__(
        self, name: str, algs: Collection[int], keyops: Collection[int], *, hard: bool
    ) -> None:
        self.name = name
        self.flags = 0 if hard else CRYPTOCAP_F_SOFTWARE
        self.inner: Driver = opencrypto_swcrypto.opencrypto_drivers()[0]
        self.inner.done = lambda crp: None  # we call our own when our manners say so
        self.capabilities = {alg: self.inner.capabilities[alg] for alg in algs}
        self.keyops = tuple(keyops)
        self.way = "answer"
        self.kept: list[tuple[Cryptop | Cryptkop, Callable[[], None]]] = []
        self.parting = ""
        self.bugs = 0
        self.opened: list[int] = []
        self.freed: list[int] = []
        self.closed = 0

    def newsession(self, ini: Sequence[Cryptoini]) -> tuple[int, Process]:
        """Open a session whose process is the software driver's, with our manners."""
        opened = self.inner.newsession(ini)
        assert isinstance(opened, tuple)
        lid, work = opened
        self.opened.append(lid)

        def process(crp: Cryptop, hint: int) -> int:
            return self._treat(crp, lambda: work(crp, 0), lambda crp: self.done(crp))

        return lid, process

    def freesession(self, lid: int) -> None:
        """Forget one."""
        self.freed.append(lid)
        self.inner.freesession(lid)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Do a sum, with the same manners."""
        return self._treat(krp, lambda: self._sum(krp), lambda krp: self.kdone(krp))

    def _sum(self, krp: Cryptkop) -> None:
        values = [parameter.to_int() for parameter in krp.inputs]
        krp.outputs[0].store(sum(values[:-1]) % values[-1])

    def _treat(self, request: R, work: Callable[[], object], done: Callable[[R], None]) -> int:
        def answer() -> None:
            work()
            done(request)

        match self.way:
            case "answer":
                answer()
            case "thread":
                in_a_thread(answer)
            case "late":
                self.kept.append((request, answer))
            case "twice":
                answer()
                self.bugs += 1
                with pytest.raises(DriverBug):
                    done(request)
            case "refuse":
                return ERESTART
            case "hand back":
                request.fail(errno.EAGAIN)
                done(request)
            case "raise":
                self.bugs += 1
                raise RuntimeError("of the driver")
            case _:
                self.bugs += 1
                return errno.EINVAL
        return 0

    def answer(self, number: int = 1) -> None:
        """Answer what was kept longest."""
        for _ in range(min(number, len(self.kept))):
            self.kept.pop(0)[1]()

    def hand_back(self) -> None:
        """Give back what was kept, so that another does it."""
        while self.kept:
            request = self.kept.pop(0)[0]
            request.fail(errno.EAGAIN)
            if isinstance(request, Cryptop):
                self.done(request)
            else:
                self.kdone(request)

    def close(self) -> None:
        """
        Leave: key requests that were kept are answered or handed back now, if `parting` says so.

        Of symmetric ones none is left here: the framework has waited for them, or taken them away.
        """
        self.closed += 1
        self.kept = [pair for pair in self.kept if isinstance(pair[0], Cryptkop)]
        if self.parting == "answers":
            self.answer(len(self.kept))
        elif self.parting == "hands back":
            self.hand_back()
        self.inner.close()
