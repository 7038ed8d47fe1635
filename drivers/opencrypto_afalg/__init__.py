"""
The Linux kernel's crypto API as a driver, by AF_ALG sockets: hashes, MACs, ciphers, AEAD, random.

It is *software* unless the kernel tells that a device serves: then a second entry, ``afalg.hw``,
offers what devices do. Where a kernel, a container or a policy does not have AF_ALG, the driver
says why and is absent; where it goes away in the middle of life, sessions migrate.
"""

from __future__ import annotations

from typing import Any, Final

from opencrypto import Driver, DriverUnavailable, hookimpl
from opencrypto.options import Option, Options
from opencrypto_afalg.capability import names_of
from opencrypto_afalg.catalogue import reason_of
from opencrypto_afalg.driver import THREADS, AfalgDriver
from opencrypto_afalg.hashing import KernelHash
from opencrypto_afalg.kernel import Kernel
from opencrypto_afalg.rng import GENERATORS, KernelRng

__all__ = ["GENERATORS", "AfalgDriver", "Kernel", "KernelHash", "KernelRng", "drivers"]

ZEROCOPY: Final = Option("zerocopy", False, "hand large regions to hashes by splice; does not pay")
WORKERS: Final = Option(
    "threads", THREADS, "threads that do what takes longer than 0.2 ms, at most", least=1, most=256
)


def drivers(
    kernel: Kernel | None = None, *, zerocopy: bool = False, threads: int = THREADS
) -> list[Driver]:
    """
    Return the driver's entries for a kernel: software, and hardware if it knows of a device.

    Args:
        kernel: The kernel to use; another one in tests.
        zerocopy: As `AfalgDriver` has it.
        threads: Likewise.

    Raises:
        DriverUnavailable: this process can have no AF_ALG sockets.
    """
    kernel = kernel or Kernel()
    try:
        kernel.socket().close()
    except OSError as error:
        raise DriverUnavailable(reason_of(error, "AF_ALG")) from None
    found: list[Driver] = [AfalgDriver(kernel, zerocopy=zerocopy, threads=threads)]
    devices = device_names(kernel)
    if devices:
        software = found[0]
        algs = [
            alg
            for alg in software.capabilities
            if any(name.name in devices for name in names_of(alg))
        ]
        if algs:
            found.append(
                AfalgDriver(kernel, device=True, algs=algs, zerocopy=zerocopy, threads=threads)
            )
    return found


def device_names(kernel: Kernel) -> set[str]:
    """Return the names that a device has registered itself for. Binds nothing."""
    if not kernel.devices_reachable:
        return set()
    return {each.name for each in kernel.implementations() if each.device and not each.internal}


@hookimpl
def opencrypto_options() -> list[Option[Any]]:
    """Say what can be set of it."""
    return [ZEROCOPY, WORKERS]


@hookimpl
def opencrypto_drivers(options: Options) -> list[Driver]:
    """Offer the driver on kernels that have AF_ALG."""
    return drivers(zerocopy=options[ZEROCOPY], threads=options[WORKERS])
