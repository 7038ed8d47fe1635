"""
Random bytes from the kernel's generators: `KernelRng` for programs, and ``CRK_RANDOM`` over it.

The kernel's default generator is a DRBG of NIST SP 800-90A, seeded by the kernel itself; what a
caller adds is a personalization string, which can only make it better.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from types import TracebackType
from typing import Final, Self

from opencrypto import CryptoError, DriverUnavailable, UsageError
from opencrypto.chain import BytesLike, byteview, flat
from opencrypto.driver import Generator, RngMaker, renew_after_fork
from opencrypto_afalg.catalogue import reason_of
from opencrypto_afalg.kernel import Kernel
from opencrypto_afalg.sockets import ALG_SET_DRBG_ENTROPY, ALG_SET_KEY, SOL_ALG

BLOCK: Final = 128
"""The most bytes that the kernel gives in one call."""

GENERATORS: Final = frozenset(
    {
        "stdrng", "jitterentropy_rng", "drbg_nopr_hmac_sha256", "drbg_nopr_hmac_sha512",
        "drbg_pr_hmac_sha256", "drbg_pr_hmac_sha512",
    }
)  # fmt: skip
"""The names that may be asked for. ``ansi_cprng`` is not among them: it is what its seed says."""


class KernelRng:
    """
    A generator of the kernel. A context manager; threads may share it.

    Args:
        name: One of `GENERATORS`; ``stdrng`` is the best that the kernel has.
        seed: A personalization string for a DRBG; it needs none.
        kernel: The kernel to ask; another one in tests.

    Raises:
        UsageError: the name is not in `GENERATORS`, or the seed is not bytes-like.
        DriverUnavailable: this kernel has no such generator, or does not allow it.
    """

    def __init__(
        self, name: str = "stdrng", *, seed: BytesLike = b"", kernel: Kernel | None = None
    ) -> None:
        if not isinstance(name, str) or name not in GENERATORS:
            raise UsageError(f"{name!r} is no generator; one of {', '.join(sorted(GENERATORS))}")
        self._name = name
        self._lock = threading.Lock()  # guards _operation against a read while it is replaced
        self._operation: socket.socket | None = None
        self._closed = False
        try:
            self._transform = (kernel or Kernel()).socket()
        except OSError as error:
            raise DriverUnavailable(reason_of(error, name)) from None
        try:
            self._transform.setblocking(True)
            self._transform.bind(("rng", name))
        except OSError as error:
            self._transform.close()
            raise DriverUnavailable(reason_of(error, name)) from None
        try:
            self.reseed(seed)
        except BaseException:
            self._transform.close()
            raise
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Renew the lock in a forked child. Both read from one generator: never the same bytes."""
        self._lock = threading.Lock()

    def reseed(self, seed: BytesLike = b"") -> None:
        """
        Seed the generator anew, with a personalization string or with nothing of ours.

        Without this call, which the constructor makes, the kernel gives nothing.

        Raises:
            UsageError: the seed is not bytes-like, or the generator is closed.
            CryptoError: the kernel does not take it.
        """
        self._set(ALG_SET_KEY, seed, "a seed")

    def set_entropy(self, data: BytesLike) -> None:
        """
        Replace a DRBG's entropy and nonce, which makes it deterministic: for validation only.

        Raises:
            CryptoError: ENOPROTOOPT where the kernel is not built for it, which is the rule
                (CONFIG_CRYPTO_USER_API_RNG_CAVP); EACCES or EPERM without CAP_SYS_ADMIN.
            UsageError: as `reseed`.
        """
        self._set(ALG_SET_DRBG_ENTROPY, data, "entropy")

    def _set(self, option: int, data: BytesLike, what: str) -> None:
        data = flat(data, what)
        with self._lock:
            if self._closed:
                raise UsageError("the generator is closed; make a new one")
            # The kernel refuses while an operation socket is open.
            if self._operation is not None:
                self._operation.close()
                self._operation = None
            try:
                self._transform.setsockopt(SOL_ALG, option, data)
            except OSError as error:
                raise _plain(error, f"{self._name} takes no {what}") from None
            finally:
                self._operation = self._transform.accept()[0]
                self._operation.setblocking(True)

    def read(self, size: int, *, additional: BytesLike = b"") -> bytes:
        """
        Return `size` random bytes.

        Args:
            size: How many; the kernel is asked for 128 at a time.
            additional: Additional input of SP 800-90A; only after `set_entropy`.

        Raises:
            UsageError: `size` is no whole number, or negative; `additional` is not bytes-like; the
                generator is closed.
            CryptoError: the kernel gives none.
        """
        if isinstance(size, bool) or not isinstance(size, int):
            raise UsageError(f"a number of random bytes is an int, not {type(size).__name__}")
        if size < 0:
            raise UsageError(f"{size} random bytes; ask for 0 or more")
        gathered = bytearray(size)
        self.fill(gathered, additional=additional)
        return bytes(gathered)

    def fill(self, buffer: bytearray | memoryview, *, additional: BytesLike = b"") -> None:
        """
        Fill a buffer with random bytes, as `read`.

        Raises:
            UsageError: the buffer is not writable, or not in one piece; and as `read`.
            CryptoError: as `read`.
        """
        view, additional = byteview(buffer), flat(additional, "additional input")
        with self._lock:
            if self._operation is None:
                raise UsageError("the generator is closed; make a new one")
            try:
                if additional:
                    self._operation.send(additional)
                at = 0
                while at < len(view):
                    got = self._operation.recv_into(view[at:], min(BLOCK, len(view) - at))
                    if not got:
                        raise OSError(errno.EIO, "")
                    at += got
            except OSError as error:
                raise _plain(error, f"{self._name} gives no random bytes") from None

    def close(self) -> None:
        """Let the generator go. Closing again does nothing."""
        with self._lock:
            self._closed = True
            if self._operation is not None:
                self._operation.close()
                self._operation = None
            self._transform.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<KernelRng {self._name}>"


