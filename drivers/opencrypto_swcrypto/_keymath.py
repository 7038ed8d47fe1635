"""
The arithmetic of key operations, modulo a number: values in, values out, bad ones refused.

Any value may be a secret but a modulus (and the primes of RSA are secret too: `_rsa`). So all are
pycryptodome's ``Integer``, as wide as `_integers` makes them, whose arithmetic runs in C, without
the GIL, and takes as long as they are wide. The powers may be gmpy2's: see `_powers`.
"""

from __future__ import annotations

import errno
from typing import Final

from Crypto.Math.Numbers import Integer

from opencrypto.exceptions import LimitError, UsageError
from opencrypto_swcrypto import _powers
from opencrypto_swcrypto._primes import is_public_prime

secret_power: _powers.SecretPower = _powers.chosen()

MAX_EVEN_BITS: Final = 2048
"""The longest even modulus, in **bits**, of a power: it takes forty times as long as an odd one."""


def power(a: Integer, p: Integer, m: Integer) -> Integer:
    """
    Return ``a**p mod m``.

    Raises:
        UsageError: m is 0.
        LimitError: m is even and long (EFBIG).
    """
    _check_modulus(m)
    if m.is_odd():
        return secret_power(a % m, p, m) if m > 1 else Integer(0)
    if m.size_in_bits() > MAX_EVEN_BITS:
        raise LimitError(
            f"an even modulus of {m.size_in_bits()} bits; above {MAX_EVEN_BITS}, give an odd one",
            errno=errno.EFBIG,
        )
    return pow(a, p, m)


def dh_shared(priv: Integer, pub: Integer, p: Integer) -> Integer:
    """
    Return ``pub**priv mod p`` (SP 800-56A, 5.7.1.1).

    The order of the group is no parameter, so a public key in a subgroup of which nobody tells is
    not found out: a group whose p is a safe prime has none but of order 2.

    Raises:
        UsageError: p is no odd prime of 5 or more, priv is not between 1 and p - 2, or pub or the
            secret is 0, 1 or p - 1.
    """
    if p.is_even() or p < 5:
        raise UsageError("p must be an odd prime")
    if not 0 < priv < p - 1:
        raise UsageError("the private key is not between 1 and p - 2")
    if not 1 < pub < p - 1:
        raise UsageError("the peer's public key is not between 2 and p - 2")
    if not is_public_prime(int(p)):
        raise UsageError("p must be an odd prime")
    shared = secret_power(pub, priv, p)
    if not 1 < shared < p - 1:
        raise UsageError("the peer's public key is in a small subgroup; do not trust it")
    return shared


def mod_inverse(a: Integer, m: Integer) -> Integer:
    """
    Return ``a**-1 mod m``.

    Raises:
        UsageError: m is 0, or a has no inverse.
    """
    _check_modulus(m)
    if m == 1:
        return Integer(0)
    try:
        return (a % m).inverse(m)
    except (ValueError, ZeroDivisionError):
        raise UsageError("a has no inverse modulo m: they have a common factor") from None


def mod_add(a: Integer, b: Integer, m: Integer) -> Integer:
    """Return ``a + b mod m``. Raises UsageError if m is 0."""
    return (a + b) % _check_modulus(m)


def mod_negate(a: Integer, m: Integer) -> Integer:
    """Return ``-a mod m``. Raises UsageError if m is 0."""
    return (m - a % _check_modulus(m)) % m


def mod_sub(a: Integer, b: Integer, m: Integer) -> Integer:
    """Return ``a - b mod m``. Raises UsageError if m is 0."""
    return (a + mod_negate(b, m)) % m


def mod_mult(a: Integer, b: Integer, m: Integer) -> Integer:
    """Return ``a * b mod m``. Raises UsageError if m is 0."""
    return a * b % _check_modulus(m)


def mod(a: Integer, m: Integer) -> Integer:
    """Return ``a mod m``. Raises UsageError if m is 0."""
    return a % _check_modulus(m)


def _check_modulus(m: Integer) -> Integer:
    if not m:
        raise UsageError("the modulus is 0")
    return m
