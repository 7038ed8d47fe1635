"""
Lines of JSON: what a request and an answer look like, and how large they may be.

Pure. A request is ``{"v": 1, "id": any, "op": "...", ...}``, an answer ``{"v": 1, "id": same,
"result": ...}`` or ``{"v": 1, "id": same, "error": {"errno": "EINVAL", "message": "..."}}``.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from opencrypto.exceptions import CryptoError, UsageError

VERSION: Final = 1
"""Of the protocol. Fields and operations may be added within it; clients ignore unknown fields."""

MAX_LINE: Final = 65536
"""The longest request, in **bytes**, its newline included."""

MAX_ANSWER: Final = 16 << 20
"""The longest answer a client reads, in **bytes**."""

MAX_NAMES: Final = 1000
"""How many names one request may list."""

MAX_WORDS: Final = 1000
"""How many characters of what a driver says of itself are passed on."""

MAX_ENTRIES: Final = 2000
"""How many entries of a trace one answer holds."""

LARGEST: Final = 1 << 64
"""No number that is asked for is as large."""

Message = dict[str, Any]


def parse(line: bytes) -> Message:
    """
    Read a request.

    Raises:
        UsageError: it is no JSON object, or of another version of the protocol.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        # Not the parser's own words: they quote the line.
        raise UsageError("a request is one line of JSON; this is not JSON") from None
    if not isinstance(message, dict):
        raise UsageError(f"a request is a JSON object, not {type(message).__name__}")
    if message.get("v") != VERSION:
        raise UsageError(
            f'this process speaks version {VERSION} of the protocol; send "v": {VERSION}',
            errno=errno.EPROTONOSUPPORT,
        )
    return message


def encode(message: Message) -> bytes:
    """Write a message as one line of ASCII."""
    return written(message).encode() + b"\n"


def written(value: object) -> str:
    """Write a value as JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def answer(ident: object, result: object) -> bytes:
    """Write an answer."""
    return encode({"v": VERSION, "id": ident, "result": result})


def answer_of_text(ident: object, result: str) -> bytes:
    """Write an answer whose result is JSON already."""
    return f'{{"v":{VERSION},"id":{written(ident)},"result":{result}}}\n'.encode()


def object_of(values: Iterable[tuple[str, object] | None]) -> Iterator[str]:
    """Write an object piece by piece; None gives way, and adds nothing."""
    comma = ""
    yield "{"
    for pair in values:
        if pair is None:
            yield ""
            continue
        name, value = pair
        yield f"{comma}{written(name)}:{written(value)}"
        comma = ","
    yield "}"


def array_of(values: Iterable[object]) -> Iterator[str]:
    """Write an array piece by piece; None gives way, and adds nothing."""
    comma = ""
    yield "["
    for value in values:
        if value is None:
            yield ""
            continue
        yield f"{comma}{written(value)}"
        comma = ","
    yield "]"


def failure(ident: object, error: CryptoError) -> bytes:
    """Write an answer that says what was wrong."""
    code = errno.errorcode.get(error.errno or 0, "EIO")
    return encode(
        {"v": VERSION, "id": ident, "error": {"errno": code, "message": error.strerror or ""}}
    )


def text(message: Message, name: str, longest: int = 256) -> str:
    """
    Return a parameter that is a string.

    Raises:
        UsageError: it is missing, of another type, or too long.
    """
    value = message.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise UsageError(f'"{name}" is a string of 1 to {longest} characters')
    return value


def is_number(value: object) -> bool:
    """Tell whether it is a number that one can count with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < LARGEST  # which neither an infinity nor a NaN is


def texts(message: Message, name: str) -> list[str]:
    """
    Return a parameter that is a list of strings; empty if it is not there.

    Raises:
        UsageError: it is of another type, or too long.
    """
    value = message.get(name, [])
    if (
        not isinstance(value, list)
        or len(value) > MAX_NAMES
        or not all(isinstance(each, str) and len(each) <= 256 for each in value)
    ):
        raise UsageError(f'"{name}" is a list of at most {MAX_NAMES} names')
    return value
