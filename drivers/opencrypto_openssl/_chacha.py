"""
ChaCha20-Poly1305 (RFC 7634).

The library's object takes whole messages. One in pieces is put together of its ChaCha20 and its
Poly1305, as RFC 8439 section 2.8 says: the first block of the keystream is the authenticator's key,
and what is authenticated is padded, and followed by both lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

from opencrypto import Cryptoini
from opencrypto.chain import AeadTransform, Segments, TransformFactory
from opencrypto.constants import CRYPTO_CHACHA20_POLY1305
from opencrypto.xform import FACTS
from opencrypto_openssl._ccm import Whole

BLOCK: Final = 64
"""Bytes of a block of the keystream."""

PAD: Final = 16
"""Bytes of a block of the authenticator."""


class ChaCha(Whole):
    """ChaCha20-Poly1305, of messages whole or in pieces."""

    __slots__ = ("_context",)

    def __init__(
        self, new: Callable[[int], Any], salt: bytes, context: Callable[[bytes], Any]
    ) -> None:
        super().__init__(new, salt)
        self._context: Callable[[bytes], Any] | None = context

    def stream(self, iv: bytes, aad: Segments, encrypt: bool, maclen: int) -> ChaChaStream:
        """Begin a message that comes in pieces."""
        assert self._context is not None
        return ChaChaStream(self._context(self._salt + iv), aad, encrypt)

    def wipe(self) -> None:
        """Drop the keyed objects."""
        super().wipe()
        self._context = None


class ChaChaStream:
    """
    ChaCha20-Poly1305 in the midst of a message.

    Args:
        context: The library's ChaCha20, from its first block on.
        aad: The additional data.
        encrypt: Which way it goes.
    """

    __slots__ = ("_context", "_encrypt", "_lengths", "_mac")

    def __init__(self, context: Any, aad: Segments, encrypt: bool) -> None:
        self._context = context
        self._encrypt = encrypt
        self._mac: Any = Poly1305(context.update(bytes(BLOCK))[:32])
        self._lengths = [0, 0]
        self._authenticate(aad, 0)
        self._pad(0)

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt the next region in place, of any number of bytes."""
        if not self._encrypt:
            self._authenticate(parts, 1)
        for part in parts:
            self._context.update_into(part, part)
        if self._encrypt:
            self._authenticate(parts, 1)

    def _authenticate(self, parts: Segments, which: int) -> None:
        for part in parts:
            self._mac.update(part)
            self._lengths[which] += len(part)

    def _pad(self, which: int) -> None:
        self._mac.update(bytes(-self._lengths[which] % PAD))

    def _end(self) -> bytes:
        self._pad(1)
        self._mac.update(b"".join(length.to_bytes(8, "little") for length in self._lengths))
        return bytes(self._mac.finalize())

    def tag(self, maclen: int) -> bytes:
        """End a message that was encrypted; return its tag of `maclen` bytes."""
        return self._end()[:maclen]

    def verify(self, tag: bytes) -> bool:
        """End a message that was decrypted; tell whether that is its tag."""
        return compare_digest(self._end()[: len(tag)], tag)

    def wipe(self) -> None:
        """Drop both states, whose memory OpenSSL wipes."""
        self._context = self._mac = None


def _chacha(cri: Cryptoini) -> AeadTransform:
    key: Any = memoryview(cri.key or b"")
    facts = FACTS[CRYPTO_CHACHA20_POLY1305]
    salt = facts.salt if len(key) in facts.salted else 0
    plain = key[: len(key) - salt]

    def context(nonce: bytes) -> Any:
        return Cipher(ChaCha20(plain, bytes(4) + nonce), None).encryptor()  # from block 0 on

    return ChaCha(lambda maclen: ChaCha20Poly1305(plain), bytes(key[len(key) - salt :]), context)


FACTORIES: Final[Mapping[int, TransformFactory]] = {CRYPTO_CHACHA20_POLY1305: _chacha}
