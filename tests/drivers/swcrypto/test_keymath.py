"""The software driver's arithmetic, on edge values, against Python's own."""

import errno
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from opencrypto import Crparam, Cryptkop, Framework, Kop
from opencrypto.driver import KOPS
from tests.core.keys.powers import framework
from tests.core.keys.support import run
from tests.support import examples

pytestmark = pytest.mark.shared_framework

__all__ = ["framework"]

BITS = st.sampled_from([1, 2, 7, 8, 9, 31, 63, 64, 65, 127, 160, 255, 521])


@st.composite
def moduli(draw: st.DrawFn) -> int:
    """Draw a modulus: odd, even, powers of two and their neighbours, of any number of bits."""
    bits = draw(BITS)
    top = 1 << bits
    return draw(st.sampled_from([top - 1, top, top + 1]) | st.integers(1, top))


@st.composite
def values(draw: st.DrawFn, m: int) -> int:
    """Draw a value where things go wrong: 0, 1, around the modulus, and anything."""
    edges = [0, 1, 2, max(0, m - 1), m, m + 1, 2 * m - 1]
    return draw(st.sampled_from(edges) | st.integers(0, 1 << (m.bit_length() + 9)))


def answer(framework: Framework, op: int, inputs: list[int], m: int) -> int:
    """Have an operation done with parameters and outputs of odd numbers of bits."""
    parameters = [Crparam.from_int(i, i.bit_length() + n % 5) for n, i in enumerate(inputs)]
    krp = Cryptkop(op, [*parameters, Crparam(nbits=m.bit_length())], len(inputs), 1)
    return run(framework, krp=krp).outputs[0].to_int()


@settings(max_examples=examples(150), deadline=None)
@given(st.data(), moduli())
def test_powers_are_pythons(framework: Framework, data: st.DataObject, m: int) -> None:
    """MOD_EXP is pow(a, p, m) for every modulus, even ones and 1 among them."""
    a, p = data.draw(values(m)), data.draw(values(m))
    assert answer(framework, Kop.MOD_EXP, [a, p, m], m) == pow(a, p, m)


@settings(max_examples=examples(150), deadline=None)
@given(st.data(), moduli())
def test_sums_and_products_are_pythons(framework: Framework, data: st.DataObject, m: int) -> None:
    """The modular operations are Python's, on values beyond the modulus too."""
    a, b = data.draw(values(m)), data.draw(values(m))
    assert answer(framework, Kop.MOD_ADD, [a, b, m], m) == (a + b) % m
    assert answer(framework, Kop.MOD_SUB, [a, b, m], m) == (a - b) % m
    assert answer(framework, Kop.MOD_MULT, [a, b, m], m) == a * b % m
    assert answer(framework, Kop.MOD_ADDINV, [a, m], m) == -a % m
    assert answer(framework, Kop.MOD, [a, m], m) == a % m


@settings(max_examples=examples(150), deadline=None)
@given(st.data(), moduli())
def test_inverses_are_pythons(framework: Framework, data: st.DataObject, m: int) -> None:
    """MOD_MULTINV is pow(a, -1, m), or EINVAL where that raises."""
    a = data.draw(values(m))
    krp = Cryptkop.of(Kop.MOD_MULTINV, [a, m], [m.bit_length()])
    try:
        expected = pow(a, -1, m)
    except ValueError:
        run(framework, krp=krp, status=errno.EINVAL)
        assert "no inverse" in krp.error
    else:
        assert run(framework, krp=krp).outputs[0].to_int() == expected


PRIMES = [3, 5, 7, 251, 65537, 2**61 - 1, 2**127 - 1, 2**255 - 19, 2**521 - 1]


