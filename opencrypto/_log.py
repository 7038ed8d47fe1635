"""
The library's logger: structlog over the stdlib logger ``opencrypto``, silent unless asked.

The host's logging decides what is shown; nothing is configured here. structlog brings asyncio and
rich along, three times the weight of the framework: it is loaded with the first event that somebody
hears. An unconfigured ``structlog.get_logger()`` would print to stdout, hence the wrapping.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import logging

INFO, WARNING, ERROR = 20, 30, 40
"""As in `logging`, which a bare import of the framework leaves to others."""


class Log:
    """What the rooms log to: an event, which is one word, and its values by name."""

    def info(self, event: str, **values: object) -> None:
        """Log what an operator may want to know."""
        if _heard(INFO):
            _structured().info(event, **values)

    def warning(self, event: str, **values: object) -> None:
        """Log what an operator should look at."""
        if _heard(WARNING):
            _structured().warning(event, **values)

    def error(self, event: str, **values: object) -> None:
        """Log what went wrong."""
        if _heard(ERROR):
            _structured().error(event, **values)


log: Final = Log()


@functools.cache
def library_logger() -> logging.Logger:
    """
    Return the stdlib logger of the library, which prints nothing by itself.

    Asked for before any driver runs: the loggers of drivers are below it, and would else print
    their warnings to stderr where the host has configured nothing.
    """
    import logging

    logger = logging.getLogger("opencrypto")
    logger.addHandler(logging.NullHandler())
    return logger


def _heard(level: int) -> bool:
    """Tell whether the host's logging does anything with an event of this level."""
    if sys.is_finalizing():  # nothing can be imported any more
        return False
    logger = library_logger()
    return logger.isEnabledFor(level) and (
        bool(logger.filters) or any(level >= each.level for each in _handlers(logger))
    )


def _handlers(logger: logging.Logger | None) -> list[logging.Handler]:
    """List the handlers that an event reaches, as ``Logger.callHandlers`` finds them."""
    import logging

    found: list[logging.Handler] = []
    while logger is not None:
        found += (each for each in logger.handlers if not isinstance(each, logging.NullHandler))
        logger = logger.parent if logger.propagate else None
    return found


@functools.cache
def _structured() -> Any:
    import structlog

    return structlog.wrap_logger(
        library_logger(),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"], repr_native_str=False),
        ],
    )


def where(error: BaseException) -> str:
    """Name the line an exception comes from. Its text is left out: it may quote content."""
    traceback = error.__traceback__
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"


class Limited:
    """
    An event that may come often: logged once a second for each key, and how many were left out.
    """

    def __init__(self, event: str, key: str, interval: float = 1.0) -> None:
        self._event = event
        self._key = key
        self._interval = interval
        self._lock = threading.RLock()  # guards the next
        self._last: dict[str, tuple[float, int]] = {}  # when it was logged, how many since

    def warning(self, key: str) -> None:
        """Log the event, or count it for the next time."""
        now = time.monotonic()
        with self._lock:
            at, left_out = self._last.get(key, (-self._interval, 0))
            due = now - at >= self._interval
            self._last[key] = (now, 0) if due else (at, left_out + 1)
        if due:
            log.warning(self._event, **{self._key: key}, left_out=left_out)

    def after_fork(self) -> None:
        """Renew the lock in a forked child: a thread of the parent may have held it."""
        self._lock = threading.RLock()
