"""
Watching memory while a driver works on it: what is there in between, and gone at the end.

Two look at it: a hook at each call and return in the threads that work for the request, which
sees what Python code does, and a thread that looks all the time, which sees what C code does while
it has let go of the interpreter. What C code does and takes back in one call cannot be seen.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import PurePath
from types import FrameType
from typing import Any, Self

from opencrypto import Cryptop
from opencrypto.testing._rig import Rig

EAGER = 1e-4
"""Seconds after which the interpreter lets another thread run, while somebody watches."""


class Watch:
    """
    Looks whether a part of a buffer stays as it is. Enter it before the driver starts threads.

    Attributes:
        changed: Where it was seen changed; an empty string if it was not.
    """

    def __init__(self) -> None:
        self.changed = ""
        self._view: memoryview | None = None
        self._before = b""

    def __enter__(self) -> Self:
        """Have threads that start from now on watched too."""
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(EAGER)
        threading.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no more."""
        threading.setprofile(None)
        sys.setswitchinterval(self._interval)

    @contextlib.contextmanager
    def over(self, buf: bytearray, region: slice) -> Iterator[None]:
        """Watch a region of a buffer meanwhile."""
        self.changed = ""
        end = threading.Event()
        with memoryview(buf)[region] as view:
            self._before = bytes(view)
            self._view = view
            looking = threading.Thread(target=self._keep_looking, args=(end,), name="contract-eye")
            looking.start()
            try:
                yield
            finally:
                end.set()
                looking.join()
                self._view = None

    def by_caller(self, rig: Rig, crp: Cryptop) -> None:
        """Dispatch a request, watched in the thread that does, and wait for its answer."""
        give = rig.sym.give

        def watched(request: Cryptop) -> None:
            before = sys.getprofile()
            sys.setprofile(self._look)
            try:
                give(request)
            finally:
                sys.setprofile(before)

        rig.sym.give = watched
        try:
            rig.sym.run(crp)
        finally:
            rig.sym.give = give

    def _keep_looking(self, end: threading.Event) -> None:
        sys.setprofile(None)
        view, before = self._view, self._before
        if view is None or not before:
            return
        while not end.is_set() and not self.changed:
            time.sleep(0)  # let the driver go on
            if view[0] != before[0] or view[-1] != before[-1]:
                self.changed = "seen by another thread"

    def _look(self, frame: FrameType, event: str, arg: Any) -> None:
        view = self._view
        if view is not None and not self.changed and view != self._before:
            self.changed = f"at {PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"
