"""RSA by its primes: a fault releases nothing, the power sees nothing, bad keys are refused."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable

import pytest
from Crypto.Math.Numbers import Integer

from opencrypto import Cryptkop, CryptoError, Kop
from opencrypto.testing._key_samples import crt, published
from opencrypto_swcrypto import _keymath
from opencrypto_swcrypto._key_engine import compute
from tests.core.keys.powers import require_trusted

require_trusted()

P, Q = published()["primes"]["p"], published()["primes"]["q"]
N = P * Q
E = 65537
BASE = 3**600
_, _, _, DP, DQ, PINV = (int(each) for each in crt(BASE).inputs if isinstance(each, int))

POWERS = 6
"""How many powers one operation takes: for either half to blind, to do the work, to verify."""


def status_of(krp: Cryptkop) -> tuple[int, str]:
    """Compute here and now; return the errno, 0 for none, and the sentence to it."""
    try:
        compute(krp)
    except CryptoError as error:
        return error.errno or -1, error.strerror or ""
    return 0, ""


def private(
    p: int = P, q: int = Q, i: int = BASE, dp: int = DP, dq: int = DQ, pinv: int | None = None
) -> Cryptkop:
    """Make a request of the private operation, some of its parameters replaced."""
    if pinv is None:
        pinv = PINV if (p, q) == (P, Q) else pow(q, -1, p)
    return Cryptkop.of(Kop.MOD_EXP_CRT, [p, q, i, dp, dq, pinv], [max((p * q).bit_length(), 8)])


def watched(
    monkeypatch: pytest.MonkeyPatch, see: Callable[[int, Integer, Integer, Integer], Integer]
) -> list[int]:
    """Put `see` in the power's place; it is told which call this is, and the operands."""
    calls: list[int] = []

    def power(base: Integer, exponent: Integer, modulus: Integer) -> Integer:
        calls.append(len(calls))
        return see(calls[-1], base, exponent, modulus)

    monkeypatch.setattr(_keymath, "secret_power", power)
    return calls


@pytest.mark.parametrize("turn", range(POWERS))
@pytest.mark.parametrize("bit", [0, 300])
def test_one_wrong_bit_gives_no_factor_away(
    monkeypatch: pytest.MonkeyPatch, turn: int, bit: int
) -> None:
    """A power that errs once, in either half: EIO, nothing written, so no gcd gives a prime."""

    def err(call: int, base: Integer, exponent: Integer, modulus: Integer) -> Integer:
        right = pow(base, exponent, modulus)
        return Integer(int(right) ^ 1 << bit) if call == turn else right

    watched(monkeypatch, err)
    krp = private()
    status, sentence = status_of(krp)
    released = krp.outputs[0].to_int()
    assert math.gcd(pow(released, E, N) - BASE, N) not in {P, Q}
    assert status == errno.EIO
    assert "faulty" in sentence
    assert not released


def test_the_attack_is_real() -> None:
    """What the test above tries does factor the modulus, if a half with a wrong bit is released."""
    right = int(crt(BASE).outputs[0])
    half = right % Q ^ 1
    wrong = half + Q * ((right % P - half) * PINV % P)
    assert math.gcd(pow(wrong, E, N) - BASE, N) == P


def test_a_wrong_bit_in_a_stored_exponent_gives_no_factor_away() -> None:
    """dp and dq that are not of one public exponent are EINVAL, whichever is wrong."""
    for bit in (1, 77, 500):
        for bad in ({"dp": DP ^ 1 << bit}, {"dq": DQ ^ 1 << bit}):
            krp = private(**bad)
            assert status_of(krp)[0] == errno.EINVAL, bad
            assert not krp.outputs[0].to_int()


