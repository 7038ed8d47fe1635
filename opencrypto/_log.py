"""
The library's logger: structlog over the stdlib logger ``opencrypto``, silent unless asked.

The host's logging decides what is shown; nothing is configured here. An unconfigured
``structlog.get_logger()`` would print to stdout, hence the wrapping.
"""

import logging
import threading
import time
from typing import Any, Final

import structlog

_stdlib: Final = logging.getLogger("opencrypto")
_stdlib.addHandler(logging.NullHandler())

log: Final[Any] = structlog.wrap_logger(
    _stdlib,
    wrapper_class=structlog.stdlib.BoundLogger,
    processors=[
        structlog.stdlib.filter_by_level,
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
        self._lock = threading.Lock()  # guards the next
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
        self._lock = threading.Lock()
