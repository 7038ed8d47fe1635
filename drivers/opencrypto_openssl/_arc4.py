"""RC4, as far as this OpenSSL has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher

from opencrypto.chain import Segments, TransformFactory
from opencrypto.constants import CRYPTO_ARC4
from opencrypto_openssl._library import made, present
from opencrypto_openssl._running import Running

KEYS: Final = frozenset(size // 8 for size in ARC4.key_sizes)
"""The key lengths in bytes that the library takes."""


class Arc4:
    """RC4. Each request begins the keystream anew: a key must protect one message and no more."""

    __slots__ = ("_algorithm",)

    def __init__(self, key: bytes) -> None:
        self._algorithm: ARC4 | None = ARC4(key)

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt, which is the same."""
        assert self._algorithm is not None
        context = Cipher(self._algorithm, None).encryptor()
        for part in parts:
            context.update_into(part, part)

    def stream(self, iv: bytes, encrypt: bool) -> Running:
        """Begin a message that comes in pieces."""
        assert self._algorithm is not None
        return Running(Cipher(self._algorithm, None).encryptor())

    def wipe(self) -> None:
        """Drop the key."""
        self._algorithm = None


FACTORIES: Final[Mapping[int, TransformFactory]] = present({CRYPTO_ARC4: partial(made, Arc4)})
