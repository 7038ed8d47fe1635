"""
The interface as it was proposed in 2010 ("RFC: Crypto API User-interface"): what differs of it.

A transform of type SOCK_STREAM listens. Of an AEAD the second ``accept`` gives the descriptor of
the associated data; direction and IV are set by ``setsockopt`` on the operation's; the first read
triggers the operation, and what is left of an answer waits for the next one.
"""

from __future__ import annotations

import errno

from opencrypto_algsocket.control import Control
from opencrypto_algsocket.errors import refused
from opencrypto_algsocket.waiting import Buffered, Deadline, Operation


class AssociatedData(Operation):
    """The second descriptor of an AEAD: what is written there is authenticated, not encrypted."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()

    def check_key(self) -> None:
        """Do nothing: the operation's own descriptor needs the key."""

    def write(self, data: bytes, control: Control | None, *, more: bool, deadline: Deadline) -> int:
        """Take associated data of the next operation."""
        self.data += data
        return len(data)

    def recv(self, count: int, deadline: Deadline) -> tuple[bytes, bool]:
        """Refuse: nothing is read here."""
        raise refused(errno.EOPNOTSUPP, "associated data are written; read the operation's socket")

    def take(self) -> bytes:
        """Return what was written, and begin anew."""
        data = bytes(self.data)
        self.data.clear()
        return data


class Streamed(Operation):
    """
    An operation whose answers are a stream: reads take what they have room for.

    Args:
        operation: What does the work, message by message.
        associated: Where the associated data of an AEAD are written.
    """

    def __init__(self, operation: Buffered, associated: AssociatedData | None) -> None:
        super().__init__()
        self._operation = operation
        self._associated = associated
        self._control = Control()
        self._input = bytearray()
        self._answer = bytearray()

    def set_direction(self, *, encrypt: bool) -> None:
        """Set the direction of what is written from now on (ALG_AEAD_OP)."""
        self._control = self._control._replace(encrypt=encrypt)

    def set_iv(self, iv: bytes) -> None:
        """Set the IV of the next operation (ALG_AEAD_SET_IV)."""
        self._control = self._control._replace(iv=iv)

    def check_key(self) -> None:
        """Refuse to work without a key (ENOKEY)."""
        self._operation.check_key()

    def write(self, data: bytes, control: Control | None, *, more: bool, deadline: Deadline) -> int:
        """Take input; it may be split over any number of writes."""
        self._operation.check_key()
        if control is not None:
            self._control = control
        self._input += data
        self.lock.notify_all()
        self.changed()
        return len(data)

    def is_readable(self) -> bool:
        """Tell whether there is an answer, or something to make one of."""
        return self.closed or bool(self._answer or self._input)

    def recv(self, count: int, deadline: Deadline) -> tuple[bytes, bool]:
        """Trigger the operation, unless an answer is left of it, and read of that."""
        deadline.wait(self.lock, self.is_readable)
        if self.closed:
            raise refused(errno.EBADF, "the socket is closed")
        if not self._answer:
            self._answer += self._worked(deadline)
        answer = bytes(self._answer[:count])
        self._answer[:count] = bytes(len(answer))
        del self._answer[:count]
        self.changed()
        return answer, False

    def _worked(self, deadline: Deadline) -> bytes:
        associated = b"" if self._associated is None else self._associated.take()
        given, self._input = self._input, bytearray()
        control = self._control._replace(assoclen=len(associated))
        self._control = self._control._replace(iv=None)
        operation = self._operation
        room = len(associated) + len(given) + (64 if self._associated is not None else 0)
        try:
            with operation.lock:
                operation.write(associated + bytes(given), control, more=False, deadline=deadline)
                answer, _ = operation.recv(room, deadline)
        finally:
            given[:] = bytes(len(given))
        return answer[len(associated) :]

    def close(self) -> None:
        """Wipe what waits."""
        with self.lock:
            for part in (self._input, self._answer):
                part[:] = bytes(len(part))
        self._operation.close()
        super().close()
