"""
Kernels that are not here, by their rules: a layer of sockets that answers as they would.

The answers are computed by other libraries, so that sessions on such a kernel work. What a kernel
has, allows and lists is data; see `LINUX_7_2` and `LINUX_7_3` for the rules of those.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from Crypto.Cipher import AES

from opencrypto_afalg.kernel import (
    ALG_ALLOCATES_MEMORY,
    Implementation,
    Kernel,
)
from opencrypto_afalg.sockets import (
    ALG_SET_IV,
    ALG_SET_KEY,
    ALG_SET_OP,
    MSG_MORE,
    SOL_ALG,
)

DIGESTS = {"sha1": "sha1", "sha256": "sha256", "md5": "md5", "sha512": "sha512"}


@dataclass
class FakeKernel(Kernel):
    """
    A kernel made of rules.

    Attributes:
        version: Its release.
        allows: Whether a name may be bound at all, by type and name.
        no_sockets: The errno of ``socket()``, 0 if it works.
        listed: What /proc/crypto lists, in this order.
        reachable: What a bind can reach; all that is listed if not said.
        gone: Driver names whose device has been unplugged: their operations answer ENODEV.
        opened: Every name bound, in order.
    """

    version: tuple[int, int] = (6, 1)
    allows: Callable[[str, str], bool] = lambda kind, name: True
    no_sockets: int = 0
    listed: list[Implementation] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    bound: list[str] = field(default_factory=list)
    open_names: list[str] = field(default_factory=list)
    modules: bool = True
    short_send: bool = False
    short_answer: bool = False
    wrong: bool = False

    __hash__ = object.__hash__

    @property
    def release(self) -> tuple[int, int]:
        return self.version

    def socket(self) -> socket.socket:
        if self.no_sockets:
            raise OSError(self.no_sockets, "")
        return FakeSocket(self)  # type: ignore[return-value]  # a stand-in

    def implementations(self) -> list[Implementation]:
        return [
            Implementation(
                each.name, each.driver, each.priority,
                each.refcnt + self.open_names.count(each.driver),
                each.internal, each.asynchronous, each.flags,
            )
            for each in self.listed
        ]  # fmt: skip

    def choose(self, kind: str, name: str) -> str:
        """Return the implementation that a bind gets, as the kernel would choose."""
        self.bound.append(name)
        if not self.modules or not self.allows(kind, name):
            raise OSError(errno.ENOENT, "")
        found = [each for each in self.listed if name in (each.name, each.driver)]
        if not self.devices_reachable:
            found = [each for each in found if not each.device]
        if not found:
            leaf = f"{name}-generic"
            self.listed.append(Implementation(name, leaf, 100, 1, False, False, 0x405))
            return leaf
        return max(found, key=lambda each: each.priority).driver

    def name_of(self, driver: str) -> str:
        return next(each.name for each in self.listed if each.driver == driver)


class FakeSocket:
    """A transform or operation socket of such a kernel: hashes, HMAC and AES-CBC."""

    def __init__(self, kernel: FakeKernel, parent: FakeSocket | None = None) -> None:
        self.kernel = kernel
        self.driver: str = parent.driver if parent else ""
        self.key: bytes = parent.key if parent else b""
        self.parent = parent
        self.answer = b""
        self.pending: bytes = parent.pending if parent else b""
        self.closed = False

    def setblocking(self, flag: bool) -> None:
        assert flag

    def bind(self, address: tuple[str, str]) -> None:
        self.driver = self.kernel.choose(*address)
        self.kernel.open_names.append(self.driver)

    def setsockopt(self, level: int, option: int, value: Any, length: int = 0) -> None:
        if level == SOL_ALG and option == ALG_SET_KEY:
            self.key = bytes(value)

    def getsockopt(self, level: int, option: int) -> int:
        return 212_992

    def accept(self) -> tuple[FakeSocket, None]:
        return FakeSocket(self.kernel, self), None

    def sendmsg(self, parts: Any, ancillary: Any = (), flags: int = 0) -> int:
        data = b"".join(parts)
        if self.kernel.short_send:
            return len(data) - 1
        if self.driver in self.kernel.gone:
            raise OSError(errno.ENODEV, "")
        if flags & MSG_MORE:
            self.pending += data
            return len(data)
        whole, self.pending = self.pending + data, b""
        self.answer = self._compute(whole, {kind: value for _, kind, value in ancillary})
        if self.kernel.wrong:
            self.answer = bytes(len(self.answer))
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        return self.sendmsg([data])

    def _compute(self, data: bytes, control: dict[int, bytes]) -> bytes:
        name = self.kernel.name_of(self.driver)
        if name.startswith("hmac("):
            return hmac.digest(self.key, data, DIGESTS[name[5:-1]])
        if name in DIGESTS:
            return hashlib.new(DIGESTS[name], data).digest()
        assert name == "cbc(aes)", f"the fake kernel cannot compute {name}"
        cipher = AES.new(self.key, AES.MODE_CBC, iv=control[ALG_SET_IV][4:])
        encrypt = struct.unpack("=I", control[ALG_SET_OP])[0]
        return cipher.encrypt(data) if encrypt else cipher.decrypt(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        answer, self.answer = self.answer[: size - self.kernel.short_answer], b""
        return answer

    def recv_into(self, buffer: Any, size: int, flags: int = 0) -> int:
        answer = self.recv(size)
        buffer[: len(answer)] = answer
        return len(answer)

    def close(self) -> None:
        if not self.closed and self.parent is None and self.driver:
            self.kernel.open_names.remove(self.driver)
        self.closed = True

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


VIRTIO = Implementation(
    "cbc(aes)", "virtio_crypto_aes_cbc", 150, 1, False, True, ALG_ALLOCATES_MEMORY | 0x485
)
GENERIC = Implementation("cbc(aes)", "cbc(aes-generic)", 100, 1, False, False, 0xC05)
AESNI = Implementation("cbc(aes)", "cbc-aes-aesni", 400, 1, False, True, 0xC85)

UNPRIVILEGED_7_3 = {"xts(aes)", "xts(camellia)", "sha1"}
ADMIN_7_3 = UNPRIVILEGED_7_3 | {
    "cbc(aes)", "ctr(aes)", "cbc(des)", "cbc(des3_ede)", "md5", "sha224", "sha256", "sha384",
    "sha512", "hmac(md5)", "hmac(sha1)", "hmac(sha224)", "hmac(sha256)", "hmac(sha384)",
    "hmac(sha512)", "cmac(aes)", "ccm(aes)",
}  # fmt: skip
"""What the allow-list of /proc/sys/crypto/af_alg_restrict = 1 lets through, of our table."""


def linux_7_2(*listed: Implementation) -> FakeKernel:
    """Devices stay in the listing, but no bind reaches them."""
    return FakeKernel(version=(7, 2), listed=list(listed))


def linux_7_3(*, admin: bool = False, restrict: int = 1) -> FakeKernel:
    """Linux 7.3: an allow-list by default, and no family at all at level 2."""
    allowed = ADMIN_7_3 if admin else UNPRIVILEGED_7_3
    return FakeKernel(
        version=(7, 3),
        allows=lambda kind, name: not restrict or name in allowed,
        no_sockets=errno.EAFNOSUPPORT if restrict == 2 else 0,
        listed=[GENERIC, VIRTIO],
    )
