"""
Camellia: 128-bit blocks, keys of 128, 192 or 256 bits.

Source: RFC 3713. Written here because pycryptodome has no Camellia; `cryptography`, in the
openssl driver, is faster wherever it is installed.
"""

from __future__ import annotations

from typing import Final

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_MASK128: Final = (1 << 128) - 1

_SIGMA: Final = (
    0xA09E667F3BCC908B,
    0xB67AE8584CAA73B2,
    0xC6EF372FE94F82BE,
    0x54FF53A5F1D36F1C,
    0x10E527FADE682D1D,
    0xB05688C2B3E6C1FD,
)

_SBOX1: Final = bytes((
    112, 130, 44, 236, 179, 39, 192, 229, 228, 133, 87, 53, 234, 12, 174, 65,
    35, 239, 107, 147, 69, 25, 165, 33, 237, 14, 79, 78, 29, 101, 146, 189,
    134, 184, 175, 143, 124, 235, 31, 206, 62, 48, 220, 95, 94, 197, 11, 26,
    166, 225, 57, 202, 213, 71, 93, 61, 217, 1, 90, 214, 81, 86, 108, 77,
    139, 13, 154, 102, 251, 204, 176, 45, 116, 18, 43, 32, 240, 177, 132, 153,
    223, 76, 203, 194, 52, 126, 118, 5, 109, 183, 169, 49, 209, 23, 4, 215,
    20, 88, 58, 97, 222, 27, 17, 28, 50, 15, 156, 22, 83, 24, 242, 34,
    254, 68, 207, 178, 195, 181, 122, 145, 36, 8, 232, 168, 96, 252, 105, 80,
    170, 208, 160, 125, 161, 137, 98, 151, 84, 91, 30, 149, 224, 255, 100, 210,
    16, 196, 0, 72, 163, 247, 117, 219, 138, 3, 230, 218, 9, 63, 221, 148,
    135, 92, 131, 2, 205, 74, 144, 51, 115, 103, 246, 243, 157, 127, 191, 226,
    82, 155, 216, 38, 200, 55, 198, 59, 129, 150, 111, 75, 19, 190, 99, 46,
    233, 121, 167, 140, 159, 110, 188, 142, 41, 245, 249, 182, 47, 253, 180, 89,
    120, 152, 6, 106, 231, 70, 113, 186, 212, 37, 171, 66, 136, 162, 141, 250,
    114, 7, 185, 85, 248, 238, 172, 10, 54, 73, 42, 104, 60, 56, 241, 164,
    64, 40, 211, 123, 187, 201, 67, 193, 21, 227, 173, 244, 119, 199, 128, 158,
))  # fmt: skip


def _rol8(value: int, by: int) -> int:
    return (value << by | value >> (8 - by)) & 0xFF


_SBOXES: Final = (
    _SBOX1,
    bytes(_rol8(value, 1) for value in _SBOX1),
    bytes(_rol8(value, 7) for value in _SBOX1),
    bytes(_SBOX1[_rol8(value, 1)] for value in range(256)),
)

# For each byte of F's input, from the left: its S-box, and the bytes of the output (1 is the
# leftmost) into which the P-function XORs it. RFC 3713 §2.4.1.
_P: Final = (
    (0, (1, 2, 3, 5, 8)),
    (1, (2, 3, 4, 5, 6)),
    (2, (1, 3, 4, 6, 7)),
    (3, (1, 2, 4, 7, 8)),
    (1, (2, 3, 4, 6, 7, 8)),
    (2, (1, 3, 4, 5, 7, 8)),
    (3, (1, 2, 4, 5, 6, 8)),
    (0, (1, 2, 3, 5, 6, 7)),
)


def _sp_tables() -> tuple[tuple[int, ...], ...]:
    """Merge each S-box with the P-function: eight look-ups then make one F."""
    return tuple(
        tuple(
            sum(_SBOXES[box][value] << 8 * (8 - place) for place in places) for value in range(256)
        )
        for box, places in _P
    )


_SP: Final = _sp_tables()


def _f(value: int, key: int) -> int:
    value ^= key
    a, b, c, d, e, f, g, h = _SP
    return (
        a[value >> 56]
        ^ b[value >> 48 & 0xFF]
        ^ c[value >> 40 & 0xFF]
        ^ d[value >> 32 & 0xFF]
        ^ e[value >> 24 & 0xFF]
        ^ f[value >> 16 & 0xFF]
        ^ g[value >> 8 & 0xFF]
        ^ h[value & 0xFF]
    )


