"""
A message on its way: dispatched, followed to other drivers, answered; no thread waits for it.

What is to be done with a message is an `Order`: how its request is made, and what is read out of
the answered one. Each try is made anew, whatever the one before it has left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from opencrypto._client.deadline import MIGRATIONS
from opencrypto._client.pending import Pending
from opencrypto._client.subject import Sender
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.message import Maker

T = TypeVar("T")


class Order(NamedTuple, Generic[T]):
    """
    What is done with a message.

    Attributes:
        prepare: Looks at the arguments, copies what it needs, and returns what makes the request.
        read: Makes the answer of the answered request.
    """

    prepare: Callable[[], Maker]
    read: Callable[[Cryptop], T]


class Flight(Pending[T]):
    """One message of a session; its answer may be read, and written, in any thread."""

    __slots__ = ("_crp", "_make", "_order", "_session", "_tries")

    def __init__(self, session: Sender, order: Order[T], timeout: float | None) -> None:
        super().__init__(timeout)
        self._session = session
        self._order = order
        self._crp: Cryptop | None = None
        self._make: Maker | None = None
        self._tries = MIGRATIONS

    def _begin(self) -> None:
        self._make = self._order.prepare()
        self._dispatch()

    def _dispatch(self) -> None:
        assert self._make is not None
        crp = self._crp = self._make()
        crp.sid = crp.opaque = self._session.sid  # opaque: where it was when this was sent
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
            self._session._answered(crp)
            answer = self._order.read(crp) if self.claim() else None
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._crp = None  # what it holds is nobody's any more
            self.succeed(answer)

    def _goes_on(self, crp: Cryptop) -> bool:
        """Ask again where the session has moved, if it has; tell whether that was so."""
        if self.given_up or not self._session._follow(crp, self.deadline) or not self._tries:
            return False
        self._tries -= 1
        self._dispatch()
        return True
