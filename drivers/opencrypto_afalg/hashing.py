"""
`KernelHash`: a hash of the kernel fed piece by piece, which a session's requests are not.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from opencrypto import Alg, CryptoError, DriverUnavailable, UsageError
from opencrypto.xform import FACTS, Kind
from opencrypto_afalg import zerocopy as splicing
from opencrypto_afalg.catalogue import reason_of
from opencrypto_afalg.kernel import Kernel
from opencrypto_afalg.names import NAMES, Form
from opencrypto_afalg.sockets import ALG_SET_KEY, MSG_MORE, SOL_ALG

READ: Final = 1 << 20
"""Bytes read from a file at once, without zero copy."""


class KernelHash:
    """
    A hash or MAC in progress, after `hashlib`'s objects. A context manager; for one thread.

    Args:
        alg: A hash or MAC of the kernel's, such as ``CRYPTO_SHA2_256``.
        key: Its key, for a MAC.
        zerocopy: Hand files to the kernel by splice instead of reading them.
        kernel: The kernel to ask; another one in tests.

    Raises:
        UsageError: the algorithm is none of those, or there is no zero copy on this kernel.
        DriverUnavailable: this kernel does not have it, or does not allow it.
    """

    def __init__(
        self,
        alg: int,
        key: bytes | bytearray | None = None,
        *,
        zerocopy: bool = False,
        kernel: Kernel | None = None,
    ) -> None:
        kernel = kernel or Kernel()
        name = next(iter(NAMES.get(Alg(alg), ())), None)
        if name is None or name.type != "hash" or name.form is not Form.PLAIN:
            raise UsageError(f"{Alg(alg).name} is no hash that the kernel takes piece by piece")
        if zerocopy and (reason := splicing.refusal(kernel)):
            raise UsageError(reason)
        self._zerocopy = zerocopy
        self._size = FACTS[alg].digest
        keyed = FACTS[alg].kind is Kind.MAC
        try:
            with kernel.socket() as transform:
                transform.setblocking(True)
                transform.bind((name.type, name.name))
                if keyed and key is not None:
                    transform.setsockopt(SOL_ALG, ALG_SET_KEY, key)
                self._operation = transform.accept()[0]
        except OSError as error:
            raise DriverUnavailable(reason_of(error, name.name)) from None
        self._operation.setblocking(True)

    @property
    def digest_size(self) -> int:
        """Bytes of the result."""
        return self._size

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Feed more data."""
        if memoryview(data).nbytes:
            self._checked(self._operation.send, data, MSG_MORE)

    def update_file(self, file: int) -> None:
        """Feed the rest of an open file, given by its descriptor."""
        if self._zerocopy:
            self._checked(splicing.splice_file, self._operation, file)
            return
        while data := os.read(file, READ):
            self.update(data)

    def digest(self) -> bytes:
        """Return the result; the object then begins anew, with the same key."""
        self._checked(self._operation.send, b"")
        result: bytes = self._checked(self._operation.recv, self._size)
        return result

    def copy(self) -> Self:
        """Return another hash in the same state, to go on from there; the kernel clones it."""
        twin = type(self).__new__(type(self))
        twin._zerocopy, twin._size = self._zerocopy, self._size
        cloned: tuple[socket.socket, object] = self._checked(self._operation.accept)
        twin._operation = cloned[0]
        twin._operation.setblocking(True)
        return twin

    def _checked(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            code = error.errno or errno.EIO
            raise CryptoError(f"the kernel's hash: {os.strerror(code)}", errno=code) from None

    def close(self) -> None:
        """Let it go. Closing again does nothing."""
        self._operation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<KernelHash of {self._size} bytes>"
