"""
Block ciphers of pycryptodome in CBC mode. A later one is a row in `FACTORIES`.

pycryptodome spends 5 us (AES) to 17 us (3DES) on a new CBC object, and 2 us on using it. So a
session keeps its CBC objects and never ends their chain of blocks: the next request's IV is
folded into that chain, which gives the same result as a new object with that IV.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from Crypto.Cipher import AES, CAST, DES, DES3, Blowfish

from opencrypto import Cryptoini
from opencrypto.chain import BytesLike, CipherTransform, Segments, TransformFactory, in_one_piece
from opencrypto.constants import (
    CRYPTO_3DES_CBC,
    CRYPTO_AES_CBC,
    CRYPTO_BLF_CBC,
    CRYPTO_CAST_CBC,
    CRYPTO_DES_CBC,
)

KEPT: Final = 8
"""How many idle objects of one direction a session keeps: as many threads run without waste."""

WHOLE: Final = 1 << 16
"""Up to this many bytes one call with a new output is quicker than two calls in place."""


class Cbc:
    """
    Any block cipher of the library in CBC mode.

    An object is taken from its list for one request and put back after it, so no two threads
    share one; one that raised is not put back. List operations are atomic.
    """

    __slots__ = ("_block", "_decryptors", "_encryptors", "_key", "_module")

    def __init__(self, module: Any, key: BytesLike) -> None:
        self._module = module
        self._key: BytesLike = key
        self._block: int = module.block_size
        self._encryptors: list[tuple[Any, int]] = []
        self._decryptors: list[Any] = []
        self._decryptors.append(self._new())  # now, so that a bad key refuses the session

    def _new(self) -> Any:
        return self._module.new(self._key, self._module.MODE_CBC, iv=bytes(self._block))

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt whole blocks in place."""
        in_one_piece(parts, partial(self._encrypt if encrypt else self._decrypt, iv))

    def _encrypt(self, iv: bytes, view: memoryview) -> None:
        try:
            encryptor, previous = self._encryptors.pop()
        except IndexError:
            encryptor, previous = self._new(), 0
        block = self._block
        # The chain will XOR the last block it put out into the first: take that out, put the IV in.
        first = int.from_bytes(view[:block]) ^ int.from_bytes(iv) ^ previous
        view[:block] = first.to_bytes(block)
        # What the chain goes on with is read from memory of our own: the consumer's thread may
        # write into its buffer, and would spoil the next request too.
        if len(view) <= WHOLE:
            out = encryptor.encrypt(view)
            view[:] = out
            last = out[-block:]
        else:
            encryptor.encrypt(view[:-block], output=view[:-block])
            last = encryptor.encrypt(view[-block:])
            view[-block:] = last
        if len(self._encryptors) < KEPT:
            self._encryptors.append((encryptor, int.from_bytes(last)))

    def _decrypt(self, iv: bytes, view: memoryview) -> None:
        try:
            decryptor = self._decryptors.pop()
        except IndexError:
            decryptor = self._new()
        decryptor.decrypt(iv)  # as the block before the first; what comes of it is of no use
        decryptor.decrypt(view, output=view)
        if len(self._decryptors) < KEPT:
            self._decryptors.append(decryptor)

    def wipe(self) -> None:
        """Drop every object, and with it the library's key schedule."""
        self._encryptors.clear()
        self._decryptors.clear()
        self._key = b""


def _des3(cri: Cryptoini) -> Cbc:
    """
    Choose the module for a key of three DES keys.

    The library refuses 3DES keys that amount to one DES key; BSD's kernels take them. As
    E3(D2(E1(x))) is E3 where the first two are equal and E1 where the last two are, DES serves
    them. The lowest bit of each byte is parity, and counts for nothing.
    """
    key = memoryview(cri.key or b"")
    first, second, third = key[:8], key[8:16], key[16:]
    if _same_des_key(first, second):
        return Cbc(DES, third)
    if _same_des_key(second, third):
        return Cbc(DES, first)
    return Cbc(DES3, key)


def _same_des_key(one: memoryview, other: memoryview) -> bool:
    return not any((a ^ b) & 0xFE for a, b in zip(one, other, strict=True))


def _cbc(module: Any) -> TransformFactory:
    def factory(cri: Cryptoini) -> CipherTransform:
        return Cbc(module, cri.key or b"")

    return factory


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_DES_CBC: _cbc(DES),
    CRYPTO_3DES_CBC: _des3,
    CRYPTO_BLF_CBC: _cbc(Blowfish),
    CRYPTO_CAST_CBC: _cbc(CAST),
    CRYPTO_AES_CBC: _cbc(AES),
}
