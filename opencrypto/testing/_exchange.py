"""
Requests of either kind between the bench and its driver: dispatched, waited for, accounted for.

What the contract says of requests it says of key requests too, under other clauses: `Rules` has
them. So each thing that may go wrong on the way is tried here, once for both.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import threading
import time
import unittest
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from opencrypto import Cryptkop, CryptoError, Cryptop, Framework
from opencrypto.chain import gather, segments
from opencrypto.constants import CRYPTO_F_CBIMM
from opencrypto.testing.clauses import ContractBroken, Hung, Waited, require

R = TypeVar("R", Cryptop, Cryptkop)

Made: TypeAlias = tuple[R, Sequence[object]]
"""A request, and what it was made of."""

HANDED_BACK: Final = 50
"""How often a key request is handed back before the kit gives up."""

PAUSE: Final = 0.002
"""Seconds between two looks at something that is to happen."""

LONG_AFTER: Final = 0.01
"""Seconds in which a second answer, if there is one, comes; and whatever else is too late."""


class Bench(Protocol):
    """What an exchange needs of the bench: see `opencrypto.testing._rig.Rig`."""

    framework: Framework
    patience: float

    def call(self, work: Callable[[], object], patience: float) -> bool:
        """Make a call that may hang; tell whether it came back."""

    def late(self, what: str) -> str:
        """Say that a call is late, and where it stands."""

    def check_bugs(self) -> None:
        """Raise what the framework has noted as the driver's bug."""

    def detach(self) -> None:
        """Have the driver leave."""

    def threads_left(self) -> list[str]:
        """Name the threads that the driver has left behind."""


@dataclass(frozen=True)
class Rules:
    """
    Which clause is broken by what may happen to one kind of request.

    Attributes:
        process: The method that takes a request.
        done: The port that completes it.
        returns: The method hangs.
        answered: A request is not answered, or more than once.
        unblocked: The driver has refused requests, and takes none again.
        reentered: A request made while another is completed hangs.
        flooded: One of very many goes wrong.
        left: One in flight when the driver leaves goes wrong, or a thread stays.
        kept: The driver refers to what was answered.
        untouched: One ends with what says that nothing was done, and its buffer has changed.
        partings: How a request in flight may end when the driver leaves.
    """

    process: str
    done: str
    returns: str
    answered: str
    unblocked: str
    reentered: str
    flooded: str
    left: str
    kept: str
    untouched: str
    partings: Collection[int]


REQUESTS: Final = Rules(
    process="process",
    done="done",
    returns="D9",
    answered="D7",
    unblocked="D10",
    reentered="D8",
    flooded="D10",
    left="D19",
    kept="D15",
    untouched="D12",
    partings=(0, errno.EAGAIN, errno.ENODEV),
)
"""The clauses of requests."""

KEY_REQUESTS: Final = Rules(
    process="kprocess",
    done="kdone",
    returns="K5",
    answered="K5",
    unblocked="K5",
    reentered="K5",
    flooded="K5",
    left="K5",
    kept="K6",
    untouched="K6",
    partings=(0, errno.ENODEV),
)
"""The clauses of key requests, which go to another driver by themselves: none ends with EAGAIN."""


def outcome(request: Cryptop | Cryptkop) -> int:
    """Return the errno that a request has ended with."""
    return request.etype if isinstance(request, Cryptop) else request.status


def describe(request: Cryptop | Cryptkop) -> str:
    """Say how a request has ended."""
    number = outcome(request)
    name = errno.errorcode.get(number, str(number)) if number else "success"
    return f"{name} {request.error}".rstrip()


WRITTEN_LATE: Final = (
    "the buffer changed after done was called: call done only when the last byte is written, "
    "and write nothing afterwards"
)
"""What the author of a driver is told that answers first and writes then."""


UNTOUCHED: Final = frozenset({errno.EAGAIN, errno.ENODEV, errno.ENXIO})
"""What says that nothing was done: the request is carried out by another driver, or not at all."""


def _content(request: Cryptop | Cryptkop) -> bytes:
    """Return what stands in a request's buffer; nothing, if it has none that could be used."""
    if not isinstance(request, Cryptop):
        return b""
    try:
        return bytes(gather(segments(request.buf, request.flags, writable=False)))
    except (CryptoError, TypeError):
        return b""


class Ticket(Generic[R]):
    """A request on its way: how often it was called back, and whether before `dispatch` was."""

    def __init__(self, request: R) -> None:
        self.request: R = request
        self.before = b""  # what was in its buffer when it was dispatched
        self.at_done = b""  # and when it was answered
        self.calls = 0
        self.answered = threading.Event()
        self.answered_on_return = False
        request.callback = self

    def __call__(self, request: R) -> None:
        if not self.calls:
            self.at_done = _content(request)
        self.calls += 1
        self.answered.set()


