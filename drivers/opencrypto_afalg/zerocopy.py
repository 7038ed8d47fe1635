"""
Zero copy into a hash: pages handed over by vmsplice and splice. Off unless it is asked for.

It does not pay: it saves a copy of some microseconds for each 64 KiB and costs two system calls for
them. And it is for hashes only. Current kernels copy what is spliced into a cipher's socket all
the same, since not doing so let any process write into the page cache (CVE-2026-31431).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from opencrypto_afalg.kernel import Kernel

SPLICE_F_NONBLOCK, SPLICE_F_MORE = 2, 4
LEAST: Final = 8 * 1024
"""Bytes below which nothing is spliced."""

_DROPPED: Final = (7, 2)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@functools.cache
def _vmsplice() -> Any:
    return getattr(ctypes.CDLL(None, use_errno=True), "vmsplice", None)


def refusal(kernel: Kernel) -> str:
    """Say why there is no zero copy on this kernel, or return an empty string."""
    if kernel.release >= _DROPPED:
        major, minor = _DROPPED
        return f"Linux {major}.{minor} has dropped zero copy for AF_ALG sockets"
    if not hasattr(os, "splice") or _vmsplice() is None:
        return "this Python or C library has no splice"
    return ""


def splice_parts(operation: socket.socket, parts: Sequence[Any]) -> None:
    """
    Hand writable buffers to a hash, with more to follow. They stay as they are until it is done.

    Raises:
        OSError: the kernel refuses. The operation is then in no known state.
    """
    read, write = os.pipe()
    try:
        for part in parts:
            _splice_one(operation, memoryview(part), read, write)
    finally:
        os.close(read)
        os.close(write)


def _splice_one(operation: socket.socket, view: memoryview, read: int, write: int) -> None:
    if not len(view):
        return
    place = (ctypes.c_char * len(view)).from_buffer(view)
    base, at = ctypes.addressof(place), 0
    while at < len(view):
        iovec = _Iovec(base + at, len(view) - at)
        # As much as the pipe has slots for; a page that is not wholly used takes one too.
        taken = _vmsplice()(write, ctypes.byref(iovec), 1, SPLICE_F_NONBLOCK)
        if taken <= 0:
            raise OSError(ctypes.get_errno() or errno.EIO, "")
        drain(operation, read, taken)
        at += taken


def drain(operation: socket.socket, read: int, count: int) -> None:
    """Move what a pipe holds into a hash, with more to follow."""
    while count:
        moved = os.splice(read, operation.fileno(), count, flags=SPLICE_F_MORE)
        if not moved:
            raise OSError(errno.EIO, "")
        count -= moved


def splice_file(operation: socket.socket, file: int) -> None:
    """Move the rest of an open file into a hash without reading it, with more to follow."""
    read, write = os.pipe()
    try:
        while taken := os.splice(file, write, 1 << 16):
            drain(operation, read, taken)
    finally:
        os.close(read)
        os.close(write)
