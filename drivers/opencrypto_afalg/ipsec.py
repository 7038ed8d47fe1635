"""
GCM and GMAC under the names that the kernel has for IPsec, for devices that have no others.

``rfc4106(gcm(aes))`` takes additional data of 8 or 12 bytes only, and ``rfc4543(gcm(aes))`` no
fewer than 16 bytes in all. Requests of other lengths are handed back, and migrate.
"""

from __future__ import annotations

import errno
from hmac import compare_digest
from typing import Final

from opencrypto import Alg
from opencrypto.chain import Segments
from opencrypto.selftest import Answer
from opencrypto_afalg.sockets import KernelRefused
from opencrypto_afalg.transforms import Aead, size_of

AAD: Final = (8, 12)
"""Bytes of additional data: SPI and sequence number, the short one and the extended one."""

HEAD: Final = 16
"""Bytes that rfc4543 wants as additional data, for the kernel takes the last 8 for the IV."""

TAG: Final = 16
"""Bytes of tag that rfc4543 gives, never fewer."""

ANSWER: Final = Answer(
    alg=Alg.AES_GCM_16,
    key=bytes.fromhex("7d773d00c144c525ac619d18c84a3f47d9664267"),
    iv=bytes.fromhex("43457e9182443bc6"),
    aad=bytes.fromhex("335467aeffffffff"),
    input=bytes.fromhex("01020201"),
    output=bytes.fromhex("437f866b"),
    mac=bytes.fromhex("cb3f699fe9b0822bac961c4504bef270"),
    source="draft-mcgrew-gcm-test-01, test case 12",
)
"""A known answer that rfc4106 can give; the usual one has longer additional data."""


class Esp(Aead):
    """GCM as RFC 4106 has it: the IV travels at the end of the additional data too."""

    def _shape(self, iv: bytes, aad: Segments) -> tuple[bytes, Segments]:
        if size_of(aad) not in AAD:
            raise KernelRefused("rfc4106 takes 8 or 12 bytes of additional data", errno.EINVAL)
        return iv, [*aad, memoryview(iv)]


class Gmac(Aead):
    """GMAC as RFC 4543 has it: what is authenticated is all there is, and comes back as it was."""

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Return the tag of `maclen` bytes."""
        return self._tag(iv, aad)[:maclen]

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Tell whether the tag verifies, made anew: the kernel would take none but a whole one."""
        return compare_digest(self._tag(iv, aad)[: len(tag)], tag)

    def _tag(self, iv: bytes, aad: Segments) -> bytes:
        length = size_of(aad)
        if length < HEAD:
            raise KernelRefused("rfc4543 authenticates 16 bytes or more", errno.EINVAL)
        out = bytearray(length + TAG)
        self._seal(iv, aad, HEAD, [out])
        return bytes(out[length:])
