"""
RSA's private operation by its primes: blinded, and nothing is released that does not verify.

One wrong bit in one half, by a fault of the machine, would give the key away: the greatest common
divisor of the modulus and of the difference that raising to the public exponent shows is a prime.
The public exponent is no parameter, but the private ones have it: it is their inverse.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from Crypto.Math.Numbers import Integer

from opencrypto.exceptions import OperationError, UsageError
from opencrypto_swcrypto import _keymath
from opencrypto_swcrypto._integers import PUBLIC_BITS, random_below
from opencrypto_swcrypto._primes import is_prime

USUAL: Final = (65537, 3, 17, 257, 5, 37)
"""Public exponents to try first: to multiply takes a tenth of the time that an inverse takes."""

TRIED_BITS: Final = 256
"""A prime of so few **bits** is no RSA key's, and whether it is one is tried beforehand."""


class Half(NamedTuple):
    """
    What one prime contributes.

    Attributes:
        prime: The prime.
        exponent: The private exponent modulo ``prime - 1``.
        public: The public exponent modulo ``prime - 1``.
        usual: Whether that is short, so that it is the public exponent itself.
    """

    prime: Integer
    exponent: Integer
    public: Integer
    usual: bool


def power_crt(
    p: Integer, q: Integer, i: Integer, dp: Integer, dq: Integer, pinv: Integer
) -> Integer:
    """
    Return ``i**d mod p*q`` by the Chinese remainder theorem (RFC 8017, 5.1.2).

    Raises:
        UsageError: p and q are no two odd primes; pinv is not the inverse of q modulo p; dp or dq
            has no inverse, or they are of two keys; i is not less than p*q.
        OperationError: the result does not verify (EIO).
    """
    if p.is_even() or q.is_even() or p < 3 or q < 3:
        raise UsageError("p and q must be odd primes")
    if pinv * q % p != 1:
        raise UsageError("pinv is not the inverse of q modulo p")
    if not i < p * q:
        raise UsageError("i is not less than p*q: it is no representative (RFC 8017, 5.1.2)")
    halves = _half(p, dp, "dp"), _half(q, dq, "dq")
    _check_pair(*halves)
    one, two = (_root(half, i) for half in halves)
    # A p is added so that the difference is never negative.
    result = two + (one + p - two % p) * pinv % p * q
    for half in halves:
        _verify(half, i, result)
    return result


def _half(prime: Integer, exponent: Integer, name: str) -> Half:
    if prime.size_in_bits() < TRIED_BITS and not is_prime(prime):
        raise UsageError("p and q must be odd primes")
    order = prime - 1
    for public in USUAL:
        if exponent * public % order == 1:
            return Half(prime, exponent, Integer(public, public=True), True)
    try:
        inverse = exponent.inverse(order)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{name} has no inverse: it is no private exponent") from None
    usual = not inverse >> PUBLIC_BITS
    return Half(prime, exponent, Integer(int(inverse), public=True) if usual else inverse, usual)


def _check_pair(one: Half, two: Half) -> None:
    """
    Refuse two exponents of which one is not its key's.

    A wrong bit in a stored exponent gives half a key of an enormous public exponent, which its own
    half verifies by. Where a prime is long, a short public exponent is not that by chance.
    """
    if min(one.prime.size_in_bits(), two.prime.size_in_bits()) < TRIED_BITS:
        return
    if one.usual != two.usual or (one.usual and one.public != two.public):
        raise UsageError("dp and dq belong to two public exponents")


def _root(half: Half, i: Integer) -> Integer:
    """Return ``i**exponent mod prime``; what the power sees is random, and another each time."""
    prime = half.prime
    blind = random_below(prime)
    hidden = i % prime * _keymath.secret_power(blind, half.public, prime) % prime
    try:
        seen = blind.inverse(prime)
    except (ValueError, ZeroDivisionError):
        raise UsageError("p and q must be odd primes") from None
    root: Integer = _keymath.secret_power(hidden, half.exponent, prime) * seen % prime
    return root


def _verify(half: Half, i: Integer, result: Integer) -> None:
    """Raise unless the public exponent makes `i` of the result again, modulo one prime."""
    prime = half.prime
    if _keymath.secret_power(result % prime, half.public, prime) == i % prime:
        return
    if not is_prime(prime):
        raise UsageError("p and q must be odd primes")
    raise OperationError(
        "the result does not verify and is not released: the machine, or its memory, is faulty"
    )
