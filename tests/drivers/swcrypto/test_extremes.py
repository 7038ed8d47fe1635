"""The smallest parameters, all of them, and the largest: each operation answers or says why not."""

from __future__ import annotations

import errno
import itertools
import random

import pytest

from opencrypto import Cryptkop, CryptoError, Framework, Kop
from opencrypto.driver import KOPS
from opencrypto_swcrypto._integers import MAX_BITS
from opencrypto_swcrypto._key_engine import compute
from tests.core.keys.powers import framework
from tests.core.keys.support import run

pytestmark = pytest.mark.shared_framework

__all__ = ["framework"]

LARGE = (1 << MAX_BITS) - 1
"""A number of as many bits as may be, all set: odd, not prime."""


def expected(op: Kop, values: list[int]) -> int | None:
    """Return Python's result, or None where there is none."""
    *rest, m = values
    if not m:
        return None
    match op:
        case Kop.MOD_EXP:
            return pow(rest[0], rest[1], m)
        case Kop.MOD_ADD:
            return sum(rest) % m
        case Kop.MOD_SUB:
            return (rest[0] - rest[1]) % m
        case Kop.MOD_MULT:
            return rest[0] * rest[1] % m
        case Kop.MOD_ADDINV:
            return -rest[0] % m
        case Kop.MOD_MULTINV:
            try:
                return pow(rest[0], -1, m)
            except ValueError:
                return None
        case _:
            return rest[0] % m


def outcome(krp: Cryptkop) -> tuple[int, str]:
    """Compute here and now; return the errno, 0 for none, and the sentence to it."""
    try:
        compute(krp)
    except CryptoError as error:
        return error.errno or -1, error.strerror or ""
    return 0, ""


PLAIN = [
    op for op in Kop
    if op not in {Kop.MOD_EXP_CRT, Kop.DSA_SIGN, Kop.DSA_VERIFY, Kop.DH_COMPUTE_KEY, Kop.RANDOM}
]  # fmt: skip


@pytest.mark.parametrize("op", PLAIN)
def test_every_plain_operation_on_the_smallest_numbers(op: Kop) -> None:
    """All numbers of up to three bits in all places: Python's result, or EINVAL if it has none."""
    for values in itertools.product(range(8), repeat=len(KOPS[op].inputs)):
        krp = Cryptkop.of(op, values, [3])
        wanted = expected(op, list(values))
        if wanted is None:
            assert outcome(krp)[0] == errno.EINVAL, values
        else:
            assert outcome(krp)[0] == 0, values
            assert krp.outputs[0].to_int() == wanted, values


@pytest.mark.parametrize("op", [Kop.MOD_EXP_CRT, Kop.DSA_SIGN, Kop.DSA_VERIFY, Kop.DH_COMPUTE_KEY])
def test_every_key_of_the_smallest_numbers(op: Kop) -> None:
    """Of one and two bits: a result, a verdict, or EINVAL; no other exception, no other errno."""
    facts = KOPS[op]
    digest = op in {Kop.DSA_SIGN, Kop.DSA_VERIFY}
    places = len(facts.inputs) - digest
    for values in itertools.product(range(4), repeat=places):
        inputs: list[int | bytes] = [b"\x05", *values] if digest else [*values]
        krp = Cryptkop.of(op, inputs, [8] * len(facts.outputs))
        status = outcome(krp)[0]
        assert status in {0, errno.EINVAL}, values
        assert (krp.verdict is None) == (op != Kop.DSA_VERIFY or status != 0)


@pytest.mark.parametrize("op", [op for op in Kop if op != Kop.RANDOM])
def test_parameters_of_no_bits_at_all(framework: Framework, op: Kop) -> None:
    """Nothing is 0, and 0 is no modulus and no key."""
    facts = KOPS[op]
    krp = Cryptkop.of(op, [b""] * len(facts.inputs), [0] * len(facts.outputs))
    run(framework, krp=krp, status=errno.EINVAL)


