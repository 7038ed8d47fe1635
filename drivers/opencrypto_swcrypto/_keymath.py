"""
The mathematics of key operations, on integers: values in, values out, bad ones refused.

Exponents and keys are secret, moduli are not (but for the primes of RSA): what touches a secret
is done by pycryptodome's ``Integer``, whose arithmetic runs in C, in constant time as far as that
library gives it (since 4.0 throughout, before that for powers), without the GIL. The powers may be
gmpy2's: see `_powers`.
"""

from __future__ import annotations

import errno
from typing import Final

from Crypto.Math.Numbers import Integer

from opencrypto.exceptions import LimitError, UsageError
from opencrypto_swcrypto import _powers

secret_power: _powers.SecretPower = _powers.chosen()

MAX_EVEN_BITS: Final = 2048
"""The longest even modulus, in **bits**, of a power: Python does it, slowly and holding the GIL."""

TRIES: Final = 32
"""How often a signature is tried anew when r or s comes out as 0: for a sound q, never."""


def power(a: int, p: int, m: int) -> int:
    """
    Return ``a**p mod m``.

    Raises:
        UsageError: m is 0.
        LimitError: m is even and long (EFBIG).
    """
    if m & 1:
        modulus = Integer(m)
        return int(secret_power(Integer(a) % modulus, Integer(p), modulus)) if m > 1 else 0
    _check_modulus(m)
    if m.bit_length() > MAX_EVEN_BITS:
        raise LimitError(
            f"an even modulus of {m.bit_length()} bits; above {MAX_EVEN_BITS}, give an odd one",
            errno=errno.EFBIG,
        )
    return pow(a, p, m)


def power_crt(p: int, q: int, i: int, dp: int, dq: int, pinv: int) -> int:
    """
    Return ``i**d mod p*q`` by the Chinese remainder theorem (RFC 8017, 5.1.2).

    Raises:
        UsageError: p or q is even or less than 3, or pinv is not the inverse of q modulo p.
    """
    if not (p & q & 1) or p < 3 or q < 3:
        raise UsageError("p and q must be odd primes")
    prime_p, prime_q = Integer(p), Integer(q)
    inverse = Integer(pinv)
    if inverse * prime_q % prime_p != 1:
        raise UsageError("pinv is not the inverse of q modulo p")
    base = Integer(i)
    one = secret_power(base % prime_p, Integer(dp), prime_p)
    two = secret_power(base % prime_q, Integer(dq), prime_q)
    # A p is added so that the difference is never negative.
    rest = (one + prime_p - two % prime_p) * inverse % prime_p
    return int(two + rest * prime_q)


def dh_shared(priv: int, pub: int, p: int) -> int:
    """
    Return ``pub**priv mod p`` (SP 800-56A, 5.7.1.1).

    Raises:
        UsageError: p is even or tiny, priv is 0, or pub or the secret is 0, 1 or p - 1.
    """
    if not p & 1 or p < 5:
        raise UsageError("p must be an odd prime")
    if not priv:
        raise UsageError("the private key is 0")
    if not 1 < pub < p - 1:
        raise UsageError("the peer's public key is not between 2 and p - 2")
    shared = power(pub, priv, p)
    if not 1 < shared < p - 1:
        raise UsageError("the peer's public key is in a small subgroup; do not trust it")
    return shared


def dsa_sign(digest: bytes, p: int, q: int, g: int, x: int) -> tuple[int, int]:
    """
    Return a signature ``(r, s)`` of a digest (FIPS 186-4, 4.6), with a nonce of the system's.

    Raises:
        UsageError: p, q and g are no DSA domain, or x is not between 1 and q - 1.
    """
    _check_domain(p, q, g)
    if not 0 < x < q:
        raise UsageError("the private key x is not between 1 and q - 1")
    order, key, z = Integer(q), Integer(x), Integer(_leftmost(digest, q))
    for _ in range(TRIES):
        nonce = Integer.random_range(min_inclusive=1, max_exclusive=order)
        r = Integer(int(secret_power(Integer(g), nonce, Integer(p))) % q)
        # The inverse sees the nonce only times a random factor, which cancels out.
        blind = Integer.random_range(min_inclusive=1, max_exclusive=order)
        try:
            inverse = (nonce * blind % order).inverse(order)
        except (ValueError, ZeroDivisionError):
            raise UsageError("q is not prime") from None
        s = inverse * (blind * z % order + blind * key % order * r) % order
        if r and s:
            return int(r), int(s)
    raise UsageError("no signature comes of these p, q and g")


