"""
`AlgSocket`: Python's socket of the family AF_ALG, served by any driver.

Methods, call forms, errors and their errnos are those of the kernel's sockets, as its documents
"User Space Interface" (sections in brackets below) describe them and CPython's `socket` wraps them.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import sys
import threading
import warnings
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import IO, Any, Final, Self, TypeAlias

from opencrypto import Framework, default_framework
from opencrypto.chain import BytesLike, byteview, flat
from opencrypto_algsocket import control
from opencrypto_algsocket.aead import AeadOperation
from opencrypto_algsocket.errors import refused
from opencrypto_algsocket.names import bound
from opencrypto_algsocket.numbers import (
    AF_ALG,
    ALG_SET_OP,
    MSG_DONTWAIT,
    MSG_MORE,
    MSG_OOB,
    MSG_TRUNC,
    PAGES,
    ROOM,
    SOL_ALG,
)
from opencrypto_algsocket.polling import Polled
from opencrypto_algsocket.proposal import AssociatedData, Streamed
from opencrypto_algsocket.transform import Transform, Use
from opencrypto_algsocket.waiting import Buffered, Deadline, Operation

Address: TypeAlias = "tuple[Any, ...]"
Kind: TypeAlias = "type[BaseException] | None"
Ancillary: TypeAlias = "Iterable[tuple[int, int, Any]]"

STREAM_OPTIONS: Final = frozenset({2, 3})
"""ALG_SET_IV and ALG_SET_OP, which the proposal sets on the operation's socket."""


