"""
Skipjack, the block cipher of the Clipper chip: 64-bit blocks, 80-bit keys, 32 rounds.

Source: NIST, "SKIPJACK and KEA Algorithm Specifications", version 2.0, 29 May 1998. Written here
because no maintained library has it. Decrepit: for old data only.
"""

from __future__ import annotations

from typing import Final

# The F-table of the specification, section "Skipjack F-table", row by row.
_F: Final = bytes.fromhex(
    "a3d70983f848f6f4b321157899b1aff9"
    "e72d4d8ace4cca2e5295d91e4e384428"
    "0adf02a017f1606812b77ac3e9fa3d53"
    "96846bbaf2639a197caee5f5f7166aa2"
    "39b67b0fc193811beeb41aead0912fb8"
    "55b9da853f41bfe05a58805f660bd890"
    "35d5c0a733066569450094566d989b76"
    "97fcb2c2b0fedb20e1ebd6e4dd474a1d"
    "42ed9e6e493ccd4327d207d4dec76718"
    "89cb301f8dc68faac874dcc95d5c31a4"
    "7088612c9f0d2b8750825464267d0340"
    "344b1c73d1c4fd3bccfb7fabe63e5ba5"
    "ad04239c145122f02979717eff8c0ee2"
    "0cefbc72756f37a1ecd38e628b8610e8"
    "087711be924f24c532369dcff3a6bbac"
    "5e6ca9135725b5e3bda83a0105592a46"
)


class Skipjack:
    """
    The cipher under one key.

    Args:
        key: 10 bytes.
    """

    block_size = 8

    def __init__(self, key: bytes | bytearray) -> None:
        self._key = bytearray(key)

    def encrypt_block(self, block: bytes) -> bytes:
        """Encrypt 8 bytes."""
        w1, w2, w3, w4 = _split(block)
        for k in range(1, 33):
            g = self._g(w1, 4 * (k - 1))
            if (k - 1) // 8 % 2 == 0:  # rule A
                w1, w2, w3, w4 = g ^ w4 ^ k, g, w2, w3
            else:  # rule B
                w1, w2, w3, w4 = w4, g, w1 ^ w2 ^ k, w3
        return _join(w1, w2, w3, w4)

    def decrypt_block(self, block: bytes) -> bytes:
        """Decrypt 8 bytes."""
        w1, w2, w3, w4 = _split(block)
        for k in range(32, 0, -1):
            g = self._g_inverse(w2, 4 * (k - 1))
            if (k - 1) // 8 % 2 == 0:
                w1, w2, w3, w4 = g, w3, w4, w1 ^ w2 ^ k
            else:
                w1, w2, w3, w4 = g, g ^ w3 ^ k, w4, w1
        return _join(w1, w2, w3, w4)

    def _g(self, word: int, at: int) -> int:
        """The permutation G: four Feistel rounds on the halves of a word."""
        high, low = word >> 8, word & 0xFF
        key = self._key
        high ^= _F[low ^ key[at % 10]]
        low ^= _F[high ^ key[(at + 1) % 10]]
        high ^= _F[low ^ key[(at + 2) % 10]]
        low ^= _F[high ^ key[(at + 3) % 10]]
        return high << 8 | low

    def _g_inverse(self, word: int, at: int) -> int:
        high, low = word >> 8, word & 0xFF
        key = self._key
        low ^= _F[high ^ key[(at + 3) % 10]]
        high ^= _F[low ^ key[(at + 2) % 10]]
        low ^= _F[high ^ key[(at + 1) % 10]]
        high ^= _F[low ^ key[at % 10]]
        return high << 8 | low

    def __repr__(self) -> str:
        return "<Skipjack>"


def _split(block: bytes) -> tuple[int, int, int, int]:
    return (
        int.from_bytes(block[0:2]),
        int.from_bytes(block[2:4]),
        int.from_bytes(block[4:6]),
        int.from_bytes(block[6:8]),
    )


def _join(*words: int) -> bytes:
    return b"".join(word.to_bytes(2) for word in words)
