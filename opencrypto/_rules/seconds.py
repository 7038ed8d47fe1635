"""
Times that callers give: a number of seconds, or a refusal that says what it must be.
"""

from __future__ import annotations

import threading

from opencrypto.exceptions import UsageError


def check_seconds(given: float, what: str, *, zero: bool = False) -> float:
    """
    Return a time that somebody is to wait at most, in seconds; `what` names it in refusals.

    Args:
        given: More than 0, and finite. What is longer than a lock can wait (292 years) is that.
        what: The argument's name.
        zero: Whether it may be 0: not to wait at all.

    Raises:
        UsageError: it is no such number. True is none, and neither is a string of digits.
    """
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise UsageError(f"{what} is a number of seconds, not {type(given).__name__}")
    if not abs(given) < float("inf"):  # which is false of a NaN too
        raise UsageError(f"{what} is a finite number of seconds, not {given}")
    if given < 0 or not (given or zero):
        least = "0 or more" if zero else "more than 0"
        raise UsageError(f"{what} is {least} seconds, not {given}")
    return min(given, threading.TIMEOUT_MAX)
