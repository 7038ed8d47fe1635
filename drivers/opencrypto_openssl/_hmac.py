"""HMAC. A copy of a keyed state costs 0.2 us, a new one 1.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from opencrypto import Cryptoini
from opencrypto.chain import BytesLike, MacTransform, TransformFactory
from opencrypto.constants import (
    CRYPTO_MD5_HMAC,
    CRYPTO_MD5_HMAC_96,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA1_HMAC_96,
    CRYPTO_SHA2_224_HMAC,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SHA2_384_HMAC,
    CRYPTO_SHA2_512_HMAC,
)
from opencrypto.exceptions import UsageError


class Hmac:
    """
    RFC 2104; a key longer than the block is hashed first.

    Attributes:
        keyed: The keyed state, of which each request takes a copy; empty once wiped.
    """

    __slots__ = ("keyed",)

    def __init__(self, key: BytesLike, algorithm: hashes.HashAlgorithm) -> None:
        self.keyed = [HMAC(key, algorithm)]

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the MAC of the parts, one after the other."""
        state = self.keyed[0].copy()
        for part in parts:
            state.update(part)
        return state.finalize()

    def wipe(self) -> None:
        """Drop the keyed state; OpenSSL wipes its memory."""
        self.keyed.clear()


def _hmac(algorithm: hashes.HashAlgorithm, cri: Cryptoini) -> MacTransform:
    try:
        return Hmac(cri.key or b"", algorithm)
    except UnsupportedAlgorithm:
        raise UsageError(f"this OpenSSL has no HMAC with {algorithm.name}") from None


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_MD5_HMAC: partial(_hmac, hashes.MD5()),
    CRYPTO_MD5_HMAC_96: partial(_hmac, hashes.MD5()),
    CRYPTO_SHA1_HMAC: partial(_hmac, hashes.SHA1()),
    CRYPTO_SHA1_HMAC_96: partial(_hmac, hashes.SHA1()),
    CRYPTO_SHA2_224_HMAC: partial(_hmac, hashes.SHA224()),
    CRYPTO_SHA2_256_HMAC: partial(_hmac, hashes.SHA256()),
    CRYPTO_SHA2_384_HMAC: partial(_hmac, hashes.SHA384()),
    CRYPTO_SHA2_512_HMAC: partial(_hmac, hashes.SHA512()),
}
