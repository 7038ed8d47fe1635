"""What must not depend on secrets takes no time that does: t-tests, each beside one that leaks."""

from __future__ import annotations

import functools
import hmac
import os
from collections.abc import Callable, Sequence
from hmac import compare_digest

import pytest
from Crypto.Cipher import AES
from Crypto.Math.Numbers import Integer

from opencrypto import (
    CRD_F_VERIFY,
    CRK_DSA_SIGN,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA2_256_HMAC,
    Crparam,
    Cryptkop,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
)
from opencrypto.testing._key_samples import crt, published
from opencrypto_esp import Reason
from opencrypto_swcrypto import _keymath
from opencrypto_swcrypto._dsa import nonces
from opencrypto_swcrypto._integers import integer
from opencrypto_swcrypto._key_engine import compute
from opencrypto_swcrypto._rsa import power_crt
from tests.benchmarks.leaks import LEAK, Call, t_of
from tests.benchmarks.measure import table
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import ipv4, make_sa

pytestmark = pytest.mark.bench

SAMPLES = 10_000
MANY = 100_000
"""Of what takes some microseconds."""

MODULUS = 2**512 - 569
"""Prime, and short, so that many powers are done soon."""

NONCES = 10
"""Of each kind, equally many: a kind of fewer numbers is quicker, for they are in the cache."""

TRIES = 3
"""A machine that does something else in the meantime may look like a leak once."""


def judge(title: str, kept: Callable[[], float], leaking: Callable[[], float]) -> None:
    """Require that what is kept is, and that the test would find it if it were not."""
    for _ in range(TRIES):
        value = kept()
        if abs(value) < LEAK:
            break
    control = leaking()
    rows = [[title, f"{value:.1f}"], ["the same, careless", f"{control:.1f}"]]
    table(title, ["", "t"], rows)
    assert abs(value) < LEAK
    assert abs(control) > LEAK


