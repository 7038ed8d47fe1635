"""
What RSA's schemes put around a power: PKCS #1's encodings (RFC 8017), made and read.

A driver has powers and no schemes; vectors have schemes. What lies between the two is here.
"""

from __future__ import annotations

import hashlib
import itertools
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
    digest = hashed(name, message)
    try:
        identifier = bytes.fromhex(_IDENTIFIERS[hash_name(name)])
    except KeyError:
        raise RefusedError(f"signatures of this kind have no hash {name}") from None
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


def hashed(name: str, data: bytes) -> bytes:
    """
    Hash something before a driver sees it, or after, by the name that collections give a hash.

    Raises:
        RefusedError: this Python has no such hash.
    """
    try:
        return hashlib.new(hash_name(name), data, usedforsecurity=False).digest()
    except ValueError:
        raise RefusedError(f"this Python has no hash {name}") from None


def _mask(name: str, seed: bytes, length: int) -> bytes:
    """Make a mask, MGF1 (RFC 8017, B.2.1)."""
    made = b""
    for counter in itertools.count():
        if len(made) >= length:
            break
        made += hashed(name, seed + counter.to_bytes(4))
    return made[:length]


def _unmasked(masked: bytes, name: str, seed: bytes) -> bytes:
    mask = _mask(name, seed, len(masked))
    return bytes(a ^ b for a, b in zip(masked, mask, strict=True))


def decoded_oaep(block: bytes, name: str, mask_name: str, label: bytes) -> bytes | None:
    """Read a block of RSAES-OAEP (RFC 8017, 7.1.2); None if it is none."""
    wanted = hashed(name, label)
    size = len(wanted)
    if len(block) < 2 * size + 2:
        return None
    masked_seed, masked = block[1 : 1 + size], block[1 + size :]
    data = _unmasked(masked, mask_name, _unmasked(masked_seed, mask_name, masked))
    padding, one, message = data[size:].partition(b"\1")
    if block[0] or data[:size] != wanted or padding.strip(b"\0") or not one:
        return None
    return message


def verifies_pss(
    block: int, bits: int, name: str, mask_name: str, salt: int, message: bytes
) -> bool:
    """
    Tell whether a block is the encoding of a message, EMSA-PSS (RFC 8017, 9.1.2).

    Args:
        block: The power of the signature.
        bits: Of the modulus.
        name: The hash of the message.
        mask_name: The hash of the mask.
        salt: Length of the salt in **bytes**.
        message: The message.
    """
    digest = hashed(name, message)
    size, length = len(digest), (bits + 6) // 8
    if block.bit_length() > bits - 1 or length < size + salt + 2:
        return False
    encoded_block = block.to_bytes(length)
    masked, wanted = encoded_block[: -size - 1], encoded_block[-size - 1 : -1]
    data = bytearray(_unmasked(masked, mask_name, wanted))
    data[0] &= 0xFF >> (8 * length - (bits - 1))
    zeros = length - size - salt - 2
    if encoded_block[-1] != 0xBC or data[:zeros].strip(b"\0") or data[zeros] != 1:
        return False
    return hashed(name, bytes(8) + digest + bytes(data[zeros + 1 :])) == wanted
