"""
The awaitable twin of a session: the same names, the same answers, and no thread that waits.
"""

from __future__ import annotations

from asyncio import _get_running_loop
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from functools import partial
from time import monotonic
from typing import Final, Protocol, Self, TypeAlias, TypeVar, cast

from opencrypto._client.aio_streams import AsyncDecryptor, AsyncEncryptor, AsyncHasher
from opencrypto._client.flight import Flight, Order
from opencrypto._client.loops import Waiter, in_trio
from opencrypto._client.many import DEPTH, checked_depth
from opencrypto._client.opening import Keys
from opencrypto._client.pending import Pending, Work
from opencrypto._client.streams import Decryptor, Encryptor, Hasher, Stream
from opencrypto._client.turns import Turn, this_turn
from opencrypto._client.whole import Whole, put, require_room
from opencrypto._core.short import NOT_TAKEN
from opencrypto._request.buffer import BytesLike, byteview
from opencrypto._rules.message import Detached, Maker, Sealed
from opencrypto._rules.seconds import check_seconds
from opencrypto.exceptions import UsageError

S = TypeVar("S", bound=Stream)
T = TypeVar("T")

NEVER: Final = 0
NOW: Final = 1
LATER: Final = 2

Messages: TypeAlias = Iterable[BytesLike] | AsyncIterable[BytesLike]
"""Many messages, from an iterable or an asynchronous one."""


