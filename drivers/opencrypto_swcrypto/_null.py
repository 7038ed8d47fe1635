"""The null algorithms, which protect nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from opencrypto.chain import Segments, TransformFactory
from opencrypto.constants import CRYPTO_NULL_CBC, CRYPTO_NULL_HMAC
from opencrypto.xform import FACTS


class NullCipher:
    """RFC 2410: the plaintext is the ciphertext."""

    __slots__ = ()

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Leave it as it is."""


class NullMac:
    """NetBSD's NULL_HMAC: zeros."""

    __slots__ = ()

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return zeros."""
        return bytes(FACTS[CRYPTO_NULL_HMAC].digest)


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_NULL_CBC: lambda cri: NullCipher(),
    CRYPTO_NULL_HMAC: lambda cri: NullMac(),
}
