"""
Keyed MD5 and SHA1 as IPsec first had them: ``H(key | fill | data | key | fill)``.

Sources: RFC 1828 (MD5), RFC 1852 (SHA1). The key is padded as a message of its own is, with its
length, to whole blocks; the last fill is the hash's own. Decrepit: HMAC replaced it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from opencrypto.chain import BytesLike, TransformFactory
from opencrypto.constants import CRYPTO_MD5_KPDK, CRYPTO_SHA1_KPDK
from opencrypto.transforms import HashStream

_BLOCK = 64


class Kpdk:
    """
    The authenticator under one key of any length.

    Args:
        name: ``md5`` or ``sha1``.
        key: The key.
    """

    def __init__(self, name: Literal["md5", "sha1"], key: BytesLike) -> None:
        self._key: BytesLike = key
        self._keyed: Any = hashlib.new(name, key, usedforsecurity=False)
        self._keyed.update(_fill(len(key), "little" if name == "md5" else "big"))

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole digest of a region."""
        running = self._keyed.copy()
        for part in parts:
            running.update(part)
        running.update(self._key)
        return bytes(running.digest())

    def stream(self) -> HashStream:
        """Begin a message that comes in pieces."""
        return HashStream(self._keyed.copy(), self._finish)

    def _finish(self, running: Any) -> bytes:
        running.update(self._key)
        return bytes(running.digest())

    def wipe(self) -> None:
        """Drop the key, and the keyed state."""
        self._key, self._keyed = b"", None


def _fill(length: int, byteorder: Literal["little", "big"]) -> bytes:
    """Return what a hash of 64-byte blocks appends to a message of `length` bytes."""
    zeros = -(length + 9) % _BLOCK
    return b"\x80" + bytes(zeros) + (length * 8).to_bytes(8, byteorder)


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_MD5_KPDK: lambda cri: Kpdk("md5", cri.key or b""),
    CRYPTO_SHA1_KPDK: lambda cri: Kpdk("sha1", cri.key or b""),
}
