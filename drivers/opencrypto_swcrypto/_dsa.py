"""
DSA: signatures and whether they are good (FIPS 186-4, 4.6 and 4.7).

A nonce comes of the private key and the digest, as RFC 6979 has it, and of fresh random bytes (its
3.6): the same one for two messages, which gives the key away, takes a broken hash, whatever the
state of the system's generator, and who makes the machine err sees no two signatures of one nonce.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from itertools import islice
from typing import Final

from Crypto.Math.Numbers import Integer

from opencrypto.exceptions import UsageError
from opencrypto_swcrypto import _keymath
from opencrypto_swcrypto._integers import random_below
from opencrypto_swcrypto._primes import check_domain, check_public_key

TRIES: Final = 32
"""How often a signature is tried anew when r or s comes out as 0: for a sound q, never."""

HASH: Final = "sha512"
"""What the nonces are made by: as strong as any q in use."""

FRESH: Final = 32
"""How many **bytes** of the system's generator go into each nonce."""


def dsa_sign(
    digest: bytes, p: Integer, q: Integer, g: Integer, x: Integer
) -> tuple[Integer, Integer]:
    """
    Return a signature ``(r, s)`` of a digest.

    Raises:
        UsageError: p, q and g are no DSA domain, or x is not between 1 and q - 1.
    """
    check_domain(int(p), int(q), int(g))
    if not 0 < x < q:
        raise UsageError("the private key x is not between 1 and q - 1")
    z = Integer(_leftmost(digest, int(q)))
    for nonce in islice(nonces(x, digest, int(q), os.urandom(FRESH)), TRIES):
        r = _keymath.secret_power(g, nonce, p) % q
        # Key and nonce are seen only times a random factor, which cancels out.
        blind = random_below(q)
        inverse = (nonce * blind % q).inverse(q)
        s = inverse * (blind * z % q + blind * x % q * r) % q
        if r and s:
            return r, s
    raise UsageError("no signature comes of these p, q and g")


def dsa_verify(
    digest: bytes, p: Integer, q: Integer, g: Integer, y: Integer, r: Integer, s: Integer
) -> bool:
    """
    Tell whether ``(r, s)`` is a signature of a digest under the public key y.

    An r or s that is 0 or not less than q is no error: it comes with the signature, and the
    signature is bad.

    Raises:
        UsageError: p, q and g are no DSA domain, or y is no public key of it.
    """
    check_domain(int(p), int(q), int(g))
    check_public_key(int(y), int(p), int(q))
    if not (0 < r < q and 0 < s < q):
        return False
    order = int(q)
    w = pow(int(s), -1, order)
    u = Integer(_leftmost(digest, order) * w % order, public=True)
    v = Integer(int(r) * w % order, public=True)
    product = _keymath.secret_power(g, u, p) * _keymath.secret_power(y, v, p)
    return bool(product % p % q == r)


def nonces(
    x: Integer, digest: bytes, q: int, fresh: bytes, hash_name: str = HASH
) -> Iterator[Integer]:
    """
    Yield numbers from 1 to q - 1, any of them as likely, each as wide as q (RFC 6979, 3.2 and 3.6).

    Args:
        x: The private key.
        digest: What is to be signed.
        q: The order of the group.
        fresh: Random bytes; without any, the nonces are those of RFC 6979, 3.2.
        hash_name: The hash of the generator.
    """
    bits = q.bit_length()
    size = -(-bits // 8)
    seed = x.to_bytes(size) + (_leftmost(digest, q) % q).to_bytes(size) + fresh
    value = b"\1" * len(hmac.digest(b"", b"", hash_name))
    key = bytes(len(value))
    for step in (b"\0", b"\1"):
        key = hmac.digest(key, value + step + seed, hash_name)
        value = hmac.digest(key, value, hash_name)
    while True:
        drawn = b""
        while len(drawn) < size:
            value = hmac.digest(key, value, hash_name)
            drawn += value
        nonce = Integer.from_bytes(drawn[:size]) >> size * 8 - bits
        if 0 < nonce < q:
            yield nonce
        key = hmac.digest(key, value + b"\0", hash_name)
        value = hmac.digest(key, value, hash_name)


def _leftmost(digest: bytes, q: int) -> int:
    """Return the leftmost bits of a digest, as many as q has, as an integer."""
    surplus = max(0, len(digest) * 8 - q.bit_length())
    return int.from_bytes(digest) >> surplus
