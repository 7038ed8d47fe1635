"""
Powers with a secret exponent: by pycryptodome, or by gmpy2 where the environment asks for it.

Both compute in C and without the GIL. pycryptodome takes as long as an exponent is wide, gmpy2 as
long as its value has words of 64 bits; of a random one that is the same. gmpy2 is not taken just
because it is installed: at the sizes of today's keys it takes longer, and that differs from
processor to processor, so whoever wants it has measured. Figures: docs/howto/key-operations.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypeAlias

import Crypto
from Crypto.Math.Numbers import Integer

from opencrypto.exceptions import DriverUnavailable

VARIABLE: Final = "OPENCRYPTO_SWCRYPTO_POWERS"
"""The environment variable that names the library: ``pycryptodome`` or ``gmpy2``."""

LOWEST: Final = 4
"""The first major version of pycryptodome whose powers do not tell how long an exponent is."""

SecretPower: TypeAlias = Callable[[Integer, Integer, Integer], Integer]
"""Takes base, exponent and an odd modulus above 1 as `Integer`; returns the power as one."""


def refusal() -> str:
    """Say why key operations cannot be trusted to this pycryptodome, or return an empty string."""
    remedy = "install one that has it: pip install 'pycryptodome>=4.0'"
    if int(Crypto.version_info[0]) < LOWEST:
        return (
            f"pycryptodome {Crypto.__version__} takes longer for longer exponents, which tells "
            f"secret ones; {remedy}"
        )
    if Integer.__name__ == "IntegerNative":
        return f"pycryptodome {Crypto.__version__} runs without its arithmetic in C; {remedy}"
    return ""


def by_gmpy2() -> SecretPower:
    """
    Return gmpy2's ``powmod_sec``, made to take and give what pycryptodome does.

    Raises:
        DriverUnavailable: gmpy2 is not installed.
    """
    try:
        import gmpy2
    except ModuleNotFoundError:
        raise DriverUnavailable(
            f"{VARIABLE} asks for gmpy2, which is not installed; "
            "install it with: pip install 'gmpy2>=2.1'"
        ) from None
    powmod_sec, context = gmpy2.powmod_sec, gmpy2.context

    def power(base: Integer, exponent: Integer, modulus: Integer) -> Integer:
        secret = int(exponent)
        if not secret:  # which it refuses; and that one is 0 shows in the result in any case
            return Integer(1)
        with context(allow_release_gil=True):
            result = int(powmod_sec(int(base), secret, int(modulus)))
        return Integer.from_bytes(result.to_bytes(modulus.size_in_bytes()))

    return power


def chosen() -> SecretPower:
    """
    Return what the environment asks for.

    Raises:
        DriverUnavailable: it asks for a library that is not installed, or for none of the two.
    """
    name = os.environ.get(VARIABLE, "").strip() or "pycryptodome"
    if name == "gmpy2":
        return by_gmpy2()
    if name != "pycryptodome":
        raise DriverUnavailable(f"{VARIABLE} is {name!r}; say pycryptodome or gmpy2")
    return pow