def _fl(value: int, key: int) -> int:
    left, right = value >> 32, value & 0xFFFFFFFF
    mixed = left & key >> 32
    right ^= (mixed << 1 | mixed >> 31) & 0xFFFFFFFF
    left ^= right | key & 0xFFFFFFFF
    return left << 32 | right


def _fl_inverse(value: int, key: int) -> int:
    left, right = value >> 32, value & 0xFFFFFFFF
    left ^= right | key & 0xFFFFFFFF
    mixed = left & key >> 32
    right ^= (mixed << 1 | mixed >> 31) & 0xFFFFFFFF
    return left << 32 | right


class Camellia:
    """
    The cipher under one key.

    Args:
        key: 16, 24 or 32 bytes.
    """

    block_size = 16

    def __init__(self, key: bytes | bytearray) -> None:
        self._subkeys = _schedule(bytes(key))

    def encrypt_block(self, block: bytes) -> bytes:
        """Encrypt 16 bytes."""
        return _crypt(block, *self._subkeys)

    def decrypt_block(self, block: bytes) -> bytes:
        """Decrypt 16 bytes: the same network with the subkeys the other way round."""
        whitening, rounds, fls = self._subkeys
        return _crypt(block, whitening[2:] + whitening[:2], rounds[::-1], fls[::-1])

    def __repr__(self) -> str:
        return "<Camellia>"


_Keys = tuple[int, ...]


def _crypt(block: bytes, whitening: _Keys, rounds: _Keys, fls: _Keys) -> bytes:
    left = int.from_bytes(block[:8]) ^ whitening[0]
    right = int.from_bytes(block[8:]) ^ whitening[1]
    for number in range(0, len(rounds), 2):
        if number and number % 6 == 0:
            at = number // 3 - 2
            left = _fl(left, fls[at])
            right = _fl_inverse(right, fls[at + 1])
        right ^= _f(left, rounds[number])
        left ^= _f(right, rounds[number + 1])
    return (right ^ whitening[2]).to_bytes(8) + (left ^ whitening[3]).to_bytes(8)


def _schedule(key: bytes) -> tuple[_Keys, _Keys, _Keys]:
    """Derive the whitening, round and FL subkeys. RFC 3713 §2.2."""
    kl = int.from_bytes(key[:16])
    kr = int.from_bytes(key[16:32])
    if len(key) == 24:
        kr = kr << 64 | kr ^ _MASK
    ka = _mix(kl ^ kr, kl)
    if len(key) == 16:
        return _subkeys(
            ((kl, 0), (ka, 111)),
            ((ka, 0), (kl, 15), (ka, 15), (kl, 45), (ka, 45), (ka, 60),
             (kl, 94), (ka, 94), (kl, 111)),
            ((ka, 30), (kl, 77)),
            odd=(9, (kl, 60)),
        )  # fmt: skip
    d1, d2 = (ka ^ kr) >> 64, (ka ^ kr) & _MASK
    d2 ^= _f(d1, _SIGMA[4])
    d1 ^= _f(d2, _SIGMA[5])
    kb = d1 << 64 | d2
    return _subkeys(
        ((kl, 0), (kb, 111)),
        ((kb, 0), (kr, 15), (ka, 15), (kb, 30), (kl, 45), (ka, 45),
         (kr, 60), (kb, 60), (kl, 77), (kr, 94), (ka, 94), (kl, 111)),
        ((kr, 30), (kl, 60), (ka, 77)),
    )  # fmt: skip


def _mix(value: int, kl: int) -> int:
    d1, d2 = value >> 64, value & _MASK
    d2 ^= _f(d1, _SIGMA[0])
    d1 ^= _f(d2, _SIGMA[1])
    d1 ^= kl >> 64
    d2 ^= kl & _MASK
    d2 ^= _f(d1, _SIGMA[2])
    d1 ^= _f(d2, _SIGMA[3])
    return d1 << 64 | d2


_Rotations = tuple[tuple[int, int], ...]


def _halves(rotations: _Rotations) -> _Keys:
    keys: list[int] = []
    for value, by in rotations:
        rotated = (value << by | value >> (128 - by)) & _MASK128
        keys += (rotated >> 64, rotated & _MASK)
    return tuple(keys)


def _subkeys(
    whitening: _Rotations,
    rounds: _Rotations,
    fls: _Rotations,
    odd: tuple[int, tuple[int, int]] | None = None,
) -> tuple[_Keys, _Keys, _Keys]:
    keys = list(_halves(rounds))
    if odd is not None:
        # With 128-bit keys one pair is split: its left half comes from KA<<<45 (already there), its
        # right half is that of another rotation.
        place, rotation = odd
        keys[place] = _halves((rotation,))[1]
    return _halves(whitening), tuple(keys), _halves(fls)
