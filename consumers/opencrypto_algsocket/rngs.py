"""
Operation sockets of type rng: all of one transform read from one generator.
"""

from __future__ import annotations

import errno

from opencrypto import CryptoError, Framework
from opencrypto.rng import Rng
from opencrypto_algsocket.control import Control
from opencrypto_algsocket.errors import as_kernel, refused
from opencrypto_algsocket.names import Bound
from opencrypto_algsocket.waiting import Deadline, Operation

BLOCK = 128
"""The most **bytes** of one read, as in the kernel."""


class Source:
    """
    A transform's generator: without a seed it gives nothing, and an empty one will do.

    With entropy set by ALG_SET_DRBG_ENTROPY it gives what NIST's validation programme compares.
    """

    def __init__(self, framework: Framework, bound: Bound) -> None:
        self._framework = framework
        self._bound = bound
        self._entropy: bytes | None = None
        self._rng: Rng | None = None

    def seed(self, seed: bytes) -> None:
        """Seed it, or seed it anew."""
        try:
            if self._rng is not None:
                self._rng.reseed(seed)
                return
            self._rng = self._framework.rng(
                self._bound.rng,
                seed,
                entropy=self._entropy,
                hard=self._bound.hard,
                driver=self._bound.driver,
            )
        except CryptoError as error:
            raise as_kernel(error) from None

    def set_entropy(self, entropy: bytes) -> None:
        """Take the entropy (and nonce) of its next seedings from a test."""
        try:
            if self._rng is not None:
                self._rng.set_entropy(entropy)
        except CryptoError as error:
            raise as_kernel(error) from None
        self._entropy = entropy

    @property
    def is_deterministic(self) -> bool:
        """Whether its entropy was set."""
        return self._entropy is not None

    def generate(self, count: int, additional: bytes) -> bytes:
        """Return random bytes (EINVAL without a seed)."""
        if self._rng is None:
            raise refused(
                errno.EINVAL, f"{self._bound.name} needs a seed, if an empty one; set ALG_SET_KEY"
            )
        try:
            return self._rng.generate(count, additional)
        except CryptoError as error:
            raise as_kernel(error) from None

    def close(self) -> None:
        """Wipe the generator's state."""
        if self._rng is not None:
            self._rng.close()


class RngOperation(Operation):
    """Reads of a generator."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._additional = b""

    def check_key(self) -> None:
        """Do nothing: a generator's key is its seed, without which it gives nothing."""

    def write(self, data: bytes, control: Control | None, *, more: bool, deadline: Deadline) -> int:
        """Take additional input of the next read, once the entropy is a test's."""
        if not self._source.is_deterministic:
            raise refused(
                errno.EOPNOTSUPP, "additional data are taken once ALG_SET_DRBG_ENTROPY is set"
            )
        self._additional = bytes(data[:BLOCK])
        return len(self._additional)

    def recv(self, count: int, deadline: Deadline) -> tuple[bytes, bool]:
        """Return up to 128 random bytes."""
        additional, self._additional = self._additional, b""
        return self._source.generate(min(count, BLOCK), additional), False
