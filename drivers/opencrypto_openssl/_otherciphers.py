"""
The ciphers that today's IPsec does without, as far as this OpenSSL has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import (
    ARC4,
    CAST5,
    Blowfish,
    Camellia,
    TripleDES,
)
from cryptography.hazmat.primitives.ciphers import (
    BlockCipherAlgorithm,
    Cipher,
    CipherContext,
    modes,
)
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto import Cryptoini
from opencrypto.chain import Segments, TransformFactory, in_one_piece
from opencrypto.constants import (
    CRYPTO_AES_XTS,
    CRYPTO_ARC4,
    CRYPTO_BLF_CBC,
    CRYPTO_CAMELLIA_CBC,
    CRYPTO_CAST_CBC,
    CRYPTO_DES_CBC,
)
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS
from opencrypto_openssl._ciphers import Cbc

ARC4_KEYS: Final = frozenset(size // 8 for size in ARC4.key_sizes)
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

    def wipe(self) -> None:
        """Drop the key."""
        self._algorithm = None


class Xts:
    """AES-XTS (IEEE 1619) over whole blocks."""

    __slots__ = ("_algorithm",)

    def __init__(self, key: bytes) -> None:
        self._algorithm: AES | None = AES(key)
        self._context(bytes(16), True)  # so that a key with equal halves refuses the session

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt a region in place; `iv` is the tweak, 16 bytes little-endian."""
        in_one_piece(parts, partial(self._crypt, iv, encrypt))

    def _crypt(self, iv: bytes, encrypt: bool, view: memoryview) -> None:
        context = self._context(iv, encrypt)
        view[:] = context.update(view) + context.finalize()

    def _context(self, iv: bytes, encrypt: bool) -> CipherContext:
        assert self._algorithm is not None
        cipher = Cipher(self._algorithm, modes.XTS(iv))
        return cipher.encryptor() if encrypt else cipher.decryptor()

    def wipe(self) -> None:
        """Drop the key."""
        self._algorithm = None


def _des(key: bytes) -> TripleDES:
    """Make one DES out of three: E(D(E(x))) under one key is E(x)."""
    return TripleDES(key * 3)


def _made(make: Callable[[bytes], Any], cri: Cryptoini) -> Any:
    try:
        return make(bytes(cri.key or b""))
    except (UnsupportedAlgorithm, ValueError) as error:
        # The library's own words are left out: they could quote the key.
        raise UsageError(
            f"this OpenSSL takes no {FACTS[cri.alg].name} key like this ({type(error).__name__})"
        ) from None


def _cbc(algorithm: Callable[[bytes], BlockCipherAlgorithm]) -> TransformFactory:
    return partial(_made, lambda key: Cbc(algorithm(key)))


_WANTED: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_DES_CBC: _cbc(_des),
    CRYPTO_BLF_CBC: _cbc(Blowfish),
    CRYPTO_CAST_CBC: _cbc(CAST5),
    CRYPTO_CAMELLIA_CBC: _cbc(Camellia),
    CRYPTO_ARC4: partial(_made, Arc4),
    CRYPTO_AES_XTS: partial(_made, Xts),
}


def _is_there(alg: int, factory: TransformFactory) -> bool:
    """Tell whether this OpenSSL has an algorithm: some builds leave the old ones out."""
    key = bytes(range(32 if alg == CRYPTO_AES_XTS else 8 if alg == CRYPTO_DES_CBC else 16))
    try:
        transform: Any = factory(Cryptoini(alg, key))
        transform.crypt(bytes(FACTS[alg].iv), [memoryview(bytearray(16))], True)
    except (UsageError, UnsupportedAlgorithm):
        return False
    return True


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    alg: factory for alg, factory in _WANTED.items() if _is_there(alg, factory)
}
