"""
The algorithms of ESP, as data: which framework algorithm serves each, its lengths, and its RFC.

All sizes are in **bytes**. Key lengths include the salt or nonce that RFC 3686, 4106 and 4543 put
at the end of the keying material, as the framework's sessions take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from opencrypto import (
    CRYPTO_3DES_CBC,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_192_GMAC,
    CRYPTO_AES_256_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_GMAC,
    CRYPTO_MD5_HMAC_96,
    CRYPTO_SHA1_HMAC_96,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SHA2_384_HMAC,
    CRYPTO_SHA2_512_HMAC,
)


@dataclass(frozen=True, slots=True)
class Encryption:
    """
    An encryption transform.

    Attributes:
        alg: The framework's algorithm, or None for NULL (RFC 2410), which needs none.
        keys: The key lengths it takes.
        iv: What stands between the sequence number and the payload.
        align: What payload, padding and trailer are together a multiple of; ESP itself wants 4.
        tags: For combined modes, the authenticating algorithm by key length.
        icv: The ICV of a combined mode; 0 for the others, whose SA names an `Integrity`.
        hides: Whether the payload is encrypted (not with NULL and AES-GMAC).
        counter: Whether two packets with one IV under one key give each other away.
        source: Where it is specified.
    """

    name: str
    source: str
    alg: int | None
    keys: frozenset[int]
    iv: int = 0
    align: int = 4
    tags: Mapping[int, int] = field(default_factory=dict)
    icv: int = 0
    hides: bool = True
    counter: bool = False


@dataclass(frozen=True, slots=True)
class Integrity:
    """An integrity transform: the framework's algorithm, its one key length, its ICV's length."""

    name: str
    source: str
    alg: int
    key: int
    icv: int


_SALTED_AES: Final = frozenset({20, 28, 36})
_TAGS: Final = {20: CRYPTO_AES_128_GMAC, 28: CRYPTO_AES_192_GMAC, 36: CRYPTO_AES_256_GMAC}

ENCRYPTIONS: Final[Mapping[str, Encryption]] = {
    suite.name: suite
    for suite in (
        Encryption("null", "RFC 2410", None, frozenset({0}), hides=False),
        Encryption("3des-cbc", "RFC 2451", CRYPTO_3DES_CBC, frozenset({24}), iv=8, align=8),
        Encryption(
            "aes-cbc", "RFC 3602", CRYPTO_AES_CBC, frozenset({16, 24, 32}), iv=16, align=16
        ),
        Encryption("aes-ctr", "RFC 3686", CRYPTO_AES_CTR, _SALTED_AES, iv=8, counter=True),
        Encryption(
            "aes-gcm-16", "RFC 4106", CRYPTO_AES_GCM_16, _SALTED_AES,
            iv=8, tags=_TAGS, icv=16, counter=True,
        ),
        Encryption(
            "aes-gmac", "RFC 4543", CRYPTO_AES_GMAC, _SALTED_AES,
            iv=8, tags=_TAGS, icv=16, hides=False, counter=True,
        ),
    )
}  # fmt: skip
"""The encryption transforms by the name that an SA file gives them."""

INTEGRITIES: Final[Mapping[str, Integrity]] = {
    suite.name: suite
    for suite in (
        Integrity("hmac-md5-96", "RFC 2403", CRYPTO_MD5_HMAC_96, 16, 12),
        Integrity("hmac-sha1-96", "RFC 2404", CRYPTO_SHA1_HMAC_96, 20, 12),
        Integrity("hmac-sha2-256-128", "RFC 4868", CRYPTO_SHA2_256_HMAC, 32, 16),
        Integrity("hmac-sha2-384-192", "RFC 4868", CRYPTO_SHA2_384_HMAC, 48, 24),
        Integrity("hmac-sha2-512-256", "RFC 4868", CRYPTO_SHA2_512_HMAC, 64, 32),
    )
}
"""The integrity transforms by the name that an SA file gives them."""
