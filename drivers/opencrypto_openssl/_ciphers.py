"""
Ciphers without authentication. A later one is a row in `FACTORIES`.

A new context costs 1.5 us, as much as encrypting 2 KiB. So a session keeps its contexts and never
finalises them. A CTR context takes a new nonce. A CBC context does not, but goes on chaining: the
next request's IV is folded into that chain, which gives what a new context with that IV gives.

A context is taken from its list for one request and put back after it, so no two threads share
one; one that raised is not put back. List operations are atomic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from opencrypto import Cryptoini
from opencrypto.chain import CipherTransform, Segments, TransformFactory, in_one_piece
from opencrypto.constants import (
    CRYPTO_3DES_CBC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_NULL_CBC,
)
from opencrypto.exceptions import UsageError
from opencrypto.xform import FACTS

KEPT: Final = 8
"""How many idle contexts of one direction a session keeps: as many threads run without waste."""

WHOLE: Final = 1 << 12
"""Up to this many bytes one call with a new output is quicker than two calls in place."""

BytesLike = bytes | bytearray | memoryview


class Null:
    """RFC 2410: the plaintext is the ciphertext."""

    __slots__ = ()

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Leave it as it is."""


class Cbc:
    """
    A block cipher of OpenSSL in CBC mode.

    Attributes:
        block: The block's size in bytes.
        encryptors: Of each idle context that encrypts, two bound methods, and the last block it
            put out, as a number.
        decryptors: Of each idle context that decrypts, two bound methods.
    """

    __slots__ = ("_algorithm", "block", "decryptors", "encryptors")

    def __init__(self, algorithm: BlockCipherAlgorithm) -> None:
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


class Ctr:
    """AES-CTR as RFC 3686 has it: nonce, IV, and a counter of 32 bits that begins with 1."""

    __slots__ = ("_algorithm", "_contexts", "_salt")

    def __init__(self, key: BytesLike) -> None:
        salt = FACTS[CRYPTO_AES_CTR].salt
        self._algorithm: AES | None = AES(memoryview(key)[:-salt])
        self._salt = bytes(key[-salt:])
        self._contexts: list[Any] = []

    def _take(self, iv: BytesLike) -> Any:
        nonce = b"".join((self._salt, iv, b"\0\0\0\1"))
        try:
            context = self._contexts.pop()
        except IndexError:
            assert self._algorithm is not None
            return Cipher(self._algorithm, modes.CTR(nonce)).encryptor()
        context.reset_nonce(nonce)
        return context

    def _give(self, context: Any) -> None:
        if len(self._contexts) < KEPT:
            self._contexts.append(context)

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt, which is the same; any number of bytes."""
        context = self._take(iv)
        for part in parts:
            context.update_into(part, part)
        self._give(context)

    def wipe(self) -> None:
        """Drop the contexts and the key."""
        self._algorithm = None
        self._salt = b""
        self._contexts.clear()


def _cbc(make: Callable[[Any], BlockCipherAlgorithm], cri: Cryptoini) -> CipherTransform:
    try:
        return Cbc(make(cri.key or b""))
    except UnsupportedAlgorithm:
        raise UsageError(f"this OpenSSL has no {FACTS[cri.alg].name}") from None


FACTORIES: Final[Mapping[int, TransformFactory]] = {
    CRYPTO_3DES_CBC: partial(_cbc, TripleDES),
    CRYPTO_AES_CBC: partial(_cbc, AES),
    CRYPTO_AES_CTR: lambda cri: Ctr(cri.key or b""),
    CRYPTO_NULL_CBC: lambda cri: Null(),
}
