"""
The TUN device: IP packets of this host, to be protected, and those that were, handed back to it.

One packet to a system call. With the device's offload headers TCP crosses it in pieces of 64 KiB,
but Python then cuts them and computes checksums, which costs more than the calls that it saves.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from struct import Struct
from types import TracebackType
from typing import Final, Self

from opencrypto import CryptoError, UsageError

DEVICE: Final = "/dev/net/tun"
LONGEST_NAME: Final = 15

# linux/if_tun.h, linux/sockios.h
_SETIFF: Final = 0x400454CA
_TUN: Final = 0x0001
_NO_PI: Final = 0x1000
_GIFFLAGS: Final = 0x8913
_SIFFLAGS: Final = 0x8914
_GIFMTU: Final = 0x8921
_SIFMTU: Final = 0x8922
_UP: Final = 0x1
_FLAGS: Final = Struct("16sH22x")
_MTU: Final = Struct("16si20x")

_LONGEST: Final = 65535
_REMEDIES: Final = {
    errno.EPERM: "run it as root, or have it made for you: ip tuntap add mode tun user NAME",
    errno.EACCES: "run it as root, or have it made for you: ip tuntap add mode tun user NAME",
    errno.EBUSY: "another process has it; name another device",
    errno.ENOENT: f"there is no {DEVICE}: modprobe tun",
    errno.ENXIO: f"nothing is behind {DEVICE}: modprobe tun",
    errno.EINVAL: "a device of that name is there, and is no TUN device; name another",
}


class Tun:
    """
    A TUN device, taken by its name, and made if there is none. A context manager.

    A device that was there before (``ip tuntap add``) stays, with its addresses and routes.

    Args:
        name: Its name, 1 to 15 characters.

    Attributes:
        name: Its name.

    Raises:
        UsageError: the name cannot be one.
        CryptoError: it cannot be had; the message says what to do.
    """

    def __init__(self, name: str) -> None:
        if not 0 < len(name.encode()) <= LONGEST_NAME or "/" in name or "%" in name:
            raise UsageError(
                f"{name!r} is no name of a device; it has 1 to {LONGEST_NAME} characters"
            )
        self.name = name
        self._raw_name = name.encode()
        self._handle = -1
        with _said(f"the TUN device {name} cannot be had"):
            self._handle = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.ioctl(self._handle, _SETIFF, _FLAGS.pack(self._raw_name, _TUN | _NO_PI))
            except BaseException:
                self.close()
                raise

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._handle

    def set_up(self, mtu: int) -> None:
        """
        Give it an MTU, in **bytes**, and switch it on.

        Raises:
            CryptoError: that is not allowed.
        """
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked,
            _said(f"the MTU of {self.name} cannot be set to {mtu}"),
        ):
            fcntl.ioctl(asked, _SIFMTU, _MTU.pack(self._raw_name, mtu))
            _, flags = _FLAGS.unpack(fcntl.ioctl(asked, _GIFFLAGS, _FLAGS.pack(self._raw_name, 0)))
            fcntl.ioctl(asked, _SIFFLAGS, _FLAGS.pack(self._raw_name, flags | _UP))

    def receive(self, most: int) -> list[bytes]:
        """Return the packets that wait, `most` at the most, without waiting."""
        found: list[bytes] = []
        handle = self._handle
        try:
            while len(found) < most:
                found.append(os.read(handle, _LONGEST))
        except BlockingIOError:
            pass
        return found

    def send(self, packets: Iterable[bytes]) -> int:
        """Hand packets to the host; return how many were refused."""
        refused = 0
        handle = self._handle
        for packet in packets:
            try:
                os.write(handle, packet)
            except OSError:
                # The device is down, or memory is short: the packet is lost, as on any link.
                refused += 1
        return refused

    def close(self) -> None:
        """Give the device up; one that was made for this is gone. Closing again does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def _said(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EIO
        remedy = _REMEDIES.get(number, "see: dmesg")
        raise CryptoError(f"{what}: {error.strerror}; {remedy}", errno=number) from None