def powers(exponents: Sequence[Integer]) -> list[Call]:
    """Return calls of a power with each exponent."""
    base, modulus = Integer(MODULUS // 3), Integer(MODULUS)
    return [functools.partial(_keymath.secret_power, base, each, modulus) for each in exponents]


def python_powers(exponents: Sequence[int], base: int = MODULUS // 3) -> list[Call]:
    """Return calls of Python's own power, which promises nothing."""
    return [functools.partial(pow, base, each, MODULUS) for each in exponents]


def drawn(bits: int, count: int = 50) -> list[int]:
    """Draw exponents of exactly so many bits."""
    top = 1 << bits - 1
    return [int.from_bytes(os.urandom(bits // 8)) % top | top for _ in range(count)]


def test_a_power_does_not_tell_how_long_its_exponent_is() -> None:
    """96 bits or 160; an Integer made of a Python number tells."""

    def wide(bits: int) -> list[Call]:
        return powers([integer(Crparam.from_int(each), 512) for each in drawn(bits)])

    def narrow(bits: int) -> list[Call]:
        return powers([Integer(each) for each in drawn(bits)])

    judge(
        "power, exponent of 96 or 160 bits",
        lambda: t_of(wide(96), wide(160), SAMPLES),
        lambda: t_of(narrow(96), narrow(160), SAMPLES // 5),
    )


def test_a_power_does_not_tell_its_exponent() -> None:
    """Few bits set or many; Python's own power skips what is zero."""
    few = [1 << 500 | n for n in range(50)]
    most = [(1 << 501) - 1 - n for n in range(50)]

    def kept(some: Sequence[int]) -> list[Call]:
        return powers([integer(Crparam.from_int(each), 512) for each in some])

    judge(
        "power, few bits set or all",
        lambda: t_of(kept(few), kept(most), SAMPLES),
        lambda: t_of(python_powers(few), python_powers(most), SAMPLES),
    )


def test_a_nonce_does_not_tell_its_length() -> None:
    """Nonces of a group of 160 bits, with ten leading zeros or with none."""
    short: list[Integer] = []
    whole: list[Integer] = []
    many = nonces(Integer(5), b"digest", 2**160 - 47, os.urandom(32))
    while len(short) < NONCES:
        nonce = next(many)
        if int(nonce) >> 150 == 0:
            short.append(nonce)
        elif int(nonce) >> 159 and len(whole) < NONCES:
            whole.append(nonce)

    def narrow(some: Sequence[Integer]) -> list[Call]:
        return powers([Integer(int(each)) for each in some])

    judge(
        "DSA nonce, ten leading zeros or none",
        lambda: t_of(powers(short), powers(whole), SAMPLES),
        lambda: t_of(narrow(short), narrow(whole), SAMPLES),
    )


def test_a_signature_does_not_tell_the_key() -> None:
    """DSA_SIGN as a driver computes it: a private key of 16 bits, or of as many as q has."""
    dsa = published()["dsa"]

    def signing(x: int) -> list[Call]:
        inputs = [dsa["digest"], dsa["p"], dsa["q"], dsa["g"], x]
        krp = Cryptkop.of(CRK_DSA_SIGN, inputs, [256, 256])
        return [functools.partial(compute, krp)]

    def careless(x: int) -> list[Call]:
        return python_powers([x])  # of which the signature is made, in the numbers of Python

    short, whole = 40_961, dsa["x"]
    judge(
        "DSA_SIGN, key of 16 or 255 bits",
        lambda: t_of(signing(short), signing(whole), SAMPLES),
        lambda: t_of(careless(short), careless(whole), SAMPLES),
    )


def test_rsa_by_primes_does_not_tell_the_base() -> None:
    """A base of one bit, or any."""
    p, q, _, dp, dq, pinv = (
        integer(Crparam.from_int(each)) for each in crt(5).inputs if isinstance(each, int)
    )
    size = 1700

    def by(base: int) -> Call:
        wide = integer(Crparam.from_int(base), size)
        return functools.partial(power_crt, p, q, wide, dp, dq, pinv)

    def careless(base: int) -> Call:
        return functools.partial(pow, base, int(dp), int(p))

    bases = drawn(1696)
    judge(
        "RSA by primes, base 1 or any",
        lambda: t_of([by(1)], [by(each) for each in bases], SAMPLES),
        lambda: t_of([careless(1)], [careless(each) for each in bases], SAMPLES // 10),
    )


@pytest.mark.parametrize("driver", ["openssl", "swcrypto"])
def test_a_comparison_does_not_tell_where_it_ends(driver: str) -> None:
    """A MAC that is wrong in its first byte or in its last."""
    with Framework(plugins=[driver]) as framework:
        ini = Cryptoini(CRYPTO_SHA2_256_HMAC, os.urandom(32))
        sid = framework.newsession(ini)
        buf = bytearray(80)
        crd = Cryptodesc(skip=0, len=64, inject=64, ini=ini)
        crp = Cryptop(sid, buf, [crd], callback=lambda crp: None)
        crp.ilen, crp.flags = 80, CRYPTO_F_CBIMM
        framework.dispatch(crp)
        right = bytes(buf)
        crd.flags = CRD_F_VERIFY

        def wrong(at: int) -> Call:
            damaged = bytearray(right)
            damaged[64 + at] ^= 1

            def verify() -> None:
                crp.buf = damaged
                framework.dispatch(crp)

            verify()
            assert crp.etype
            return verify

        first, last = [wrong(0)], [wrong(15)]
        mac = right[64:80] * 80  # so that a careless comparison takes long enough to be seen
        begin, end = bytes([mac[0] ^ 1]) + mac[1:], mac[:-1] + bytes([mac[-1] ^ 1])

        def careless(other: bytes) -> Call:
            return lambda: all(a == b for a, b in zip(mac, other, strict=True))

        judge(
            f"{driver}, HMAC wrong in its first or last byte",
            lambda: t_of(first, last, MANY),
            lambda: t_of([careless(begin)], [careless(end)], SAMPLES),
        )


@pytest.mark.parametrize("encryption", ["aes-cbc", "aes-ctr"])
def test_padding_does_not_tell_before_the_icv_does(encryption: str) -> None:
    """Forged packets of right and of wrong padding: both are BAD_ICV, after as long."""
    with Framework() as framework, Ends(framework, [make_sa(encryption)]) as esp:
        wire = esp.protect(ipv4(bytes(200))).packet
        assert wire is not None

        def forged(at: int) -> Call:
            damaged = bytearray(wire)
            damaged[at] ^= 1
            assert esp.unprotect(bytes(damaged)).reason is Reason.BAD_ICV
            return functools.partial(esp.unprotect, bytes(damaged))

        # The ICV alone; and a byte that decrypts to the padding's length, or to its block.
        right, wrong = [forged(len(wire) - 1)], [forged(len(wire) - 12 - 2)]
        judge(
            f"ESP, {encryption}, padding right or wrong",
            lambda: t_of(right, wrong, MANY),
            lambda: t_of([padding_first(harmed=False)], [padding_first(harmed=True)], SAMPLES),
        )


def padding_first(*, harmed: bool) -> Call:
    """Return a receiver that looks at the padding before it looks at the ICV, and its packet."""
    key, iv = os.urandom(16), os.urandom(16)
    padding = bytes(range(1, 15)) + bytes([14, 4])
    data = bytearray(AES.new(key, AES.MODE_CBC, iv).encrypt(bytes(208) + padding))
    if harmed:
        data[-18] ^= 1  # which changes the length of the padding, one block later

    def receive() -> bool:
        text = AES.new(key, AES.MODE_CBC, iv).decrypt(bytes(data))
        if text[-2 - text[-2] : -2] != padding[: text[-2]]:
            return False
        return compare_digest(hmac.digest(key, data, "sha256"), bytes(32))

    return receive
