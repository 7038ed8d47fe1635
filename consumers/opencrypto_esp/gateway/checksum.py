"""
The Internet checksum (RFC 1071), by numbers.

The one's complement sum of 16-bit words is the bytes as one number modulo 2**16 - 1: one division
in C, whatever the length.
"""

from __future__ import annotations

from typing import Final

ONES: Final = 0xFFFF


def total(data: bytes | bytearray) -> int:
    """Return the sum of the words of some bytes, an odd one filled up with zero: 0 to 0xfffe."""
    number = int.from_bytes(data)
    return (number << 8 if len(data) & 1 else number) % ONES


def complement(words: int) -> int:
    """Return the checksum that makes a sum of words, any number of them, right."""
    return (ONES - words % ONES) % ONES


def pseudo(addresses: bytes, protocol: int, size: int) -> int:
    """Return the sum of a pseudo-header: addresses as they stand, protocol, bytes that follow."""
    return int.from_bytes(addresses) % ONES + protocol + (size >> 16) + (size & ONES)
