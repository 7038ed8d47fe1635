"""
A session with methods, answers and exceptions, on a framework.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from opencrypto._client.asking import MIGRATIONS
from opencrypto._client.calls import NONE
from opencrypto._client.many import Many
from opencrypto._client.opening import Keys, Recipe, open_session
from opencrypto._client.streams import Decryptor, Encryptor, Hasher
from opencrypto._client.subject import HOME, Subject
from opencrypto._client.whole import Whole
from opencrypto._request.buffer import BytesLike
from opencrypto._request.symmetric import Cryptoini
from opencrypto._rules.message import Layout
from opencrypto._rules.profile import Profile
from opencrypto._rules.seconds import check_seconds
from opencrypto.driver import Driver
from opencrypto.exceptions import CryptoError, UnknownSession, UsageError

if TYPE_CHECKING:
    from opencrypto._client.aio_session import AsyncSession

__all__ = ["MIGRATIONS", "Session"]


class Session(Whole, Many):
    """
    A session of one cipher, one authenticator, or both; or of a compression, with them or alone.

    A context manager; threads may share it, and callbacks and signal handlers use it.

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
        self._recipe = Recipe(inis, hard, driver, profile)
        self._be_at(open_session(self._framework, inis, hard, driver, profile))

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

    @property
    def ivlen(self) -> int:
        """How many **bytes** of IV a message has; 0 without a cipher."""
        return self._layout.ivlen

    @property
    def maclen(self) -> int:
        """How many **bytes** of MAC or tag a message has; 0 without an authenticator."""
        return self._layout.maclen

    def rekey(self, key: Keys) -> None:
        """
        Go on with another key. Messages under way end with the key that they began with.

        Args:
            key: The key; of a chain with several, one for each in order: ``(cipher key, MAC key)``.

        Raises:
            UsageError: it is none that the algorithms take, or the session is closed. It then goes
                on as before.
            NoDriverError: no driver takes it.
        """
        self._require_open()
        inis = self._recipe.inis(key)
        Layout(inis, self._recipe.profile)  # which refuses keys that make it weak
        before, sid = self._sid, self._recipe.open(self._framework, inis)
        self._be_at(sid)
        self._free(before)

    def clone(self) -> Session:
        """
        Open another session with the same keys, for a place that closes its own.

        The two take their fresh IVs from the same sequence, so that none comes twice.

        Raises:
            UsageError: the session is closed.
            NoDriverError: no driver takes another one.
        """
        self._require_open()
        other = object.__new__(type(self))
        other._timeout = self._timeout
        other._framework = self._framework
        other._layout = self._layout
        other._recipe = self._recipe
        other._be_at(self._framework.clonesession(self._sid))
        return other

    def encryptor(self, *, iv: BytesLike | None = None, aad: BytesLike = b"") -> Encryptor:
        """
        Begin to encrypt a message that comes in pieces; of any length, in little memory.

        Args:
            iv: The IV; if not given, a fresh one, which is what you want.
            aad: Authenticated but not encrypted, if the session has an authenticator.

        Raises:
            UsageError: the session has no cipher, or no authenticator for the `aad`; or its
                algorithms take whole messages only.
            NoDriverError: no driver takes them in pieces.
        """
        self._layout.require_cipher()
        return Encryptor(*self._stream(), iv, aad)

    def decryptor(
        self, iv: BytesLike, *, aad: BytesLike = b"", unverified: bool = False
    ) -> Decryptor:
        """
        Begin to decrypt a message that comes in pieces; of any length, in little memory.

        Args:
            iv: The IV that it was encrypted with.
            aad: What was authenticated with it.
            unverified: Say True if the session authenticates: plaintext is then given out before
                anybody knows whether it is what was encrypted. Somebody may have changed or made up
                all of it, and nobody can tell before `Decryptor.finalize` has returned. So neither
                act on it nor pass it on before; if `finalize` raises, discard all of it. To have
                nothing before it is verified, use `decrypt`, on messages of a size that you hold.

        Raises:
            UsageError: the session authenticates, and `unverified` is not True; or as `encryptor`.
            NoDriverError: as `encryptor`.
        """
        self._layout.require_cipher()
        if self._layout.auth is not None and unverified is not True:
            raise UsageError(
                "a message in pieces gives plaintext out before it is verified; use decrypt(), or "
                "say unverified=True and discard it all if finalize() raises"
            )
        return Decryptor(*self._stream(), iv, aad)

    def hasher(self) -> Hasher:
        """
        Begin to make the MAC or digest of a message that comes in pieces, as `hashlib` does.

        ``hashlib.file_digest(file, session.hasher)`` makes that of a file.

        Raises:
            UsageError: the session has a cipher.
            NoDriverError: no driver takes its algorithm in pieces.
        """
        self._layout.require_no_cipher()
        return Hasher(*self._stream())

    def _stream(self) -> tuple[Subject, Callable[[], int], Layout, float | None]:
        """Return what a message in pieces needs, and what opens a session of its own for it."""
        self._require_open()
        opened = partial(self._framework.streamsession, self._sid)
        return self._framework, opened, self._layout, self._timeout

    def _require_open(self) -> None:
        if not self._sid:
            raise UnknownSession("the session is closed; open a new one")

    def close(self) -> None:
        """Free the session. Closing again does nothing."""
        self._aio = None  # which would keep this alive
        sid, self._sid = self._sid, 0
        self._calls = NONE
        self._free(sid)

    def _free(self, sid: int) -> None:
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
