"""The kernel's sockets by hand, for tests of what the kernel does and the driver builds on."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from opencrypto_afalg.sockets import (
    ALG_SET_AEAD_ASSOCLEN,
    ALG_SET_AEAD_AUTHSIZE,
    ALG_SET_IV,
    ALG_SET_KEY,
    ALG_SET_OP,
    SOL_ALG,
)

KEY, IV = bytes(range(16)), bytes(range(16, 32))
ENCRYPT, DECRYPT = 1, 0
Ancillary = list[tuple[int, int, bytes]]


def op(value: int) -> tuple[int, int, bytes]:
    """Direction."""
    return SOL_ALG, ALG_SET_OP, struct.pack("=I", value)


def iv(value: bytes) -> tuple[int, int, bytes]:
    """IV."""
    return SOL_ALG, ALG_SET_IV, struct.pack("=I", len(value)) + value


def assoclen(value: int) -> tuple[int, int, bytes]:
    """Length of the additional data."""
    return SOL_ALG, ALG_SET_AEAD_ASSOCLEN, struct.pack("=I", value)


@contextmanager
def bound(kind: str, name: str, key: bytes | None = None, tag: int = 0) -> Iterator[socket.socket]:
    """Open a transform socket."""
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0) as transform:
        transform.bind((kind, name))
        if key is not None:
            transform.setsockopt(SOL_ALG, ALG_SET_KEY, key)
        if tag:
            transform.setsockopt(SOL_ALG, ALG_SET_AEAD_AUTHSIZE, None, tag)
        yield transform


@contextmanager
def operation(
    kind: str, name: str, key: bytes | None = None, tag: int = 0
) -> Iterator[socket.socket]:
    """Open an operation socket, which outlives its transform socket."""
    with ExitStack() as stack:
        transform = stack.enter_context(bound(kind, name, key, tag))
        opened = transform.accept()[0]
        stack.close()
        with opened:
            yield opened


@contextmanager
def refused(*codes: int) -> Iterator[None]:
    """Expect one of these errors."""
    with pytest.raises(OSError) as refusal:
        yield
    assert refusal.value.errno in codes, errno.errorcode.get(refusal.value.errno or 0)
