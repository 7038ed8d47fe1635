"""
The same sessions for coroutines: `AsyncSession`, whose answers are awaited.

A driver that answers at once costs no future and no turn of the loop; one that answers from a
thread wakes the loop by ``call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio
import errno

from opencrypto._request.buffer import BytesLike
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.message import Sealed
from opencrypto.client import MIGRATIONS, Session
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

    async def wait(self) -> None:
        """Wait until the request is answered, unless it is already."""
        if self._is_done():
            return
        self._future = self._loop.create_future()
        if not self._is_done():  # or it came since the first look, and saw no future
            await self._future

    def _is_done(self) -> bool:
        return self._done


class AsyncSession:
    """
    A `opencrypto.client.Session` whose answers are awaited, for ``async with``.

    Args:
        session: The session to use; it is closed with this one.

    Raises:
        UsageError: `session` is no `opencrypto.client.Session`.

    Each method raises what the session's own raises. A wait that is cancelled leaves its request
    to itself.
    """

    def __init__(self, session: Session) -> None:
        if not isinstance(session, Session):
            raise UsageError(
                f"an AsyncSession is made of a Session, not of {type(session).__name__}"
            )
        self._session = session
        self._layout = session._layout
        self._framework = session._framework

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
            UsageError, DriverGone, CryptoError: as there.
        """
        self._layout.require_cipher()
        return self._layout.sealed(await self._run(self._layout.seal(data, iv, aad)))

    async def decrypt(self, sealed: Sealed, *, aad: BytesLike = b"") -> bytes:
        """
        Verify and decrypt a message; as `Session.decrypt`.

        Raises:
            AuthenticationError, UsageError, DriverGone, CryptoError: as there.
        """
        self._layout.require_cipher()
        return self._layout.opened(
            await self._run(self._layout.open(sealed.data, sealed.iv, sealed.mac, aad))
        )

    async def mac(self, data: BytesLike) -> bytes:
        """
        Return a MAC or digest; as `Session.mac`.

        Raises:
            UsageError, DriverGone, CryptoError: as there.
        """
        self._layout.require_no_cipher()
        return self._layout.sealed(await self._run(self._layout.seal(data, None, b""))).mac

    async def verify(self, data: BytesLike, mac: BytesLike) -> None:
        """
        Verify a MAC; as `Session.verify`.

        Raises:
            AuthenticationError, UsageError, DriverGone, CryptoError: as there.
        """
        self._layout.require_no_cipher()
        await self._run(self._layout.open(data, b"", mac, b""))

    async def _run(self, crp: Cryptop) -> Cryptop:
        session = self._session
        for _ in range(MIGRATIONS + 1):
            crp.sid = session.sid
            completion = _Completion()
            crp.callback = completion.callback
            self._framework.dispatch(crp)
            await completion.wait()
            if crp.etype != errno.EAGAIN:
                break
            session._sid = crp.sid
        if crp.etype == errno.ENOENT:
            session._explain(crp)
        crp.check()
        return crp

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
