"""
Key operations to try: parameters and the answers that they have, by Python's own arithmetic.

The domain, the key and the signature of DSA are published, and so are the primes; ``keyops.json``
says where. All else follows from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from opencrypto import Crparam, Cryptkop
from opencrypto.constants import CRYPTO_F_CBIMM, Kop
from opencrypto.driver import KOPS
from opencrypto.testing._samples import sample

Value = int | bytes

RANDOM_BITS: Final = 1000
"""How many random bits are asked for."""


@dataclass(frozen=True)
class KeyCase:
    """
    A key operation with its inputs, as a trial.

    Attributes:
        op: Its number.
        what: What is tried, in a word.
        inputs: Values in NetBSD's order; bytes for a digest.
        outputs: The right results; none if there is an error, or another way to judge them.
        verdict: The right verdict of a verification.
        bits: The outputs' room in **bits**, where it does not follow from the results.
    """

    op: int
    what: str
    inputs: tuple[Value, ...]
    outputs: tuple[int, ...] = ()
    verdict: bool | None = None
    bits: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """The operation and what is tried."""
        return f"{KOPS[self.op].name}-{self.what}"

    @property
    def room(self) -> tuple[int, ...]:
        """How many bits each output has: just enough, unless the case says otherwise."""
        if self.bits:
            return self.bits
        exact = tuple(max(value.bit_length(), 1) for value in self.outputs)
        return exact or (2048,) * len(KOPS[self.op].outputs)

    def request(self, flags: int = CRYPTO_F_CBIMM) -> Cryptkop:
        """Make the request, its outputs full of ones."""
        outputs = [Crparam(bytearray(b"\xff" * -(-bits // 8)), bits) for bits in self.room]
        params = [*map(parameter, self.inputs), *outputs]
        return Cryptkop(self.op, params, len(self.inputs), len(outputs), flags=flags)


def parameter(value: Value) -> Crparam:
    """Pack an input."""
    if isinstance(value, int):
        return Crparam.from_int(value)
    return Crparam.from_bytes(bytearray(value))


@cache
def published() -> Mapping[str, Mapping[str, Any]]:
    """Return what ``keyops.json`` has, numbers as such."""
    text = resources.files(__package__).joinpath("keyops.json").read_text(encoding="ascii")
    document = json.loads(text)
    for part in document.values():
        for name, value in part.items():
            if name == "digest":
                part[name] = bytes.fromhex(value)
            elif name != "source":
                part[name] = int(value, 16)
    found: Mapping[str, Mapping[str, Any]] = document
    return found


def number(bits: int, label: str) -> int:
    """Return a number of so many bits, always the same for a label."""
    return int.from_bytes(sample(-(-bits // 8), label)) >> -bits % 8 | 1 << bits - 1


ARITHMETIC: Final[Mapping[int, Callable[..., int]]] = {
    Kop.MOD_EXP: pow,
    Kop.DH_COMPUTE_KEY: lambda private, public, p: pow(public, private, p),
    Kop.MOD_ADD: lambda a, b, m: (a + b) % m,
    Kop.MOD_ADDINV: lambda a, m: -a % m,
    Kop.MOD_SUB: lambda a, b, m: (a - b) % m,
    Kop.MOD_MULT: lambda a, b, m: a * b % m,
    Kop.MOD_MULTINV: lambda a, m: pow(a, -1, m),
    Kop.MOD: lambda a, m: a % m,
}
"""The operations with one result that follows from the inputs by one line of arithmetic."""


@cache  # each clause asks for the same cases again, and long powers take their time
def answered(op: int, what: str, *inputs: int) -> KeyCase:
    """Make a case whose result is what Python says."""
    return KeyCase(op, what, inputs, (ARITHMETIC[op](*inputs),))


@cache
def crt(base: int, what: str = "known") -> KeyCase:
    """Make a case of RSA's private operation by its primes."""
    p, q = published()["primes"]["p"], published()["primes"]["q"]
    d = pow(65537, -1, (p - 1) * (q - 1))
    inputs = (p, q, base, d % (p - 1), d % (q - 1), pow(q, -1, p))
    return KeyCase(Kop.MOD_EXP_CRT, what, inputs, (pow(base, d, p * q),))


