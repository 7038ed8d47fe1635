"""
What ancillary data of SOL_ALG say of a request: direction, IV, and how much is associated data.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from opencrypto_algsocket.errors import refused
from opencrypto_algsocket.numbers import (
    ALG_OP_DECRYPT,
    ALG_OP_ENCRYPT,
    ALG_SET_AEAD_ASSOCLEN,
    ALG_SET_IV,
    ALG_SET_OP,
    SOL_ALG,
)


class Control(NamedTuple):
    """
    Attributes:
        encrypt: The direction; an IV without one means to decrypt, as in the kernel.
        iv: The IV, or None to go on with the one before.
        assoclen: How many **bytes** of the message are associated data.
    """

    encrypt: bool = False
    iv: bytes | None = None
    assoclen: int = 0


def read(ancillary: Iterable[tuple[int, int, Any]]) -> Control | None:
    """
    Read the ancillary data of one ``sendmsg``; other levels are ignored.

    Returns:
        What they say, or None if there are none.

    Raises:
        OSError: a type is unknown, or a value is malformed (EINVAL).
    """
    found = Control()
    messages = list(ancillary)
    for level, kind, data in messages:
        if level != SOL_ALG:
            continue
        value = bytes(data)
        if kind == ALG_SET_OP:
            found = found._replace(encrypt=_direction(_number(value)))
        elif kind == ALG_SET_IV:
            found = found._replace(iv=_iv(value))
        elif kind == ALG_SET_AEAD_ASSOCLEN:
            found = found._replace(assoclen=_number(value))
        else:
            raise refused(errno.EINVAL, f"no ancillary data of SOL_ALG have the type {kind}")
    return found if messages else None


def _number(value: bytes) -> int:
    if len(value) != 4:
        raise refused(errno.EINVAL, f"a number in ancillary data has 4 bytes, not {len(value)}")
    return int.from_bytes(value, sys.byteorder)


def _direction(op: int) -> bool:
    if op not in (ALG_OP_ENCRYPT, ALG_OP_DECRYPT):
        raise refused(errno.EINVAL, f"ALG_SET_OP is ALG_OP_ENCRYPT or ALG_OP_DECRYPT, not {op}")
    return op == ALG_OP_ENCRYPT


def _iv(value: bytes) -> bytes:
    length = _number(value[:4])
    if length != len(value) - 4:
        raise refused(errno.EINVAL, f"an IV said to have {length} bytes has {len(value) - 4}")
    return value[4:]


def given(op: int | None, iv: bytes | None, assoclen: int | None) -> Control:
    """
    Make the same of the arguments of ``sendmsg_afalg``.

    Raises:
        OSError: the direction is unknown (EINVAL).
    """
    return Control(False if op is None else _direction(op), iv, assoclen or 0)
