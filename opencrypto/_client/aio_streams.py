"""
The awaitable twins of messages in pieces: each piece is worked on by a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Self, TypeVar

from opencrypto._client.crew import Crew
from opencrypto._client.pending import Step
from opencrypto._client.streams import Decryptor, Encryptor, Hasher, Stream
from opencrypto._client.turns import this_turn
from opencrypto._request.buffer import BytesLike
from opencrypto.exceptions import BusyError

T = TypeVar("T")
S = TypeVar("S", bound=Stream)
C = TypeVar("C", Encryptor, Decryptor)


class _AsyncStream(Generic[S]):
    """
    One message in pieces, for ``async with``; one piece at a time.

    A piece that a thread has begun is seen through: who is cancelled waits for its end. The message
    is then given up, for nobody has what came of the piece.
    """

    def __init__(self, stream: S, crew: Crew) -> None:
        self._stream = stream
        self._crew = crew
        self._is_busy = False

    async def _step(self, work: Callable[[], T]) -> T:
        """Have a thread do the next step."""
        if self._is_busy:
            raise BusyError("a piece of this message is under way; await it before the next one")
        self._is_busy = True
        try:
            return await this_turn().carry(Step(work), self._crew, large=True)
        except Exception:
            raise
        except BaseException:  # a cancellation, as the loop has it
            self._stream.close()
            raise
        finally:
            self._is_busy = False

    def close(self) -> None:
        """Give the message up, and wipe what is kept of it. Closing again does nothing."""
        self._stream.close()

    async def aclose(self) -> None:
        """Give the message up, for who closes what he awaits; as `close`."""
        self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stream.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._stream!r}>"


class _AsyncCipherStream(_AsyncStream[C]):
    """What encryptors and decryptors have in common."""

    async def iv(self) -> bytes:
        """Return the message's IV; a fresh one is made when it is asked for, or by `update`."""
        return await self._step(lambda: self._stream.iv)

    def authenticate_additional_data(self, data: BytesLike) -> None:
        """Authenticate data that is not part of the message; as `Encryptor` does, at once."""
        self._stream.authenticate_additional_data(data)

    async def update(self, data: BytesLike) -> bytes:
        """Go on with the message; return what of it can be given out by now."""
        return await self._step(lambda: self._stream.update(data))

    async def update_into(self, data: BytesLike, out: bytearray | memoryview) -> int:
        """As `update`, into memory of the program's; return how many **bytes** are written."""
        return await self._step(lambda: self._stream.update_into(data, out))


class AsyncEncryptor(_AsyncCipherStream[Encryptor]):
    """
    Encrypts one message in pieces: `AsyncSession.encryptor` makes it.

    Each method means what it means of `Encryptor`, and raises the same.
    """

    async def finalize(self) -> bytes:
        """End the message; `tag` is there then."""
        return await self._step(self._stream.finalize)

    @property
    def tag(self) -> bytes:
        """The message's MAC or tag, once it has been finalized; else UsageError."""
        return self._stream.tag


class AsyncDecryptor(_AsyncCipherStream[Decryptor]):
    """
    Decrypts one message in pieces: `AsyncSession.decryptor` makes it.

    Each method means what it means of `Decryptor`, and raises the same.
    """

    async def finalize(self, tag: BytesLike | None = None) -> bytes:
        """End the message, and verify it: see `Decryptor.finalize`."""
        return await self._step(lambda: self._stream.finalize(tag))

    async def finalize_with_tag(self, tag: BytesLike) -> bytes:
        """End the message, and verify it; as `finalize`."""
        return await self._step(lambda: self._stream.finalize_with_tag(tag))


class AsyncHasher(_AsyncStream[Hasher]):
    """
    Makes the MAC or digest of one message in pieces: `AsyncSession.hasher` makes it.

    Each method means what it means of `Hasher`, and raises the same.
    """

    @property
    def name(self) -> str:
        """What it makes, as `hashlib` and `hmac` call it."""
        return self._stream.name

    @property
    def digest_size(self) -> int:
        """How many **bytes** the result has."""
        return self._stream.digest_size

    async def update(self, data: BytesLike) -> None:
        """Go on with the message."""
        await self._step(lambda: self._stream.update(data))

    async def digest(self) -> bytes:
        """Return the MAC or digest of what has come."""
        return await self._step(self._stream.digest)

    async def hexdigest(self) -> str:
        """Return what `digest` does, in hexadecimal digits."""
        return await self._step(self._stream.hexdigest)

    async def verify(self, mac: BytesLike) -> None:
        """Verify the MAC of what has come: AuthenticationError if it does not match."""
        await self._step(lambda: self._stream.verify(mac))

    async def copy(self) -> AsyncHasher:
        """Return another one of the same message so far, which goes on by itself."""
        return AsyncHasher(await self._step(self._stream.copy), self._crew)
