"""
The deterministic random bit generators of SP 800-90A Rev. 1: Hash_DRBG, HMAC_DRBG and CTR_DRBG.

Each class is one mechanism: a state that is instantiated from entropy input, nonce and
personalization, updated by each request, and wiped. Where entropy comes from, how often a state is
seeded anew and who may ask is not known here; see `opencrypto_swcrypto._rngs`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import ClassVar, Final, Protocol

from Crypto.Cipher import AES

__all__ = ["MOST_AT_ONCE", "CtrDrbg", "HashDrbg", "HmacDrbg", "Mechanism"]

MOST_AT_ONCE: Final = 1 << 16
"""The most **bytes** of one request: 2**19 bits (SP 800-90A, tables 2 and 3)."""

_STRENGTHS: Final = {
    "sha1": 16, "sha224": 24, "sha512_224": 24,
    "sha256": 32, "sha512_256": 32, "sha384": 32, "sha512": 32,
}  # fmt: skip
"""Security strengths in **bytes** (SP 800-57 part 1, table 3, for random number generation)."""

_BLOCK: Final = 16


class Mechanism(Protocol):
    """
    What each of the three is, once it is instantiated.

    Attributes:
        strength: The security strength in **bytes**, which is the entropy that a seed must have.
    """

    strength: int

    def reseed(self, entropy: bytes, additional: bytes) -> None:
        """Mix new entropy, and additional input, into the state."""

    def generate(self, count: int, additional: bytes) -> bytes:
        """Return `count` pseudorandom bytes, `MOST_AT_ONCE` at most, and move the state on."""

    def wipe(self) -> None:
        """Overwrite the state; the generator is of no use afterwards."""


class HashDrbg:
    """
    Hash_DRBG (SP 800-90A, 10.1.1).

    Args:
        digest: The hash function's name, as hashlib has it.
        seed: Entropy input, nonce and personalization string, joined in this order.
    """

    def __init__(self, digest: str, seed: bytes) -> None:
        self._digest = digest
        self.strength = _STRENGTHS[digest]
        self._size = 111 if digest in ("sha384", "sha512") else 55
        self._value = bytearray(self._size)
        self._constant = bytearray(self._size)
        self._count = 1
        self._begin(seed)

    def _begin(self, seed: bytes) -> None:
        self._value[:] = self._derived(seed)
        self._constant[:] = self._derived(b"\x00" + self._value)
        self._count = 1

    def reseed(self, entropy: bytes, additional: bytes) -> None:
        """Mix new entropy, and additional input, into the state."""
        self._begin(b"\x01" + self._value + entropy + additional)

    def generate(self, count: int, additional: bytes) -> bytes:
        """Return `count` pseudorandom bytes, and move the state on."""
        if additional:
            self._add(self._hash(b"\x02" + self._value + additional))
        answer = self._stream(count)
        self._add(self._hash(b"\x03" + self._value), self._constant, self._count.to_bytes(8, "big"))
        self._count += 1
        return answer

    def wipe(self) -> None:
        """Overwrite the state."""
        self._value[:] = bytes(self._size)
        self._constant[:] = bytes(self._size)

    def _hash(self, data: bytes) -> bytes:
        return hashlib.new(self._digest, data).digest()

    def _derived(self, data: bytes) -> bytes:
        """Return as many bytes as the seed has, derived from `data` (Hash_df, 10.3.1)."""
        bits = (self._size * 8).to_bytes(4, "big")
        made, counter = b"", 1
        while len(made) < self._size:
            made += self._hash(bytes((counter,)) + bits + data)
            counter += 1
        return made[: self._size]

    def _stream(self, count: int) -> bytes:
        """Return the hashes of the value and what follows it (Hashgen, 10.1.1.4)."""
        made, value = b"", int.from_bytes(self._value, "big")
        modulus = 1 << self._size * 8
        parts = []
        size = hashlib.new(self._digest).digest_size
        for _ in range(-(-count // size)):
            parts.append(self._hash(value.to_bytes(self._size, "big")))
            value = (value + 1) % modulus
        made = b"".join(parts)
        return made[:count]

    def _add(self, *numbers: bytes | bytearray) -> None:
        total = int.from_bytes(self._value, "big")
        total += sum(int.from_bytes(number, "big") for number in numbers)
        self._value[:] = (total % (1 << self._size * 8)).to_bytes(self._size, "big")


class HmacDrbg:
    """
    HMAC_DRBG (SP 800-90A, 10.1.2).

    Args:
        digest: The hash function's name, as hashlib has it.
        seed: Entropy input, nonce and personalization string, joined in this order.
    """

    def __init__(self, digest: str, seed: bytes) -> None:
        self._digest = digest
        self.strength = _STRENGTHS[digest]
        size = hashlib.new(digest).digest_size
        self._key = bytearray(size)
        self._value = bytearray(b"\x01" * size)
        self._update(seed)

    def reseed(self, entropy: bytes, additional: bytes) -> None:
        """Mix new entropy, and additional input, into the state."""
        self._update(entropy + additional)

    def generate(self, count: int, additional: bytes) -> bytes:
        """Return `count` pseudorandom bytes, and move the state on."""
        if additional:
            self._update(additional)
        parts = []
        for _ in range(-(-count // len(self._value))):
            self._step()
            parts.append(bytes(self._value))
        self._update(additional)
        return b"".join(parts)[:count]

    def wipe(self) -> None:
        """Overwrite the state."""
        self._key[:] = bytes(len(self._key))
        self._value[:] = bytes(len(self._value))

    def _update(self, data: bytes) -> None:
        """Replace key and value (HMAC_DRBG_Update, 10.1.2.2)."""
        for mark in (b"\x00", b"\x01") if data else (b"\x00",):
            self._key[:] = hmac.digest(self._key, self._value + mark + data, self._digest)
            self._step()

    def _step(self) -> None:
        self._value[:] = hmac.digest(self._key, self._value, self._digest)


class CtrDrbg:
    """
    CTR_DRBG with AES and the derivation function (SP 800-90A, 10.2.1).

    Args:
        keylen: The AES key's length in **bytes**: 16, 24 or 32.
        seed: Entropy input, nonce and personalization string, joined in this order.
    """

    _FIXED: ClassVar = bytes(range(32))
    """The key of the derivation function, as long as it is needed (10.3.2, step 8)."""

    def __init__(self, keylen: int, seed: bytes) -> None:
        self.strength = keylen
        self._size = keylen + _BLOCK
        self._key = bytearray(keylen)
        self._value = bytearray(_BLOCK)
        self._update(self._derived(seed))

    def reseed(self, entropy: bytes, additional: bytes) -> None:
        """Mix new entropy, and additional input, into the state."""
        self._update(self._derived(entropy + additional))

    def generate(self, count: int, additional: bytes) -> bytes:
        """Return `count` pseudorandom bytes, and move the state on."""
        mixed = self._derived(additional) if additional else bytes(self._size)
        if additional:
            self._update(mixed)
        answer = self._stream(count)
        self._update(mixed)
        return answer

    def wipe(self) -> None:
        """Overwrite the state."""
        self._key[:] = bytes(len(self._key))
        self._value[:] = bytes(_BLOCK)

    def _update(self, data: bytes) -> None:
        """Replace key and value (CTR_DRBG_Update, 10.2.1.2)."""
        stream = self._stream(self._size)
        mixed = int.from_bytes(stream, "big") ^ int.from_bytes(data, "big")
        made = mixed.to_bytes(self._size, "big")
        self._key[:] = made[:-_BLOCK]
        self._value[:] = made[-_BLOCK:]

    def _stream(self, count: int) -> bytes:
        """Return the encryption of the values after the present one, and go on to the last."""
        first = (int.from_bytes(self._value, "big") + 1) % (1 << 128)
        blocks = -(-count // _BLOCK)
        cipher = AES.new(self._key, AES.MODE_CTR, nonce=b"", initial_value=first)
        stream = cipher.encrypt(bytes(blocks * _BLOCK))
        self._value[:] = ((first + blocks - 1) % (1 << 128)).to_bytes(_BLOCK, "big")
        return stream[:count]

    def _derived(self, data: bytes) -> bytes:
        """Return as many bytes as the seed has (Block_Cipher_df, 10.3.2)."""
        text = len(data).to_bytes(4, "big") + self._size.to_bytes(4, "big") + data + b"\x80"
        text += bytes(-len(text) % _BLOCK)
        keylen = len(self._key)
        made, counter = b"", 0
        while len(made) < self._size:
            made += self._chained(
                self._FIXED[:keylen], counter.to_bytes(4, "big") + bytes(12) + text
            )
            counter += 1
        key, block = made[:keylen], made[keylen : self._size]
        cipher = AES.new(key, AES.MODE_ECB)
        answer = b""
        while len(answer) < self._size:
            block = cipher.encrypt(block)
            answer += block
        return answer[: self._size]

    @staticmethod
    def _chained(key: bytes, text: bytes) -> bytes:
        """Return the last block of CBC with a first block of zeros (BCC, 10.3.3)."""
        return AES.new(key, AES.MODE_CBC, iv=bytes(_BLOCK)).encrypt(text)[-_BLOCK:]
