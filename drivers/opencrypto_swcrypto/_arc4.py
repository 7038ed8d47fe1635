"""RC4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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

    def stream(self, iv: bytes, encrypt: bool) -> Arc4Running:
        """Begin a message that comes in pieces."""
        return Arc4Running(ARC4.new(self._key))

    def wipe(self) -> None:
        """Drop the key."""
        self._key = b""


class Arc4Running:
    """RC4 in the midst of a message: an object of the library, which goes on by itself."""

    __slots__ = ("_cipher",)

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher

    def crypt(self, parts: Segments) -> None:
        """Encrypt or decrypt, which is the same, the next region in place."""
        for part in parts:
            part[:] = self._cipher.encrypt(part)

    def wipe(self) -> None:
        """Drop the object, and with it the library's state."""
        self._cipher = None


def _arc4(cri: Cryptoini) -> Arc4:
    try:
        return Arc4(cri.key or b"")
    except ValueError:
        raise UsageError(f"this pycryptodome takes no ARC4 key of {cri.klen} bits") from None


FACTORIES: Final[Mapping[int, TransformFactory]] = {CRYPTO_ARC4: _arc4}
