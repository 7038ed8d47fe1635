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

from Crypto.Math.Numbers import Integer

from opencrypto import Crparam, Cryptkop, Driver
from opencrypto.constants import CRYPTO_ASYMQ, ERESTART, Kop
from opencrypto.driver import WorkerPool
from opencrypto.exceptions import CryptoError
from opencrypto_swcrypto import _dsa, _integers, _keymath, _powers, _rsa

MAX_RANDOM_BITS: Final = 8 * 1024 * 1024
"""The most random **bits** of one request: a mebibyte of bytes."""

DEPTH: Final = 64
"""How many requests wait for a worker before the driver answers ERESTART."""

Operation: TypeAlias = Callable[..., "Integer | tuple[Integer, ...] | bool"]

SLOW: Final[Mapping[int, Operation]] = {
    Kop.MOD_EXP: _keymath.power,
    Kop.MOD_EXP_CRT: _rsa.power_crt,
    Kop.DSA_SIGN: _dsa.dsa_sign,
    Kop.DSA_VERIFY: _dsa.dsa_verify,
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

_OPERATIONS: Final = {**SLOW, **QUICK}

KEYOPS: Final = frozenset({*_OPERATIONS, Kop.RANDOM})
"""All twelve."""


def withheld() -> dict[int, str]:
    """Return the operations that this host's library is not trusted with, and why."""
    reason = _powers.refusal()
    return dict.fromkeys(sorted(_OPERATIONS), reason) if reason else {}


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
        CryptoError: bad values (EINVAL), too long ones (EFBIG), too little room (ERANGE), a result
            that does not verify (EIO); no output was written.
    """
    if krp.op == Kop.RANDOM:
        _random(krp.outputs[0])
        return
    result = _OPERATIONS[krp.op](*_integers.inputs_of(krp))
    if isinstance(result, bool):
        krp.verdict = result
        return
    results = result if isinstance(result, tuple) else (result,)
    packed = [_integers.packed(*pair) for pair in zip(results, krp.outputs, strict=True)]
    for data, output in zip(packed, krp.outputs, strict=True):
        _integers.store(data, output)


def _random(output: Crparam) -> None:
    _integers.check_size(output, MAX_RANDOM_BITS)
    value = int.from_bytes(os.urandom((output.nbits + 7) // 8))
    output.store(value & ((1 << output.nbits) - 1))
