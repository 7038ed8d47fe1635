"""
A message on its way: dispatched, followed to other drivers, answered; no thread waits for it.

What is to be done with a message is an `Order`: how it is done at once, where that can be, and else
how its request is made and what is read out of the answered one. Each try is made anew, whatever
the one before it has left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from opencrypto._client.asking import MIGRATIONS, Asking
from opencrypto._client.pending import Pending
from opencrypto._core.short import NOT_TAKEN
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.message import Maker

T = TypeVar("T")
U = TypeVar("U")


class Order(NamedTuple, Generic[T]):
    """
    What is done with a message.

    Attributes:
        at_once: Does it by the short way; `NOT_TAKEN` if that is not to be had.
        prepare: Looks at the arguments, copies what it needs, and returns what makes the request.
        read: Reads what was found out of the answered request.
        waiting: Does it in a thread that may wait, as a session does.
        finish: Makes the answer of what was found; that is the answer, if not given.
    """

    at_once: Callable[[], Any]
    prepare: Callable[[], Maker]
    read: Callable[[Cryptop], Any]
    waiting: Callable[[], Any]
    finish: Callable[[Any], T] | None = None

    def then(self, finish: Callable[[Any], U]) -> Order[U]:
        """Return the order that does something with what this one finds."""
        return Order(self.at_once, self.prepare, self.read, self.waiting, finish)


class Flight(Pending[T]):
    """One message of a session; its answer may be read, and written, in any thread."""

    __slots__ = ("_crp", "_make", "_order", "_session", "_tries")

    def __init__(self, session: Asking, order: Order[T], timeout: float | None) -> None:
        super().__init__(timeout, order.finish)
        self._session = session
        self._order = order
        self._crp: Cryptop | None = None
        self._make: Maker | None = None
        self._tries = MIGRATIONS

    def _begin(self) -> None:
        found = self._order.at_once()
        if found is not NOT_TAKEN:
            self.deliver(found)
            return
        self._make = self._order.prepare()
        self._dispatch()

    def _dispatch(self) -> None:
        assert self._make is not None
        crp = self._crp = self._make()
        crp.sid = crp.opaque = self._session._sid  # opaque: where it was when this was sent
        crp.callback = self._hear
        self._session._framework.dispatch(crp)

    def late(self) -> BaseException:
        """Make the error of an answer that did not come in time; it names who has the message."""
        crp = self._crp
        names = () if crp is None else self._session._framework.holders_of(crp)
        return self.deadline.passed(names or self._session._drivers())

    def _hear(self, crp: Cryptop) -> None:
        try:
            if self._goes_on(crp):
                return
            self._crp = None  # what it holds is nobody's any more
            self._session._answered(crp)
            self.deliver(None if self.given_up else self._order.read(crp))
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise

    def _goes_on(self, crp: Cryptop) -> bool:
        """Ask again where the session has moved, if it has; tell whether that was so."""
        if self.given_up or not self._session._follow(crp, self.deadline) or not self._tries:
            return False
        self._tries -= 1
        self._dispatch()
        return True
