"""Taking a module of the kernel away while the driver uses it."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opencrypto_afalg import AfalgDriver, Kernel

MODPROBE = Path("/proc/sys/kernel/modprobe")


@contextmanager
def no_loading() -> Iterator[None]:
    """Have the kernel load no module by itself, as after ``install ... /bin/false``."""
    before = MODPROBE.read_text()
    MODPROBE.write_text("/bin/false\n")
    try:
        yield
    finally:
        MODPROBE.write_text(before)


class GatedKernel(Kernel):
    """This kernel, with a gate at which all wait who want a new socket."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def socket(self) -> socket.socket:
        self.gate.wait()
        return super().socket()


def remove(module: str, driver: AfalgDriver, patience: float = 30.0) -> None:
    """
    Unload a module from under a working driver.

    Sockets that are open keep it in use. So those that are idle are closed, as the driver itself
    does when descriptors run short, and who wants to open one waits until the module has gone.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    kernel = driver.kernel
    assert isinstance(kernel, GatedKernel)
    deadline = time.monotonic() + patience
    kernel.gate.clear()
    try:
        while time.monotonic() < deadline:
            driver.descriptors.evict(everything=True)
            if libc.delete_module(module.encode(), os.O_NONBLOCK) == 0:
                return
            time.sleep(0.001)
    finally:
        kernel.gate.set()
    raise AssertionError(f"{module} stays in use")


def load(module: str) -> None:
    """Load it again."""
    subprocess.run(["modprobe", module], check=True)
