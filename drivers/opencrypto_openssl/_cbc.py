"""
Block ciphers in CBC mode. A later one is a row in `FACTORIES`.

A new context costs 1.5 us, as much as encrypting 2 KiB. So a session keeps its contexts and never
finalises them. They go on chaining: the next request's IV is folded into that chain, which gives
what a new context with that IV gives.

A context is taken from its list for one request and put back after it, so no two threads share
one; one that raised is not put back. List operations are atomic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5, Blowfish, TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto import Cryptoini
from opencrypto.chain import BytesLike, CipherTransform, Segments, TransformFactory, in_one_piece
from opencrypto.constants import (
    CRYPTO_3DES_CBC,
    CRYPTO_AES_CBC,
    CRYPTO_BLF_CBC,
    CRYPTO_CAMELLIA_CBC,
    CRYPTO_CAST_CBC,
    CRYPTO_DES_CBC,
)
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS
from opencrypto_openssl._library import made, present

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import Camellia
except ImportError:  # cryptography before 47 has it among the others
    from cryptography.hazmat.primitives.ciphers.algorithms import Camellia

KEPT: Final = 8
"""How many idle contexts of one direction a session keeps: as many threads run without waste."""

WHOLE: Final = 1 << 12
"""Up to this many bytes one call with a new output is quicker than two calls in place."""


class Cbc:
    """
    A block cipher of OpenSSL in CBC mode.

    Attributes:
        block: The block's size in bytes.
        encryptors: Of each idle context that encrypts, two bound methods, and the last block it
            put out, as a number.
        decryptors: Of each idle context that decrypts, two bound methods.
    """

    __slots__ = ("_algorithm", "_own_key", "block", "decryptors", "encryptors")

    def __init__(self, algorithm: BlockCipherAlgorithm, own_key: bytearray | None = None) -> None:
        self._own_key = own_key  # one that was made of the session's, to be wiped with it
        self._algorithm: BlockCipherAlgorithm | None = algorithm
        self.block = algorithm.block_size // 8
        self.encryptors: list[tuple[Callable[..., bytes], Callable[..., int], int]] = []
        self.decryptors: list[tuple[Callable[..., bytes], Callable[..., int]]] = []
        self.decryptors.append(self._decryptor())  # now, so that a bad key refuses the session

    def _cipher(self) -> Cipher[modes.CBC]:
        assert self._algorithm is not None
        return Cipher(self._algorithm, modes.CBC(bytes(self.block)))

    def _encryptor(self) -> tuple[Callable[..., bytes], Callable[..., int], int]:
        context = self._cipher().encryptor()
        return context.update, context.update_into, 0

    def _decryptor(self) -> tuple[Callable[..., bytes], Callable[..., int]]:
        context = self._cipher().decryptor()
        return context.update, context.update_into

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt whole blocks in place."""
        work = self.encrypt if encrypt else self.decrypt
        if len(parts) == 1:
            work(parts[0], 0, len(parts[0]), iv)
        else:
            in_one_piece(parts, lambda view: work(view, 0, len(view), iv))

    def encrypt(self, view: memoryview, start: int, end: int, iv: BytesLike) -> None:
        """Encrypt whole blocks, at least one, in place."""
        pool = self.encryptors
        try:
            update, update_into, previous = pool.pop()
        except IndexError:
            update, update_into, previous = self._encryptor()
        block = self.block
        second = start + block
        # The chain will XOR the last block it put out into the first: take that out, put the IV in.
        view[start:second] = (
            int.from_bytes(view[start:second], "big") ^ int.from_bytes(iv, "big") ^ previous
        ).to_bytes(block, "big")
        # What the chain goes on with is read from memory of our own: the consumer's thread may
        # write into its buffer, and would spoil the next request too.
        if end - start <= WHOLE:
            last = update(view[start:end])
            view[start:end] = last
            last = last[-block:]
        else:
            final = end - block
            # update_into asks for room for a block less one byte beyond what it puts out.
            update_into(view[start:final], view[start : end - 1])
            last = update(view[final:end])
            view[final:end] = last
        if len(pool) < KEPT:
            pool.append((update, update_into, int.from_bytes(last, "big")))

    def decrypt(self, view: memoryview, start: int, end: int, iv: BytesLike) -> None:
        """Decrypt whole blocks, at least one, in place."""
        pool = self.decryptors
        try:
            context = pool.pop()
        except IndexError:
            context = self._decryptor()
        update, update_into = context
        block = self.block
        update(iv)  # as the block before the first; what comes of it is of no use
        if end + block <= len(view):
            update_into(view[start:end], view[start : end + block])
        else:
            final = end - block
            if start < final:
                update_into(view[start:final], view[start : end - 1])
            view[final:end] = update(view[final:end])
        if len(pool) < KEPT:
            pool.append(context)

    def wipe(self) -> None:
        """Drop the contexts, whose key schedules OpenSSL wipes, and the key."""
        self._algorithm = None
        self.encryptors.clear()
        self.decryptors.clear()
        if self._own_key is not None:
            self._own_key[:] = bytes(len(self._own_key))


def _cbc(make: Callable[[Any], BlockCipherAlgorithm], cri: Cryptoini) -> CipherTransform:
    try:
        return Cbc(make(cri.key or b""))
    except UnsupportedAlgorithm:
        raise UsageError(f"this OpenSSL has no {FACTS[cri.alg].name}") from None


def _des(key: BytesLike) -> Cbc:
    """Make one DES out of three: E(D(E(x))) under one key is E(x)."""
    thrice: Any = bytearray(key) * 3
    return Cbc(TripleDES(thrice), thrice)


def _old(algorithm: Callable[[bytes], BlockCipherAlgorithm]) -> TransformFactory:
    return partial(made, lambda key: Cbc(algorithm(key)))


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_3DES_CBC: partial(_cbc, TripleDES),
    CRYPTO_AES_CBC: partial(_cbc, AES),
    **present(
        {
            CRYPTO_DES_CBC: partial(made, _des),
            CRYPTO_BLF_CBC: _old(Blowfish),
            CRYPTO_CAST_CBC: _old(CAST5),
            CRYPTO_CAMELLIA_CBC: _old(Camellia),
        }
    ),
}
