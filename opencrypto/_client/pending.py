"""
What a coroutine waits for: something that is begun anywhere, and over once, in whatever thread.

Whoever gives it up, or writes the answer into memory of the caller, claims it first: who is second
finds it claimed. So nothing is written there after the caller has been told that it was cancelled.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from opencrypto._client.deadline import Deadline

T = TypeVar("T")


class Pending(ABC, Generic[T]):
    """
    An answer that has come, or will.

    Args:
        timeout: Within how many seconds; None for whenever it may be.

    Attributes:
        given_up: Whether nobody wants the answer any more.
        is_over: Whether the answer has come, or an error in its place.
        heard: Called when it does, if it is set by then. Set it, and look once more.
    """

    __slots__ = ("_answer", "_claims", "_error", "deadline", "given_up", "heard", "is_over")

    def __init__(self, timeout: float | None) -> None:
        self.deadline = Deadline(timeout)
        self.given_up = False
        self.is_over = False
        self.heard: Callable[[], object] | None = None
        self._claims = itertools.count()  # to take a number is one step: only one has the first
        self._answer: T | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin, in the calling thread; what goes wrong is the answer."""
        if self.given_up:
            self._dropped()
            self.over()
            return
        try:
            self._begin()
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise  # it is meant for the program

    @abstractmethod
    def _begin(self) -> None:
        """Do the work, or hand it to who does; then `succeed` or `fail` is called once."""

    def _dropped(self) -> None:
        """Hear that it was given up before it began."""

    @abstractmethod
    def late(self) -> BaseException:
        """Make the error of an answer that did not come in time."""

    def claim(self) -> bool:
        """Have the say over what becomes of the answer; True for the first who asks."""
        return next(self._claims) == 0

    def give_up(self) -> bool:
        """
        Hear that nobody wants the answer any more.

        Returns:
            Whether the caller's memory is left alone from now on; if not, it is when this is over.
        """
        self.given_up = True
        return self.claim()

    def succeed(self, answer: T | None) -> None:
        """Hear the answer; any, if it was given up."""
        self._answer = answer
        self.over()

    def fail(self, error: BaseException) -> None:
        """Hear what went wrong."""
        self._error = error
        self.over()

    def over(self) -> None:
        """Tell whoever waits."""
        self.is_over = True
        heard = self.heard
        if heard is not None:
            heard()

    def result(self) -> T:
        """Return the answer, once it is over, or raise what went wrong."""
        error, self._error = self._error, None  # or it and its traceback would keep each other
        if error is not None:
            try:
                raise error
            finally:
                del error
        return self._answer  # type: ignore[return-value]  # it is over


class Work(Pending[T]):
    """
    Something done by one call, as soon as somebody comes to it.

    Args:
        function: What does it.
        undo: What undoes it, if nobody wants it any more when it is done.
        writes: Whether the caller's memory is written meanwhile.
    """

    __slots__ = ("_function", "_undo", "_writes")

    def __init__(
        self,
        function: Callable[[], T],
        undo: Callable[[T], object] | None = None,
        *,
        writes: bool = False,
    ) -> None:
        super().__init__(None)
        self._function = function
        self._undo = undo
        self._writes = writes

    def _begin(self) -> None:
        if self._writes and not self.claim():
            self.over()
            return
        answer = self._function()
        if self._writes or self.claim():
            self.succeed(answer)
            return
        if self._undo is not None:
            self._undo(answer)
        self.over()

    def late(self) -> BaseException:
        """Make the error of an answer that did not come in time: it has as long as it takes."""
        return TimeoutError()
