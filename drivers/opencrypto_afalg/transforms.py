"""
The transforms of `opencrypto.chain.ChainDriver` as calls of AF_ALG sockets.

One request is one ``sendmsg`` and one ``recv`` of exactly the size that comes back. What it needs
(direction, IV, length of the additional data) goes with it every time, since an operation socket
would otherwise use what it had before. A request that fails has changed nothing, and its socket is
closed.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeAlias

from opencrypto.chain import Segments, gather, scatter
from opencrypto_afalg.names import Form
from opencrypto_afalg.sockets import (
    ALG_SET_AEAD_ASSOCLEN,
    ALG_SET_IV,
    ALG_SET_OP,
    MSG_DONTWAIT,
    MSG_MORE,
    SOL_ALG,
    KernelBroke,
    KernelRefused,
    KernelTransform,
)
from opencrypto_afalg.zerocopy import LEAST, splice_parts

U32: Final = struct.Struct("=I")
DECRYPT: Final = (SOL_ALG, ALG_SET_OP, U32.pack(0))
ENCRYPT: Final = (SOL_ALG, ALG_SET_OP, U32.pack(1))
IOV_MAX: Final = 1024

COUNTERS: Final = frozenset({Form.COUNTER, Form.BLOCK_COUNTER})
"""Forms whose IV the kernel counts up, all 128 bits of it."""

SPLITTABLE: Final = COUNTERS | {Form.BLOCKS, Form.SINGLES, Form.NO_KEY}
"""Forms of which a request can be done in pieces."""

Control: TypeAlias = list[tuple[int, int, bytes]]


def control(encrypt: bool, iv: bytes) -> Control:
    """Return what goes beside the data of a cipher's request."""
    op = ENCRYPT if encrypt else DECRYPT
    if not iv:
        return [op]
    return [op, (SOL_ALG, ALG_SET_IV, U32.pack(len(iv)) + iv)]


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer with zeros."""
    buffer[:] = bytes(len(buffer))


def size_of(parts: Sequence[memoryview]) -> int:
    """Return the bytes of all segments."""
    return len(parts[0]) if len(parts) == 1 else sum(map(len, parts))


def exchange(
    operation: socket.socket,
    parts: Sequence[memoryview | bytes],
    ancillary: Sequence[tuple[int, int, bytes]],
    into: Sequence[memoryview | bytearray],
    wanted: int,
) -> None:
    """
    Send one request whole and receive its answer of `wanted` bytes, without waiting for either.

    Raises:
        KernelRefused: it does not fit the socket's buffer: waiting for room would be for ever.
        KernelBroke: the answer is shorter.
        OSError: what else the kernel says.
    """
    if len(parts) > IOV_MAX:
        parts = [b"".join(parts)]
    if operation.sendmsg(parts, ancillary, MSG_DONTWAIT) != sum(map(len, parts)):
        raise KernelRefused("the request does not fit the socket's buffer", errno.E2BIG)
    if len(into) == 1:
        got = operation.recv_into(into[0], len(into[0]), MSG_DONTWAIT)
    else:
        got, _, _, _ = operation.recvmsg_into(into, 0, MSG_DONTWAIT)
    if got != wanted:
        raise KernelBroke("the kernel answered with less than the request", errno.EIO)


def verify(
    operation: socket.socket,
    parts: Sequence[memoryview | bytes],
    ancillary: Sequence[tuple[int, int, bytes]],
    plain: bytearray,
    wanted: int,
) -> bool:
    """As `exchange`, for a request that verifies a tag; return False if it does not."""
    try:
        exchange(operation, parts, ancillary, [plain], wanted)
    except OSError as error:
        if error.errno != errno.EBADMSG:
            raise
        return False
    return True


def digest_of(operation: socket.socket, length: int) -> bytes:
    """Receive a hash of `length` bytes, of what has been sent."""
    digest = operation.recv(length)
    if len(digest) != length:
        raise KernelRefused("the hash has another length than expected")
    return digest


def crypt_once(
    transform: KernelTransform, ancillary: Control, parts: Segments, out: memoryview
) -> None:
    """Do one request of a cipher whose answer goes over `out`, which is as long."""
    total = len(out)

    def work(operation: socket.socket) -> None:
        transform.fit(operation, total)
        exchange(operation, parts, ancillary, [out], total)

    transform.once(work)


class Cipher:
    """A cipher of type ``skcipher``."""

    def __init__(self, transform: KernelTransform, form: Form, nonce: bytes = b"") -> None:
        self.transform = transform
        self.form = form
        self.nonce = nonce

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt the region in place; all of it or nothing."""
        if self.form is Form.COUNTER:
            iv = self.nonce + iv + b"\0\0\0\1"
        total = size_of(parts)
        small = total <= self.transform.piece
        if small and len(parts) == 1 and self.form is not Form.STREAM:
            crypt_once(self.transform, control(encrypt, iv), parts, parts[0])
            return
        whole = gather(parts)
        try:
            view = memoryview(whole)
            if self.form is Form.STREAM:
                self._alone(view, encrypt)
            elif small or self.form not in SPLITTABLE:
                crypt_once(self.transform, control(encrypt, iv), [view], view)
            else:
                self._pieces(iv, view, encrypt)
            scatter(parts, view)
        finally:
            wipe(whole)

    def _pieces(self, iv: bytes, view: memoryview, encrypt: bool) -> None:
        """
        Do a region in pieces, each a request of its own with the IV that chaining gives it.

        The kernel's own chaining would do for block modes, but it lives in the operation socket,
        and is wrong after a piece that is no whole number of blocks.
        """
        size = self.transform.piece & -16
        for start in range(0, len(view), size):
            piece = view[start : start + size]
            following = bytes(piece[-len(iv) :]) if iv and not encrypt else b""
            crypt_once(self.transform, control(encrypt, iv), [piece], piece)
            if self.form is Form.BLOCKS:
                iv = bytes(piece[-len(iv) :]) if encrypt else following
            elif self.form in COUNTERS:
                counter = int.from_bytes(iv) + size // 16
                iv = (counter % (1 << 128)).to_bytes(16)

    def _alone(self, view: memoryview, encrypt: bool) -> None:
        """
        Use a transform for one request only.

        Up to Linux 7.1 the key stream's state is in the transform, common to all its operation
        sockets and running on from request to request.
        """
        single = self.transform.single()
        try:
            crypt_once(single, control(encrypt, b""), [view], view)
        finally:
            single.close()


