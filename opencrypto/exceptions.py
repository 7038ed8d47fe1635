"""
The errors, by what the caller does next, and the table between them and errno values.

Each is an `OSError`, so ``e.errno`` and ``e.strerror`` are there and one ``except OSError`` also
takes what a kernel says. No message ever holds a key, an IV, or content of a buffer.
"""

import errno as _errno
from collections.abc import Iterable, Mapping
from typing import ClassVar


class CryptoError(OSError):
    """Anything opencrypto reports. `code` is a class's errno unless a call says otherwise."""

    code: ClassVar[int] = _errno.EIO

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(self.code if errno is None else errno, message)

    def __str__(self) -> str:
        return f"[{_errno.errorcode.get(self.errno or 0, self.errno)}] {self.strerror}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.strerror, self.errno, self.__dict__.copy()))


def _rebuild(
    cls: type[CryptoError], message: str, code: int, extras: dict[str, object]
) -> CryptoError:
    error = cls.__new__(cls)
    CryptoError.__init__(error, message, errno=code)
    error.__dict__.update(extras)
    return error


class UsageError(CryptoError):
    """The call is wrong: fix it (EINVAL)."""

    code = _errno.EINVAL


class UnknownSession(UsageError):
    """No session has this SID: it was never opened here, or it has been freed (ENOENT)."""

    code = _errno.ENOENT


class LimitError(UsageError):
    """Too long or too many (E2BIG; EFBIG for key parameters and decompressed sizes)."""

    code = _errno.E2BIG


class NoDriverError(CryptoError):
    """
    No driver can serve this chain: choose another algorithm, or install a driver (EINVAL).

    `reasons` tells, by driver name, why each one was passed over.
    """

    code = _errno.EINVAL

    def __init__(
        self, message: str, reasons: Mapping[str, str] | None = None, *, errno: int | None = None
    ) -> None:
        super().__init__(message, errno=errno)
        self.reasons: dict[str, str] = dict(reasons or {})


class OperationError(CryptoError):
    """The operation failed on this data (EIO unless a subclass says more)."""


class AuthenticationError(OperationError):
    """A MAC or tag did not verify: the data is not what was protected (EBADMSG)."""

    code = _errno.EBADMSG


class OutputTooSmall(OperationError):
    """The result does not fit the space given; nothing was written (ENOSPC)."""

    code = _errno.ENOSPC


class RetryError(CryptoError):
    """Nothing was done; do it again (EAGAIN)."""

    code = _errno.EAGAIN


class SessionMigrated(RetryError):
    """The session lives under `new_sid` now; dispatch again with it (EAGAIN)."""

    def __init__(self, message: str, new_sid: int = 0) -> None:
        super().__init__(message)
        self.new_sid = new_sid


class QueueFull(RetryError):
    """The return queue is over its limit: let callbacks run, then ask again (ENOBUFS)."""

    code = _errno.ENOBUFS


class DriverGone(CryptoError):
    """The driver left, and no other can take the work over (ENODEV)."""

    code = _errno.ENODEV


class BusyError(CryptoError):
    """It is in use: wait for its completion (EBUSY)."""

    code = _errno.EBUSY


class DriverTimeout(CryptoError, TimeoutError):
    """
    No answer came in time; the work is still with the driver, and its result is lost (ETIMEDOUT).

    `drivers` names who had it: one driver, or all of a virtual session's; nobody, if unknown.
    """

    code = _errno.ETIMEDOUT
    drivers: tuple[str, ...] = ()

    def __init__(
        self, message: str, drivers: Iterable[str] = (), *, errno: int | None = None
    ) -> None:
        super().__init__(message, errno=errno)
        self.drivers = tuple(drivers)


class DriverBug(CryptoError):
    """A driver broke the contract: the message names the driver and the rule (EIO)."""

    code = _errno.EIO


class DriverUnavailable(Exception):
    """Raised by a plugin's ``opencrypto_drivers`` when this host can offer none of its drivers."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


ERRNO_CLASSES: Mapping[int, type[CryptoError]] = {
    _errno.EINVAL: UsageError,
    _errno.ENOENT: UnknownSession,
    _errno.E2BIG: LimitError,
    _errno.EFBIG: LimitError,
    _errno.EBADMSG: AuthenticationError,
    _errno.ENOSPC: OutputTooSmall,
    _errno.ERANGE: OutputTooSmall,
    _errno.EAGAIN: SessionMigrated,
    _errno.ENOBUFS: QueueFull,
    _errno.ENODEV: DriverGone,
    _errno.EBUSY: BusyError,
    _errno.ETIMEDOUT: DriverTimeout,
    _errno.EIO: DriverBug,
}
"""Which class an ``etype`` or ``status`` becomes in ``check()``; others are an `OperationError`."""

_SENTENCES: Mapping[int, str] = {
    _errno.EINVAL: "the request is malformed; compare its descriptors with the session's chain",
    _errno.ENOENT: "no such session; open one with newsession()",
    _errno.E2BIG: "the request is larger than the driver takes; split it",
    _errno.EFBIG: "the parameters or the result are larger than allowed",
    _errno.EBADMSG: "the data did not verify; discard it",
    _errno.ENOSPC: "the result does not fit the buffer; give more room",
    _errno.ERANGE: "the result does not fit the output parameter; give more bits",
    _errno.EAGAIN: "the session has moved; dispatch again with the sid now in the request",
    _errno.ENOBUFS: "out of buffers; let callbacks run, then try again",
    _errno.ENODEV: "the driver left and no other takes the session over; attach one",
    _errno.EBUSY: "in use; wait for its completion",
    _errno.ETIMEDOUT: "the driver did not answer in time; the operation may still be going on",
    _errno.EIO: "the driver failed; see the log of 'opencrypto'",
}


def sentence(code: int) -> str:
    """Say in one sentence what an errno means here and what to do about it."""
    return _SENTENCES.get(code) or f"the operation failed with errno {code}"


def error_from_errno(code: int, message: str = "") -> CryptoError:
    """Make the typed error of an errno value, with the given sentence or a general one."""
    cls = ERRNO_CLASSES.get(code, OperationError)
    error = cls.__new__(cls)
    CryptoError.__init__(error, message or sentence(code), errno=code)
    if isinstance(error, SessionMigrated):
        error.new_sid = 0
    return error
