"""
A session with methods, answers and exceptions, on a framework.
"""

from __future__ import annotations

import errno
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from opencrypto._client.deadline import MIGRATIONS, Deadline
from opencrypto._client.opening import open_session
from opencrypto._client.subject import HOME, Subject
from opencrypto._request.buffer import BytesLike
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.message import Layout, Maker, Sealed
from opencrypto._rules.profile import Profile
from opencrypto._rules.seconds import check_seconds
from opencrypto.driver import Driver
from opencrypto.exceptions import CryptoError, UnknownSession

if TYPE_CHECKING:
    from opencrypto._client.aio_session import AsyncSession


class Session:
    """
    A session of one cipher, one authenticator, or both. A context manager; threads may share it.

    Args:
        ini: One algorithm's parameters, or those of a chain.
        framework: The framework; the default one, with every installed plugin, if not given.
        hard: > 0 for hardware only, < 0 for software only, 0 for the best there is, None for what
            the operator has set in ``kern.cryptodevallowsoft`` (and ``kern.usercrypto``).
        driver: Take this driver and no other.
        profile: What the session promises of its messages, as for `Framework.newsession`.
        timeout: Seconds that a message may take, waiting in queues and moves to other drivers
            included; None to wait for as long as it takes. A driver that works in the caller's
            thread is not interrupted. What comes too late is dropped.

    Raises:
        UsageError: the parameters are wrong.
        NoDriverError: no driver takes them.

    A session that is dropped unclosed is freed, with a ResourceWarning.
    """

    _sid = 0  # until it is opened, and after it is closed
    _aio: AsyncSession | None = None

    def __init__(
        self,
        ini: Cryptoini | Iterable[Cryptoini],
        *,
        framework: Subject | None = None,
        hard: int | None = 0,
        driver: int | str | Driver | None = None,
        profile: Profile | None = None,
        timeout: float | None = None,
    ) -> None:
        self._timeout = None if timeout is None else check_seconds(timeout, "timeout")
        inis = [ini] if isinstance(ini, Cryptoini) else list(ini)
        self._framework = framework or HOME.find()
        self._layout = Layout(inis, profile)
        self._sid = open_session(self._framework, inis, hard, driver, profile)

    @property
    def sid(self) -> int:
        """The session's identifier as it is now; it changes when the session migrates."""
        return self._sid

    @property
    def aio(self) -> AsyncSession:
        """The same for coroutines: its methods are awaited."""
        if self._aio is None:
            from opencrypto._client.aio_session import AsyncSession

            self._aio = AsyncSession(self)
        return self._aio

    def encrypt(
        self, data: BytesLike, *, iv: BytesLike | None = None, aad: BytesLike = b""
    ) -> Sealed:
        """
        Encrypt a message, and authenticate it with `aad` if the session has an authenticator.

        Args:
            data: The plaintext; for a block mode, whole blocks.
            iv: The IV; if not given, a fresh one, which is what you want.
            aad: Authenticated but not encrypted, and not part of the result.

        Raises:
            UsageError: the session has no cipher, or no authenticator for the `aad`; an argument is
                not bytes-like; the message or the IV has a length that the algorithms do not take.
            DriverGone: the session's driver left, and no other could take the session over.
            DriverTimeout: the answer did not come within the session's `timeout`.
            CryptoError: the driver failed; the class is by the error (see docs/errors.md).
        """
        self._layout.require_cipher()
        return self._layout.sealed(self._run(self._layout.sealing(data, iv, aad)))

    def decrypt(self, sealed: Sealed, *, aad: BytesLike = b"") -> bytes:
        """
        Verify a message and decrypt it.

        Raises:
            AuthenticationError: it is not what was protected; nothing of it is released.
            UsageError, DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        self._layout.require_cipher()
        return self._layout.opened(
            self._run(self._layout.opening(sealed.data, sealed.iv, sealed.mac, aad))
        )

    def mac(self, data: BytesLike) -> bytes:
        """
        Return the MAC or digest of a message; for sessions of one authenticator alone.

        Raises:
            UsageError: the session has a cipher, or an argument is not bytes-like.
            DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        self._layout.require_no_cipher()
        return self._layout.sealed(self._run(self._layout.sealing(data, None, b""))).mac

    def verify(self, data: BytesLike, mac: BytesLike) -> None:
        """
        Verify the MAC of a message; for sessions of one authenticator alone.

        Raises:
            AuthenticationError: it does not match.
            UsageError: the session has a cipher, or an argument is not bytes-like.
            DriverGone, DriverTimeout, CryptoError: as `encrypt`.
        """
        self._layout.require_no_cipher()
        self._run(self._layout.opening(data, b"", mac, b""))

    def _run(self, make: Maker) -> Cryptop:
        """Carry a request out; each try is made anew, whatever the one before it has left."""
        deadline = Deadline(self._timeout)
        for _ in range(MIGRATIONS + 1):
            crp = make()
            crp.sid = self._sid
            bell = threading.Lock()
            bell.acquire()
            crp.callback = _ringer(bell)
            self._framework.dispatch(crp)
            if not bell.acquire(timeout=deadline.left()):
                raise deadline.passed(self._framework.holders_of(crp))
            if not self._follow(crp, deadline):
                break
        return self._answered(crp)

    def _follow(self, crp: Cryptop, deadline: Deadline) -> bool:
        """Go where the session has moved, if there is time; tell whether to ask there."""
        if crp.etype != errno.EAGAIN:
            return False
        if self._sid:  # or somebody closed it meanwhile
            self._sid = crp.sid
        if not deadline.left():
            raise deadline.passed(self._drivers())
        return True

    def _drivers(self) -> tuple[str, ...]:
        try:
            return self._framework.driver_of(self._sid)
        except UnknownSession:
            return ()

    def _answered(self, crp: Cryptop) -> Cryptop:
        """Return a request that went well; raise what became of another."""
        if crp.etype == errno.ENOENT:
            self._explain(crp)
        crp.check()
        return crp

    def _explain(self, crp: Cryptop) -> None:
        """Say of a request that met no session why there is none."""
        if self._framework.closed:
            crp.error = "the framework is closed, and this session with it; make new ones"
        elif not self._sid:
            crp.error = "the session is closed; open a new one"

    def close(self) -> None:
        """Free the session. Closing again does nothing."""
        self._aio = None  # which would keep this alive
        sid, self._sid = self._sid, 0
        try:
            self._framework.freesession(sid)
        except UnknownSession:
            pass  # the framework was closed first, and has freed it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(
        self,
        ending: Callable[[], bool] = sys.is_finalizing,
        warn: Callable[..., None] = warnings.warn,
    ) -> None:
        """Free a session that nobody closed, and say so; quietly where the program ends anyway."""
        # No lock, no log: this may run in the midst of anything. The defaults outlive the module.
        if not self._sid or ending() or self._framework.closed:
            return
        name = repr(self)
        try:
            self.close()
        except CryptoError:
            pass  # somebody freed it by its number
        warn(f"unclosed {name}; close it, or use with", ResourceWarning, source=self)

    def __repr__(self) -> str:
        return f"<Session {self._sid:#x}>"


def _ringer(bell: threading.Lock) -> Callable[[Cryptop], None]:
    def ring(crp: Cryptop) -> None:
        bell.release()

    return ring
