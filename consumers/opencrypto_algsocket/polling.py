"""
A descriptor that select, poll and asyncio can wait on, for sockets that have none in the kernel.
"""

from __future__ import annotations

import os
import socket


class Polled:
    """
    A descriptor that is readable while its owner says so, and always writable.

    An eventfd where there is one, else one end of a socket pair.
    """

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._readable = False
        if hasattr(os, "eventfd"):
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            mine, theirs = socket.socketpair()
            mine.setblocking(False)
            theirs.setblocking(False)
            self._pair = mine, theirs
            self.fd = theirs.fileno()

    def show(self, *, readable: bool) -> None:
        """Have the descriptor be readable from now on, or not."""
        if readable == self._readable:
            return
        self._readable = readable
        if self._pair is not None:
            self._pair[0].send(b"!") if readable else self._pair[1].recv(1)
        elif readable:
            os.eventfd_write(self.fd, 1)
        else:
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """Close the descriptor; once."""
        if self._pair is None:
            os.close(self.fd)
            return
        for each in self._pair:
            each.close()
