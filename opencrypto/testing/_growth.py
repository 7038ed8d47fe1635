"""
What grows while a driver is used and should not: its tables, the process's memory, descriptors,
threads. A cache that fills up and then stays grows once; a leak grows each time one looks.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from opencrypto.driver import Driver
from opencrypto.testing._secrets import population

BYTES_EACH = 1024
"""Bytes of memory for each use, from which on it is a leak; what is less may be the allocator's."""

NOTHING = 1 << 18
"""Bytes of memory, in all, up to which it is not."""

HANDLES = 40
"""Descriptors or threads more than before, from which on they are a leak."""


@dataclass(frozen=True)
class Look:
    """
    What there is at one moment.

    Attributes:
        elements: Elements of containers, by the attribute of the driver that leads there.
        memory: Bytes of the process that are in memory; 0 where the system does not say.
    """

    elements: dict[str, int]
    memory: int


class Growth:
    """Looks at a driver again and again, and says what has grown."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._looks: list[Look] = []
        self._descriptors = _descriptors()
        self._threads = set(threading.enumerate())

    def look(self) -> None:
        """Note what there is now."""
        gc.collect()
        self._looks.append(Look(population(self._driver), _memory()))

    def handles(self) -> str:
        """Say which descriptors or threads have become many, or return an empty string."""
        descriptors = _descriptors() - self._descriptors
        if descriptors >= HANDLES:
            return f"{descriptors} file descriptors more than before: close each"
        alive = {t for t in set(threading.enumerate()) - self._threads if t.is_alive()}
        if len(alive) >= HANDLES:
            name = min(thread.name for thread in alive)
            return f"{len(alive)} threads more than before, such as {name}: end each, or share one"
        return ""

    def elements(self, uses: int) -> str:
        """Say which attribute has grown by half an element for each use, in every interval."""
        for name in self._looks[-1].elements:
            counts = [look.elements.get(name, 0) for look in self._looks]
            steps = [later - sooner for sooner, later in itertools.pairwise(counts)]
            if min(steps) >= uses / 2:
                return f"{name} grew by {steps[-1]} elements in {uses}: take out what is done"
        return ""

    def memory(self, uses: int) -> str:
        """Say by how much the process has grown, if it has in every interval."""
        sizes = [look.memory for look in self._looks]
        steps = [later - sooner for sooner, later in itertools.pairwise(sizes)]
        if min(steps) >= max(uses * BYTES_EACH, NOTHING):
            each = min(steps) // uses
            return f"{each} bytes of memory each are not given back, behind Python's own objects"
        return ""


def _descriptors() -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, often
    return 0


def _memory() -> int:
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
