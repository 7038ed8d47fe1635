"""RC4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from Crypto.Cipher import ARC4

from opencrypto import Cryptoini
from opencrypto.chain import BytesLike, Segments, TransformFactory
from opencrypto.constants import CRYPTO_ARC4
from opencrypto.exceptions import UsageError


class Arc4:
    """
    RC4. Each request begins the keystream anew: a key must protect one message and no more.
    """

    __slots__ = ("_key",)

    def __init__(self, key: BytesLike) -> None:
        self._key: BytesLike = key
        ARC4.new(key)  # so that a key the library does not take refuses the session

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt, which is the same."""
        cipher = ARC4.new(self._key)
        for part in parts:
            part[:] = cipher.encrypt(part)

    def wipe(self) -> None:
        """Drop the key."""
        self._key = b""


def _arc4(cri: Cryptoini) -> Arc4:
    try:
        return Arc4(cri.key or b"")
    except ValueError:
        raise UsageError(f"this pycryptodome takes no ARC4 key of {cri.klen} bits") from None


FACTORIES: Final[Mapping[int, TransformFactory]] = {CRYPTO_ARC4: _arc4}
