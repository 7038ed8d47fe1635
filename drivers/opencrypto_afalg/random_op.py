"""
The key operation that the kernel has: ``CRK_RANDOM``, by its default generator.
"""

from __future__ import annotations

import errno
import threading
from typing import Final

from opencrypto import Cryptkop, CryptoError, DriverUnavailable
from opencrypto_afalg.kernel import Kernel
from opencrypto_afalg.rng import KernelRng

MAX_BITS: Final = 8 * 1024 * 1024
"""The most random bits of one request; a request for more is refused with EFBIG."""

INLINE_BITS: Final = 8 * 1024
"""Up to so many bits a caller waits for; a thread gathers more."""


class RandomOp:
    """Serves ``CRK_RANDOM``; its generator is opened by the first request."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._lock = threading.Lock()  # guards _rng
        self._rng: KernelRng | None = None

    def serve(self, krp: Cryptkop) -> None:
        """Fill the output with random bits, or set ``status``."""
        output = krp.param[0]
        if output.nbits > MAX_BITS:
            krp.fail(errno.EFBIG, f"{output.nbits} random bits; {MAX_BITS} is the limit")
            return
        try:
            data = self._generator().read((output.nbits + 7) // 8)
        except (DriverUnavailable, CryptoError, OSError) as error:
            # Another driver may have random bits; nothing has been written.
            krp.fail(errno.EAGAIN, f"the kernel gives no random bits: {error}")
            return
        output.store(int.from_bytes(data, "little") & ((1 << output.nbits) - 1))

    def _generator(self) -> KernelRng:
        with self._lock:
            if self._rng is None:
                self._rng = KernelRng(kernel=self._kernel)
            return self._rng

    def close(self) -> None:
        """Let the generator go."""
        with self._lock:
            rng, self._rng = self._rng, None
        if rng is not None:
            rng.close()

    def after_fork(self) -> None:
        """In the child of a fork: have a generator, and a lock, of one's own."""
        self._lock = threading.Lock()
        self._rng = None