@settings(max_examples=examples(60), deadline=None)
@given(st.sampled_from(PRIMES), st.sampled_from(PRIMES), st.integers(0), st.integers(0))
def test_powers_by_primes_are_pythons(framework: Framework, p: int, q: int, i: int, d: int) -> None:
    """MOD_EXP_CRT is pow(i, d, p * q), multiples of a prime among the i, if d is an exponent."""
    assume(p != q)
    n = p * q
    inputs = [p, q, i % n, d % (p - 1), d % (q - 1), pow(q, -1, p)]
    if math.gcd(d, (p - 1) * (q - 1)) == 1:
        assert answer(framework, Kop.MOD_EXP_CRT, inputs, n) == pow(i, d, n)
    else:
        run(framework, Kop.MOD_EXP_CRT, inputs, [n.bit_length()], status=errno.EINVAL)


# A sound, small domain: 11 divides 23 - 1, and 4 has the order 11.
P, Q, G, X = 23, 11, 4, 3
Y = pow(G, X, P)
DIGEST = b"\x05"


@pytest.mark.parametrize(
    ("op", "inputs", "word"),
    [
        (Kop.MOD_EXP, [2, 3, 0], "modulus is 0"),
        (Kop.MOD, [2, 0], "modulus is 0"),
        (Kop.MOD_ADD, [2, 1, 0], "modulus is 0"),
        (Kop.MOD_MULTINV, [2, 0], "modulus is 0"),
        (Kop.MOD_MULTINV, [0, 7], "no inverse"),
        (Kop.MOD_EXP_CRT, [0, 3, 1, 1, 1, 1], "odd primes"),
        (Kop.MOD_EXP_CRT, [1, 3, 1, 1, 1, 1], "odd primes"),
        (Kop.MOD_EXP_CRT, [8, 3, 1, 1, 1, 3], "odd primes"),
        (Kop.MOD_EXP_CRT, [7, 7, 1, 1, 1, 1], "not the inverse"),
        (Kop.MOD_EXP_CRT, [7, 5, 1, 1, 1, 1], "not the inverse"),
        (Kop.DH_COMPUTE_KEY, [3, 4, 0], "odd prime"),
        (Kop.DH_COMPUTE_KEY, [3, 4, 24], "odd prime"),
        (Kop.DH_COMPUTE_KEY, [3, 4, 21], "odd prime"),
        (Kop.DH_COMPUTE_KEY, [3, 4, 561], "odd prime"),
        (Kop.DH_COMPUTE_KEY, [0, 4, 23], "private key is not between"),
        (Kop.DH_COMPUTE_KEY, [22, 4, 23], "private key is not between"),
        (Kop.DH_COMPUTE_KEY, [25, 4, 23], "private key is not between"),
        (Kop.DH_COMPUTE_KEY, [3, 0, 23], "not between"),
        (Kop.DH_COMPUTE_KEY, [3, 1, 23], "not between"),
        (Kop.DH_COMPUTE_KEY, [3, 22, 23], "not between"),
        (Kop.DH_COMPUTE_KEY, [3, 23, 23], "not between"),
        (Kop.DH_COMPUTE_KEY, [3, 27, 23], "not between"),
        (Kop.DH_COMPUTE_KEY, [11, 4, 23], "small subgroup"),
        (Kop.DSA_SIGN, [DIGEST, 0, Q, G, X], "odd primes"),
        (Kop.DSA_SIGN, [DIGEST, P, 0, G, X], "odd primes"),
        (Kop.DSA_SIGN, [DIGEST, P, 1, G, X], "odd primes"),
        (Kop.DSA_SIGN, [DIGEST, P, 7, G, X], "does not divide"),
        (Kop.DSA_SIGN, [DIGEST, P, Q, 0, X], "g is not between"),
        (Kop.DSA_SIGN, [DIGEST, P, Q, 1, X], "g is not between"),
        (Kop.DSA_SIGN, [DIGEST, P, Q, G, 0], "x is not between"),
        (Kop.DSA_SIGN, [DIGEST, P, Q, G, Q], "x is not between"),
        (Kop.DSA_VERIFY, [DIGEST, P, 7, G, Y, 1, 1], "does not divide"),
        (Kop.DSA_VERIFY, [DIGEST, P, Q, G, 0, 1, 1], "y is not between"),
        (Kop.DSA_VERIFY, [DIGEST, P, Q, G, P, 1, 1], "y is not between"),
    ],
)
def test_bad_keys_are_einval(
    framework: Framework, op: Kop, inputs: list[int | bytes], word: str
) -> None:
    """Parameters that cannot be a key are refused with a sentence that says which."""
    krp = Cryptkop.of(op, inputs, [64] * len(KOPS[op].outputs))
    run(framework, krp=krp, status=errno.EINVAL)
    assert word in krp.error
    assert krp.verdict is None


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (Q, 1), (1, Q), (2**70, 1)])
def test_a_signature_out_of_range_is_bad_and_no_error(framework: Framework, r: int, s: int) -> None:
    """What comes with a message cannot be an error of the key: the verdict is no."""
    assert run(framework, Kop.DSA_VERIFY, [DIGEST, P, Q, G, Y, r, s]).verdict is False


