"""
Parameters as pycryptodome's `Integer`, as wide as their group: time tells no secret's length.

An `Integer` takes as long as it is wide, whatever its value. One made of a Python number is as wide
as that number's own bits, and a power by a nonce of 250 bits is quicker than by one of 256: a few
hundred such signatures give a DSA key away ("Minerva"). So each secret is made of bytes, as many
as its modulus or its group has, and is never a Python number.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final

from Crypto.Math.Numbers import Integer

from opencrypto import Crparam, Cryptkop
from opencrypto.constants import Kop
from opencrypto.driver import KOPS
from opencrypto.exceptions import LimitError, OutputTooSmall

MAX_BITS: Final = 16384
"""The longest input, in **bits**: about a second of work for a power."""

PUBLIC_BITS: Final = 64
"""An exponent of so few **bits** is a public one, such as 65537, and is not made any longer."""

AS_WIDE_AS: Final[Mapping[int, Mapping[str, str]]] = {
    Kop.MOD_EXP: {"a": "m", "p": "m"},
    Kop.MOD_EXP_CRT: {"dp": "p", "dq": "q", "pinv": "p"},
    Kop.DSA_SIGN: {"x": "q"},
    Kop.DH_COMPUTE_KEY: {"priv": "p"},
    Kop.MOD_ADD: {"a": "m", "b": "m"},
    Kop.MOD_ADDINV: {"a": "m"},
    Kop.MOD_SUB: {"a": "m", "b": "m"},
    Kop.MOD_MULT: {"a": "m", "b": "m"},
    Kop.MOD_MULTINV: {"a": "m"},
    Kop.MOD: {"a": "m"},
}
"""For each operation the inputs that may be secret, and whose width each of them gets."""


def inputs_of(krp: Cryptkop) -> list[Integer | bytes]:
    """
    Return a request's inputs, in order; a digest as the bytes that it is.

    Raises:
        LimitError: one is too long (EFBIG).
    """
    named = dict(zip(KOPS[krp.op].inputs, krp.inputs, strict=True))
    for parameter in named.values():
        check_size(parameter, MAX_BITS)
    widths = AS_WIDE_AS.get(krp.op, {})
    found: list[Integer | bytes] = []
    for name, parameter in named.items():
        if name == "digest":
            found.append(parameter.to_bytes())
        elif name not in widths or _is_public(krp.op, name, parameter):
            found.append(integer(parameter))
        else:
            found.append(integer(parameter, named[widths[name]].nbits))
    return found


def _is_public(op: int, name: str, parameter: Crparam) -> bool:
    return op == Kop.MOD_EXP and name == "p" and parameter.nbits <= PUBLIC_BITS


def check_size(parameter: Crparam, limit: int) -> None:
    """Refuse a parameter of more than `limit` **bits** (LimitError, EFBIG)."""
    if parameter.nbits > limit:
        raise LimitError(
            f"a parameter of {parameter.nbits} bits; {limit} is the limit", errno=errno.EFBIG
        )


def integer(parameter: Crparam, bits: int = 0) -> Integer:
    """Return a parameter's value, as wide as its own length in bits, or as `bits` if it is less."""
    data = bytearray(parameter.to_bytes()) or bytearray(1)
    if parameter.nbits % 8:
        data[-1] &= (1 << parameter.nbits % 8) - 1
    data += bytes(max(0, -(-bits // 8) - len(data)))
    return Integer.from_bytes(data, "little")


def packed(result: Integer, output: Crparam) -> bytes:
    """
    Return a result as all the bytes of an output: only that it fits depends on its value.

    Raises:
        OutputTooSmall: it does not (ERANGE).
    """
    size = -(-output.nbits // 8)
    try:
        data = result.to_bytes(size or 1, "little")
    except ValueError:
        fits = False
    else:
        fits = not data[-1] >> (output.nbits - 8 * (len(data) - 1))
    if not fits:
        raise OutputTooSmall(
            f"the result does not fit the {output.nbits} bits of an output; give more bits",
            errno=errno.ERANGE,
        )
    return data[:size]


def store(result: bytes, output: Crparam) -> None:
    """Write what `packed` has returned."""
    memoryview(output.p).cast("B")[: len(result)] = result


def random_below(modulus: Integer) -> Integer:
    """Return a random number from 1 to ``modulus - 1``, as wide as that; bias below 2**-64."""
    size = modulus.size_in_bytes() + 8
    while True:
        value = Integer.from_bytes(os.urandom(size)) % modulus
        if value:
            return value
