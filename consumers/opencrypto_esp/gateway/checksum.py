"""
The Internet checksum (RFC 1071), by numbers.

The one's complement sum of 16-bit words is the bytes as one number modulo 2**16 - 1: one division
in C, whatever the length. Division takes twice as long as reading the bytes; so a long number is
folded first, which leaves that remainder as it is.
"""

from __future__ import annotations

from typing import Final

ONES: Final = 0xFFFF


_FOLDS: Final = tuple((bits, (1 << bits) - 1) for bits in (5760, 2880, 1440))
"""Multiples of 16 bits: what a packet of 1440 bytes is halved by, again and again."""

_SHORT: Final = 256


def total(data: bytes | bytearray | memoryview) -> int:
    """Return the sum of the words of some bytes, an odd one filled up with zero: 0 to 0xfffe."""
    number = int.from_bytes(data)
    size = len(data)
    if size & 1:
        number <<= 8
    if size > _SHORT:
        for bits, mask in _FOLDS:
            number = (number >> bits) + (number & mask)
    return number % ONES


def complement(words: int) -> int:
    """Return the checksum that makes a sum of words, any number of them, right."""
    return (ONES - words % ONES) % ONES


def pseudo(addresses: bytes, protocol: int, size: int) -> int:
    """Return the sum of a pseudo-header: addresses as they stand, protocol, bytes that follow."""
    return int.from_bytes(addresses) % ONES + protocol + (size >> 16) + (size & ONES)
