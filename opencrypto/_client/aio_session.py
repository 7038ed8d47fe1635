"""
The awaitable twin of a session: the same names, the same answers, and no thread that waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from typing import Final, Self, TypeAlias, TypeVar

from opencrypto._client.flight import Flight, Order
from opencrypto._client.loops import Waiter
from opencrypto._client.pending import Pending
from opencrypto._client.subject import Sender
from opencrypto._client.turns import this_turn
from opencrypto._request.buffer import BytesLike
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.message import Sealed
from opencrypto._rules.seconds import check_seconds
from opencrypto.exceptions import UsageError

T = TypeVar("T")

Messages: TypeAlias = Iterable[BytesLike] | AsyncIterable[BytesLike]

DEPTH: Final = 64
"""How many messages of many are under way at a time, unless the caller says otherwise."""


class AsyncSession:
    """
    A `opencrypto.client.Session` whose answers are awaited, for ``async with``.

    `opencrypto.client.Session.aio` is one; make one yourself to give it a timeout of its own.

    Args:
        session: The session to use; it is closed with this one.
        timeout: Seconds that a message may take, as for the session; the session's own, if not
            given.

    Raises:
        UsageError: `session` is no `opencrypto.client.Session`, or `timeout` is no time.

    Each method raises what the session's own raises. Messages of ``framework.aio.border`` bytes or
    more are worked on by threads. Who is cancelled goes at once, unless his own memory is being
    written: then as soon as that is over. What was asked for may still be carried out.
    """

    def __init__(self, session: Sender, *, timeout: float | None = None) -> None:
        if not isinstance(session, Sender):
            raise UsageError(
                f"an AsyncSession is made of a Session, not of {type(session).__name__}"
            )
        self._session = session
        self._layout = session._layout
        self._crew = session._framework.aio.crew
        self._timeout = session._timeout if timeout is None else check_seconds(timeout, "timeout")

    @property
    def sid(self) -> int:
        """The session's identifier as it is now; as `Session.sid`."""
        return self._session.sid

    async def encrypt(
        self, data: BytesLike, *, iv: BytesLike | None = None, aad: BytesLike = b""
    ) -> Sealed:
        """
        Encrypt a message; as `Session.encrypt`.

        Raises:
            UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        return await self._carry(data, self._encrypting(data, iv, aad))

    async def decrypt(self, sealed: Sealed, *, aad: BytesLike = b"") -> bytes:
        """
        Verify and decrypt a message; as `Session.decrypt`.

        Raises:
            AuthenticationError, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        return await self._carry(sealed.data, self._decrypting(sealed, aad))

    async def mac(self, data: BytesLike) -> bytes:
        """
        Return a MAC or digest; as `Session.mac`.

        Raises:
            UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        return await self._carry(data, self._authenticating(data))

    async def verify(self, data: BytesLike, mac: BytesLike) -> None:
        """
        Verify a MAC; as `Session.verify`.

        Raises:
            AuthenticationError, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        await self._carry(data, self._verifying(data, mac))

    def mac_many(self, messages: Messages, *, depth: int = DEPTH) -> AsyncGenerator[bytes, None]:
        """
        Make the MACs of messages as they come, and yield them in the same order.

        Args:
            messages: An iterable, or an asynchronous one.
            depth: How many are under way at most; no more are taken until the first is yielded.

        Raises:
            UsageError: `depth` is less than 1. And what `mac` raises, when it is the turn of the
                message that it concerns; nothing comes after it.

        Who stops before the end closes it (``contextlib.aclosing``): what is under way is dropped.
        """
        return self._many(messages, self._authenticating, depth)

    def close(self) -> None:
        """Free the session, which waits for nothing. Closing again does nothing."""
        self._session.close()

    async def aclose(self) -> None:
        """Close, for who closes what he awaits (``contextlib.aclosing``); as `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<AsyncSession {self._session.sid:#x}>"

    # What is to be done with a message.

    def _encrypting(self, data: BytesLike, iv: BytesLike | None, aad: BytesLike) -> Order[Sealed]:
        layout = self._layout
        layout.require_cipher()
        return Order(lambda: layout.sealing(data, iv, aad), layout.sealed)

    def _decrypting(self, sealed: Sealed, aad: BytesLike) -> Order[bytes]:
        layout = self._layout
        layout.require_cipher()
        return Order(lambda: layout.opening(sealed.data, sealed.iv, sealed.mac, aad), layout.opened)

    def _authenticating(self, data: BytesLike) -> Order[bytes]:
        layout = self._layout
        layout.require_no_cipher()
        return Order(lambda: layout.sealing(data, None, b""), lambda crp: layout.sealed(crp).mac)

    def _verifying(self, data: BytesLike, mac: BytesLike) -> Order[None]:
        layout = self._layout
        layout.require_no_cipher()
        return Order(lambda: layout.opening(data, b"", mac, b""), _forget)

    # How it is done.

    async def _carry(self, data: object, order: Order[T]) -> T:
        """Carry out what is to be done with a message: here if it is small, else by a thread."""
        flight = Flight(self._session, order, self._timeout)
        crew = self._crew
        return await this_turn().carry(flight, crew, large=size_of(data) >= crew.border)

    async def _many(
        self, messages: Messages, order: Callable[[BytesLike], Order[T]], depth: int
    ) -> AsyncGenerator[T, None]:
        """Carry out the same with many messages, so many at a time."""
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise UsageError(f"depth is a number of messages, 1 or more, not {depth!r}")
        turn, crew = this_turn(), self._crew
        underway: deque[tuple[Pending[T], Waiter | None]] = deque()
        try:
            async with aclosing(each_of(messages)) as source:
                async for data in source:
                    flight = Flight(self._session, order(data), self._timeout)
                    waiter = turn.launch(flight, crew, large=size_of(data) >= crew.border)
                    underway.append((flight, waiter))
                    while underway and (underway[0][0].is_over or len(underway) >= depth):
                        yield await turn.first_of(underway)
            while underway:
                yield await turn.first_of(underway)
        finally:
            for pending, _ in underway:
                pending.give_up()


def size_of(data: object) -> int:
    """Return how many bytes a message has; 0 if it is none, for which it is refused later."""
    if type(data) is bytes:
        return len(data)
    try:
        return memoryview(data).nbytes  # type: ignore[arg-type]  # it is looked at
    except (TypeError, ValueError):
        return 0


async def each_of(messages: Messages) -> AsyncGenerator[BytesLike, None]:
    """Yield messages from either kind of iterable."""
    if isinstance(messages, AsyncIterable):
        async for message in messages:
            yield message
    else:
        for message in messages:
            yield message


def _forget(_: Cryptop) -> None:
    """Make nothing of an answered request."""
