"""
The ciphers that today's IPsec does without: by pycryptodome where it has them, else our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from Crypto.Cipher import ARC4, CAST, Blowfish

from opencrypto import Cryptoini
from opencrypto.chain import Segments, TransformFactory
from opencrypto.constants import (
    CRYPTO_AES_XTS,
    CRYPTO_ARC4,
    CRYPTO_BLF_CBC,
    CRYPTO_CAMELLIA_CBC,
    CRYPTO_CAST_CBC,
    CRYPTO_SKIPJACK_CBC,
)
from opencrypto.exceptions import UsageError
from opencrypto_swcrypto._blockwise import BlockwiseCbc
from opencrypto_swcrypto._camellia import Camellia
from opencrypto_swcrypto._ciphers import Cbc
from opencrypto_swcrypto._skipjack import Skipjack
from opencrypto_swcrypto._xts import Xts


class Arc4:
    """
    RC4. Each request begins the keystream anew: a key must protect one message and no more.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes | bytearray) -> None:
        self._key = key
        ARC4.new(key)  # so that a key the library does not take refuses the session

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt, which is the same."""
        cipher = ARC4.new(self._key)
        for part in parts:
            part[:] = cipher.encrypt(part)

    def wipe(self) -> None:
        """Drop the key."""
        self._key = b""


def _key(cri: Cryptoini) -> bytes:
    return bytes(cri.key or b"")


def _arc4(cri: Cryptoini) -> Arc4:
    try:
        return Arc4(_key(cri))
    except ValueError:
        raise UsageError(f"this pycryptodome takes no ARC4 key of {cri.klen} bits") from None


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_BLF_CBC: lambda cri: Cbc(Blowfish, _key(cri)),
    CRYPTO_CAST_CBC: lambda cri: Cbc(CAST, _key(cri)),
    CRYPTO_SKIPJACK_CBC: lambda cri: BlockwiseCbc(Skipjack(_key(cri))),
    CRYPTO_CAMELLIA_CBC: lambda cri: BlockwiseCbc(Camellia(_key(cri))),
    CRYPTO_ARC4: _arc4,
    CRYPTO_AES_XTS: lambda cri: Xts(_key(cri)),
}

OWN: Final = frozenset({CRYPTO_SKIPJACK_CBC, CRYPTO_CAMELLIA_CBC, CRYPTO_AES_XTS})
"""Those that no library of ours has."""
