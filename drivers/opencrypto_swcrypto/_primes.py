"""
Whether the public numbers of a key are what they must be: primes, groups, members of a group.

A modulus that is not prime, or a number outside of the group, lets whoever chose it find the other
side's secret, or sign without one. The last answers are kept, for all of it is public, and the same
few groups come again and again.
"""

from __future__ import annotations

import functools
from typing import Final

from Crypto.Math import Primality
from Crypto.Math.Numbers import Integer

from opencrypto.exceptions import UsageError

KEPT: Final = 64
"""How many answers of each kind are kept."""


def is_prime(candidate: Integer) -> bool:
    """Tell whether a number, public or secret, is a prime (FIPS 186-4, C.3)."""
    return bool(Primality.test_probable_prime(candidate) == Primality.PROBABLY_PRIME)


@functools.lru_cache(KEPT)
def is_public_prime(candidate: int) -> bool:
    """Tell whether a public number is a prime, and remember it."""
    return is_prime(Integer(candidate, public=True))


@functools.lru_cache(KEPT)
def is_member(value: int, p: int, q: int) -> bool:
    """Tell whether a public number is in the subgroup of order q modulo p: ``value**q`` is 1."""
    return _power(value, q, p) == 1


def check_domain(p: int, q: int, g: int) -> None:
    """
    Refuse what is no DSA domain (FIPS 186-4, 4.1).

    Raises:
        UsageError: p or q is no odd prime, q does not divide p - 1, or g is not of the order q.
    """
    complaint = _complaint(p, q, g)
    if complaint:
        raise UsageError(complaint)


def check_public_key(y: int, p: int, q: int) -> None:
    """
    Refuse what nobody has as a public key of a DSA domain (SP 800-89, 5.3.1).

    Raises:
        UsageError: y is not between 2 and p - 2, or not in the subgroup.
    """
    if not 1 < y < p - 1:
        raise UsageError("the public key y is not between 2 and p - 2")
    if not is_member(y, p, q):
        raise UsageError("the public key y is not in the subgroup of order q")


@functools.lru_cache(KEPT)
def _complaint(p: int, q: int, g: int) -> str:
    if not (p & q & 1) or q < 3 or p < 5:
        return "p and q must be odd primes"
    if (p - 1) % q:
        return "q does not divide p - 1"
    if not 1 < g < p - 1:
        return "g is not between 2 and p - 2"
    if _power(g, q, p) != 1:
        return "g is not of the order q"
    if not is_public_prime(q) or not is_public_prime(p):
        return "p and q must be odd primes"
    return ""


def _power(base: int, exponent: int, modulus: int) -> int:
    numbers = (Integer(each, public=True) for each in (base, exponent, modulus))
    return int(pow(*numbers))
