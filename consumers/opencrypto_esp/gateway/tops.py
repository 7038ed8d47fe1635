"""
The highest number received by each association, in shared memory: exact after kill -9.

What was received is reserved ahead in the journal, and after a crash all that was reserved counts
as received, thousands of packets perhaps, which would be missed. But when a process dies and not
the machine, what it had mapped is still in its file. So the highest numbers stand in one beside
the journal, and are believed as long as the machine has not been started again.
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opencrypto import files

_MAGIC: Final = b"esp-tops"
_BOOT: Final = 40
_NAME: Final = 32
_RECORD: Final = _NAME + 8
_START: Final = len(_MAGIC) + _BOOT
_LONGEST: Final = 1 << 20
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def boot() -> bytes:
    """Return what tells this run of the machine from all others; nothing if it does not say."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return b""
    return text.strip().ljust(_BOOT)[:_BOOT]


def read(path: Path) -> dict[str, int]:
    """Return the highest numbers by the names of their SAs, if they can be believed."""
    try:
        content = files.read_private(path, "state")[:_LONGEST]
    except OSError:
        return {}
    running = boot()
    whole = (len(content) - _START) % _RECORD == 0 and content[: len(_MAGIC)] == _MAGIC
    if not running or not whole or content[len(_MAGIC) : _START] != running:
        return {}
    return {
        content[at : at + _NAME].hex(): int.from_bytes(content[at + _NAME : at + _RECORD], "little")
        for at in range(_START, len(content), _RECORD)
    }


class Tops:
    """
    The file and its mapping.

    Args:
        path: Where it is; what was there is replaced.
        names: The SAs by name, 64 hexadecimal digits each.
        tops: Their highest numbers now.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, names: Sequence[str], tops: Sequence[int]) -> None:
        self._path = path
        records = (
            bytes.fromhex(name) + top.to_bytes(8, "little")
            for name, top in zip(names, tops, strict=True)
        )
        content = b"".join((_MAGIC, boot().ljust(_BOOT), *records))
        # It need not outlive the machine, and so need not be on the disk, which would take long.
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        handle = os.open(part, _NEW, files.PRIVATE)
        try:
            os.write(handle, content)
            self._map = mmap.mmap(handle, len(content))
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        self._view = memoryview(self._map).cast("Q")
        self._first = (_START + _NAME) // 8

    def note(self, number: int, top: int) -> None:
        """Set the highest number of an SA, the `number`th of the names."""
        self._view[self._first + number * (_RECORD // 8)] = top

    def close(self, *, remove: bool = False) -> None:
        """Give the mapping up, and the file with it if the journal is exact again."""
        self._view.release()
        self._map.close()
        if remove:
            self._path.unlink(missing_ok=True)
