"""
The generator of ANSI X9.31, appendix A.2.4, with AES-128: what Linux calls ``ansi_cprng``.

It is only what its seed says, was taken out of the standards in 2016 (SP 800-131A), and is here
for programs and test vectors that name it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from Crypto.Cipher import AES

__all__ = ["SEED", "AnsiCprng"]

_BLOCK: Final = 16

SEED: Final = 3 * _BLOCK
"""A whole seed in **bytes**: the value V, the key, and the date and time vector DT."""


class AnsiCprng:
    """
    One state of the generator.

    Args:
        seed: V, key and DT in this order, 16 bytes each; DT may be missing, and is zero then.

    Raises:
        ValueError: the seed is shorter than V and key.
    """

    strength = 0

    def __init__(self, seed: bytes) -> None:
        self._value = bytearray(_BLOCK)
        self._key = bytearray(_BLOCK)
        self._time = bytearray(_BLOCK)
        self._rest = bytearray()
        self._last = bytearray()
        self.reseed(seed, b"")

    def reseed(self, entropy: bytes, additional: bytes) -> None:
        """Begin anew with another seed; X9.31 knows no additional input, which must be empty."""
        if len(entropy) < 2 * _BLOCK:
            raise ValueError(
                "a seed of ansi_cprng is V, key and perhaps DT, of 16 bytes each: "
                f"32 or 48 bytes, not {len(entropy)}"
            )
        self.wipe()
        self._value[:] = entropy[:_BLOCK]
        self._key[:] = entropy[_BLOCK : 2 * _BLOCK]
        self._time[:] = entropy[2 * _BLOCK : SEED].ljust(_BLOCK, b"\x00")

    def generate(self, count: int, additional: bytes) -> bytes:
        """
        Return `count` bytes; what is left of a block comes first the next time, as in Linux.

        Raises:
            ArithmeticError: a block equals the one before it, after which the standards' continuous
                test trusts the generator no more.
        """
        encrypt = AES.new(self._key, AES.MODE_ECB).encrypt
        while len(self._rest) < count:
            self._rest += self._block(encrypt)
        answer = bytes(self._rest[:count])
        self._rest[:count] = bytes(count)  # overwritten before it is let go
        del self._rest[:count]
        return answer

    def wipe(self) -> None:
        """Overwrite the state."""
        for part in (self._value, self._key, self._time, self._rest, self._last):
            part[:] = bytes(len(part))
        del self._rest[:], self._last[:]

    def _block(self, encrypt: Callable[[bytes], bytes]) -> bytes:
        stamp = encrypt(bytes(self._time))
        block = encrypt(_xor(stamp, self._value))
        if block == self._last:
            raise ArithmeticError("two blocks of ansi_cprng are equal; seed it anew")
        self._value[:] = encrypt(_xor(block, stamp))
        time = (int.from_bytes(self._time, "big") + 1) % (1 << 8 * _BLOCK)
        self._time[:] = time.to_bytes(_BLOCK, "big")
        self._last[:] = block
        return block


def _xor(one: bytes, other: bytes | bytearray) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(_BLOCK, "big")
