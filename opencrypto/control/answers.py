"""
What may come as an answer: each result's type and size, seen before anybody uses it.

Pure. Whoever asks may be root, and whoever answers anybody. Fields that are not known are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from opencrypto.control.protocol import MAX_ENTRIES
from opencrypto.exceptions import CryptoError

MAX_NUMBER: Final = 1 << 128
"""No number that we show is as large."""

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_ITEMS: Final = 1 << 17
"""How many names a tree may have, and drivers a process."""

Check = Callable[[object], bool]


def _text(longest: int = MAX_TEXT) -> Check:
    return lambda value: isinstance(value, str) and len(value) <= longest


def integer(value: object) -> bool:
    """Tell whether it is an integer, and no larger than any of ours."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_NUMBER


def _number(value: object) -> bool:
    return integer(value) or (
        isinstance(value, float) and math.isfinite(value) and abs(value) < MAX_NUMBER
    )


def _list(of: Check, longest: int = MAX_ITEMS) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= longest and all(map(of, value))


def _value(value: object) -> bool:
    return _number(value) or _is_text(value) or _are_integers(value)


def _true_or_false(value: object) -> bool:
    return isinstance(value, bool)


_is_text: Final = _text()
_is_name: Final = _text(MAX_NAME)
_are_integers: Final = _list(integer, 4096)

_HELLO: Final[dict[str, Check]] = {
    "protocol": integer,
    "version": _is_name,
    "pid": integer,
    "uid": integer,
    "program": _is_name,
    "started": _number,
    "drivers": _list(_is_name),
    "sessions": integer,
    "ops": integer,
}
_NODE: Final[dict[str, Check]] = {
    "name": _is_text,
    "description": _is_text,
    "type": _is_name,
    "unit": _is_name,
    "writable": _true_or_false,
    "value": _value,
}
_RANGE: Final[dict[str, Check]] = {"low": integer, "high": integer}
_CHANGE: Final[dict[str, Check]] = {"name": _is_text, "old": _value, "new": _value}
_ENTRY_VALUES: Final = _list(
    lambda value: _value(value) or (isinstance(value, list) and all(map(_are_integers, value))), 64
)
_TRACE: Final[dict[str, dict[str, Check]]] = {
    "start": {"fields": _list(_is_name, 64)},
    "read": {"entries": _list(_ENTRY_VALUES, MAX_ENTRIES), "left": integer, "lost": integer},
    "stop": {"left": integer, "lost": integer},
}


_words: Final = _list(_is_text, 4096)
_pairs: Final = _list(lambda value: _words(value) and len(value) == 2, 4096)  # type: ignore[arg-type]  # a list
_DRIVER: Final[dict[str, Check]] = {
    "name": _is_name,
    "hid": lambda value: value is None or integer(value),
    "tier": _is_name,
    "flags": integer,
    "algorithms": _words,
    "keyops": _words,
    "implementations": _pairs,
    "absent": _pairs,
    "failed": _pairs,
    "remarks": _words,
    "facts": _pairs,
    "sessions": integer,
    "queued": integer,
    "blocked": _true_or_false,
    "blocked_since": _number,
    "offered": _true_or_false,
    "leaving": _true_or_false,
    "reason": _is_text,
    "distribution": _is_text,
    "version": _is_text,
    "file": _is_text,
}
_OPTION: Final[dict[str, Check]] = {
    "driver": _is_text,
    "option": _is_text,
    "type": _is_text,
    "value": _is_text,
    "from": _is_text,
    "variable": _is_text,
    "secret": _true_or_false,
    "description": _is_text,
}


_SESSION: Final[dict[str, Check]] = {
    "sid": integer,
    "chain": _list(_is_name, 64),
    "drivers": _list(_is_name, 64),
    "state": _is_name,
    "age": _number,
    "inflight": integer,
    "profile": _is_name,
    "idle": lambda value: value is None or _number(value),
    "requests": lambda value: value is None or integer(value),
    "bytes": lambda value: value is None or integer(value),
    "opened": _list(_is_text, 64),
}
_PAGE: Final[dict[str, Check]] = {
    "open": integer,
    "matching": integer,
    "sessions": lambda value: isinstance(value, list),
    "next": lambda value: value is None or _list(_number, 2)(value),
}


class Wrong(CryptoError):
    """An answer is not what the protocol says."""


def _fields(result: object, checks: dict[str, Check]) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise Wrong("an object should have come")
    for name, fits in checks.items():
        if name not in result or not fits(result[name]):
            raise Wrong(f"{name!r} is missing, or of a wrong type or size")
    return {name: result[name] for name in checks}


def hello(result: object) -> dict[str, Any]:
    """
    Return what a process says of itself.

    Raises:
        Wrong: that cannot be.
    """
    return _fields(result, _HELLO)


def values(result: object) -> dict[str, Any]:
    """
    Return values by name.

    Raises:
        Wrong: that cannot be.
    """
    if not isinstance(result, dict) or len(result) > MAX_ITEMS:
        raise Wrong("values by name should have come")
    for name, value in result.items():
        if not _is_text(name) or not _value(value):
            raise Wrong("a value is of a wrong type or size")
    return result


def _each(result: object, checks: dict[str, Check]) -> list[dict[str, Any]]:
    if not isinstance(result, list) or len(result) > MAX_ITEMS:
        raise Wrong("a list should have come")
    return [_fields(each, checks) for each in result]


def drivers(result: object) -> list[dict[str, Any]]:
    """
    Return what is said of drivers.

    Raises:
        Wrong: that cannot be.
    """
    return _each(result, _DRIVER)


def options(result: object) -> list[dict[str, Any]]:
    """
    Return what is said of drivers' options.

    Raises:
        Wrong: that cannot be.
    """
    return _each(result, _OPTION)


def sessions(result: object) -> dict[str, Any]:
    """
    Return a page of sessions.

    Raises:
        Wrong: that cannot be.
    """
    page = _fields(result, _PAGE)
    return {**page, "sessions": _each(page["sessions"], _SESSION)}


def nodes(result: object) -> list[dict[str, Any]]:
    """
    Return descriptions of names.

    Raises:
        Wrong: that cannot be.
    """
    if not isinstance(result, list) or len(result) > MAX_ITEMS:
        raise Wrong("a list of names should have come")
    return [
        _fields(each, _NODE | (_RANGE if isinstance(each, dict) and each.get("writable") else {}))
        for each in result
    ]


def change(result: object) -> dict[str, Any]:
    """
    Return what a write changed.

    Raises:
        Wrong: that cannot be.
    """
    return _fields(result, _CHANGE)


def trace(action: str, result: object) -> dict[str, Any]:
    """
    Return what comes of an action of a trace.

    Raises:
        Wrong: that cannot be.
    """
    return _fields(result, _TRACE[action])