def dsa_verify(digest: bytes, p: int, q: int, g: int, y: int, r: int, s: int) -> bool:
    """
    Tell whether ``(r, s)`` is a signature of a digest under the public key y (FIPS 186-4, 4.7).

    An r or s that is 0 or not less than q is no error: it comes with the signature, and the
    signature is bad.

    Raises:
        UsageError: p, q and g are no DSA domain, or y is not between 2 and p - 1.
    """
    _check_domain(p, q, g)
    if not 1 < y < p:
        raise UsageError("the public key y is not between 2 and p - 1")
    if not (0 < r < q and 0 < s < q):
        return False
    w = inverse_public(s, q, "q is not prime")
    u = _leftmost(digest, q) * w % q
    v = r * w % q
    return power(g, u, p) * power(y, v, p) % p % q == r


def mod_inverse(a: int, m: int) -> int:
    """
    Return ``a**-1 mod m``.

    Raises:
        UsageError: m is 0, or a has no inverse.
    """
    _check_modulus(m)
    if m == 1:
        return 0
    modulus = Integer(m)
    value = Integer(a) % modulus
    blind = Integer.random_range(min_inclusive=1, max_exclusive=modulus)
    for factor in (blind, Integer(1)):
        # The random factor has no inverse itself now and then; then the value goes bare.
        try:
            return int((value * factor % modulus).inverse(modulus) * factor % modulus)
        except (ValueError, ZeroDivisionError):
            continue
    raise UsageError("a has no inverse modulo m: they have a common factor")


def mod_add(a: int, b: int, m: int) -> int:
    """Return ``a + b mod m``. Raises UsageError if m is 0."""
    return (a + b) % _check_modulus(m)


def mod_negate(a: int, m: int) -> int:
    """Return ``-a mod m``. Raises UsageError if m is 0."""
    return -a % _check_modulus(m)


def mod_sub(a: int, b: int, m: int) -> int:
    """Return ``a - b mod m``. Raises UsageError if m is 0."""
    return (a - b) % _check_modulus(m)


def mod_mult(a: int, b: int, m: int) -> int:
    """Return ``a * b mod m``. Raises UsageError if m is 0."""
    return a * b % _check_modulus(m)


def mod(a: int, m: int) -> int:
    """Return ``a mod m``. Raises UsageError if m is 0."""
    return a % _check_modulus(m)


def inverse_public(a: int, m: int, complaint: str) -> int:
    """Return ``a**-1 mod m`` of public values, quickly. Raises UsageError if there is none."""
    try:
        return pow(a, -1, m)
    except ValueError:
        raise UsageError(complaint) from None


def _check_modulus(m: int) -> int:
    if not m:
        raise UsageError("the modulus is 0")
    return m


def _check_domain(p: int, q: int, g: int) -> None:
    """Refuse what cannot be a DSA domain. Whether p and q are prime is not looked into."""
    if not (p & q & 1) or q < 3 or p < 5:
        raise UsageError("p and q must be odd primes")
    if (p - 1) % q:
        raise UsageError("q does not divide p - 1")
    if not 1 < g < p - 1:
        raise UsageError("g is not between 2 and p - 2")


def _leftmost(digest: bytes, q: int) -> int:
    """Return the leftmost bits of a digest, as many as q has, as an integer."""
    surplus = max(0, len(digest) * 8 - q.bit_length())
    return int.from_bytes(digest) >> surplus
