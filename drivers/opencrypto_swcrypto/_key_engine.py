"""
Key operations: parameters to integers, the mathematics, results to parameters.

What takes longer than handing it over would runs in the driver's worker threads, where
pycryptodome works without the GIL; sums and random bytes are done on the spot.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from opencrypto import Crparam, Cryptkop, Driver
from opencrypto.constants import CRYPTO_ASYMQ, ERESTART, Kop
from opencrypto.driver import WorkerPool
from opencrypto.exceptions import CryptoError, LimitError, OutputTooSmall
from opencrypto_swcrypto import _keymath

MAX_BITS: Final = 16384
"""The longest input, in **bits**: about a second of work for a power."""

MAX_RANDOM_BITS: Final = 8 * 1024 * 1024
"""The most random **bits** of one request: a mebibyte of bytes."""

DEPTH: Final = 64
"""How many requests wait for a worker before the driver answers ERESTART."""

Operation: TypeAlias = Callable[..., "int | tuple[int, ...] | bool"]

SLOW: Final[Mapping[int, Operation]] = {
    Kop.MOD_EXP: _keymath.power,
    Kop.MOD_EXP_CRT: _keymath.power_crt,
    Kop.DSA_SIGN: _keymath.dsa_sign,
    Kop.DSA_VERIFY: _keymath.dsa_verify,
    Kop.DH_COMPUTE_KEY: _keymath.dh_shared,
    Kop.MOD_MULTINV: _keymath.mod_inverse,
}

QUICK: Final[Mapping[int, Operation]] = {
    Kop.MOD_ADD: _keymath.mod_add,
    Kop.MOD_ADDINV: _keymath.mod_negate,
    Kop.MOD_SUB: _keymath.mod_sub,
    Kop.MOD_MULT: _keymath.mod_mult,
    Kop.MOD: _keymath.mod,
}

KEYOPS: Final = frozenset({*SLOW, *QUICK, Kop.RANDOM})
"""All twelve."""

_OPERATIONS: Final = {**SLOW, **QUICK}
_WITH_DIGEST: Final = frozenset({Kop.DSA_SIGN, Kop.DSA_VERIFY})


class KeyEngine:
    """The key operations of a driver; it hands `process` and `close` on to these."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._pool = WorkerPool(driver.name, self._room, depth=DEPTH)

    def _room(self) -> None:
        self._driver.unblock(CRYPTO_ASYMQ)

    def process(self, krp: Cryptkop) -> int:
        """Take a request: 0, or ERESTART while too many wait."""
        if krp.op not in SLOW:
            self._serve(krp)
            return 0
        return 0 if self._pool.submit(functools.partial(self._serve, krp)) else ERESTART

    def _serve(self, krp: Cryptkop) -> None:
        try:
            compute(krp)
        except CryptoError as error:
            krp.fail_for(error)
        except Exception as error:
            # No text of it: an arithmetic error may quote a value.
            krp.fail(errno.EIO, f"the arithmetic failed with {type(error).__name__}")
        self._driver.kdone(krp)

    def close(self) -> None:
        """Answer what was taken, and end the workers."""
        self._pool.close()


def compute(krp: Cryptkop) -> None:
    """
    Carry a key operation out, in the calling thread.

    Raises:
        CryptoError: bad values (EINVAL), too long ones (EFBIG), too little room (ERANGE);
            no output was written.
    """
    if krp.op == Kop.RANDOM:
        _random(krp.outputs[0])
        return
    inputs = krp.inputs
    for parameter in inputs:
        _check_size(parameter, MAX_BITS)
    values: list[int | bytes] = [parameter.to_int() for parameter in inputs]
    if krp.op in _WITH_DIGEST:
        values[0] = inputs[0].to_bytes()
    result = _OPERATIONS[krp.op](*values)
    if isinstance(result, bool):
        krp.verdict = result
        return
    _store(krp.outputs, result if isinstance(result, tuple) else (result,))


def _check_size(parameter: Crparam, limit: int) -> None:
    if parameter.nbits > limit:
        raise LimitError(
            f"a parameter of {parameter.nbits} bits; {limit} is the limit", errno=errno.EFBIG
        )


def _store(outputs: list[Crparam], results: tuple[int, ...]) -> None:
    for output, result in zip(outputs, results, strict=True):
        if result.bit_length() > output.nbits:
            raise OutputTooSmall(
                f"the result does not fit the {output.nbits} bits of an output; give more bits",
                errno=errno.ERANGE,
            )
    for output, result in zip(outputs, results, strict=True):
        output.store(result)


def _random(output: Crparam) -> None:
    _check_size(output, MAX_RANDOM_BITS)
    value = int.from_bytes(os.urandom((output.nbits + 7) // 8))
    output.store(value & ((1 << output.nbits) - 1))
