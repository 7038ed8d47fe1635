"""The key operations of the soak, each with Python's own answer."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from opencrypto import Cryptkop, Kop


@dataclass(frozen=True)
class KeyAsk:
    """A key operation to be asked for, and who tells whether its answer is right."""

    op: Kop
    inputs: Sequence[int | bytes]
    outputs: Sequence[int]
    right: Callable[[Cryptkop], bool]


def _is(value: int) -> Callable[[Cryptkop], bool]:
    return lambda krp: krp.outputs[0].to_int() == value


class KeyWork:
    """Keys, made once, and requests with them without end."""

    def __init__(self) -> None:
        # Short keys: many operations are wanted, not strong ones.
        numbers = dsa.generate_private_key(1024).private_numbers()  # noqa: S505 - short: it protects nothing
        domain = numbers.public_numbers.parameter_numbers
        self.domain = (domain.p, domain.q, domain.g)
        self.x, self.y = numbers.x, numbers.public_numbers.y
        self.rsa = rsa.generate_private_key(65537, 1024).private_numbers()  # noqa: S505 - short: it protects nothing

    def asks(self, rng: random.Random) -> Iterator[KeyAsk]:
        """Yield one request of each operation, in any order; then all again."""
        makers = [
            self._modular, self._inverse, self._power, self._by_primes, self._secret,
            self._signature, self._verification, self._random,
        ]  # fmt: skip
        while True:
            rng.shuffle(makers)
            for make in makers:
                yield from make(rng)

    def _modular(self, rng: random.Random) -> Iterator[KeyAsk]:
        m = rng.getrandbits(256) | 1
        a, b = rng.getrandbits(300), rng.getrandbits(300)
        for op, inputs, value in (
            (Kop.MOD_ADD, [a, b, m], (a + b) % m),
            (Kop.MOD_SUB, [a, b, m], (a - b) % m),
            (Kop.MOD_MULT, [a, b, m], a * b % m),
            (Kop.MOD_ADDINV, [a, m], -a % m),
            (Kop.MOD, [a, m], a % m),
        ):
            yield KeyAsk(op, inputs, [256], _is(value))

    def _inverse(self, rng: random.Random) -> Iterator[KeyAsk]:
        p = self.domain[1]
        a = rng.randrange(1, p)
        yield KeyAsk(Kop.MOD_MULTINV, [a, p], [p.bit_length()], _is(pow(a, -1, p)))

    def _power(self, rng: random.Random) -> Iterator[KeyAsk]:
        m = rng.getrandbits(255) + 2
        a, p = rng.getrandbits(260), rng.getrandbits(260)
        yield KeyAsk(Kop.MOD_EXP, [a, p, m], [256], _is(pow(a, p, m)))

    def _by_primes(self, rng: random.Random) -> Iterator[KeyAsk]:
        k = self.rsa
        n = k.public_numbers.n
        value = rng.randrange(n)
        asked = pow(value, k.public_numbers.e, n)
        inputs = [k.p, k.q, asked, k.dmp1, k.dmq1, k.iqmp]
        yield KeyAsk(Kop.MOD_EXP_CRT, inputs, [1024], _is(value))

    def _secret(self, rng: random.Random) -> Iterator[KeyAsk]:
        p, q, g = self.domain
        private, public = rng.randrange(2, q), pow(g, rng.randrange(2, q), p)
        value = pow(public, private, p)
        yield KeyAsk(Kop.DH_COMPUTE_KEY, [private, public, p], [1024], _is(value))

    def _signature(self, rng: random.Random) -> Iterator[KeyAsk]:
        digest = hashlib.sha1(rng.randbytes(9)).digest()
        p, q, g = self.domain

        def right(krp: Cryptkop) -> bool:
            r, s = (output.to_int() for output in krp.outputs)
            return self._verifies(digest, r, s)

        bits = q.bit_length()
        yield KeyAsk(Kop.DSA_SIGN, [digest, p, q, g, self.x], [bits, bits], right)

    def _verification(self, rng: random.Random) -> Iterator[KeyAsk]:
        p, q, g = self.domain
        digest = hashlib.sha1(rng.randbytes(9)).digest()
        nonce = rng.randrange(1, q)
        r = pow(g, nonce, p) % q
        s = pow(nonce, -1, q) * (int.from_bytes(digest) + self.x * r) % q
        for off, verdict in ((0, True), (1, False)):
            signature: list[int | bytes] = [digest, p, q, g, self.y, r, (s + off) % q]

            def right(krp: Cryptkop, verdict: bool = verdict) -> bool:
                return krp.verdict is verdict

            yield KeyAsk(Kop.DSA_VERIFY, signature, [], right)

    def _random(self, rng: random.Random) -> Iterator[KeyAsk]:
        yield KeyAsk(Kop.RANDOM, [], [256], lambda krp: krp.outputs[0].to_int() != 0)

    def _verifies(self, digest: bytes, r: int, s: int) -> bool:
        """FIPS 186-4, 4.7, in Python."""
        p, q, g = self.domain
        w = pow(s, -1, q)
        u, v = int.from_bytes(digest) * w % q, r * w % q
        return pow(g, u, p) * pow(self.y, v, p) % p % q == r
