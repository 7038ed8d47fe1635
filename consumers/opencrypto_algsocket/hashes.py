"""
Operation sockets of type hash: digests, and MACs under a transform's key.

A read ends the message, if nothing has; a socket that was written nothing answers with the digest
of the empty message. Accepting on one clones the message as far as it has come.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from opencrypto import CryptoError
from opencrypto.client import Hasher
from opencrypto_algsocket.control import Control
from opencrypto_algsocket.errors import as_kernel, refused
from opencrypto_algsocket.waiting import Deadline, Operation


class HashOperation(Operation):
    """
    One message after the other.

    Args:
        size: The digest's length in **bytes**.
        begin: Makes a hasher of a new message; it raises ENOKEY without a key.
        check: Does that alone.
    """

    def __init__(self, size: int, begin: Callable[[], Hasher], check: Callable[[], None]) -> None:
        super().__init__()
        self._size = size
        self._check = check
        self._begin = begin
        self._message: Hasher | None = None
        self._result: bytes | None = None

    def check_key(self) -> None:
        """Refuse to work without a key (ENOKEY)."""
        self._check()

    def write(self, data: bytes, control: Control | None, *, more: bool, deadline: Deadline) -> int:
        """Hash a piece of a message; the last piece ends it."""
        if self._message is None:
            self._message = self._begin()
        self._result = None
        try:
            if data:
                self._message.update(data)
        except CryptoError as error:
            self._drop()
            raise as_kernel(error) from None
        if not more:
            self._result = self._ended()
        return len(data)

    def recv(self, count: int, deadline: Deadline) -> tuple[bytes, bool]:
        """Return the digest, cut off where there is no room for it."""
        if self.closed:
            raise refused(errno.EBADF, "the socket is closed")
        if self._result is None and self._message is None:
            self._message = self._begin()
        result = self._result if self._message is None else self._ended()
        self._result = None
        assert result is not None
        return result[:count], count < len(result)

    def _ended(self) -> bytes:
        message, self._message = self._message, None
        assert message is not None
        try:
            return message.digest()[: self._size]
        except CryptoError as error:
            raise as_kernel(error) from None
        finally:
            message.close()

    def _drop(self) -> None:
        message, self._message = self._message, None
        if message is not None:
            message.close()

    def clone(self) -> HashOperation:
        """Make another one, whose message has come as far as this one's."""
        self.check_key()
        twin = HashOperation(self._size, self._begin, self._check)
        if self._message is not None:
            try:
                twin._message = self._message.copy()
            except CryptoError as error:
                raise refused(errno.EOPNOTSUPP, error.strerror or str(error)) from None
        return twin

    def close(self) -> None:
        """Wipe the message."""
        with self.lock:
            self._drop()
            self._result = None
        super().close()
