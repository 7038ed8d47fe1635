"""
The turns of an event loop: what is done in one, what waits for the next, who is woken.

Small work is done on the spot: to hand it over would take longer than to do it. But the turn of a
loop has a budget, for others wait for its end. What comes when that is spent waits for the next
turn, first come, first served. Answers of other threads are gathered: however many there are, the
loop is woken once.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

from opencrypto._client import loops
from opencrypto._client.crew import Crew
from opencrypto._client.pending import Pending

T = TypeVar("T")


class Small:
    """
    Small work that waits for a turn of the loop, and who waits for it.

    Attributes:
        answer: What the work returned.
        error: What it raised.
        work: The work; None if it is done, or nobody wants it any more.
    """

    __slots__ = ("answer", "error", "waiter", "work")

    def __init__(self, work: Callable[[], Any], waiter: loops.Waiter) -> None:
        self.work: Callable[[], Any] | None = work
        self.waiter = waiter
        self.answer: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do the work, once."""
        work, self.work = self.work, None
        if work is None:
            return
        try:
            self.answer = work()
        except BaseException as error:
            self.error = error
            if not isinstance(error, Exception):
                raise  # it is meant for the program
        finally:
            self.waiter.wake()


class Turn:
    """
    One event loop, as far as our coroutines there share it.

    All of it is for the loop's own thread but `post`.

    Attributes:
        known_by: Returns the loop that is meant: what `loops.running` tells.
        parked: What waits for the next turn.
        until: When the budget of this turn is spent; 0 before the first work in it.
    """

    __slots__ = ("_budget", "_is_rung", "_woken", "known_by", "loop", "parked", "until")

    def __init__(self, loop: loops.Loop, known_by: Callable[[], object]) -> None:
        self.loop = loop
        self.known_by = known_by
        self.until = 0.0
        self.parked: deque[Callable[[], object]] = deque()
        self._budget = 0.0
        self._woken: deque[loops.Waiter] = deque()
        self._is_rung = False

    def has_time(self, budget: float) -> bool:
        """Tell whether small work may be done in this turn, whose budget that is in seconds."""
        until = self.until
        if until:
            return monotonic() < until and not self.parked
        self._begin(budget)
        return not self.parked

    def _begin(self, budget: float) -> None:
        self._budget = budget
        self.until = monotonic() + budget
        self.loop.soon(self._end)

    def _end(self) -> None:
        """Begin a new turn, with what the last one has left."""
        self.until = 0.0
        parked = self.parked
        if not parked:
            return
        self._begin(self._budget)
        while parked:
            parked[0]()  # which does nothing the second time, if an exception comes before this:
            del parked[0]
            if monotonic() >= self.until:  # one at least, whatever the budget
                return

    async def later(self, work: Callable[[], Any]) -> Any:
        """Do small work in one of the next turns, and return its answer."""
        waiter = self.loop.waiter()
        small = Small(work, waiter)
        self.parked.append(small.run)
        try:
            await waiter.wait(-1)
        except BaseException:
            small.work = None
            raise
        if small.error is not None:
            try:
                raise small.error
            finally:
                small.error = None  # or it and its traceback would keep each other
        return small.answer

    def _start(self, pending: Pending[Any], waiter: loops.Waiter) -> None:
        """Begin, in this turn, with what was parked."""
        pending.start()
        if not pending.is_over:
            self._listen(pending, waiter)
        if pending.is_over:
            waiter.wake()

    def post(self, waiter: loops.Waiter) -> None:
        """Have a coroutine go on; from any thread, and from signal handlers."""
        self._woken.append(waiter)
        if not self._is_rung:  # whoever rang takes what is there once he has said he will
            self._is_rung = True
            try:
                self.loop.ring(self._wake)
            except BaseException:  # of a signal handler: the next one rings once more
                self._is_rung = False
                raise

    def _wake(self) -> None:
        self._is_rung = False
        woken = self._woken
        while woken:
            woken.popleft().wake()

    async def carry(self, pending: Pending[T], crew: Crew, *, large: bool) -> T:
        """Have work done, and return its answer."""
        waiter = self.launch(pending, crew, large=large)
        if waiter is not None:
            await self.wait(pending, waiter)
        return pending.result()

    async def carry_apart(self, pending: Pending[T], crew: Crew) -> T:
        """Have something done that waits for others, and return its answer."""
        waiter = self._listen(pending, self.loop.waiter())
        join = crew.do_apart(pending.start)
        await self.wait(pending, waiter)
        join()  # it is at its end
        return pending.result()

    def launch(self, pending: Pending[Any], crew: Crew, *, large: bool) -> loops.Waiter | None:
        """
        Begin work: large by a thread, small here, in this turn or in one of the next.

        Returns:
            What to `wait` by; None if it is over.
        """
        if not large and self.has_time(crew.budget):
            pending.start()
            return None if pending.is_over else self._listen(pending, self.loop.waiter())
        waiter = self.loop.waiter()
        if large:
            self._listen(pending, waiter)
            crew.do(pending.start)
        else:
            self.parked.append(partial(self._start, pending, waiter))
        return waiter

    def _listen(self, pending: Pending[Any], waiter: loops.Waiter) -> loops.Waiter:
        """Have a coroutine hear when an answer has come. It may have, so look after this."""
        pending.heard = lambda: self.post(waiter)
        return waiter

    async def wait(self, pending: Pending[Any], waiter: loops.Waiter) -> None:
        """
        Wait for an answer that `_listen` was asked to hear of.

        Who is cancelled goes when nothing of his is touched any more.

        Raises:
            DriverTimeout: it did not come in time.
        """
        if pending.is_over:
            return
        try:
            in_time = await waiter.wait(pending.deadline.left())
        except BaseException:
            if not pending.give_up() and not pending.is_over:
                await waiter.wait_shielded()
            raise
        if in_time or pending.is_over:
            return
        if pending.give_up():
            raise pending.late()
        if not pending.is_over:
            await waiter.wait_shielded()  # it has come, and is being written

    async def first_of(self, underway: deque[tuple[Pending[T], loops.Waiter | None]]) -> T:
        """Take the first of what is under way, wait for it, and return its answer."""
        pending, waiter = underway.popleft()
        if waiter is not None:
            await self.wait(pending, waiter)
        return pending.result()


_turns: Final[weakref.WeakKeyDictionary[object, Turn]] = weakref.WeakKeyDictionary()


def this_turn() -> Turn:
    """
    Return what the running loop's coroutines share.

    Raises:
        UsageError: no loop is running here.
    """
    known_by, make = loops.running()
    turn = _turns.get(known_by)
    if turn is None:
        turn = _turns[known_by] = Turn(make(), weakref.ref(known_by))
    return turn
