"""
KernelTransform and operation sockets: opened late, kept for the next request, closed when too many.

A *transform* socket is bound to a name and has the key; each ``accept`` on it gives an *operation*
socket, which carries one request at a time: send, then receive. Nothing here ever waits for room or
for input: every call is non-blocking but for the time the kernel works.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from opencrypto import KeySerial
from opencrypto.driver import renew_after_fork
from opencrypto_afalg.kernel import Kernel

SOL_ALG: Final = 279
ALG_SET_KEY, ALG_SET_IV, ALG_SET_OP = 1, 2, 3
ALG_SET_AEAD_ASSOCLEN, ALG_SET_AEAD_AUTHSIZE = 4, 5
ALG_SET_DRBG_ENTROPY, ALG_SET_KEY_BY_KEY_SERIAL = 6, 7
MSG_MORE: Final = 0x8000
MSG_DONTWAIT: Final = 0x40
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33

MAX_SOCKETS: Final = 256
"""How many sockets a driver keeps open, if the limit on descriptors allows; in use or not."""

CHUNK: Final = 128 * 1024
"""Bytes of one piece of a request that is done in pieces; less if sockets' buffers are small."""

DEVICE_MOST: Final = 64 * 1024
"""Bytes of one request to a device. Some stop for ever at larger ones: virtio-crypto at 128 KiB."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


GONE: Final = frozenset({errno.ENOENT, errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES, errno.ENODEV})
"""What the kernel answers when a module or a device has left, or a policy has come."""


class KernelRefused(Exception):
    """
    The kernel does not do this, or does it no more; nothing of the request has been done.

    `errno` and `what` say why. Holds no content and no key.
    """

    def __init__(self, what: str, code: int = errno.EIO) -> None:
        super().__init__(what)
        self.what = what
        self.errno = code


class KernelBroke(KernelRefused):
    """The kernel went wrong after it had begun to write: the request cannot be given to another."""


Key: TypeAlias = bytes | bytearray | KeySerial

Result = TypeVar("Result")


def set_key(transform: socket.socket, key: Key) -> None:
    """Give a transform its key, or have the kernel take it from its keyring."""
    if isinstance(key, KeySerial):
        # key_serial_t is an int32; the key must be one that this process may search.
        transform.setsockopt(SOL_ALG, ALG_SET_KEY_BY_KEY_SERIAL, struct.pack("=i", key.serial))
    else:
        transform.setsockopt(SOL_ALG, ALG_SET_KEY, key)


class Descriptors:
    """
    Every socket that one driver has open, and which transforms may lose theirs.

    Over the limit, or when the kernel has no more descriptors, transforms that were not used since
    the last look lose their sockets; they open new ones when they are used again.
    """

    def __init__(self, limit: int = 0) -> None:
        self.sockets: set[socket.socket] = set()  # adding and discarding are atomic
        self._lock = threading.Lock()  # guards _transforms, and evicting
        self._transforms: dict[KernelTransform, None] = {}  # in the order of opening
        self._limit = limit
        self.gone: dict[tuple[str, str], int] = {}  # what cannot be opened any more, and the errno
        self.piece = 0  # learned from the first operation socket
        renew_after_fork(self)

    @property
    def limit(self) -> int:
        """How many sockets to keep: a quarter of what the process may have, at most 256."""
        if self._limit:
            return self._limit
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            MAX_SOCKETS if soft == resource.RLIM_INFINITY else max(4, min(MAX_SOCKETS, soft // 4))
        )

    def note(self, transform: KernelTransform) -> None:
        """Remember a transform that has opened its socket."""
        with self._lock:
            self._transforms[transform] = None

    def forget(self, transform: KernelTransform) -> None:
        """Forget a transform that has closed it."""
        with self._lock:
            self._transforms.pop(transform, None)

    def obtain(self, make: Callable[[], socket.socket]) -> socket.socket:
        """
        Open a socket, making room first if need be.

        Raises:
            OSError: what the kernel says.
        """
        if len(self.sockets) >= self.limit:
            self.evict()
        try:
            opened = make()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                raise
            self.evict(everything=True)
            opened = make()
        self.sockets.add(opened)
        return opened

    def close(self, opened: socket.socket) -> None:
        """Close a socket."""
        self.sockets.discard(opened)
        opened.close()

    def evict(self, *, everything: bool = False) -> None:
        """Close what transforms hold idle: those not used lately, or all of them."""
        with self._lock:
            wanted = 0 if everything else self.limit // 2
            for force in (False, True):
                for transform in list(self._transforms):
                    if len(self.sockets) <= wanted:
                        return
                    if transform.hot and not force:
                        transform.hot = False
                        continue
                    if transform.release():
                        del self._transforms[transform]

    def after_fork(self) -> None:
        """In the child of a fork: let go of sockets whose operations are the parent's."""
        self._lock = threading.Lock()
        self._transforms.clear()
        for opened in list(self.sockets):
            opened.close()
        self.sockets.clear()


