"""
The kernel under this process: its sockets, its version, and what it says of its implementations.

All that the driver asks of the operating system goes through `Kernel`, so that a test can put
another kernel's rules in its place.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC_CRYPTO: Final = Path("/proc/crypto")

# include/uapi/linux/cryptouser.h, include/linux/crypto.h
_NETLINK_CRYPTO: Final = 21
_CRYPTO_MSG_GETALG: Final = 0x13
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER: Final = struct.Struct("=IHHII")
_USER_ALG: Final = struct.Struct("=64s64s64sIIII")
ALG_KERN_DRIVER_ONLY: Final = 0x1000
ALG_ALLOCATES_MEMORY: Final = 0x10000

# From this version on every bind passes over what a device would serve, silently (and a mask that
# asks for hardware is accepted and ignored), so nothing there can be hardware.
_NO_DEVICES: Final = (7, 2)

# Instructions of the CPU and plain C. Only looked at where the kernel tells no flags.
_SOFTWARE: Final = re.compile(
    r"generic|-lib|-asm|aesni|avx|-simd|simd-|sse|-ce\b|neon|vaes|pclmul|cryptd|null|-x86_64|-i586"
    r"|jitterentropy|drbg|ansi_cprng"
)


@dataclass(frozen=True, slots=True)
class Implementation:
    """
    One implementation as ``/proc/crypto`` lists it.

    `flags` is the kernel's flag word (``CRYPTO_ALG_*``) where NETLINK_CRYPTO tells it, else None.
    """

    name: str
    driver: str
    priority: int
    refcnt: int
    internal: bool
    asynchronous: bool
    flags: int | None = None

    @property
    def device(self) -> bool:
        """
        Whether a device does the work, rather than instructions of the CPU.

        `asynchronous` does not tell: the x86 SIMD ciphers of Linux 6.1 all say so. Drivers of
        devices allocate memory while they work, or are closed to user-space instructions; what is
        made of parts inherits it.
        """
        if self.flags is not None:
            return bool(self.flags & (ALG_KERN_DRIVER_ONLY | ALG_ALLOCATES_MEMORY))
        return self.asynchronous and not _SOFTWARE.search(self.driver)


_KERNELS_SOCKET: Final = socket.socket
"""Python's own, also where somebody has put another one in its place later."""


class Kernel:
    """The kernel that runs us."""

    def socket(self) -> socket.socket:
        """
        Open an AF_ALG socket, not bound yet.

        Raises:
            OSError: there are none for this process.
        """
        family = getattr(socket, "AF_ALG", None)
        if family is None:
            raise OSError(errno.EAFNOSUPPORT, "this platform has no AF_ALG")
        return _KERNELS_SOCKET(family, socket.SOCK_SEQPACKET, 0)

    @property
    def release(self) -> tuple[int, int]:
        """Version and patch level, such as (6, 1)."""
        found = re.match(r"(\d+)\.(\d+)", os.uname().release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def devices_reachable(self) -> bool:
        """Whether a bind can reach a device at all."""
        return self.release < _NO_DEVICES

    def implementations(self) -> list[Implementation]:
        """Return what is registered now, which is not all that a bind could load."""
        try:
            text = PROC_CRYPTO.read_text(encoding="ascii", errors="replace")
        except OSError:
            return []
        flags = self.flags() if self.devices_reachable else {}
        return list(parse(text, flags))

    def flags(self) -> dict[str, int]:
        """Return the flag word of each implementation by its driver name; empty if untold."""
        try:
            return _dump()
        except OSError:
            return {}


def parse(text: str, flags: dict[str, int]) -> Iterator[Implementation]:
    """Read the form of ``/proc/crypto``: paragraphs of ``key : value``."""
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in paragraph.splitlines():
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
        if "name" in fields and "driver" in fields:
            yield Implementation(
                name=fields["name"],
                driver=fields["driver"],
                priority=int(fields.get("priority", "0")),
                refcnt=int(fields.get("refcnt", "0")),
                internal=fields.get("internal") == "yes",
                asynchronous=fields.get("async") == "yes",
                flags=flags.get(fields["driver"]),
            )


def _dump() -> dict[str, int]:
    """Ask NETLINK_CRYPTO for everything; needs no privilege, only the module crypto_user."""
    found: dict[str, int] = {}
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return found
    with socket.socket(family, socket.SOCK_RAW, _NETLINK_CRYPTO) as channel:
        channel.settimeout(1.0)
        request = bytes(_USER_ALG.size)
        header = _HEADER.pack(
            _HEADER.size + len(request), _CRYPTO_MSG_GETALG, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0
        )
        channel.send(header + request)
        while _take(channel.recv(1 << 16), found):
            pass
    return found


def _take(data: bytes, found: dict[str, int]) -> bool:
    """Read the messages of one datagram; False after the last one."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < _HEADER.size:
            return False
        if length >= _HEADER.size + _USER_ALG.size:
            _, driver, _, _, _, _, flags = _USER_ALG.unpack_from(data, at + _HEADER.size)
            found[driver.split(b"\0", 1)[0].decode("ascii", "replace")] = flags
        at += length + 3 & ~3
    return bool(data)