class Keeper(Protocol):
    """A `Session`, as far as others are made of it, and it is closed."""

    @property
    def aio(self) -> AsyncSession:
        """The same for coroutines."""

    def rekey(self, key: Keys) -> None:
        """Go on with another key."""

    def encryptor(self, *, iv: BytesLike | None = None, aad: BytesLike = b"") -> Encryptor:
        """Begin to encrypt a message in pieces."""

    def decryptor(
        self, iv: BytesLike, *, aad: BytesLike = b"", unverified: bool = False
    ) -> Decryptor:
        """Begin to decrypt one."""

    def hasher(self) -> Hasher:
        """Begin with its MAC or digest."""

    def clone(self) -> Keeper:
        """Open another one with the same keys."""

    def close(self) -> None:
        """Free it."""


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
    more are worked on by threads, and all messages of a session that compresses. Who is cancelled
    goes at once, unless his own memory is being written: then as soon as that is over. What was
    asked for may still be carried out.
    """

    _turn: Turn | None = None

    def __init__(self, session: Whole, *, timeout: float | None = None) -> None:
        if not isinstance(session, Whole):
            raise UsageError(
                f"an AsyncSession is made of a Session, not of {type(session).__name__}"
            )
        self._session = session
        self._keeper = cast(Keeper, session)  # it is both, and no one type says so
        self._layout = session._layout
        self._crew = session._framework.aio.crew
        self._timeout = session._timeout if timeout is None else check_seconds(timeout, "timeout")

    @property
    def sid(self) -> int:
        """The session's identifier as it is now; as `Session.sid`."""
        return self._session._sid

    async def seal(
        self, data: BytesLike, aad: BytesLike = b"", iv: BytesLike | None = None
    ) -> bytes:
        """
        Encrypt and authenticate a message; as `Session.seal`.

        Raises:
            UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        if when := self._when(data):
            calls = self._session._calls
            if when == NOW:
                token = calls.seal(data, aad, iv)
            else:
                token = await self._this_turn().later(partial(calls.seal, data, aad, iv))
            if token is not NOT_TAKEN:
                return token  # type: ignore[no-any-return]  # as `Calls` says
        return await self._carry(data, self._sealing(data, aad, iv))

    async def open(self, token: BytesLike, aad: BytesLike = b"") -> bytes:
        """
        Verify and decrypt what was sealed; as `Session.open`.

        Raises:
            AuthenticationError, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        if when := self._when(token):
            calls = self._session._calls
            if when == NOW:
                data = calls.open(token, aad)
            else:
                data = await self._this_turn().later(partial(calls.open, token, aad))
            if data is not NOT_TAKEN:
                return data  # type: ignore[no-any-return]  # as `Calls` says
        return await self._carry(token, self._opening(token, aad))

    async def encrypt(
        self, data: BytesLike, *, iv: BytesLike | None = None, aad: BytesLike = b""
    ) -> Sealed:
        """
        Encrypt a message; as `Session.encrypt`.

        Raises:
            UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        if self._when(data) == NOW:
            token = self._session._calls.seal(data, aad, iv)
            if token is not NOT_TAKEN:
                return self._layout.parts(token)
        return await self._carry(data, self._encrypting(data, iv, aad))

    async def decrypt(self, sealed: Sealed, *, aad: BytesLike = b"") -> bytes:
        """
        Verify and decrypt a message; as `Session.decrypt`.

        Raises:
            AuthenticationError, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        return await self._carry(sealed.data, self._decrypting(sealed, aad))

    async def seal_into(
        self,
        data: BytesLike,
        out: bytearray | memoryview,
        aad: BytesLike = b"",
        iv: BytesLike | None = None,
    ) -> int:
        """
        As `seal`, with the token written to the beginning of `out`; as `Session.seal_into`.

        Raises:
            OutputTooSmall, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        place = self._place(out, "token", data, self._layout.ivlen + self._layout.maclen)
        order = self._sealing(data, aad, iv)
        return await self._carry(data, order.then(lambda token: put(token, place)))

    async def open_into(
        self, token: BytesLike, out: bytearray | memoryview, aad: BytesLike = b""
    ) -> int:
        """
        As `open`, with the plaintext written to the beginning of `out`; as `Session.open_into`.

        Raises:
            AuthenticationError, OutputTooSmall, UsageError, DriverGone, DriverTimeout, CryptoError:
                as there.
        """
        place = self._place(out, "plaintext", token, -self._layout.ivlen - self._layout.maclen)
        order = self._opening(token, aad)
        return await self._carry(token, order.then(lambda data: put(data, place)))

    async def encrypt_into(
        self,
        data: BytesLike,
        out: bytearray | memoryview,
        *,
        iv: BytesLike | None = None,
        aad: BytesLike = b"",
    ) -> Detached:
        """
        As `encrypt`, with the ciphertext written to `out`; as `Session.encrypt_into`.

        Raises:
            OutputTooSmall, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        place = self._place(out, "ciphertext", data, 0)

        def finish(sealed: Sealed) -> Detached:
            put(sealed.data, place)
            return Detached(sealed.iv, sealed.mac)

        return await self._carry(data, self._encrypting(data, iv, aad).then(finish))

    async def decrypt_into(
        self,
        data: BytesLike | Sealed,
        out: bytearray | memoryview,
        *,
        iv: BytesLike = b"",
        mac: BytesLike = b"",
        aad: BytesLike = b"",
    ) -> int:
        """
        As `decrypt`, with the plaintext written to `out`; as `Session.decrypt_into`.

        Raises:
            AuthenticationError, OutputTooSmall, UsageError, DriverGone, DriverTimeout, CryptoError:
                as there.
        """
        sealed = data if isinstance(data, Sealed) else Sealed(iv, data, mac)  # type: ignore[arg-type]  # it says so itself
        place = self._place(out, "plaintext", sealed.data, 0)
        order = self._decrypting(sealed, aad)
        return await self._carry(sealed.data, order.then(lambda text: put(text, place)))

    async def mac(self, data: BytesLike) -> bytes:
        """
        Return a MAC or digest; as `Session.mac`.

        Raises:
            UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        if when := self._when(data):
            calls = self._session._calls
            if when == NOW:
                mac = calls.mac(data)
            else:
                mac = await self._this_turn().later(partial(calls.mac, data))
            if mac is not NOT_TAKEN:
                return mac  # type: ignore[no-any-return]  # as `Calls` says
        return await self._carry(data, self._authenticating(data))

    async def digest(self, data: BytesLike) -> bytes:
        """
        Return a digest; as `Session.digest`.

        Raises:
            UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        self._layout.require_digest()
        return await self.mac(data)

    async def verify(self, data: BytesLike, mac: BytesLike) -> None:
        """
        Verify a MAC; as `Session.verify`.

        Raises:
            AuthenticationError, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        if self._when(data) == NOW and self._session._calls.verify(data, mac) is not NOT_TAKEN:
            return
        await self._carry(data, self._verifying(data, mac))

    async def compress(self, data: BytesLike) -> bytes:
        """
        Return a message compressed; as `Session.compress`.

        Raises:
            UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        return await self._aside(lambda: self._session.compress(data))

    async def decompress(self, data: BytesLike) -> bytes:
        """
        Return what was compressed; as `Session.decompress`.

        Raises:
            OperationError, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        return await self._aside(lambda: self._session.decompress(data))

    async def rekey(self, key: Keys) -> None:
        """
        Go on with another key; as `Session.rekey`.

        Raises:
            UsageError, NoDriverError: as there.
        """
        await self._aside(lambda: self._keeper.rekey(key))

    async def clone(self) -> AsyncSession:
        """
        Open another session with the same keys; as `Session.clone`.

        Raises:
            UsageError, NoDriverError: as there.
        """
        work: Work[Keeper] = Work(self._keeper.clone, undo=_close)
        return (await self._this_turn().carry(work, self._crew, large=True)).aio

    async def encryptor(
        self, *, iv: BytesLike | None = None, aad: BytesLike = b""
    ) -> AsyncEncryptor:
        """
        Begin to encrypt a message that comes in pieces; as `Session.encryptor`.

        Raises:
            UsageError, NoDriverError: as there.
        """
        return AsyncEncryptor(
            await self._begun(lambda: self._keeper.encryptor(iv=iv, aad=aad)), self._crew
        )

    async def decryptor(
        self, iv: BytesLike, *, aad: BytesLike = b"", unverified: bool = False
    ) -> AsyncDecryptor:
        """
        Begin to decrypt a message that comes in pieces; as `Session.decryptor`.

        What it gives out is not verified before `AsyncDecryptor.finalize` has returned.

        Raises:
            UsageError, NoDriverError: as there.
        """
        return AsyncDecryptor(
            await self._begun(lambda: self._keeper.decryptor(iv, aad=aad, unverified=unverified)),
            self._crew,
        )

    async def hasher(self) -> AsyncHasher:
        """
        Begin to make the MAC or digest of a message that comes in pieces; as `Session.hasher`.

        Raises:
            UsageError, NoDriverError: as there.
        """
        return AsyncHasher(await self._begun(self._keeper.hasher), self._crew)

    def seal_many(
        self, messages: Messages, depth: int = DEPTH, *, aad: BytesLike = b""
    ) -> AsyncGenerator[bytes, None]:
        """
        Seal messages as they come, each with the same `aad`, and yield the tokens in order.

        Args:
            messages: What to seal; an iterable, or an asynchronous one.
            depth: How many are under way at most; no more are taken until the first is yielded.
            aad: Authenticated with each of them.

        Raises:
            UsageError: the session has no cipher or no authenticator, or `depth` is no number from
                1 on. While it is iterated: as `seal`, behind the answers to all messages before the
                one concerned; and nothing comes after it.

        Who stops before the end closes it (``contextlib.aclosing``): what is under way is dropped.
        """
        self._layout.require_seal()
        return self._many(messages, lambda each: self._sealing(each, aad, None), depth)

    def open_many(
        self, tokens: Messages, depth: int = DEPTH, *, aad: BytesLike = b""
    ) -> AsyncGenerator[bytes, None]:
        """
        Open tokens as they come, and yield the messages; as `seal_many`.

        Raises:
            UsageError: as there.
        """
        self._layout.require_seal()
        return self._many(tokens, lambda each: self._opening(each, aad), depth)

    def mac_many(self, messages: Messages, depth: int = DEPTH) -> AsyncGenerator[bytes, None]:
        """
        Make the MACs or digests of messages as they come, and yield them; as `seal_many`.

        Raises:
            UsageError: the session has a cipher, or `depth` is no number from 1 on.
        """
        self._layout.require_no_cipher()
        return self._many(messages, self._authenticating, depth)

    def close(self) -> None:
        """Free the session, which waits for nothing. Closing again does nothing."""
        self._keeper.close()

    async def aclose(self) -> None:
        """Close, for who closes what he awaits (``contextlib.aclosing``); as `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<AsyncSession {self.sid:#x}>"

    # What is to be done with a message.

    def _sealing(self, data: BytesLike, aad: BytesLike, iv: BytesLike | None) -> Order[bytes]:
        session, layout = self._session, self._layout

        def prepare() -> Maker:
            layout.require_seal()
            return layout.sealing(data, iv, aad)

        return Order(
            lambda: session._calls.seal(data, aad, iv),
            prepare,
            lambda crp: layout.sealed(crp).to_bytes(),
            lambda: session.seal(data, aad, iv),
        )

    def _opening(self, token: BytesLike, aad: BytesLike) -> Order[bytes]:
        session, layout = self._session, self._layout

        def prepare() -> Maker:
            layout.require_seal()
            iv, data, mac = layout.parts(token)
            return layout.opening(data, iv, mac, aad)

        return Order(
            lambda: session._calls.open(token, aad),
            prepare,
            layout.opened,
            lambda: session.open(token, aad),
        )

    def _encrypting(self, data: BytesLike, iv: BytesLike | None, aad: BytesLike) -> Order[Sealed]:
        session, layout = self._session, self._layout

        def at_once() -> object:
            token = session._calls.seal(data, aad, iv)
            return token if token is NOT_TAKEN else layout.parts(token)

        def prepare() -> Maker:
            layout.require_cipher()
            return layout.sealing(data, iv, aad)

        return Order(at_once, prepare, layout.sealed, lambda: session.encrypt(data, iv=iv, aad=aad))

    def _decrypting(self, sealed: Sealed, aad: BytesLike) -> Order[bytes]:
        session, layout = self._session, self._layout

        def prepare() -> Maker:
            layout.require_cipher()
            return layout.opening(sealed.data, sealed.iv, sealed.mac, aad)

        return Order(_not_at_once, prepare, layout.opened, lambda: session.decrypt(sealed, aad=aad))

    def _authenticating(self, data: BytesLike) -> Order[bytes]:
        session, layout = self._session, self._layout

        def prepare() -> Maker:
            layout.require_no_cipher()
            return layout.sealing(data, None, b"")

        return Order(
            lambda: session._calls.mac(data),
            prepare,
            lambda crp: layout.sealed(crp).mac,
            lambda: session.mac(data),
        )

    def _verifying(self, data: BytesLike, mac: BytesLike) -> Order[None]:
        session, layout = self._session, self._layout

        def prepare() -> Maker:
            layout.require_no_cipher()
            return layout.opening(data, b"", mac, b"")

        return Order(
            lambda: session._calls.verify(data, mac),
            prepare,
            layout.opened,
            lambda: session.verify(data, mac),
            _forget,
        )

    # How it is done.

    def _when(self, data: object) -> int:
        """
        Tell when a message may be worked on in the loop's thread.

        Returns:
            `NOW`, or `LATER`: the message is small, and this turn of the loop has time for it, or
            has none; else `NEVER`.
        """
        crew = self._crew
        size = len(data) if type(data) is bytes else size_of(data)
        if size >= crew.border:
            return NEVER
        turn = self._turn
        if turn is None or turn.known_by() is not _get_running_loop():
            turn = self._this_turn()
        until = turn.until  # what `Turn.has_time` tells, without its call
        if until:
            return NOW if monotonic() < until and not turn.parked else LATER
        return NOW if turn.has_time(crew.budget) else LATER

    def _this_turn(self) -> Turn:
        """Return what the coroutines of the running loop share."""
        turn = self._turn
        if turn is not None and turn.known_by() is _get_running_loop():
            return turn
        turn = this_turn()
        if not in_trio():  # which may run within a loop of asyncio's
            self._turn = turn
        return turn

    def _place(
        self, out: bytearray | memoryview, what: str, data: BytesLike, more: int
    ) -> memoryview:
        """View the buffer for a result that is so much longer than the message."""
        place = byteview(out, what=f"buffer for the {what}")
        if self._layout.comp is None:
            require_room(place, size_of(data) + more)
        return place

    async def _carry(self, data: object, order: Order[T]) -> T:
        """Carry out what is to be done with a message: here if it is small, else by a thread."""
        pending, large = self._under_way(data, order)
        return await self._this_turn().carry(pending, self._crew, large=large)

    def _under_way(self, data: object, order: Order[T]) -> tuple[Pending[T], bool]:
        """Return what is to be begun, and whether it is no work for the loop's thread."""
        if self._layout.comp is not None:
            return Work(order.waiting, order.finish), True
        flight = Flight(self._session, order, self._timeout)
        return flight, size_of(data) >= self._crew.border

    async def _aside(self, function: Callable[[], T]) -> T:
        """Have a thread do what may take its time."""
        return await self._this_turn().carry(Work(function), self._crew, large=True)

    async def _begun(self, begin: Callable[[], S]) -> S:
        """Have a thread begin with a message in pieces; one that nobody wants is closed."""
        work: Work[S] = Work(begin, undo=Stream.close)
        return await self._this_turn().carry(work, self._crew, large=True)

    def _many(
        self, messages: Messages, order: Callable[[BytesLike], Order[T]], depth: int
    ) -> AsyncGenerator[T, None]:
        """Carry out the same with many messages, so many at a time."""
        return self._answers(messages, order, checked_depth(depth))

    async def _answers(
        self, messages: Messages, order: Callable[[BytesLike], Order[T]], depth: int
    ) -> AsyncGenerator[T, None]:
        turn, crew = self._this_turn(), self._crew
        underway: deque[tuple[Pending[T], Waiter | None]] = deque()
        source = _Source(messages)
        try:
            async for data in source:
                pending, large = self._under_way(data, order(data))
                underway.append((pending, turn.launch(pending, crew, large=large)))
                while underway and (underway[0][0].is_over or len(underway) >= depth):
                    yield await turn.first_of(underway)
            while underway:
                yield await turn.first_of(underway)
            if source.error is not None:
                raise source.error
        finally:
            for pending, _ in underway:
                pending.give_up()


class _Source:
    """
    Where messages come from.

    Attributes:
        error: What ended it, if it did not end by itself.
    """

    def __init__(self, messages: Messages) -> None:
        self.error: Exception | None = None
        self._later = aiter(messages) if isinstance(messages, AsyncIterable) else None
        self._now = iter(()) if isinstance(messages, AsyncIterable) else iter(messages)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BytesLike:
        try:
            if self._later is not None:
                return await anext(self._later)
            return next(self._now)
        except (StopIteration, StopAsyncIteration):
            raise StopAsyncIteration from None
        except Exception as error:
            self.error = error
            raise StopAsyncIteration from None


def size_of(data: object) -> int:
    """Return how many **bytes** a message has; 0 if it is none, for which it is refused later."""
    try:
        return memoryview(data).nbytes  # type: ignore[arg-type]  # it is looked at
    except (TypeError, ValueError):
        return 0


def _not_at_once() -> object:
    """Stand in where there is no short way."""
    return NOT_TAKEN


def _forget(_: object) -> None:
    """Make nothing of what was found."""


def _close(session: Keeper) -> None:
    session.close()
