"""
A card behind a socket, and its driver: an asynchronous device with a depth of eight, which can be
pulled and plugged in again. The driver is written with public names only, as an outside author's.
"""

from __future__ import annotations

import errno
import hmac
import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence

from Crypto.Cipher import AES

from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_SHA2_256_HMAC,
    Capability,
    Cryptoini,
    NoDriverError,
)
from opencrypto.chain import ChainDriver, Later, Segments, TransformFactory, scatter
from opencrypto.driver import Process

HEAD = struct.Struct("<QIBBB")
"""Of a job: its number, the bytes that follow, what to do, the bytes of key and of IV."""

ANSWER = struct.Struct("<QI")
ENCRYPT, DECRYPT, MAC = range(3)
DEPTH = 8


def receive(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes; fewer at the end."""
    data = bytearray()
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return bytes(data)


class Card:
    """
    The device.

    Attributes:
        most: How many jobs it has had at a time.
        jobs: How many it has done.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.most = self.jobs = 0
        self._ours: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._plugged = True

    def open(self) -> socket.socket:
        """
        Return the host's end.

        Raises:
            OSError: it is not plugged in.
        """
        if not self._plugged:
            raise OSError(errno.ENXIO, "there is no card")
        ours, theirs = socket.socketpair()
        self._ours = ours
        self._thread = threading.Thread(target=self._run, args=(ours,), daemon=True)
        self._thread.start()
        return theirs

    def pull(self) -> None:
        """Take it out, whatever it is at."""
        self._plugged = False
        if self._ours is not None:
            self._ours.shutdown(socket.SHUT_RDWR)

    def plug(self) -> None:
        """Put it in again."""
        self._plugged = True

    def settle(self) -> None:
        """Wait until nothing of it is left, after the host's end was shut down."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, sock: socket.socket) -> None:
        with sock:
            try:
                while head := receive(sock, HEAD.size):
                    self._job(sock, head)
            except (OSError, struct.error):
                pass  # it was pulled

    def _job(self, sock: socket.socket, head: bytes) -> None:
        number, size, what, keylen, ivlen = HEAD.unpack(head)
        data = receive(sock, size)
        key, iv, data = data[:keylen], data[keylen:][:ivlen], data[keylen + ivlen :]
        time.sleep(self.delay)
        if what == MAC:
            result = hmac.digest(key, data, "sha256")
        else:
            cipher = AES.new(key, AES.MODE_CBC, iv)
            result = cipher.encrypt(data) if what == ENCRYPT else cipher.decrypt(data)
        self.jobs += 1
        sock.sendall(ANSWER.pack(number, len(result)) + result)


class Wire:
    """The driver's end: jobs go out, and a thread that polls the descriptor has the answers."""

    def __init__(self, card: Card, driver: CardDriver) -> None:
        self._card = card
        self._driver = driver
        self._sock = card.open()
        self._lock = threading.Lock()  # of sending; guards the next two
        self._pending: dict[int, Later] = {}
        self._gone = ""
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._read, name="opencrypto-card", daemon=True)
        self._thread.start()

    @property
    def is_there(self) -> bool:
        """Whether the card is."""
        return not self._gone

    def ask(self, what: int, key: bytes, iv: bytes, parts: Segments) -> Later:
        """Give the card a job."""
        later = Later()
        data = b"".join((key, iv, *parts))
        number = next(self._numbers)
        with self._lock:
            gone = self._gone
            if not gone:
                self._pending[number] = later
                self._card.most = max(self._card.most, len(self._pending))
                try:
                    head = HEAD.pack(number, len(data), what, len(key), len(iv))
                    self._sock.sendall(head + data)
                except OSError:
                    pass  # the reader finds out too, and answers this one with the others
        if gone:
            later.fail(errno.ENXIO, gone)
        return later

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        try:
            while poll.poll() and (head := receive(self._sock, ANSWER.size)):
                number, size = ANSWER.unpack(head)
                data = receive(self._sock, size)
                if len(data) < size:
                    break
                with self._lock:
                    later = self._pending.pop(number)
                later.finish(data)
                del later
        except (OSError, struct.error):
            pass
        self._end("the card was pulled")

    def _end(self, why: str) -> None:
        with self._lock:
            self._gone = self._gone or why
            self._driver.leave(self._gone)
            pending, self._pending = self._pending, {}
        for later in pending.values():
            later.fail(errno.ENXIO, self._gone)

    def close(self) -> None:
        """End the thread, having answered all."""
        with self._lock:
            self._gone = self._gone or "the driver was closed"
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join()
        self._sock.close()
        self._card.settle()


class Cbc:
    """AES-CBC by the card."""

    def __init__(self, wire: Wire, cri: Cryptoini) -> None:
        self.wire = wire
        self.key = bytes(cri.key or b"")

    async def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        what = ENCRYPT if encrypt else DECRYPT
        scatter(parts, await self.wire.ask(what, self.key, iv, parts))


class Mac(Cbc):
    """HMAC-SHA-256 by the card."""

    async def mac(self, parts: Sequence[memoryview]) -> bytes:
        answer: bytes = await self.wire.ask(MAC, self.key, b"", list(parts))
        return answer


class CardDriver(ChainDriver):
    """A card that one process has at a time."""

    name = "card"
    flags = 0
    later = True
    max_inflight = DEPTH
    exclusive = True
    capabilities: Mapping[int, Capability] = {
        CRYPTO_AES_CBC: Capability(),
        CRYPTO_SHA2_256_HMAC: Capability(),
    }

    def __init__(self, card: Card | None = None) -> None:
        super().__init__()
        self.card = card or Card()
        self._opening = threading.Lock()
        self._wire: Wire | None = None
        self.factories: Mapping[int, TransformFactory] = {
            CRYPTO_AES_CBC: lambda cri: Cbc(self.wire(), cri),
            CRYPTO_SHA2_256_HMAC: lambda cri: Mac(self.wire(), cri),
        }

    def wire(self) -> Wire:
        with self._opening:
            if self._wire is not None and not self._wire.is_there:
                self._wire.close()
                self._wire = None
            if self._wire is None:
                self._wire = Wire(self.card, self)
            return self._wire

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        try:
            return super().newsession(ini)
        except OSError as error:
            raise NoDriverError(f"driver {self.name}: {error.strerror}") from None

    def close(self) -> None:
        with self._opening:
            if self._wire is not None:
                self._wire.close()
                self._wire = None
        super().close()