class AlgSocket:
    """
    A socket of the family AF_ALG. A context manager; the methods are `socket.socket`'s.

    A new one is a transform's: `bind` it, set its key, `accept` operation sockets of it. Type
    SOCK_STREAM, which no kernel has, gives the interface of the proposal of 2010 instead: see
    `opencrypto_algsocket.proposal`.

    Args:
        family: AF_ALG.
        type: SOCK_SEQPACKET, or SOCK_STREAM; SOCK_NONBLOCK and SOCK_CLOEXEC may be added.
        proto: 0.
        framework: Whose drivers serve; the default one's, if not given.

    Raises:
        OSError: the family (EAFNOSUPPORT), the type (ESOCKTNOSUPPORT) or the protocol
            (EPROTONOSUPPORT) is another.
    """

    def __init__(
        self,
        family: int = AF_ALG,
        type: int = socket.SOCK_SEQPACKET,
        proto: int = 0,
        *,
        framework: Framework | None = None,
    ) -> None:
        self._closed = True
        nonblock = getattr(socket, "SOCK_NONBLOCK", 0)
        plain = type & ~(nonblock | getattr(socket, "SOCK_CLOEXEC", 0))
        if family != AF_ALG:
            raise refused(errno.EAFNOSUPPORT, f"an AlgSocket is of the family AF_ALG, not {family}")
        if plain not in (socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
            raise refused(errno.ESOCKTNOSUPPORT, "its type is SOCK_SEQPACKET")
        if proto not in (0, -1):
            raise refused(errno.EPROTONOSUPPORT, "its protocol is 0")
        self._type = plain
        self._framework = framework or default_framework()
        self._timeout = 0.0 if nonblock and type & nonblock else socket.getdefaulttimeout()
        self._transform: Transform | None = None
        self._operation: Operation | None = None
        self._use: Use | None = None
        self._polled: Polled | None = None
        self._half_open: AssociatedData | None = None
        self._room = ROOM
        self._lock = threading.Lock()  # guards what is bound, polled, closed
        self._closed = False

    # What it is.

    @property
    def family(self) -> int:
        """AF_ALG."""
        return AF_ALG

    @property
    def type(self) -> int:
        """SOCK_SEQPACKET, or SOCK_STREAM."""
        return self._type

    @property
    def proto(self) -> int:
        """0."""
        return 0

    @property
    def timeout(self) -> float | None:
        """As `gettimeout`."""
        return self._timeout

    # The transform.

    def bind(self, address: Address) -> None:
        """
        Bind to an algorithm [User Space API general remarks].

        Args:
            address: ``(type, name)``, or with ``feat`` and ``mask`` behind.

        Raises:
            OSError: ENOENT if nobody has it; EBUSY while operation sockets are open; EINVAL for
                unknown bits; EOPNOTSUPP on an operation socket.
        """
        self._check_open()
        if self._operation is not None:
            raise refused(errno.EOPNOTSUPP, "an operation socket is bound by accept")
        if not isinstance(address, tuple) or not 2 <= len(address) <= 4:
            raise TypeError("an address of AF_ALG is (type, name[, feat[, mask]])")
        found = bound(self._framework, *address)
        transform = Transform(self._framework, found)
        with self._lock:
            before, self._transform = self._transform, transform
        if before is not None:
            before.leave()

    def setsockopt(
        self, level: int, optname: int, value: BytesLike | int | None, optlen: int | None = None
    ) -> None:
        """
        Set an option of a transform [Setsockopt Interface].

        Args:
            level: SOL_ALG; SOL_SOCKET for SO_SNDBUF.
            optname: ALG_SET_KEY (of a generator, its seed), ALG_SET_AEAD_AUTHSIZE,
                ALG_SET_DRBG_ENTROPY, ALG_SET_KEY_BY_KEY_SERIAL. On an operation socket of the
                proposal's ALG_SET_OP and ALG_SET_IV.
            value: The value; None with `optlen` where the length is the value, as of
                ALG_SET_AEAD_AUTHSIZE.
            optlen: The length in **bytes** where there is no value.

        Raises:
            OSError: ENOPROTOOPT, EINVAL, EBUSY, ENOSYS as of `Transform.set`; EOPNOTSUPP on an
                operation socket.
        """
        self._check_open()
        if level == socket.SOL_SOCKET:
            self._set_room(optname, value)
            return
        if level != SOL_ALG:
            raise refused(errno.ENOPROTOOPT, f"there is no level {level}")
        if self._operation is not None:
            self._set_of_operation(optname, value)
            return
        if self._transform is None:
            raise refused(errno.ENOPROTOOPT, "bind the socket first")
        if value is None:
            self._transform.set(optname, bytes(optlen or 0))
        elif isinstance(value, int):
            self._transform.set(optname, value)
        else:
            self._transform.set(optname, bytes(flat(value, "value")))

    def _set_room(self, optname: int, value: object) -> None:
        if optname == socket.SO_SNDBUF and isinstance(value, int):
            self._room = max(4096, 2 * value)  # doubled, as in Linux

    def _set_of_operation(self, optname: int, value: BytesLike | int | None) -> None:
        """Set direction or IV, as the proposal of 2010 has it."""
        streamed = self._operation
        if not isinstance(streamed, Streamed) or optname not in STREAM_OPTIONS:
            raise refused(errno.EOPNOTSUPP, "options are set on the bound socket, not on this one")
        data = value if isinstance(value, int) else bytes(flat(value, "value"))
        if optname == ALG_SET_OP:
            number = data if isinstance(data, int) else int.from_bytes(data[:4], sys.byteorder)
            streamed.set_direction(encrypt=control.given(number, None, None).encrypt)
        elif isinstance(data, bytes):
            streamed.set_iv(data)
        else:
            raise refused(errno.EINVAL, "an IV is bytes")

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> int:
        """Return SO_TYPE, SO_SNDBUF or SO_ERROR of SOL_SOCKET; SOL_ALG has nothing to get."""
        known = {socket.SO_TYPE: self._type, socket.SO_SNDBUF: self._room, socket.SO_ERROR: 0}
        if level != socket.SOL_SOCKET or optname not in known:
            raise refused(errno.ENOPROTOOPT, "there is nothing to get")
        return known[optname]

    def listen(self, backlog: int = 0) -> None:
        """
        Listen, as the proposal of 2010 has it; the merged interface has no such call.

        Raises:
            OSError: EOPNOTSUPP unless the type is SOCK_STREAM; EINVAL unless it is bound.
        """
        self._check_open()
        if self._type != socket.SOCK_STREAM:
            raise refused(
                errno.EOPNOTSUPP, "accept needs no listen; that is the proposal's, of SOCK_STREAM"
            )
        if self._transform is None:
            raise refused(errno.EINVAL, "bind the socket first")

    def accept(self) -> tuple[AlgSocket, None]:
        """
        Open an operation socket [User Space API general remarks].

        Those of a generator read from the same state. On an operation socket of a hash it clones
        the message as far as it has come. On the proposal's AEAD every second one is the descriptor
        of the associated data.

        Raises:
            OSError: EINVAL if nothing is bound; EOPNOTSUPP on other operation sockets.
        """
        self._check_open()
        if self._operation is not None:
            assert self._use is not None
            with self._operation.lock:
                twin = self._operation.clone()
            return self._accepted(twin, self._use.another()), None
        if self._transform is None:
            raise refused(errno.EINVAL, "bind the socket first")
        if self._half_open is not None:
            associated, self._half_open = self._half_open, None
            return self._accepted(associated, Use(self._transform)), None
        operation, use = self._transform.operation(self._room)
        if self._type == socket.SOCK_STREAM and isinstance(operation, Buffered):
            aead = isinstance(operation, AeadOperation)
            self._half_open = AssociatedData() if aead else None
            operation = Streamed(operation, self._half_open)
        return self._accepted(operation, use), None

    def _accepted(self, operation: Operation, use: Use) -> AlgSocket:
        made = AlgSocket(AF_ALG, self._type, framework=self._framework)
        made._operation, made._use = operation, use
        operation.changed = made._show
        return made

    # Operations.

    def sendmsg_afalg(
        self,
        msg: Iterable[BytesLike] = (),
        *,
        op: int,
        iv: BytesLike | None = None,
        assoclen: int | None = None,
        flags: int = 0,
    ) -> int:
        """
        Send a message with its parameters, as CPython's socket has it.

        Args:
            msg: Pieces of it.
            op: ALG_OP_ENCRYPT or ALG_OP_DECRYPT.
            iv: The IV, if not the one that the message before has left.
            assoclen: How many **bytes** at its beginning are associated data.
            flags: MSG_MORE if more follows.

        Returns:
            How many **bytes** were taken.

        Raises:
            OSError: as `sendmsg`.
        """
        if assoclen is not None and assoclen < 0:
            raise TypeError("assoclen must be positive")
        self._working().check_key()
        given = None if iv is None else bytes(flat(iv, "IV"))
        return self._send(_joined(msg), control.given(op, given, assoclen), flags)

    def sendmsg(
        self,
        buffers: Iterable[BytesLike],
        ancdata: Ancillary = (),
        flags: int = 0,
        address: object = None,
    ) -> int:
        """
        Send a message [Symmetric Cipher API, AEAD Cipher API].

        Args:
            buffers: Pieces of it.
            ancdata: ALG_SET_OP, ALG_SET_IV, ALG_SET_AEAD_ASSOCLEN at the level SOL_ALG.
            flags: MSG_MORE if more follows, MSG_DONTWAIT.
            address: None.

        Returns:
            How many **bytes** were taken.

        Raises:
            OSError: ENOKEY without a key; EINVAL for parameters that do not fit, and for a second
                message before the first one's answer is read; EAGAIN where it would wait;
                EOPNOTSUPP on a transform's socket.
        """
        self._working().check_key()
        return self._send(_joined(buffers), control.read(ancdata), flags)

    def send(self, data: BytesLike, flags: int = 0) -> int:
        """Send data without parameters [Message Digest API]: as `sendmsg`."""
        return self._send(flat(data, "data"), None, flags)

    def sendall(self, data: BytesLike, flags: int = 0) -> None:
        """Send all of the data; as `send`."""
        view = memoryview(flat(data, "data"))
        while True:
            taken = self._send(view, None, flags)
            view = view[taken:]
            if not view:
                return

    def sendto(self, data: BytesLike, *rest: Any) -> int:
        """Send as `send`; an address is ignored, as by the kernel."""
        return self.send(data, rest[0] if len(rest) == 2 else 0)

    def _send(self, data: bytes | memoryview, given: control.Control | None, flags: int) -> int:
        operation = self._working()
        deadline = self._deadline(flags)
        with operation.lock:
            if flags & MSG_OOB:
                return operation.restore(bytes(data))
            return operation.write(
                bytes(data), given, more=bool(flags & MSG_MORE), deadline=deadline
            )

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """
        Read an answer.

        Args:
            bufsize: The most **bytes**: of ciphers as many blocks as fit are read, of AEADs it must
                be all, of digests the rest is cut off, of generators 128 come at most.
            flags: MSG_DONTWAIT.

        Raises:
            OSError: EBADMSG if it does not verify; EINVAL if the length does not fit the
                algorithm; ENOKEY, EAGAIN, EOPNOTSUPP as `sendmsg`.
        """
        return self._recv(bufsize, flags)[0] if bufsize else self._nothing()

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read an answer into a buffer; as `recv`. Returns the number of **bytes**."""
        view = byteview(buffer)
        if nbytes < 0 or nbytes > len(view):
            raise ValueError("nbytes is 0, or no more than the buffer has room for")
        if not view:
            self._nothing()
            return 0
        answer = self._recv(nbytes or len(view), flags)[0]
        view[: len(answer)] = answer
        return len(answer)

    def _nothing(self) -> bytes:
        """Read no bytes, for which CPython does not even ask the kernel."""
        self._check_open()
        return b""

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, None]:
        """Read as `recv`; nobody has an address."""
        return self.recv(bufsize, flags), None

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[Any], int, None]:
        """Read as `recv`; MSG_TRUNC is in the flags of an answer that was cut off."""
        answer, truncated = self._recv(bufsize, flags)
        return answer, [], MSG_TRUNC if truncated else 0, None

    def recvmsg_into(
        self, buffers: Sequence[Any], ancbufsize: int = 0, flags: int = 0
    ) -> tuple[int, list[Any], int, None]:
        """Read into several buffers, one after the other; as `recvmsg`."""
        views = [byteview(buffer) for buffer in buffers]
        answer, truncated = self._recv(sum(map(len, views)), flags)
        at = 0
        for view in views:
            part = answer[at : at + len(view)]
            view[: len(part)] = part
            at += len(part)
        return len(answer), [], MSG_TRUNC if truncated else 0, None

    def _recv(self, count: int, flags: int) -> tuple[bytes, bool]:
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError("the size of a buffer is an int")
        if count < 0:
            raise ValueError("negative buffersize in recv")
        operation = self._working()
        deadline = self._deadline(flags)
        with operation.lock:
            return operation.recv(count, deadline)

    def _working(self) -> Operation:
        self._check_open()
        if self._operation is None:
            raise refused(errno.EOPNOTSUPP, "data go through an operation socket; accept one")
        return self._operation

    def _deadline(self, flags: int) -> Deadline:
        return Deadline(0.0 if flags & MSG_DONTWAIT else self._timeout)

    # Files.

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """
        Send a file's content [Zero-Copy Interface], 16 pages at a time; it is copied.

        As the last piece is sent without MSG_MORE, it ends the message.

        Args:
            file: A file opened in binary mode.
            offset: Where to begin, in **bytes**.
            count: How many **bytes**; None for all.

        Returns:
            How many **bytes** were sent.
        """
        if offset:
            file.seek(offset)
        sent = 0
        piece = _piece(file, count, 0)
        while True:
            following = _piece(file, count, sent + len(piece))
            self.sendall(piece, MSG_MORE if following else 0)
            sent += len(piece)
            if not following:
                return sent
            piece = following

    def splice(self, fd: int, count: int, *, more: bool = False) -> int:
        """
        Send what a pipe or file descriptor has, as splice(2) into the socket [Zero-Copy Interface].

        Args:
            fd: Where it is read.
            count: The most **bytes**; of more than 16 pages only those are taken.
            more: SPLICE_F_MORE: more of the message follows.

        Returns:
            How many **bytes** were sent; 0 at the end of the file.
        """
        data = os.read(fd, min(count, PAGES))
        return self.send(data, MSG_MORE if more else 0)

    def makefile(self, mode: str = "r", buffering: int | None = None, **text: Any) -> io.IOBase:
        """Make a file of the socket, as of other sockets; `mode` is ``rb``, ``wb`` or ``rwb``."""
        if not set(mode) <= set("rwb"):
            raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
        raw = _Raw(self, mode)
        size = io.DEFAULT_BUFFER_SIZE if buffering is None or buffering < 0 else buffering
        if size == 0:
            if "b" not in mode:
                raise ValueError("unbuffered streams must be binary")
            return raw
        buffered: Any
        if raw.readable() and raw.writable():
            buffered = io.BufferedRWPair(raw, raw, size)
        elif raw.readable():
            buffered = io.BufferedReader(raw, size)
        else:
            buffered = io.BufferedWriter(raw, size)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **text)

    # Waiting.

    def fileno(self) -> int:
        """
        Return a descriptor to wait on: readable when `recv` would not wait, always writable.

        Nothing else can be done with it. -1 once the socket is closed.
        """
        with self._lock:
            if self._closed:
                return -1
            if self._polled is None:
                self._polled = Polled()
            polled = self._polled
        self._show()
        return polled.fd

    def _show(self) -> None:
        polled, operation = self._polled, self._operation
        if polled is not None and operation is not None and not self._closed:
            with operation.lock:
                polled.show(readable=operation.is_readable())

    def settimeout(self, value: float | None) -> None:
        """Set how many seconds calls wait: None for ever, 0 not at all."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = value

    def gettimeout(self) -> float | None:
        """Return how many seconds calls wait."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """Wait for ever, or not at all."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """Tell whether calls wait at all."""
        return self._timeout != 0

    # The end.

    def _check_open(self) -> None:
        if self._closed:
            raise refused(errno.EBADF, "the socket is closed")

    def shutdown(self, how: int) -> None:
        """Refuse, as the kernel does (EOPNOTSUPP)."""
        self._check_open()
        raise refused(errno.EOPNOTSUPP, "sockets of AF_ALG are closed, not shut down")

    def connect(self, address: object) -> None:
        """Refuse, as the kernel does (EOPNOTSUPP)."""
        self._check_open()
        raise refused(errno.EOPNOTSUPP, "sockets of AF_ALG are bound, not connected")

    def getsockname(self) -> None:
        """Refuse, as the kernel does (EOPNOTSUPP)."""
        raise refused(errno.EOPNOTSUPP, "sockets of AF_ALG have no name to get")

    def detach(self) -> int:
        """Refuse: there is no descriptor of the kernel's to hand over."""
        raise refused(errno.EOPNOTSUPP, "there is no descriptor of the kernel's to hand over")

    def close(self) -> None:
        """Close the socket; with the last one of a transform its key is wiped. Again: nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            polled, self._polled = self._polled, None
        if self._operation is not None:
            self._operation.close()
            assert self._use is not None
            self._use.end()
        elif self._transform is not None:
            self._transform.leave()
        if polled is not None:
            polled.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: Kind,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self, warn: Any = warnings.warn) -> None:
        if not self._closed:
            warn(f"unclosed {self!r}", ResourceWarning, source=self)
            self.close()

    def __reduce__(self) -> str:
        raise TypeError("cannot pickle an AlgSocket")

    def __repr__(self) -> str:
        what = "operation" if self._operation is not None else "transform"
        transform = self._transform or (None if self._use is None else self._use.transform)
        name = "" if transform is None else f" {transform.bound.type} {transform.bound.name}"
        return f"<AlgSocket {what}{name}{' closed' if self._closed else ''}>"


class _Raw(io.RawIOBase):
    """What stands beneath the files of a socket."""

    def __init__(self, sock: AlgSocket, mode: str) -> None:
        self._sock = sock
        self._reads = "r" in mode or "w" not in mode
        self._writes = "w" in mode

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return self._writes

    def readinto(self, buffer: Any) -> int:
        return self._sock.recv_into(buffer)

    def write(self, data: Any) -> int:
        return self._sock.send(data)

    def fileno(self) -> int:
        return self._sock.fileno()


def _joined(pieces: Iterable[BytesLike]) -> bytes:
    return b"".join(bytes(flat(piece, "message")) for piece in pieces)


def _piece(file: IO[bytes], count: int | None, at: int) -> bytes:
    return file.read(PAGES if count is None else min(PAGES, count - at))
