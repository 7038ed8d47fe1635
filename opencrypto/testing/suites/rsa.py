"""
What RSA's schemes put around a power: PKCS #1's first encodings (RFC 8017), made and read.

A driver has powers and no schemes; vectors have schemes. What lies between the two is here.
"""

from __future__ import annotations

import hashlib
from typing import Final

from opencrypto.testing.suites.subject import RefusedError

_IDENTIFIERS: Final = {
    "sha1": "06052b0e03021a",
    "sha224": "0609608648016503040204",
    "sha256": "0609608648016503040201",
    "sha384": "0609608648016503040202",
    "sha512": "0609608648016503040203",
    "sha512_224": "0609608648016503040205",
    "sha512_256": "0609608648016503040206",
    "sha3_224": "0609608648016503040207",
    "sha3_256": "0609608648016503040208",
    "sha3_384": "0609608648016503040209",
    "sha3_512": "060960864801650304020a",
}
"""The object identifiers of hashes in DER: RFC 8017, B.1; those of SHA-3 from NIST's register."""


def hash_name(name: str) -> str:
    """Return hashlib's name of a hash that collections call ``SHA-512/256`` or ``SHA2-256``."""
    plain = name.lower().replace("/", "_")
    return plain.replace("sha2-", "sha").replace("sha3-", "sha3_").replace("sha-", "sha")


def encoded(name: str, message: bytes, length: int) -> bytes:
    """
    Encode a message for a signature, EMSA-PKCS1-v1_5 (RFC 8017, 9.2).

    Raises:
        RefusedError: this Python has no such hash, or the modulus is too small for it.
    """
    plain = hash_name(name)
    try:
        digest = hashlib.new(plain, message, usedforsecurity=False).digest()
        identifier = bytes.fromhex(_IDENTIFIERS[plain])
    except (KeyError, ValueError):
        raise RefusedError(f"nothing is known of a hash {name}") from None
    algorithm = bytes([0x30, len(identifier) + 2]) + identifier + b"\x05\x00"
    info = algorithm + bytes([0x04, len(digest)]) + digest
    info = bytes([0x30, len(info)]) + info
    if length < len(info) + 11:
        raise RefusedError("the modulus is too small for the hash")
    return b"\x00\x01" + b"\xff" * (length - len(info) - 3) + b"\x00" + info


def decoded(block: bytes) -> bytes | None:
    """Read a block of RSAES-PKCS1-v1_5 (RFC 8017, 7.2.2); None if it is none."""
    end = block.find(b"\0", 2)
    if block[:2] != b"\x00\x02" or end < 10:
        return None
    return block[end + 1 :]
