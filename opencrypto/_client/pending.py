"""
What a coroutine waits for: something that is begun anywhere, and over once, in whatever thread.

Whoever gives it up, or writes the answer into memory of the caller, claims it first: who is second
finds it claimed. So nothing is written there after the caller has been told that it was cancelled.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from opencrypto._client.deadline import Deadline

T = TypeVar("T")


class Pending(ABC, Generic[T]):
    """
    An answer that has come, or will.

    Args:
        timeout: Within how many seconds; None for whenever it may be.
        finish: What makes the answer of what was found, as by writing it where it is to be.

    Attributes:
        given_up: Whether nobody wants the answer any more.
        is_over: Whether the answer has come, or an error in its place.
        heard: Called when it does, if it is set by then. Set it, and look once more.
    """

    __slots__ = (
        "_answer",
        "_begun",
        "_claims",
        "_error",
        "_finish",
        "deadline",
        "given_up",
        "heard",
        "is_over",
    )

    def __init__(self, timeout: float | None, finish: Callable[[Any], T] | None = None) -> None:
        self._begun = False
        self._finish = finish
        self.deadline = Deadline(timeout)
        self.given_up = False
        self.is_over = False
        self.heard: Callable[[], object] | None = None
        self._claims = itertools.count()  # to take a number is one step: only one has the first
        self._answer: T | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin, once, in the calling thread; what goes wrong is the answer."""
        if self._begun:
            return
        self._begun = True
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

    def deliver(self, found: Any) -> None:
        """Hear what was found: that is the answer, or it is made of that, if it is wanted."""
        if self.claim():
            self._answer = found if self._finish is None else self._finish(found)
        else:
            self._undo(found)
        self.over()

    def _undo(self, found: Any) -> None:
        """Hear of what was found when nobody wanted it any more."""

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
        finish: As for `Pending`.
        undo: What undoes it, if nobody wants it any more when it is done.
    """

    __slots__ = ("_function", "_undoes")

    def __init__(
        self,
        function: Callable[[], Any],
        finish: Callable[[Any], T] | None = None,
        undo: Callable[[Any], object] | None = None,
    ) -> None:
        super().__init__(None, finish)
        self._function = function
        self._undoes = undo

    def _begin(self) -> None:
        self.deliver(self._function())

    def _undo(self, found: Any) -> None:
        if self._undoes is not None:
            self._undoes(found)

    def late(self) -> BaseException:
        """Make the error of an answer that did not come in time: it has as long as it takes."""
        return TimeoutError()


class Step(Work[T]):
    """Work that is seen through once it has begun: who is cancelled waits for its end."""

    __slots__ = ()

    def _begin(self) -> None:
        if self.claim():
            self._answer = self._function()
        self.over()
