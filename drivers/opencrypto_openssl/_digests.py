"""Plain digests, by hashlib: it is the same OpenSSL, and quicker to call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from opencrypto import Cryptoini
from opencrypto.chain import MacTransform, TransformFactory
from opencrypto.constants import (
    CRYPTO_MD5,
    CRYPTO_SHA1,
    CRYPTO_SHA2_224,
    CRYPTO_SHA2_256,
    CRYPTO_SHA2_384,
    CRYPTO_SHA2_512,
    CRYPTO_SHA3_256,
    CRYPTO_SHA3_512,
)
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS


class Digest:
    """A hash without a key."""

    __slots__ = ("_new",)

    def __init__(self, new: Callable[..., Any]) -> None:
        self._new = partial(new, usedforsecurity=False)

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the digest of the parts, one after the other."""
        state = self._new()
        for part in parts:
            state.update(part)
        result: bytes = state.digest()
        return result


def _hash(new: Callable[..., Any], cri: Cryptoini) -> MacTransform:
    try:
        new(usedforsecurity=False)
    except ValueError:
        raise UsageError(f"this Python's hashlib has no {FACTS[cri.alg].name}") from None
    return Digest(new)


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_MD5: partial(_hash, hashlib.md5),
    CRYPTO_SHA1: partial(_hash, hashlib.sha1),
    CRYPTO_SHA2_224: partial(_hash, hashlib.sha224),
    CRYPTO_SHA2_256: partial(_hash, hashlib.sha256),
    CRYPTO_SHA2_384: partial(_hash, hashlib.sha384),
    CRYPTO_SHA2_512: partial(_hash, hashlib.sha512),
    CRYPTO_SHA3_256: partial(_hash, hashlib.sha3_256),
    CRYPTO_SHA3_512: partial(_hash, hashlib.sha3_512),
}
