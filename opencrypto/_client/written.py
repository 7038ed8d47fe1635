"""
Bytes that are written before anybody has them, so that a large answer is not copied once more.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Final

LARGE: Final = 1 << 15
"""From so many **bytes** on that is quicker than to put pieces together."""


@cache
def _unwritten() -> Callable[[int], bytes]:
    """Return what makes bytes that have no content yet; zeros, where Python has no such call."""
    try:
        import ctypes

        call = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)
        made = call(("PyBytes_FromStringAndSize", ctypes.pythonapi))
    except (ImportError, AttributeError):  # another Python than C's
        return bytes
    return lambda size: made(None, size)


def written(size: int, write: Callable[[memoryview], object]) -> bytes:
    """
    Return bytes that `write` has written.

    Args:
        size: How many.
        write: Given a view of them all, fills in every one; what it raises comes out, and the bytes
            are dropped.
    """
    # The stream has the only reference to its bytes, and so lets them be written; it would copy
    # them if it had not.
    stream = io.BytesIO(_unwritten()(size))
    with stream.getbuffer() as view:
        write(view)
    return stream.getvalue()
