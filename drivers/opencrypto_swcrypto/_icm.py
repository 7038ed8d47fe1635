"""AES-CTR with a whole counter block as its IV, and AES block by block, of which it is made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from Crypto.Cipher import AES
from Crypto.Util.strxor import strxor

from opencrypto.chain import BytesLike, Segments, TransformFactory, in_one_piece
from opencrypto.constants import CRYPTO_AES_ECB, CRYPTO_AES_ICM

BLOCK: Final = 16

SHORT: Final = 512
"""Up to this many bytes a kept ECB object is quicker than a new CTR object, which takes 9 us."""

ROUND: Final = 1 << 128
"""Where the counter begins with 0 again, as OpenSSL's does."""


class Ecb:
    """
    AES-ECB (SP 800-38A, 6.1): equal blocks become equal blocks.

    Objects of the library keep nothing but the key schedule, so threads may share this one.
    """

    __slots__ = ("_ecb",)

    def __init__(self, key: BytesLike) -> None:
        self._ecb: Any = AES.new(key, AES.MODE_ECB)

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt whole blocks in place."""
        work = self._ecb.encrypt if encrypt else self._ecb.decrypt
        in_one_piece(parts, lambda view: work(view, output=view))

    def wipe(self) -> None:
        """Drop the key's schedule in the library."""
        self._ecb = None


class Icm:
    """AES-CTR (SP 800-38A, 6.5); all 128 bits of the IV count, big-endian."""

    __slots__ = ("_ecb", "_key")

    def __init__(self, key: BytesLike) -> None:
        self._key: BytesLike = key
        self._ecb: Any = AES.new(key, AES.MODE_ECB)

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt, which is the same; any number of bytes."""
        if sum(map(len, parts)) <= SHORT:
            in_one_piece(parts, partial(self._short, int.from_bytes(iv)))
            return
        cipher = AES.new(self._key, AES.MODE_CTR, nonce=b"", initial_value=iv)
        for part in parts:
            cipher.encrypt(part, output=part)

    def _short(self, first: int, view: memoryview) -> None:
        size = len(view)
        counters = range(first, first + -(-size // BLOCK))
        blocks = b"".join([(counter % ROUND).to_bytes(BLOCK) for counter in counters])
        strxor(view, memoryview(self._ecb.encrypt(blocks))[:size], output=view)

    def wipe(self) -> None:
        """Drop the key, and its schedule in the library."""
        self._key = b""
        self._ecb = None


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_AES_ECB: lambda cri: Ecb(cri.key or b""),
    CRYPTO_AES_ICM: lambda cri: Icm(cri.key or b""),
}