class Exchange(Generic[R]):
    """
    One kind of request on the bench.

    Args:
        bench: The bench.
        rules: The clauses that may be broken on the way.
        give: What dispatches a request to the driver on the bench.
    """

    def __init__(self, bench: Bench, rules: Rules, give: Callable[[R], object]) -> None:
        self.give: Callable[[R], object] = give
        self._bench = bench
        self._rules = rules
        self._last: Ticket[R] | None = None  # that was waited for

    # One request, or a few.

    def dispatch(self, *tickets: Ticket[R]) -> None:
        """Dispatch requests one after the other, and return when the last call has returned."""

        def work() -> None:
            for ticket in tickets:
                ticket.before = _content(ticket.request)
                self.give(ticket.request)
                ticket.answered_on_return = ticket.answered.is_set()

        # The patience is with one call; of many, each may take a little of it.
        patience = self._bench.patience
        if not self._bench.call(work, patience * (1 + len(tickets) / 50)):
            raise Hung(self._rules.returns, self._bench.late(self._rules.process))

    def wait(self, ticket: Ticket[R]) -> R:
        """Wait until a request is called back."""
        answered = ticket.answered.wait(self._bench.patience)
        self._bench.check_bugs()
        if not answered:
            raise self._unanswered()
        self._last = ticket
        require(_content(ticket.request) == ticket.at_done, self._rules.kept, WRITTEN_LATE)
        self.require_untouched(ticket.request, ticket.before)
        return ticket.request

    def written_late(self) -> str:
        """Try the last request again, and say whether its buffer changes behind done; "" if not."""
        last = self._last
        if last is None or not isinstance(last.request, Cryptop) or last.request.etype:
            return ""
        again = Cryptop(
            last.request.sid, bytearray(last.before), last.request.desc, flags=CRYPTO_F_CBIMM
        )
        ticket: Ticket[Any] = Ticket(again)
        give: Callable[[Any], object] = self.give
        with contextlib.suppress(CryptoError, TypeError):
            if self._bench.call(lambda: give(again), self._bench.patience):
                ticket.answered.wait(self._bench.patience)
                time.sleep(LONG_AFTER)
                if ticket.calls and _content(again) != ticket.at_done:
                    return WRITTEN_LATE
        return ""

    def require_untouched(self, request: R, before: bytes) -> None:
        """Require that a request whose end says that nothing was done has its buffer as it was."""
        if outcome(request) in UNTOUCHED:
            ended = errno.errorcode[outcome(request)]
            sentence = f"ended with {ended}, so nothing was done; but the buffer has changed"
            require(_content(request) == before, self._rules.untouched, sentence)

    def run(self, request: R) -> R:
        """
        Dispatch a request and wait for its answer, whatever that is.

        A key request that the driver hands back, as it may, comes again some times.

        Raises:
            SkipTest: it was handed back each time.
        """
        for _ in range(HANDED_BACK):
            self.dispatch(ticket := Ticket(request))
            self.wait(ticket)
            if not self.handed_back(request):
                return request
            time.sleep(PAUSE)
        raise unittest.SkipTest(f"the driver handed it back with EAGAIN, {HANDED_BACK} times")

    def handed_back(self, request: R) -> bool:
        """Tell whether a key request has found nobody else who takes it: there is one driver."""
        gone = isinstance(request, Cryptkop) and request.status == errno.ENODEV
        return gone and bool(self._bench.framework.drivers)

    def run_here(self, request: R) -> R:
        """Do the same in the calling thread, which may hang."""
        ticket = Ticket(request)
        ticket.before = _content(request)
        self.give(request)
        if not ticket.answered.wait(self._bench.patience):
            raise self._unanswered()
        self.require_untouched(request, ticket.before)
        return request

    def _unanswered(self) -> ContractBroken:
        """Say what kept a request from being answered."""
        patience = self._bench.patience
        if any(info.blocked for info in self._bench.framework.drivers):
            return Waited(self._rules.unblocked, f"blocked for more than {patience} s")
        return Waited(self._rules.answered, f"a request was not answered within {patience} s")

    # What holds of every request.

    def once(self, requests: Iterable[R]) -> None:
        """Require that each request is called back once, long after too."""
        tickets = [Ticket(request) for request in requests]
        self.dispatch(*tickets)
        for ticket in tickets:
            self.wait(ticket)
        time.sleep(LONG_AFTER)
        self._bench.check_bugs()
        calls = [ticket.calls for ticket in tickets]
        require(set(calls) == {1}, self._rules.answered, f"called back {calls} times")

    def flood(self, requests: Iterable[R]) -> list[R]:
        """Require that each of very many requests at once is served, though some had to wait."""
        tickets = [Ticket(request) for request in requests]
        self.dispatch(*tickets)
        served = [self.wait(ticket) for ticket in tickets]
        for request in filter(self.handed_back, served):
            self.run(request)
        for request in served:
            require(not outcome(request), self._rules.flooded, f"in a flood: {describe(request)}")
        return served

    def run_all(self, requests: Sequence[R]) -> list[R]:
        """Dispatch requests one after the other, and wait for each answer, whatever that is."""
        tickets = [Ticket(request) for request in requests]
        self.dispatch(*tickets)
        return [self.wait(ticket) for ticket in tickets]

    def chained(self, requests: Sequence[R], between: Callable[[], object] | None = None) -> None:
        """
        Require that each request may be dispatched within the callback of the one before.

        Args:
            requests: What is dispatched. They are answered within done, so ask for CRYPTO_F_CBIMM.
            between: What else is called there before the next one is dispatched.
        """
        chain = _Chain(self, requests, between or (lambda: None))
        patience = self._bench.patience
        clause, done = self._rules.reentered, self._rules.done
        if not (self._bench.call(chain.go_on, patience) and chain.ends(patience)):
            if not chain.inside:  # it was taken, and nothing more was heard of it
                raise self._unanswered()
            raise Waited(clause, f"a request made within {done} hangs: hold no lock meanwhile")
        self._bench.check_bugs()
        if chain.broken is not None:
            raise chain.broken
        require(not chain.wrong, clause, f"made within {done}: {'; '.join(chain.wrong)}")

    def in_flight(self, requests: Iterable[R]) -> None:
        """Require that each request ends when the driver leaves meanwhile, and no thread stays."""
        tickets = [Ticket(request) for request in requests]
        self.dispatch(*tickets)
        self._bench.detach()
        self._bench.check_bugs()
        for ticket in tickets:
            request = self.wait(ticket)
            ended = outcome(request) in self._rules.partings
            sentence = f"in flight when the driver left: {describe(request)}"
            require(ended, self._rules.left, sentence)
        left = self._bench.threads_left()
        require(not left, self._rules.left, f"threads left after close: {', '.join(left)}")

    def kept(self, *makes: Callable[[], Made[R]]) -> None:
        """
        Require that nobody refers to a request after its answer, nor to what it was made of.

        Args:
            makes: Each makes a request, and names what it was made of beside it. All of them can
                be referred to weakly: see `TrackedRequest`.
        """
        refs = [ref for make in makes for ref in self._run_and_forget(make)]
        deadline = time.monotonic() + self._bench.patience
        while (left := _alive(refs)) and time.monotonic() < deadline:
            time.sleep(PAUSE)
            gc.collect()
        if left:
            sentence = f"still referred to after {self._rules.done}: {', '.join(left)}"
            raise Waited(self._rules.kept, sentence)

    def _run_and_forget(self, make: Callable[[], Made[R]]) -> list[weakref.ref[object]]:
        made: Made[R] = make()
        self.run(made[0])
        self._last = None
        return [weakref.ref(made[0]), *map(weakref.ref, made[1])]


