"""
The same sessions for coroutines: `AsyncSession`, whose answers are awaited.

A driver that answers at once costs no future and no turn of the loop; one that answers from a
thread wakes the loop by ``call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio

from opencrypto._client.deadline import Deadline
from opencrypto._client.session import MIGRATIONS, Session
from opencrypto._request.buffer import BytesLike
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.message import Maker, Sealed
from opencrypto._rules.seconds import check_seconds
from opencrypto.exceptions import UsageError

__all__ = ["AsyncSession"]


class _Completion:
    """One round of a request: done at once, or a future that is resolved later."""

    __slots__ = ("_done", "_future", "_loop")

    def __init__(self) -> None:
        self._done = False
        self._future: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def callback(self, crp: Cryptop) -> None:
        """Note the end, in whatever thread it comes."""
        self._done = True
        if self._future is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._resolve)
        except RuntimeError:
            pass  # the loop is closed: whoever waited there is gone

    def _resolve(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, deadline: Deadline) -> bool:
        """Wait until the request is answered, unless it is already; tell whether it is."""
        if self._is_done():
            return True
        self._future = self._loop.create_future()
        left = deadline.left()
        try:
            async with asyncio.timeout(None if left < 0 else left):
                if not self._is_done():  # or it came since the first look, and saw no future
                    await self._future
        except TimeoutError:
            return self._is_done()
        return True

    def _is_done(self) -> bool:
        return self._done


class AsyncSession:
    """
    A `opencrypto.client.Session` whose answers are awaited, for ``async with``.

    Args:
        session: The session to use; it is closed with this one.
        timeout: Seconds that a message may take, as for the session; the session's own, if not
            given.

    Raises:
        UsageError: `session` is no `opencrypto.client.Session`, or `timeout` is no time.

    Each method raises what the session's own raises. A wait that is cancelled leaves its request
    to itself.
    """

    def __init__(self, session: Session, *, timeout: float | None = None) -> None:
        if not isinstance(session, Session):
            raise UsageError(
                f"an AsyncSession is made of a Session, not of {type(session).__name__}"
            )
        self._session = session
        self._layout = session._layout
        self._framework = session._framework
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
        self._layout.require_cipher()
        return self._layout.sealed(await self._run(self._layout.sealing(data, iv, aad)))

    async def decrypt(self, sealed: Sealed, *, aad: BytesLike = b"") -> bytes:
        """
        Verify and decrypt a message; as `Session.decrypt`.

        Raises:
            AuthenticationError, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        self._layout.require_cipher()
        return self._layout.opened(
            await self._run(self._layout.opening(sealed.data, sealed.iv, sealed.mac, aad))
        )

    async def mac(self, data: BytesLike) -> bytes:
        """
        Return a MAC or digest; as `Session.mac`.

        Raises:
            UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        self._layout.require_no_cipher()
        return self._layout.sealed(await self._run(self._layout.sealing(data, None, b""))).mac

    async def verify(self, data: BytesLike, mac: BytesLike) -> None:
        """
        Verify a MAC; as `Session.verify`.

        Raises:
            AuthenticationError, UsageError, DriverGone, DriverTimeout, CryptoError: as there.
        """
        self._layout.require_no_cipher()
        await self._run(self._layout.opening(data, b"", mac, b""))

    async def _run(self, make: Maker) -> Cryptop:
        session = self._session
        deadline = Deadline(self._timeout)
        for _ in range(MIGRATIONS + 1):
            crp = make()
            crp.sid = crp.opaque = session.sid
            completion = _Completion()
            crp.callback = completion.callback
            self._framework.dispatch(crp)
            if not await completion.wait(deadline):
                raise deadline.passed(self._framework.holders_of(crp))
            if not session._follow(crp, deadline):
                break
        return session._answered(crp)

    def close(self) -> None:
        """Free the session, which waits for nothing. Closing again does nothing."""
        self._session.close()

    async def aclose(self) -> None:
        """Close, for who closes what he awaits (``contextlib.aclosing``); as `close`."""
        self.close()

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<AsyncSession {self._session.sid:#x}>"
