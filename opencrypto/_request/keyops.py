"""
One table of facts of each key operation: its parameters in order; and whether a request fits it.

Pure. The order and the number of parameters are NetBSD's, which no header of it states: they are
what its OpenSSL engine sends and its drivers take. All are integers, little-endian and packed,
with a length in bits, except the digest of DSA, which is bytes in their natural order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opencrypto._request.key import Crparam, Cryptkop
from opencrypto.constants import CRK_MAXPARAM, Kop


@dataclass(frozen=True, slots=True)
class KopFacts:
    """
    What is true of a key operation in every driver.

    Attributes:
        op: Its number.
        inputs: The names of its input parameters, in order.
        outputs: The names of its output parameters, which follow the inputs.
        meaning: What the outputs are, in the names of the inputs.
        verdict: Whether it answers by ``krp.verdict``.
    """

    op: Kop
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    meaning: str
    verdict: bool = False

    @property
    def name(self) -> str:
        """The constant's name without its ``CRK_`` prefix."""
        return self.op.name

    @property
    def feature(self) -> int:
        """The operation's bit in the mask of ``getfeat``: ``CRF_*``."""
        return 1 << self.op


def _facts(op: Kop, inputs: str, outputs: str, meaning: str, *, verdict: bool = False) -> KopFacts:
    return KopFacts(op, tuple(inputs.split()), tuple(outputs.split()), meaning, verdict)


KOPS: Final[Mapping[int, KopFacts]] = {
    int(facts.op): facts
    for facts in (
        _facts(Kop.MOD_EXP, "a p m", "result", "a**p mod m"),
        _facts(Kop.MOD_EXP_CRT, "p q i dp dq pinv", "result",
               "i**d mod p*q, where dp = d mod p-1, dq = d mod q-1, pinv = q**-1 mod p"),
        _facts(Kop.DSA_SIGN, "digest p q g x", "r s", "the signature by the private key x"),
        _facts(Kop.DSA_VERIFY, "digest p q g y r s", "", "whether (r, s) is y's signature",
               verdict=True),
        _facts(Kop.DH_COMPUTE_KEY, "priv pub p", "shared", "pub**priv mod p"),
        _facts(Kop.MOD_ADD, "a b m", "result", "a + b mod m"),
        _facts(Kop.MOD_ADDINV, "a m", "result", "-a mod m"),
        _facts(Kop.MOD_SUB, "a b m", "result", "a - b mod m"),
        _facts(Kop.MOD_MULT, "a b m", "result", "a * b mod m"),
        _facts(Kop.MOD_MULTINV, "a m", "result", "a**-1 mod m"),
        _facts(Kop.MOD, "a m", "result", "a mod m"),
        _facts(Kop.RANDOM, "", "bytes", "nbits random bits"),
    )
}  # fmt: skip
"""The facts by operation number."""


def kop_name(op: int) -> str:
    """Name an operation number for people, whether or not it is known."""
    return KOPS[op].name if op in KOPS else f"key operation {op!r}"


def too_many(krp: Cryptkop) -> bool:
    """Tell whether a request has more than ``CRK_MAXPARAM`` parameters (EFBIG)."""
    return krp.iparams + krp.oparams > CRK_MAXPARAM or len(krp.param) > CRK_MAXPARAM


def refusal(krp: Cryptkop) -> str:
    """
    Say why a request cannot be what it claims to be, or return an empty string.

    It has too many parameters (`too_many`), its operation is unknown, their number is wrong, or one
    of them is no sound `Crparam`.
    """
    if too_many(krp):
        return f"a key operation has at most {CRK_MAXPARAM} parameters"
    facts = KOPS.get(krp.op)
    if facts is None:
        return f"{kop_name(krp.op)} is unknown; use a CRK_* constant"
    arity = len(facts.inputs), len(facts.outputs)
    if (krp.iparams, krp.oparams) != arity or len(krp.param) < sum(arity):
        return (
            f"{facts.name} takes {arity[0]} inputs and {arity[1]} outputs "
            f"({', '.join(facts.inputs + facts.outputs)}); set iparams and oparams, and as many "
            "parameters"
        )
    for name, parameter in zip(facts.inputs + facts.outputs, krp.param, strict=False):
        reason = _unsound(parameter, output=name in facts.outputs)
        if reason:
            return f"{facts.name}: {name} {reason}"
    return ""


def _unsound(parameter: object, *, output: bool) -> str:
    if not isinstance(parameter, Crparam):
        return f"is {type(parameter).__name__}, not a Crparam"
    try:
        view = memoryview(parameter.p)
    except TypeError:
        return f"holds {type(parameter.p).__name__}, not bytes"
    if not isinstance(parameter.nbits, int) or not 0 <= parameter.nbits <= view.nbytes * 8:
        return f"claims {parameter.nbits!r} bits; it holds {view.nbytes} bytes"
    if output and view.readonly:
        return "is an output and read-only; give a bytearray"
    return ""