def verify(what: str, verdict: bool, other: Mapping[str, Value] | None = None) -> KeyCase:
    """Make a case of the published signature, with some of its parts replaced."""
    parts = {**published()["dsa"], **(other or {})}
    inputs = tuple(parts[name] for name in ("digest", "p", "q", "g", "y", "r", "s"))
    return KeyCase(Kop.DSA_VERIFY, what, inputs, verdict=verdict)


def sign(what: str, other: Mapping[str, Value] | None = None) -> KeyCase:
    """Make a case of a signature, another each time; with some parts replaced, of none."""
    dsa = published()["dsa"]
    parts = {**dsa, **(other or {})}
    inputs = tuple(parts[name] for name in ("digest", "p", "q", "g", "x"))
    bits = dsa["q"].bit_length()
    return KeyCase(Kop.DSA_SIGN, what, inputs, bits=(bits, bits))


def is_signature(r: int, s: int) -> bool:
    """Tell whether two numbers are a signature of the published digest by the published key."""
    dsa = published()["dsa"]
    p, q = dsa["p"], dsa["q"]
    if not (0 < r < q and 0 < s < q):
        return False
    w = pow(s, -1, q)
    z = int.from_bytes(dsa["digest"][: q.bit_length() // 8])
    return bool(pow(dsa["g"], z * w % q, p) * pow(dsa["y"], r * w % q, p) % p % q == r)


def known() -> Iterator[KeyCase]:
    """Give each operation with ordinary parameters, no two of them alike."""
    p, q = published()["primes"]["p"], published()["primes"]["q"]
    a, b = number(760, "a"), number(751, "b")
    yield answered(Kop.MOD_EXP, "known", a, number(160, "exponent"), p)
    yield crt(number(1700, "base"))
    yield sign("known")
    yield verify("known", True)
    yield answered(Kop.DH_COMPUTE_KEY, "known", number(256, "private"), pow(2, b, q), q)
    for op in (Kop.MOD_ADD, Kop.MOD_SUB, Kop.MOD_MULT):
        yield answered(op, "known", a, b, p)
    for op in (Kop.MOD_ADDINV, Kop.MOD_MULTINV):
        yield answered(op, "known", a, p)
    yield answered(Kop.MOD, "known", a * b, p)
    yield KeyCase(Kop.RANDOM, "known", (), bits=(RANDOM_BITS,))


def edges() -> Iterator[KeyCase]:
    """Give values at the ends of their ranges that have an answer all the same."""
    p = published()["primes"]["p"]
    yield answered(Kop.MOD_EXP, "exponent-0", 5, 0, p)
    yield answered(Kop.MOD_EXP, "base-0", 0, 5, p)
    yield answered(Kop.MOD_EXP, "base-m-1", p - 1, 3, p)
    yield answered(Kop.MOD_EXP, "base-over-m", p + 2, 3, p)
    yield answered(Kop.MOD_EXP, "m-1", 5, 3, 1)
    yield crt(0, "base-0")
    yield crt(1, "base-1")
    for op in (Kop.MOD_ADD, Kop.MOD_SUB, Kop.MOD_MULT):
        yield answered(op, "zeros", 0, 0, p)
        yield answered(op, "m-1", p - 1, p - 1, p)
        yield answered(op, "over-m", 3 * p + 1, 2 * p + 2, p)
        yield answered(op, "even-m", 7, 9, 10)
        yield answered(op, "one-bit", 1, 0, 1)
    yield answered(Kop.MOD_ADDINV, "zero", 0, p)
    yield answered(Kop.MOD_ADDINV, "over-m", p + 1, p)
    yield answered(Kop.MOD_MULTINV, "one", 1, p)
    yield answered(Kop.MOD_MULTINV, "m-1", p - 1, p)
    yield answered(Kop.MOD, "zero", 0, p)
    yield answered(Kop.MOD, "less", 5, p)
    yield answered(Kop.MOD, "low-bytes-zero", p << 64 | 1 << 64, 1 << 80)


def impossible() -> Iterator[KeyCase]:
    """Give values that have no answer."""
    dsa = published()["dsa"]
    p, q = published()["primes"]["p"], published()["primes"]["q"]
    for op in (Kop.MOD_EXP, Kop.MOD_ADD, Kop.MOD_SUB, Kop.MOD_MULT):
        yield KeyCase(op, "m-0", (5, 3, 0))
    for op in (Kop.MOD_ADDINV, Kop.MOD_MULTINV, Kop.MOD):
        yield KeyCase(op, "m-0", (5, 0))
    yield KeyCase(Kop.MOD_MULTINV, "no-inverse", (p, p * q))
    yield KeyCase(Kop.MOD_MULTINV, "of-0", (0, p))
    yield from no_private_operation()
    yield KeyCase(Kop.DH_COMPUTE_KEY, "p-0", (5, 3, 0))
    yield KeyCase(Kop.DH_COMPUTE_KEY, "public-0", (5, 0, p))
    yield KeyCase(Kop.DH_COMPUTE_KEY, "public-1", (5, 1, p))
    yield KeyCase(Kop.DH_COMPUTE_KEY, "public-p-1", (6, p - 1, p))
    yield KeyCase(Kop.DH_COMPUTE_KEY, "private-p-1", (p - 1, 3, p))
    for name in ("p", "q", "g"):
        yield sign(f"{name}-0", {name: 0})
        inputs = verify("", True, {name: 0}).inputs
        yield KeyCase(Kop.DSA_VERIFY, f"{name}-0", inputs)
    for what, y in (("0", 0), ("1", 1), ("p-1", dsa["p"] - 1)):
        yield KeyCase(Kop.DSA_VERIFY, f"y-{what}", verify("", True, {"y": y}).inputs)
    yield sign("x-0", {"x": 0})
    yield sign("x-q", {"x": dsa["q"]})
    yield sign("q-divides-not", {"q": dsa["q"] + 2})


def no_private_operation() -> Iterator[KeyCase]:
    """Give what is no input, or no key, of RSA's private operation by its primes."""
    right = dict(zip(KOPS[Kop.MOD_EXP_CRT].inputs, crt(5).inputs, strict=True))
    p, q, _, dp, *_ = (each for each in right.values() if isinstance(each, int))
    wrong: Mapping[str, Mapping[str, int]] = {
        "p-0": {"p": 0},
        "p-even": {"p": p + 1, "pinv": pow(q, -1, p + 1)},
        "p-q": {"p": q, "pinv": 1},
        "i-n": {"i": p * q},
        "dp-0": {"dp": 0},
        "dp-even": {"dp": dp + 1},
        "dp-of-another-key": {"dp": dp ^ 1 << 77},
        "pinv-0": {"pinv": 0},
    }
    for what, parts in wrong.items():
        yield KeyCase(Kop.MOD_EXP_CRT, what, tuple({**right, **parts}.values()))


def verdicts() -> Iterator[KeyCase]:
    """Give signatures, good and bad. A bad one is no error: it is what was asked."""
    dsa = published()["dsa"]
    altered = bytes([dsa["digest"][0] ^ 1]) + dsa["digest"][1:]
    yield verify("good", True)
    yield verify("another-digest", False, {"digest": altered})
    for name in ("r", "s"):
        yield verify(f"another-{name}", False, {name: dsa[name] ^ 2})
        yield verify(f"{name}-0", False, {name: 0})
        yield verify(f"{name}-over-q", False, {name: dsa[name] + dsa["q"]})