def test_the_power_never_sees_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bases of secret powers are other ones each time: time and current tell of none."""
    secret: list[tuple[int, int]] = []

    def look(call: int, base: Integer, exponent: Integer, modulus: Integer) -> Integer:
        if int(exponent) in {DP, DQ}:
            secret.append((int(base), int(modulus)))
        return pow(base, exponent, modulus)

    calls = watched(monkeypatch, look)
    for _ in range(3):
        krp = private()
        assert status_of(krp) == (0, "")
        assert krp.outputs[0].to_int() == crt(BASE).outputs[0]
    assert len(calls) == 3 * POWERS
    assert len({base for base, _ in secret}) == len(secret) == 6
    assert all(base != BASE % modulus for base, modulus in secret)


@pytest.mark.parametrize("over", [0, 1, N, 2**1791 - N])
def test_what_is_no_representative_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, over: int
) -> None:
    """An input of p*q or more (RFC 8017, 5.1.2)."""
    calls = watched(monkeypatch, lambda call, *values: pow(*values))
    status, sentence = status_of(private(i=N + over if over >= 0 else N))
    assert (status, "representative" in sentence) == (errno.EINVAL, True)
    assert not calls
    for last in (N - 1, 0, 1, P, Q, P * 5):
        krp = private(i=last)
        assert status_of(krp) == (0, "")
        assert pow(krp.outputs[0].to_int(), E, N) == last


@pytest.mark.parametrize("e", [3, 17, 257, 65537, 37, 101, 2**64 - 59, 2**64 + 13, 2**200 + 235])
def test_any_public_exponent_will_do(e: int) -> None:
    """Usual ones, short ones, long ones: none is a parameter, and all are found."""
    p, q = 2**521 - 1, 2**607 - 1
    while math.gcd(e, (p - 1) * (q - 1)) != 1:
        e += 2
    d = pow(e, -1, (p - 1) * (q - 1))
    krp = private(p, q, 5**200, d % (p - 1), d % (q - 1))
    assert status_of(krp) == (0, "")
    assert krp.outputs[0].to_int() == pow(5**200, d, p * q)


COMPOSITE = (2**255 - 19) * (2**266 - 3)  # both prime
CARMICHAEL = 561


def names(bad: list[tuple[dict[str, int], str]]) -> list[str]:
    """Name cases by what is bad in each: the numbers themselves are too long."""
    return [f"{'-'.join(parts)}-{n}" for n, (parts, _) in enumerate(bad)]


BAD = [
    ({"p": P + 1, "pinv": pow(Q, -1, P + 1)}, "odd primes"),
    ({"q": Q + 1}, "odd primes"),
    ({"p": Q, "pinv": 1}, "not the inverse"),
    ({"p": Q, "pinv": 0}, "not the inverse"),
    ({"p": 1, "pinv": 0}, "odd primes"),
    ({"p": 0, "pinv": 0}, "odd primes"),
    ({"p": 15, "dp": 3, "i": 2}, "odd primes"),
    ({"p": CARMICHAEL, "dp": 3, "i": 2}, "odd primes"),
    ({"p": COMPOSITE, "dp": pow(E, -1, COMPOSITE - 1)}, "odd primes"),
    ({"q": COMPOSITE, "dq": pow(E, -1, COMPOSITE - 1)}, "odd primes"),
    ({"pinv": 0}, "not the inverse"),
    ({"pinv": 2}, "not the inverse"),
    ({"dp": 0}, "dp has no inverse"),
    ({"dq": 0}, "dq has no inverse"),
    ({"dp": P - 1}, "dp has no inverse"),
    ({"dp": DP + 1}, "dp has no inverse"),
    ({"dq": 6}, "dq has no inverse"),
    ({"dp": 1}, "two public exponents"),
    ({"dp": pow(3, -1, P - 1) if (P - 1) % 3 else 7, "dq": DQ}, "two public exponents"),
]


@pytest.mark.parametrize(
    ("bad", "word"), BAD, ids=[f"{'-'.join(bad)}{n}" for n, (bad, _) in enumerate(BAD)]
)
def test_what_is_no_key_is_einval(bad: dict[str, int], word: str) -> None:
    """Even, equal or composite primes, exponents without an inverse, halves of two keys."""
    krp = private(**bad)
    status, sentence = status_of(krp)
    assert (status, word in sentence) == (errno.EINVAL, True), sentence
    assert not krp.outputs[0].to_int()


def test_exponents_need_not_be_reduced() -> None:
    """d itself in the place of dp and dq is as good, and only slower."""
    d = pow(E, -1, (P - 1) * (Q - 1))
    krp = private(dp=d, dq=d)
    assert status_of(krp) == (0, "")
    assert krp.outputs[0].to_int() == crt(BASE).outputs[0]
