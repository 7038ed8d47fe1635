"""
How fast drivers are with keys: an operation, with published numbers, as often as it can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple

from opencrypto import (
    CRK_DH_COMPUTE_KEY,
    CRK_DSA_SIGN,
    CRK_DSA_VERIFY,
    CRK_MOD_EXP,
    CRK_MOD_EXP_CRT,
    CRYPTO_F_CBIMM,
    Cryptkop,
    CryptoError,
    Framework,
)
from opencrypto.cli.rates import Consumer, Slot, Way, answered, together, waiting

PUBLIC_EXPONENT: Final = 65537


class Operation(NamedTuple):
    """
    A key operation with its parameters.

    Attributes:
        name: What it is called here.
        op: Its number, ``CRK_*``.
        inputs: Its inputs, in their order.
        outputs: How many **bits** each of its outputs has room for.
    """

    name: str
    op: int
    inputs: Sequence[int | bytes]
    outputs: Sequence[int]


@cache
def _published() -> Mapping[str, Any]:
    """Return what ``keyrates.json`` has, numbers as such."""
    text = resources.files(__package__).joinpath("keyrates.json").read_text(encoding="ascii")
    document = json.loads(text)
    dsa = {
        name: bytes.fromhex(value) if name == "digest" else int(value, 16)
        for name, value in document["dsa"].items()
        if name != "source"
    }
    return {each["name"]: int(each["prime"], 16) for each in document["primes"]} | {"dsa": dsa}


def _modexp() -> Operation:
    """Raise to a power as long as the modulus."""
    m, other = _published()["modp2048"], _published()["ffdhe2048"]
    return Operation("modexp2048", CRK_MOD_EXP, [other >> 1, other >> 2, m], [2048])


def _dh() -> Operation:
    """Make a shared secret with a private key of 256 bits."""
    m, other = _published()["modp2048"], _published()["ffdhe2048"]
    return Operation("dh2048", CRK_DH_COMPUTE_KEY, [other >> 1792, other >> 1, m], [2048])


def _rsa(one: str, two: str, bits: int) -> Operation:
    """Sign, or decrypt, by the primes of a key."""
    p, q = _published()[one], _published()[two]
    d = pow(PUBLIC_EXPONENT, -1, (p - 1) * (q - 1))
    number = (p * q) // 3
    return Operation(
        f"rsa{bits}",
        CRK_MOD_EXP_CRT,
        [p, q, number, d % (p - 1), d % (q - 1), pow(q, -1, p)],
        [bits],
    )


def _rsa_public(one: str, two: str, bits: int) -> Operation:
    """Verify, or encrypt, by the usual exponent."""
    n = _published()[one] * _published()[two]
    return Operation(f"rsa{bits}-public", CRK_MOD_EXP, [n // 3, PUBLIC_EXPONENT, n], [bits])


def _dsa() -> Operation:
    """Sign a digest of SHA-256."""
    key = _published()["dsa"]
    inputs = [key[name] for name in ("digest", "p", "q", "g", "x")]
    return Operation("dsa2048", CRK_DSA_SIGN, inputs, [256, 256])


def _dsa_verify() -> Operation:
    """Verify a signature."""
    key = _published()["dsa"]
    inputs = [key[name] for name in ("digest", "p", "q", "g", "y", "r", "s")]
    return Operation("dsa2048-verify", CRK_DSA_VERIFY, inputs, [])


WORDS: Final[Mapping[str, Callable[[], Operation]]] = {
    "modexp2048": _modexp,
    "dh2048": _dh,
    "rsa2048": lambda: _rsa("oakley2", "rfc5114-1", 2048),
    "rsa2048-public": lambda: _rsa_public("oakley2", "rfc5114-1", 2048),
    "rsa4096": lambda: _rsa("modp2048", "ffdhe2048", 4096),
    "rsa4096-public": lambda: _rsa_public("modp2048", "ffdhe2048", 4096),
    "dsa2048": _dsa,
    "dsa2048-verify": _dsa_verify,
}
"""The words for key operations; the number is the **bits** of the modulus."""


class Keys:
    """A consumer that has the same key operation done over and over."""

    def __init__(self, framework: Framework, operation: Operation, driver: str, way: Way) -> None:
        self._framework = framework
        self._driver = driver
        self._turn = waiting if way.depth == 1 else together
        self._slots = [
            Slot(
                Cryptkop.of(operation.op, operation.inputs, operation.outputs, flags=CRYPTO_F_CBIMM)
            )
            for _ in range(way.depth)
        ]

    def _dispatch(self, krp: Cryptkop) -> None:
        self._framework.kdispatch(krp, driver=self._driver)

    def turn(self, times: int) -> int:
        """Have all requests done so many times."""
        done = answered(lambda: self._turn(self._dispatch, self._slots, times))
        for slot in self._slots:
            slot.request.check()
            if slot.request.verdict is False:
                raise CryptoError(f"driver {self._driver} takes a good signature for a bad one")
        return done

    def restore(self) -> bool:
        """Put nothing back: inputs stay as they are."""
        return False


@contextmanager
def key_consumers(
    framework: Framework, operation: Operation, driver: str, way: Way
) -> Iterator[list[Consumer]]:
    """Make one for each thread, all on one driver."""
    yield [Keys(framework, operation, driver, way) for _ in range(way.threads)]