@pytest.mark.parametrize("op", PLAIN)
def test_every_plain_operation_on_the_largest_numbers(framework: Framework, op: Kop) -> None:
    """As many bits as may be in each place, but for a short exponent: Python's result."""
    rng = random.Random(op)
    values = [rng.getrandbits(MAX_BITS) | 1 << MAX_BITS - 1 for _ in KOPS[op].inputs]
    values[-1] |= 1
    if op == Kop.MOD_EXP:
        values[1] = 65537
    wanted = expected(op, values)
    if wanted is None:  # they have a common factor
        values[-1] = LARGE
        values[0] = 1 << MAX_BITS - 1
        wanted = expected(op, values)
    assert wanted is not None
    assert run(framework, op, values, [MAX_BITS]).outputs[0].to_int() == wanted


@pytest.mark.slow
def test_a_secret_of_the_largest_group(framework: Framework) -> None:
    """DH by a prime of 9 941 bits; of the longest number there may be, that it is none is found."""
    private, p = (1 << 255) + 95, 2**9941 - 1
    krp = run(framework, Kop.DH_COMPUTE_KEY, [private, 5, p], [MAX_BITS])
    assert krp.outputs[0].to_int() == pow(5, private, p)
    run(framework, Kop.DH_COMPUTE_KEY, [private, 5, LARGE], [MAX_BITS], status=errno.EINVAL)


@pytest.mark.slow
def test_a_private_operation_by_the_largest_primes(framework: Framework) -> None:
    """Two Mersenne primes of together 19 630 bits: the output is longer than any input may be."""
    p, q = 2**9689 - 1, 2**9941 - 1
    value, d = 3**6000, pow(2**4000 + 1, -1, (p - 1) * (q - 1))
    inputs = [p, q, value, d % (p - 1), d % (q - 1), pow(q, -1, p)]
    krp = run(framework, Kop.MOD_EXP_CRT, inputs, [9689 + 9941])
    result = krp.outputs[0].to_int()
    assert (result % p, result % q) == (pow(value, d, p), pow(value, d, q))


@pytest.mark.slow
def test_a_signature_in_a_large_domain(framework: Framework) -> None:
    """p of 3072 bits and q of 255: what is signed verifies, and nothing else does."""
    q = 2**255 - 19
    p = 2 * q * (2**2816 + 380) + 1
    g, x, digest = pow(3, (p - 1) // q, p), 2**200 + 1, b"\x77" * 32
    y = pow(g, x, p)
    krp = run(framework, Kop.DSA_SIGN, [digest, p, q, g, x], [255, 255])
    r, s = (output.to_int() for output in krp.outputs)
    w = pow(s, -1, q)
    z = int.from_bytes(digest) >> 1
    assert pow(g, z * w % q, p) * pow(y, r * w % q, p) % p % q == r
    for change, verdict in ((0, True), (1, False)):
        signature: list[int | bytes] = [digest, p, q, g, y, r, s ^ change]
        assert run(framework, Kop.DSA_VERIFY, signature).verdict is verdict


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ([b"\5", 0, 11, 4, 2, 1, 1], "odd primes"),
        ([b"\5", 23, 0, 4, 2, 1, 1], "odd primes"),
        ([b"\5", 24, 11, 4, 2, 1, 1], "odd primes"),
        ([b"\5", 31, 7, 4, 2, 1, 1], "does not divide"),
        ([b"\5", 23, 11, 0, 2, 1, 1], "g is not between"),
        ([b"\5", 23, 11, 22, 2, 1, 1], "g is not between"),
        ([b"\5", 23, 11, 4, 1, 1, 1], "y is not between"),
        ([b"\5", 31, 15, 9, 2, 1, 3], "odd primes"),
    ],
)
def test_keys_that_verify_nothing(
    framework: Framework, inputs: list[int | bytes], word: str
) -> None:
    """A public key or domain that cannot be is an error, unlike a bad signature."""
    krp = Cryptkop.of(Kop.DSA_VERIFY, inputs)
    run(framework, krp=krp, status=errno.EINVAL)
    assert word in krp.error
    assert krp.verdict is None
