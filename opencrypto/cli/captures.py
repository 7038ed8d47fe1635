"""
The captures that a command names, opened to be read and to be written; ``-`` is a stream.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from opencrypto import files
from opencrypto.exceptions import UsageError
from opencrypto_esp.capture import FORMATS, Reader, Writer, read_capture

STREAM: Final = Path("-")
"""What stands for standard input or output."""


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """
    Open a capture; from a pipe it is read as it comes.

    Raises:
        CaptureError: it is none, or of a kind that is not supported.
        OSError: it cannot be read.
    """
    if path == STREAM:
        with open(_descriptor(sys.stdin, "input"), "rb", buffering=0, closefd=False) as file:
            yield read_capture(file, "standard input")
    else:
        with path.open("rb", buffering=0) as file:
            yield read_capture(file, str(path))


@contextmanager
def writing(path: Path, kind: str) -> Iterator[Writer]:
    """
    Write a capture of a format; yields what its frames are given to.

    It is for its owner alone, and written as `opencrypto.files.writing` says.
    """
    with _file(path) as file:
        writer = FORMATS[kind](file, str(path))
        yield writer
        writer.finish()


@contextmanager
def _file(path: Path) -> Iterator[IO[bytes]]:
    if path == STREAM:
        if sys.stdout is not None and sys.stdout.isatty():
            raise UsageError("standard output is a terminal, which shows no captures; name a file")
        with open(_descriptor(sys.stdout, "output"), "wb", closefd=False) as file:
            yield file
    else:
        with files.writing(path, files.PRIVATE) as file:
            yield file


def _descriptor(stream: IO[str] | None, name: str) -> int:
    """Return that of a standard stream, which whoever called us may have closed."""
    if stream is None:
        raise UsageError(f"standard {name} is closed; name a file")
    return stream.fileno()


def check_apart(source: Path, target: Path) -> None:
    """
    See that a capture is not written over itself.

    Raises:
        UsageError: it would be.
    """
    if STREAM in (source, target) or not (target.is_file() and source.exists()):
        return
    if target.samefile(source):
        raise UsageError(f"{target} is the capture to be read; name another file to write")


def is_stdout(path: Path) -> bool:
    """Tell whether a capture goes where a command otherwise says what it did."""
    if path == STREAM:
        return True
    try:
        named, ours = path.stat(), os.fstat(_descriptor(sys.stdout, "output"))
    except (OSError, ValueError):
        return False  # it is not there yet, or standard output is closed
    # /dev/null takes both.
    same = (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)
    return same and not (stat.S_ISCHR(ours.st_mode) and not sys.stdout.isatty())


def size(path: Path) -> int | None:
    """Return how many **bytes** there are to be read, where that is known beforehand."""
    if path == STREAM:
        return None
    found = path.stat()
    return found.st_size if stat.S_ISREG(found.st_mode) else None
