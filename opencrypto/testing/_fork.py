"""A piece of work in a forked child, which is ended if it takes too long."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable

GRACE = 1.0
"""Seconds for the child beyond the patience with each thing it does."""


def run(work: Callable[[], str], patience: float) -> str:
    """Run `work` in a child; return what it says is wrong, or what went wrong with it."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # That other threads run is the point: a driver must stand it.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        _child(work, write)
    os.close(write)
    try:
        return _parent(pid, read, patience)
    finally:
        os.close(read)


def _child(work: Callable[[], str], write: int) -> None:
    """Never returns: what the parent has set up to run at its end must not run here."""
    says = "the child died"
    try:
        says = work()
    except BaseException as error:
        says = f"the child raised {type(error).__name__}"
    finally:
        os.write(write, b"." + says.encode())
        os._exit(0)


def _parent(pid: int, read: int, patience: float) -> str:
    deadline = time.monotonic() + 3 * patience + GRACE
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "the child hangs"
        time.sleep(0.002)
    said = os.read(read, 4096)
    return said[1:].decode() if said else "the child died"