class _Generator:
    """One of the kernel's generators as `Framework.rng` wants it."""

    def __init__(self, name: str, seed: bytes, kernel: Kernel) -> None:
        self._rng = KernelRng(name, seed=seed, kernel=kernel)
        self.reseed = self._rng.reseed
        self.set_entropy = self._rng.set_entropy
        self.close = self._rng.close

    def generate(self, count: int, additional: bytes) -> bytes:
        """Return random bytes of the kernel's."""
        return self._rng.read(count, additional=additional)


def makers(kernel: Kernel) -> dict[str, RngMaker]:
    """Return what makes each of the kernel's generators, by name."""

    def maker(name: str) -> RngMaker:
        def make(seed: bytes, entropy: bytes | None) -> Generator:
            try:
                generator = _Generator(name, seed, kernel)
            except DriverUnavailable as error:
                raise CryptoError(error.reason, errno=errno.ENOENT) from None
            if entropy is not None:
                _determine(generator, seed, entropy)
            return generator

        return make

    return {name: maker(name) for name in GENERATORS}


def _determine(generator: Generator, seed: bytes, entropy: bytes) -> None:
    """Have a generator begin from a test's entropy; close it where the kernel takes none."""
    try:
        generator.set_entropy(entropy)
        generator.reseed(seed)
    except BaseException:
        generator.close()
        raise


def _plain(error: OSError, what: str) -> CryptoError:
    code = error.errno or errno.EIO
    why = {
        errno.ENOPROTOOPT: "this kernel is not built for that",
        errno.EOPNOTSUPP: "this kernel is not built for that",
        errno.EACCES: "that needs CAP_SYS_ADMIN",
        errno.EPERM: "that needs CAP_SYS_ADMIN",
        errno.EINVAL: "it is not seeded, or the seed has a wrong length",
    }.get(code, os.strerror(code))
    return CryptoError(f"{what}: {why}", errno=code)