class _Chain(Generic[R]):
    """Requests of which each is dispatched in the callback of the one before."""

    def __init__(
        self, exchange: Exchange[R], requests: Iterable[R], between: Callable[[], object]
    ) -> None:
        self._exchange: Exchange[R] = exchange
        self._waiting: list[R] = list(requests)
        self._between = between
        self._before = b""
        self.inside = 0  # calls that give a request to the driver and have not returned
        self.wrong: list[str] = []
        self.broken: ContractBroken | None = None
        self.end = threading.Event()

    def go_on(self) -> None:
        """Dispatch the next request."""
        request = self._waiting.pop()
        request.callback = self
        self._before = _content(request)
        self.inside += 1
        self._exchange.give(request)
        self.inside -= 1

    def ends(self, patience: float) -> bool:
        """Wait for the end, as long as there is one answer after the other."""
        left = len(self._waiting) + 1
        while not self.end.wait(patience):
            if len(self._waiting) >= left:
                return False
            left = len(self._waiting)
        return True

    def __call__(self, request: R) -> None:
        """Note what went wrong, and dispatch the next request, if there is one."""
        if outcome(request) and not self._exchange.handed_back(request):
            self.wrong.append(describe(request))
        try:
            self._exchange.require_untouched(request, self._before)
            self._between()
            if self._waiting:
                self.go_on()
                return
        except CryptoError as error:
            self.wrong.append(str(error))
        except ContractBroken as error:
            self.broken = error
        self.end.set()


class TrackedRequest(Cryptop):
    """A request that can be referred to weakly, which tells when it is gone."""

    __slots__ = ("__weakref__",)


class TrackedKeyRequest(Cryptkop):
    """A key request that can be referred to weakly."""

    __slots__ = ("__weakref__",)


class TrackedBytes(bytearray):
    """A buffer that can be referred to weakly."""


def _alive(refs: Iterable[weakref.ref[Any]]) -> list[str]:
    """Name what is still referred to."""
    alive = [each for ref in refs if (each := ref()) is not None]
    return ["a buffer" if isinstance(each, bytearray) else "the request" for each in alive]
