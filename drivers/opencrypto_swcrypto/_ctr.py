"""
AES in counter mode, for one key and many nonces.

pycryptodome spends 9 us on a new CTR object. For a short message it is quicker to have an ECB
object, which a session can keep, encrypt the counter blocks, and to XOR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from Crypto.Cipher import AES
from Crypto.Util.strxor import strxor

from opencrypto.chain import BytesLike, Segments, TransformFactory, in_one_piece
from opencrypto.constants import CRYPTO_AES_CTR
from opencrypto.xform import FACTS
from opencrypto_swcrypto._running import Running

BLOCK: Final = 16

SHORT: Final = 8192
"""Up to this many bytes the kept object is quicker than a new one."""

COUNTERS: Final = [b"", *((n).to_bytes(4) for n in range(1, SHORT // BLOCK + 2))]
"""To be joined by a nonce, which gives the nonce before each but the first."""


class Counter:
    """
    The blocks E(nonce, 1), E(nonce, 2) and so on; the counter has 32 bits.

    ECB objects of the library keep nothing but the key schedule, so threads may share this one.
    """

    __slots__ = ("_ecb", "_key")

    def __init__(self, key: BytesLike) -> None:
        self._key: BytesLike = key
        self._ecb: Any = AES.new(key, AES.MODE_ECB)

    def encrypt(self, block: bytes) -> bytes:
        """Encrypt a block as it is."""
        encrypted: bytes = self._ecb.encrypt(block)
        return encrypted

    def stream(self, nonce: bytes, size: int) -> memoryview:
        """Return the keystream that `size` bytes take, and up to a block more: `SHORT` + 16."""
        blocks = -(-size // BLOCK)
        return memoryview(self._ecb.encrypt(nonce.join(COUNTERS[: blocks + 1])))

    def cipher(self, nonce: bytes) -> Any:
        """Return a new object of the library that begins with counter 1."""
        return AES.new(self._key, AES.MODE_CTR, nonce=nonce, initial_value=1)

    def gcm(self, nonce: bytes, maclen: int) -> Any:
        """Return a new object of the library in Galois/Counter mode."""
        return AES.new(self._key, AES.MODE_GCM, nonce=nonce, mac_len=maclen)

    def wipe(self) -> None:
        """Drop the key, and its schedule in the library."""
        self._key = b""
        self._ecb = None


class Ctr:
    """AES-CTR as RFC 3686 has it: nonce, IV, and a counter of 32 bits that begins with 1."""

    __slots__ = ("_counter", "_nonce")

    def __init__(self, key: BytesLike) -> None:
        salt = FACTS[CRYPTO_AES_CTR].salt
        self._counter = Counter(memoryview(key)[:-salt])
        self._nonce = bytes(key[-salt:])

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt, which is the same; any number of bytes."""
        nonce = self._nonce + iv
        if sum(map(len, parts)) <= SHORT:
            in_one_piece(parts, lambda view: self._short(nonce, view))
            return
        cipher = self._counter.cipher(nonce)
        for part in parts:
            cipher.encrypt(part, output=part)

    def _short(self, nonce: bytes, view: memoryview) -> None:
        size = len(view)
        strxor(view, self._counter.stream(nonce, size)[:size], output=view)

    def stream(self, iv: bytes, encrypt: bool) -> Running:
        """Begin a message that comes in pieces."""
        return Running(self._counter.cipher(self._nonce + iv))

    def wipe(self) -> None:
        """Drop the key."""
        self._counter.wipe()
        self._nonce = b""


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_CTR: lambda cri: Ctr(cri.key or b""),
}
