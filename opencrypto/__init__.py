"""
opencrypto: the BSD crypto framework, opencrypto(9), for Python.

Consumers open sessions and dispatch requests on a `Framework`; drivers, found as plugins, carry
them out. Driver authors start at `opencrypto.driver`, operators at the ``opencrypto`` command.
"""

from opencrypto import constants as _constants
from opencrypto._core.default import default_framework
from opencrypto._core.framework import Framework
from opencrypto._core.listing import SessionInfo
from opencrypto._core.views import DriverInfo
from opencrypto._hookimpl import hookimpl
from opencrypto._measure.counters import DriverStats, Stats
from opencrypto._request.buffer import Mbuf
from opencrypto._request.key import Crparam, Cryptkop
from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop, KeySerial
from opencrypto._rules.profile import Profile
from opencrypto.constants import *
from opencrypto.driver import Capability, Driver
from opencrypto.exceptions import (
    AuthenticationError,
    BusyError,
    CryptoError,
    DriverBug,
    DriverGone,
    DriverTimeout,
    DriverUnavailable,
    LimitError,
    NoDriverError,
    OperationError,
    OutputTooSmall,
    QueueFull,
    RetryError,
    SessionMigrated,
    UnknownSession,
    UsageError,
)

__all__ = [
    "AuthenticationError",
    "BusyError",
    "Capability",
    "Crparam",
    "Cryptkop",
    "CryptoError",
    "Cryptodesc",
    "Cryptoini",
    "Cryptop",
    "Driver",
    "DriverBug",
    "DriverGone",
    "DriverInfo",
    "DriverStats",
    "DriverTimeout",
    "DriverUnavailable",
    "Framework",
    "KeySerial",
    "LimitError",
    "Mbuf",
    "NoDriverError",
    "OperationError",
    "OutputTooSmall",
    "Profile",
    "QueueFull",
    "RetryError",
    "SessionInfo",
    "SessionMigrated",
    "Stats",
    "UnknownSession",
    "UsageError",
    "default_framework",
    "hookimpl",
]
__all__ += _constants.__all__