def test_the_smallest_domain_signs_and_verifies(framework: Framework) -> None:
    """A domain where r or s is 0 for some nonces: signing tries again and ends."""
    for _ in range(50):
        krp = run(framework, Kop.DSA_SIGN, [DIGEST, P, Q, G, X], [4, 4])
        r, s = (output.to_int() for output in krp.outputs)
        assert run(framework, Kop.DSA_VERIFY, [DIGEST, P, Q, G, Y, r, s]).verdict is True


def test_a_domain_without_a_signature_ends(framework: Framework) -> None:
    """Where r is 0 whatever the nonce (3 and 9, modulo 3) nothing loops for ever."""
    krp = run(framework, Kop.DSA_SIGN, [b"\1", 13, 3, 3, 1], [64, 64], status=errno.EINVAL)
    assert "no signature" in krp.error


def test_parameters_of_one_bit(framework: Framework) -> None:
    """The smallest parameters there are work."""
    assert run(framework, Kop.MOD_EXP, [1, 1, 1], [1]).outputs[0].to_int() == 0
    assert run(framework, Kop.MOD_ADD, [1, 1, 1], [0]).outputs[0].to_int() == 0


@pytest.mark.slow
def test_parameters_of_16384_bits(framework: Framework) -> None:
    """The largest parameters allowed are served."""
    m = (1 << 16384) - 1
    # 2 has the order 16384 modulo m, which divides the first part of the exponent.
    krp = run(framework, Kop.MOD_EXP, [2, (1 << 16383) + 5, m], [16384])
    assert krp.outputs[0].to_int() == 32
    inverse = run(framework, Kop.MOD_MULTINV, [2, m], [16384]).outputs[0].to_int()
    assert inverse == pow(2, -1, m)


@pytest.mark.parametrize("op", [op for op in Kop if op != Kop.RANDOM])
def test_longer_ones_are_efbig(framework: Framework, op: Kop) -> None:
    """One bit more than the limit is refused before any arithmetic."""
    arity = KOPS[op]
    given = [bytes(2049) if name == "digest" else 1 << 16384 for name in arity.inputs]
    krp = Cryptkop.of(op, given, [64] * len(arity.outputs))
    run(framework, krp=krp, status=errno.EFBIG)
    assert "16384" in krp.error


def test_too_many_random_bytes_are_efbig(framework: Framework) -> None:
    """A generator is not asked for more than a mebibyte at a time."""
    run(framework, Kop.RANDOM, [], [8 * 1024 * 1024 + 1], status=errno.EFBIG)


def test_a_long_even_modulus_is_efbig(framework: Framework) -> None:
    """What would hold the interpreter for seconds is refused."""
    run(framework, Kop.MOD_EXP, [3, 5, 1 << 2048], [2049], status=errno.EFBIG)
    assert run(framework, Kop.MOD_EXP, [3, 5, 1 << 2047], [2048]).outputs[0].to_int() == 243
