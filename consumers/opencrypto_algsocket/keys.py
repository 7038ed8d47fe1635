"""
Keys as ``setsockopt`` gives them, and as the framework takes them.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Final

from opencrypto import CryptoError, Cryptoini, KeySerial
from opencrypto.chain import BytesLike
from opencrypto_algsocket.errors import as_kernel, refused
from opencrypto_algsocket.names import Bound

_ATTRIBUTE: Final = struct.Struct("=HH")
"""``struct rtattr``: the length with itself and what it holds, and the type."""

_KEYA_PARAM: Final = 1
"""CRYPTO_AUTHENC_KEYA_PARAM of crypto/authenc.h: one number, the cipher key's length."""


def chain_of(bound: Bound, key: BytesLike | KeySerial, taglen: int) -> list[Cryptoini]:
    """
    Make a session's parameters of a key.

    Args:
        bound: What the socket is bound to.
        key: As ``ALG_SET_KEY`` has it: of ``authenc`` a blob of both keys (`authenc_keys`).
        taglen: The **bytes** of tag, or 0 for the whole.

    Raises:
        OSError: the key has a wrong length, or is no such blob (EINVAL).
    """
    keys: Sequence[BytesLike | KeySerial] = [key]
    if bound.is_authenc:
        if isinstance(key, KeySerial):
            raise refused(errno.EINVAL, "authenc has two keys, and no serial number for both")
        keys = authenc_keys(bytes(key))
    parts = list(bound.parts)
    try:
        return [
            Cryptoini(
                part, each if part.takes_key else None, mlen=taglen if part is parts[-1] else 0
            )
            for part, each in zip(parts, keys, strict=True)
        ]
    except CryptoError as error:
        raise as_kernel(error) from None


def authenc_keys(blob: bytes | bytearray) -> Sequence[bytes | bytearray]:
    """
    Take the two keys of ``authenc`` out of the blob that Linux packs them in.

    An attribute (8 bytes, type 1) with the length of the cipher's key as 4 bytes big-endian, then
    the authenticator's key, then the cipher's (crypto/authenc.c).

    Returns:
        The cipher's key and the authenticator's.

    Raises:
        OSError: it is no such blob (EINVAL).
    """
    if len(blob) < 8:
        raise refused(errno.EINVAL, "a key of authenc begins with an attribute of 8 bytes")
    size, kind = _ATTRIBUTE.unpack_from(blob)
    length = int.from_bytes(blob[4:8], "big")
    if size != 8 or kind != _KEYA_PARAM or length > len(blob) - 8:
        raise refused(errno.EINVAL, "a key of authenc begins with its attribute; see authenc_key()")
    at = len(blob) - length
    return [blob[at:], blob[8:at]]


def authenc_key(cipher: bytes, auth: bytes) -> bytes:
    """
    Pack the two keys of ``authenc`` for ``ALG_SET_KEY``.

    Args:
        cipher: The cipher's key.
        auth: The authenticator's.
    """
    return _ATTRIBUTE.pack(8, _KEYA_PARAM) + len(cipher).to_bytes(4, "big") + auth + cipher
