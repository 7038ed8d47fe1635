"""
Who is at the other end of a socket: the kernel says, and nobody can say it for himself.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from opencrypto.exceptions import UsageError

_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid


def check_supported() -> None:
    """
    See that the kernel can be asked.

    Raises:
        UsageError: this system cannot tell.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        raise UsageError("the control socket needs SO_PEERCRED, which this system lacks")


def peer_uid(connection: socket.socket) -> int:
    """Return the user of who connected, or, for who connected, of who listens."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(found)
    return int(uid)