class Mac:
    """A hash or MAC of type ``hash``, of any length of data."""

    zerocopy = False
    """Whether large regions are handed over by splice; set before the first request."""

    def __init__(
        self, transform: KernelTransform, length: int, before: bytes = b"", after: bytes = b""
    ) -> None:
        self.transform = transform
        self.length = length
        self.before = before
        self.after = after

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole MAC of the region."""
        data: Sequence[memoryview | bytes] = parts
        if self.before:
            data = [self.before, *parts, self.after]
        return self.transform.once(partial(self._digest, data))

    def _digest(self, data: Sequence[memoryview | bytes], operation: socket.socket) -> bytes:
        if self.zerocopy and _splices(data):
            splice_parts(operation, data)
            data = [b""]
        # Sent even if empty: an answer to nothing sent could be an earlier request's.
        last = max(0, len(data) - 1) // IOV_MAX * IOV_MAX
        for at in range(0, last + 1, IOV_MAX):
            some = data[at : at + IOV_MAX]
            more = MSG_MORE if at < last else 0
            if operation.sendmsg(some, (), more) != sum(map(len, some)):
                raise KernelRefused("the hash took only a part of the data")
        return digest_of(operation, self.length)


def _splices(data: Sequence[memoryview | bytes]) -> bool:
    """Tell whether a region is worth splicing, and may be."""
    large = sum(map(len, data)) >= LEAST
    return large and all(isinstance(each, memoryview) and not each.readonly for each in data)


class Aead:
    """An authenticated cipher of type ``aead``; ``authenc`` too."""

    def __init__(self, transform: KernelTransform, form: Form, nonce: bytes = b"") -> None:
        self.transform = transform
        self.form = form
        self.nonce = nonce

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt the payload in place and return the tag of `maclen` bytes."""
        iv, aad = self._shape(iv, aad)
        length, extra = size_of(parts), size_of(aad)
        scratch, tag = bytearray(extra), bytearray(maclen)
        out = bytearray(length) if len(parts) != 1 else parts[0]
        self._seal(iv, [*aad, *parts], extra, [scratch, out, tag])
        if len(parts) > 1:
            scatter(parts, out)
        return bytes(tag)

    def _seal(
        self,
        iv: bytes,
        parts: Sequence[memoryview],
        extra: int,
        into: Sequence[bytearray | memoryview],
    ) -> None:
        transform, ancillary = self.transform, self._control(True, iv, extra)
        into = [each for each in into if len(each)]
        wanted = sum(map(len, into))

        def work(operation: socket.socket) -> None:
            transform.fit(operation, wanted)
            exchange(operation, parts, ancillary, into, wanted)

        transform.once(work)

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt the payload in place if the tag verifies; else leave it and return False."""
        iv, aad = self._shape(iv, aad)
        extra = size_of(aad)
        wanted = extra + size_of(parts)
        ancillary = self._control(False, iv, extra)
        transform = self.transform
        # Private: the kernel writes plaintext out before it has verified it. And never empty: an
        # answer of no bytes is given without verifying anything.
        plain = bytearray(max(1, wanted))

        def work(operation: socket.socket) -> bool:
            transform.fit(operation, wanted + len(tag))
            return verify(operation, [*aad, *parts, tag], ancillary, plain, wanted)

        try:
            if not transform.once(work):
                return False
            scatter(parts, memoryview(plain)[extra:wanted])
        finally:
            wipe(plain)
        return True

    @staticmethod
    def _control(encrypt: bool, iv: bytes, extra: int) -> Control:
        return [*control(encrypt, iv), (SOL_ALG, ALG_SET_AEAD_ASSOCLEN, U32.pack(extra))]

    def shape_iv(self, iv: bytes) -> bytes:
        """Return the IV as the kernel wants it."""
        match self.form:
            case Form.CCM:
                nonce = self.nonce + iv
                return (bytes([14 - len(nonce)]) + nonce).ljust(16, b"\0")
            case Form.SALTED | Form.PLAIN:
                return iv
        return self.nonce + iv

    def _shape(self, iv: bytes, aad: Segments) -> tuple[bytes, Segments]:
        return self.shape_iv(iv), aad
