"""
What a driver holds on to, by the garbage collector's eyes, and what it shows of it to people.

The framework's own objects are left out; what a driver keeps in a C library cannot be seen.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import sys
import threading
import types
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from opencrypto import Cryptodesc, Cryptoini, Cryptop
from opencrypto._log import log
from opencrypto.driver import Driver, renew_after_fork

LIMIT = 200_000
"""Objects looked at; a driver that holds more is not searched to its end."""

_FRAMEWORK = ("opencrypto._", "opencrypto.testing._", "logging", "structlog", "threading")
_COPIED = (Cryptoini, Cryptodesc, Cryptop)
_OPAQUE = (type, types.ModuleType, types.CodeType, types.FrameType, types.BuiltinFunctionType)


def reachable(driver: Driver) -> Iterator[Any]:
    """Yield what can be reached from a driver, its classes, and the globals of its package."""
    return _reached([value for _, value in _roots(driver)], set())


def _roots(driver: Driver) -> Iterator[tuple[str, Any]]:
    """Yield where to begin, each with its name."""
    package = type(driver).__module__
    for name, value in list(vars(driver).items()):
        if name not in Driver.ports:
            yield f"self.{name}", value
    for cls in type(driver).__mro__:
        if not cls.__module__.startswith("opencrypto.") and cls is not object:
            yield from ((f"{cls.__name__}.{name}", value) for name, value in vars(cls).items())
    for module_name, module in list(sys.modules.items()):
        if module_name == package or (
            package.startswith("opencrypto_")
            and module_name.partition(".")[0] == package.partition(".")[0]
        ):
            for name, value in list(vars(module).items()):
                yield f"{module_name}.{name}", value


def _reached(roots: Iterable[Any], seen: set[int]) -> Iterator[Any]:
    """Yield what can be reached from some objects, apart from what has been seen already."""
    pending: deque[Any] = deque(roots)
    kept: list[Any] = []  # so that no id is used twice while we look
    while pending and len(seen) < LIMIT:
        each = pending.popleft()
        if id(each) in seen or isinstance(each, _OPAQUE) or _of_framework(each):
            continue
        seen.add(id(each))
        kept.append(each)
        yield each
        pending.extend(_referents(each))


def _referents(each: Any) -> list[Any]:
    if isinstance(each, types.FunctionType):
        # Not its globals: those are the module's, which are looked at if they are the driver's.
        return [*(each.__closure__ or ()), *(each.__defaults__ or ())]
    return gc.get_referents(each)


def _of_framework(each: Any) -> bool:
    module = getattr(type(each), "__module__", "") or ""
    # Session parameters are the framework's, but a driver may wrongly keep copies of them.
    return module.startswith(_FRAMEWORK) and not isinstance(each, _COPIED)


def holds(driver: Driver, secret: bytes) -> str:
    """Name the type of something reachable that contains a secret, or return an empty string."""
    for each in reachable(driver):
        if isinstance(each, (bytes, bytearray)) and secret in each:
            return f"a {type(each).__name__} of {len(each)} bytes"
        if isinstance(each, memoryview) and each.contiguous and secret in bytes(each):
            return "a memoryview"
    return ""


def population(driver: Driver) -> dict[str, int]:
    """Count the elements of all containers that a driver reaches, by the attribute that leads."""
    seen: set[int] = set()
    kept = list(_roots(driver))  # as long as ids are compared
    return {name: sum(map(_elements, _reached([value], seen))) for name, value in kept}


def _elements(each: Any) -> int:
    containers = (dict, list, set, deque)
    return len(each) if isinstance(each, containers) else 0


def shows(text: str, secrets: Iterable[bytes], width: int) -> bool:
    """Tell whether `width` bytes of a secret in a row are in a text, in whatever form."""
    low = text.lower()
    pieces = (each[at : at + width] for each in secrets for at in range(len(each) - width + 1))
    return any(
        piece.hex() in low or repr(piece)[2:-1] in text or ", ".join(map(str, piece)) in text
        for piece in pieces
    )


def reprs(driver: Driver) -> list[str]:
    """Return the reprs of a driver and of the objects of its own classes that it holds."""
    own = type(driver).__module__.partition(".")[0]
    held = (
        repr(each)
        for each in reachable(driver)
        if type(each).__module__.partition(".")[0] == own and not callable(each)
    )
    return [repr(driver), str(driver), *held]


def canary() -> str:
    """Label a key that nobody else has: what is found of it is of the driver on this bench."""
    return f"canary {next(_canaries)}"


@contextlib.contextmanager
def everything_logged() -> Iterator[list[str]]:
    """
    Collect every log line, of every level, that anybody in the process writes meanwhile.

    Others may be at it too, with drivers of their own: look for what only this bench knows, as
    `canary` gives. Parameters of key operations are published, and so everybody's.
    """
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    collector = Collector()
    _loudly.enter()
    logging.getLogger().addHandler(collector)
    log.info("contract_listens")  # what logging imports is imported now, at no driver's expense
    lines.clear()
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(collector)
        _loudly.leave()


class _Loudly:
    """Has every level logged while anybody wants that; the last to leave restores the levels."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)
        self._levels: list[int] = []  # one for each logger and each who has entered

    def after_fork(self) -> None:
        """Renew the lock in a forked child."""
        self._lock = threading.Lock()  # guards _levels

    @property
    def _loggers(self) -> list[logging.Logger]:
        return [logging.getLogger(), logging.getLogger("opencrypto")]

    def enter(self) -> None:
        """Have every level logged."""
        with self._lock:
            for logger in self._loggers:
                self._levels.append(logger.level)
                logger.setLevel(logging.DEBUG)

    def leave(self) -> None:
        """Take that back, unless others still want it."""
        with self._lock:
            first, self._levels = self._levels[:2], self._levels[2:]
            if self._levels:
                self._levels[:2] = first  # they found the levels changed already
                return
            for logger, level in zip(self._loggers, first, strict=True):
                logger.setLevel(level)


_canaries = itertools.count(1)
_loudly = _Loudly()
