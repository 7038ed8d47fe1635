"""
Until when an answer must have come, and what is said when it has not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from opencrypto.exceptions import DriverTimeout


class Deadline:
    """
    Until when an answer must have come.

    Args:
        timeout: In how many seconds from now; None for never.
    """

    __slots__ = ("_at", "_timeout")

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._at = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float:
        """Return how many seconds are left; -1, which locks take for ever, if there is no end."""
        if self._at is None:
            return -1
        return max(0.0, self._at - time.monotonic())

    def passed(self, drivers: Iterable[str]) -> DriverTimeout:
        """Make the error of an answer that did not come, which names who had the work."""
        names = tuple(drivers)
        whose = f"driver {' or '.join(names)}" if names else "any driver"
        return DriverTimeout(
            f"no answer of {whose} within {self._timeout:g} s; "
            "what it still does is dropped, so ask again, or another driver",
            names,
        )
