"""
What a session does without its caller waiting: each answer is a `concurrent.futures.Future`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from opencrypto._client.asking import MIGRATIONS, Asking
from opencrypto._client.clock import CLOCK, Alarm
from opencrypto._client.deadline import Deadline
from opencrypto._core.short import NOT_TAKEN
from opencrypto._request.buffer import BytesLike
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.message import Maker, Sealed
from opencrypto.constants import CRYPTO_F_BATCH
from opencrypto.exceptions import CryptoError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

BORDER: Final = 1 << 15
"""
From so many **bytes** on a message goes to the framework's thread, so that ``submit`` returns at
once; a shorter one costs less than handing it over.
"""


def new_future() -> Future[Any]:
    """Make a future of what is under way, and cannot be cancelled any more."""
    from concurrent.futures import Future as Made

    future: Made[Any] = Made()
    future.set_running_or_notify_cancel()
    return future


def ended(error: CryptoError) -> Future[Any]:
    """Make a future of what has gone wrong."""
    future = new_future()
    future.set_exception(error)
    return future


class Submission(Generic[T]):
    """
    A message under way, and the future of its answer.

    Args:
        asking: The session.
        make: Makes its request, as often as it is tried.
        read: Reads the answer out of the request.
        later: Whether it goes by the framework's thread.
    """

    __slots__ = (
        "_alarm", "_asking", "_crp", "_deadline", "_due", "_later", "_make", "_read", "_tries",
        "future",
    )  # fmt: skip

    def __init__(
        self, asking: Asking, make: Maker, read: Callable[[Cryptop], T], *, later: bool
    ) -> None:
        self._asking = asking
        self._make = make
        self._read = read
        self._later = later
        self._tries = MIGRATIONS
        self._deadline = Deadline(asking._timeout)
        self._alarm: Alarm | None = None
        self._crp: Cryptop | None = None
        self.future: Future[T] = new_future()
        self._due = [self.future]  # whoever takes it out ends it

    def begin(self) -> Future[T]:
        """Send the request, and return the future of its answer."""
        self._send()
        left = self._deadline.left()
        if left >= 0 and self._due:
            self._alarm = CLOCK.set(left, self._too_late)
            if not self._due:  # it came meanwhile, and saw no alarm
                CLOCK.call_off(self._alarm)
        return self.future

    def _send(self) -> None:
        self._crp = crp = self._make()
        crp.sid = crp.opaque = self._asking._sid
        crp.callback = self._answered
        if self._later:
            crp.flags |= CRYPTO_F_BATCH
        self._asking._framework.dispatch(crp)

    def _answered(self, crp: Cryptop) -> None:
        """Read the answer, in whatever thread it comes; or follow the session."""
        if not self._due:
            return  # too late
        try:
            if self._tries and self._asking._follow(crp, self._deadline):
                self._tries -= 1
                self._send()
                return
            result = self._read(self._asking._answered(crp))
        except Exception as error:
            self._end(error)
        else:
            self._end(None, result)

    def _too_late(self) -> None:
        crp = self._crp
        holders = self._asking._framework.holders_of(crp) if crp is not None else ()
        error = self._deadline.passed(holders or self._asking._drivers())
        self._end(error)

    def _end(self, error: Exception | None, *result: T) -> None:
        try:
            future = self._due.pop()
        except IndexError:
            return
        alarm = self._alarm
        if alarm is not None:
            CLOCK.call_off(alarm)
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(*result)


class Submits(Asking):
    """
    The twins of a session's methods that do not wait.

    Arguments are checked at once, by exceptions; what becomes of the message is in the future. What
    a driver answers at once is there when they return. Callbacks of the future run where the answer
    comes: they are short, and do not wait there for other messages. The future cannot be cancelled.
    """

    def submit_encrypt(
        self, data: BytesLike, *, iv: BytesLike | None = None, aad: BytesLike = b""
    ) -> Future[Sealed]:
        """As `Session.encrypt`, without waiting."""
        self._layout.require_cipher()
        return self._submit_sealing(data, iv, aad, self._layout.sealed)

    def submit_decrypt(self, sealed: Sealed, *, aad: BytesLike = b"") -> Future[bytes]:
        """As `Session.decrypt`, without waiting."""
        self._layout.require_cipher()
        return self._at_once(
            sealed.data, lambda: NOT_TAKEN, lambda: self._submit_opening(sealed, aad)
        )

    def submit_seal(
        self, data: BytesLike, aad: BytesLike = b"", iv: BytesLike | None = None
    ) -> Future[bytes]:
        """As `Session.seal`, without waiting."""
        self._layout.require_seal()
        return self._at_once(
            data,
            lambda: self._calls.seal(data, aad, iv),
            lambda: self._submit_sealing(
                data, iv, aad, lambda crp: self._layout.sealed(crp).to_bytes()
            ),
        )

    def submit_open(self, token: BytesLike, aad: BytesLike = b"") -> Future[bytes]:
        """As `Session.open`, without waiting."""
        self._layout.require_seal()
        return self._at_once(
            token,
            lambda: self._calls.open(token, aad),
            lambda: self._submit_opening(self._layout.parts(token), aad),
        )

    def submit_mac(self, data: BytesLike) -> Future[bytes]:
        """As `Session.mac`, without waiting."""
        self._layout.require_no_cipher()
        return self._at_once(
            data,
            lambda: self._calls.mac(data),
            lambda: self._submit_sealing(data, None, b"", lambda crp: self._layout.sealed(crp).mac),
        )

    def submit_digest(self, data: BytesLike) -> Future[bytes]:
        """As `Session.digest`, without waiting."""
        self._layout.require_digest()
        return self.submit_mac(data)

    def submit_verify(self, data: BytesLike, mac: BytesLike) -> Future[None]:
        """As `Session.verify`, without waiting."""
        self._layout.require_no_cipher()

        def begin() -> Future[None]:
            make = self._layout.opening(data, b"", mac, b"")
            return self._submit(make, self._verified, len(data))

        return self._at_once(data, lambda: NOT_TAKEN, begin)

    def submit_compress(self, data: BytesLike) -> Future[bytes]:
        """As `Session.compress`, without waiting."""
        return self._submit(self._layout.compressing(data), self._layout.resized, len(data))

    def submit_decompress(self, data: BytesLike) -> Future[bytes]:
        """As `Session.decompress`, without waiting."""
        return self._submit(self._layout.decompressing(data), self._layout.resized, len(data))

    def _at_once(
        self, data: BytesLike, call: Callable[[], Any], begin: Callable[[], Future[T]]
    ) -> Future[T]:
        """Do it here and now, if that is quicker than to hand it over; else begin it."""
        try:
            small = type(data) is bytes and len(data) < BORDER
            answer = call() if small else NOT_TAKEN
            if answer is NOT_TAKEN:
                return begin()
        except UsageError:
            raise
        except CryptoError as error:
            return ended(error)
        future = new_future()
        future.set_result(answer)
        return future

    def _submit_sealing(
        self,
        data: BytesLike,
        iv: BytesLike | None,
        aad: BytesLike,
        read: Callable[[Cryptop], T],
    ) -> Future[T]:
        if self._layout.comp is None:
            return self._submit(self._layout.sealing(data, iv, aad), read, len(data))
        extra, given = bytes(self._layout.aad(aad)), None if iv is None else self._layout.iv(iv)

        def then(compressed: bytes) -> Future[T]:
            return self._submit(self._layout.sealing(compressed, given, extra), read, len(data))

        return _chained(self.submit_compress(data), then)

    def _submit_opening(self, sealed: Sealed, aad: BytesLike) -> Future[bytes]:
        make = self._layout.opening(sealed.data, sealed.iv, sealed.mac, aad)
        opened = self._submit(make, self._layout.opened, len(sealed.data))
        return opened if self._layout.comp is None else _chained(opened, self.submit_decompress)

    def _verified(self, crp: Cryptop) -> None:
        self._layout.opened(crp)

    def _submit(self, make: Maker, read: Callable[[Cryptop], T], length: int) -> Future[T]:
        return Submission(self, make, read, later=length >= BORDER).begin()


def _chained(first: Future[bytes], then: Callable[[bytes], Future[T]]) -> Future[T]:
    """Return the future of what is begun with another one's result."""
    whole: Future[T] = new_future()

    def second_done(second: Future[T]) -> None:
        error = second.exception()
        if error is None:
            whole.set_result(second.result())
        else:
            whole.set_exception(error)

    def first_done(first: Future[bytes]) -> None:
        try:
            second = then(first.result())
        except Exception as error:
            whole.set_exception(error)
        else:
            second.add_done_callback(second_done)

    first.add_done_callback(first_done)
    return whole
