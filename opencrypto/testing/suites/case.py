"""
A case of a collection: what is asked, whoever is asked, and how its files are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opencrypto.exceptions import UsageError
from opencrypto.testing.suites.subject import RefusedError, Subject, WrongError

Fields = dict[str, Any]
"""A JSON object as it was read: what is in it is the file's to say."""


NOT_AS_PUBLISHED: Final = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""What comes of looking for something in a JSON file that is not there, or not of its type."""


@dataclass(frozen=True, slots=True)
class Case:
    """
    One thing to ask.

    Attributes:
        suite: The collection.
        file: Its file, below the folder of the collection.
        algorithm: As the file calls it.
        ident: What the file calls the case.
        ask: Asks a subject, and returns if its answer is right.

            Raises:
                RefusedError: it does not do that.
                WrongError: its answer is wrong.
        work: How many times longer than one operation it may take.
    """

    suite: str
    file: str
    algorithm: str
    ident: str
    ask: Callable[[Subject], None]
    work: float = 1.0


def read_json(path: Path) -> Any:
    """
    Read a JSON file of a collection.

    Raises:
        UsageError: it is no JSON.
        OSError: it cannot be read.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON file: {error}; get it anew") from None


@contextmanager
def as_published(path: Path) -> Iterator[None]:
    """
    Read what is in a file, which may have anything in it.

    Raises:
        UsageError: it is not built as the collection's files are.
    """
    try:
        yield
    except NOT_AS_PUBLISHED as error:
        kind = type(error).__name__
        raise UsageError(f"{path} is not built as such files are ({kind}); get it anew") from None


def json_files(folder: Path) -> list[Path]:
    """
    List the JSON files of a folder and of those below it, by name.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name the one with the collection's JSON files")
    return sorted(path for path in folder.rglob("*.json") if path.is_file())


def require_equal(got: object, wanted: object, what: str) -> None:
    """
    Require an answer to be the one of the collection.

    Raises:
        WrongError: it is another one.
    """
    if got != wanted:
        raise WrongError(f"{what} is wrong")


def hexes(fields: Fields, name: str) -> bytes:
    """
    Read bytes in hexadecimal digits.

    Raises:
        RefusedError: there are none of that name, or they are something else.
    """
    value = fields.get(name)
    try:
        if isinstance(value, str):
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise RefusedError(f"the file gives no {name}")


def number(fields: Fields, name: str) -> int:
    """
    Read a number in hexadecimal digits, an odd number of them as well.

    Raises:
        RefusedError: there is none of that name, or it is something else.
    """
    try:
        value = int(str(fields[name]), 16)
    except (KeyError, ValueError):
        value = -1
    if value < 0:
        raise RefusedError(f"the file gives no {name}")
    return value