class KernelTransform:
    """
    One keyed transform of the kernel, with operation sockets for as many threads as use it.

    Args:
        kernel: Where sockets come from.
        descriptors: Who counts them.
        address: ``(type, name)`` to bind.
        key: Called for the key when a socket is opened, so that it is kept in one place only;
            None for transforms without one. A key may be empty.
        authsize: For AEAD: the bytes of tag.
        most: The most bytes that one request may have; 0 for what the socket takes.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_authsize",
        "_descriptors",
        "_idle",
        "_kernel",
        "_key",
        "_lock",
        "_socket",
        "hot",
        "most",
    )  # fmt: skip

    def __init__(
        self,
        kernel: Kernel,
        descriptors: Descriptors,
        address: tuple[str, str],
        key: Callable[[], Key] | None = None,
        authsize: int = 0,
        most: int = 0,
    ) -> None:
        self.most = most
        self._kernel = kernel
        self._descriptors = descriptors
        self._address = address
        self._key = key
        self._authsize = authsize
        self._lock = threading.Lock()  # guards _socket
        self._socket: socket.socket | None = None
        self._idle: list[socket.socket] = []  # pop and append are atomic
        self.hot = False
        renew_after_fork(self)

    def once(self, work: Callable[[socket.socket], Result]) -> Result:
        """
        Have one request done on an operation socket, and keep the socket only if it went well.

        Raises:
            KernelRefused: there is no socket to be had, or `work` raised what the kernel says.
        """
        operation = self._take()
        try:
            result = work(operation)
        except OSError as error:
            self._drop(operation)
            raise self.refused(error) from None
        except (
            BaseException
        ):  # a signal's handler may raise anything: the answer still stands there
            self._drop(operation)
            raise
        self._give(operation)
        return result

    def _take(self) -> socket.socket:
        """
        Return an operation socket for one request; `_give` or `_drop` it afterwards.

        Raises:
            KernelRefused: there is none to be had.
        """
        self.hot = True
        try:
            return self._idle.pop()
        except IndexError:
            return self._accept()

    def _give(self, operation: socket.socket) -> None:
        """Keep an operation socket, whose request is complete, for the next one."""
        if self._socket is None:
            self._descriptors.close(operation)
        else:
            self._idle.append(operation)

    def _drop(self, operation: socket.socket) -> None:
        """Close an operation socket whose request did not end well: what it holds is unknown."""
        self._descriptors.close(operation)

    def take(self) -> socket.socket:
        """
        Return an operation socket for one message in pieces; `drop` it at its end.

        Raises:
            KernelRefused: there is none to be had.
        """
        return self._take()

    def drop(self, operation: socket.socket) -> None:
        """Close an operation socket that was taken."""
        self._drop(operation)

    def _accept(self) -> socket.socket:
        # Under the lock: a number that is closed and opened anew meanwhile would be somebody
        # else's transform, with another key.
        try:
            with self._lock:
                if self._socket is None:
                    self._socket = self.make()
                    self._descriptors.note(self)
                parent = self._socket
                operation = self._descriptors.obtain(lambda: parent.accept()[0])
            # An application's socket.setdefaulttimeout() would make it non-blocking.
            operation.setblocking(True)
            if not self._descriptors.piece:
                self._descriptors.piece = max(_PAGE, min(CHUNK, room(operation)))
        except OSError as error:
            raise self.refused(error) from None
        return operation

    @property
    def piece(self) -> int:
        """How many bytes any operation socket takes at once without more ado."""
        piece = self._descriptors.piece or _PAGE
        return min(piece, self.most) if self.most else piece

    def fit(self, operation: socket.socket, size: int) -> None:
        """
        Make room for a request that is larger than is sure to fit.

        Raises:
            KernelRefused: there is none; nothing has been done.
        """
        if size > self.piece and (self.most or room(operation, size) < size):
            raise KernelRefused("the request is larger than the kernel takes", errno.E2BIG)

    def make(self) -> socket.socket:
        """Return a new socket bound and keyed like this one's, which the caller closes."""
        gone = self._descriptors.gone.get(self._address)
        if gone is not None:
            # Asked again, the kernel would start a modprobe for each request that still comes.
            raise OSError(gone, "")
        try:
            opened = self._descriptors.obtain(self._kernel.socket)
        except OSError as error:
            self._forgo(error)
            raise
        try:
            # accept() on a socket with a timeout waits by poll, which these do not have.
            opened.setblocking(True)
            opened.bind(self._address)
            if self._key is not None:
                set_key(opened, self._key())
            if self._authsize:
                # The size travels as the length of an absent value; as a value it would say 4.
                opened.setsockopt(SOL_ALG, ALG_SET_AEAD_AUTHSIZE, None, self._authsize)
        except OSError as error:
            self._descriptors.close(opened)
            self._forgo(error)
            raise
        except BaseException:
            self._descriptors.close(opened)
            raise
        return opened

    def _forgo(self, error: OSError) -> None:
        if error.errno in GONE:
            self._descriptors.gone[self._address] = error.errno

    def single(self) -> KernelTransform:
        """Return another transform of the same name and key."""
        return KernelTransform(
            self._kernel, self._descriptors, self._address, self._key, self._authsize, self.most
        )

    def release(self) -> bool:
        """
        Close the socket and the idle operations; those in use are closed when given back.

        Does nothing, and returns False, while another thread is opening one: whoever makes room
        while he opens a socket himself must not wait for others who do the same.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            opened, self._socket = self._socket, None
            if opened is not None:
                self._descriptors.close(opened)
            while self._idle:
                try:
                    self._descriptors.close(self._idle.pop())
                except IndexError:
                    break
        finally:
            self._lock.release()
        return True

    def close(self) -> None:
        """Close everything."""
        self._descriptors.forget(self)
        self.release()

    def after_fork(self) -> None:
        """In the child of a fork: forget the parent's sockets; `Descriptors` closes them."""
        self._lock = threading.Lock()
        self._socket = None
        self._idle.clear()

    def refused(self, error: OSError) -> KernelRefused:
        """Turn what the kernel says into words, without content."""
        code = error.errno or errno.EIO
        return KernelRefused(f"{self._address[1]}: {os.strerror(code)}", code)

    def __repr__(self) -> str:
        return f"<KernelTransform {self._address[1]} open={self._socket is not None}>"


def room(operation: socket.socket, wanted: int = 0) -> int:
    """
    Return how many bytes one request on an operation socket may have, enlarged if it can be.

    A request larger than the send buffer never ends. Of one larger than the receive buffer only a
    part is worked on, and an AEAD then gives a valid tag of that part.
    """
    size = _room(operation)
    if size >= wanted:
        return size
    for plain, force in (
        (socket.SO_SNDBUF, _SO_SNDBUFFORCE),
        (socket.SO_RCVBUF, _SO_RCVBUFFORCE),
    ):
        try:
            operation.setsockopt(socket.SOL_SOCKET, force, wanted)
        except OSError:  # needs CAP_NET_ADMIN
            operation.setsockopt(socket.SOL_SOCKET, plain, wanted)
    return _room(operation)


def _room(operation: socket.socket) -> int:
    """The kernel counts whole pages of the smaller buffer, and wants one more before each part."""
    return (
        min(
            operation.getsockopt(socket.SOL_SOCKET, option)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF)
        )
        & -_PAGE
    ) - _PAGE
