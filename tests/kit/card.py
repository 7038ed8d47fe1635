"""
The driver of a card behind a socket, by public names only: asynchronous, eight jobs deep.

The card may die; what it has in hand is then handed back with EAGAIN, nothing of it done.
"""

from __future__ import annotations

import errno
import itertools
import json
import socket
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_SHA2_256_HMAC,
    CRYPTO_SYMQ,
    ERESTART,
    Capability,
    Cryptoini,
    Cryptop,
    DriverUnavailable,
)
from opencrypto.chain import (
    ChainDriver,
    Later,
    Segments,
    TransformFactory,
    gather,
    scatter,
)
from opencrypto.driver import Process, renew_after_fork

DEPTH = 8
"""Jobs that the card takes."""

GONE = "the card is gone"


class Connection:
    """The way to the card: jobs go out, answers come in by a thread and end what waits for them."""

    def __init__(self, path: Path, room: Any) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise DriverUnavailable(f"the card does not answer: {error.strerror}") from error
        self._room = room
        self._ids = itertools.count()
        self.lock = threading.Lock()  # guards all that follows, and what is sent
        self.alive = True
        self.full = False
        self.out: dict[int, Later] = {}
        self.waiting: deque[tuple[Later, dict[str, object]]] = deque()
        self._thread = threading.Thread(target=self._listen, name="opencrypto-card", daemon=True)
        self._thread.start()

    def tell(self, **job: object) -> None:
        """Tell the card what it does not answer."""
        with self.lock:
            self._send({"id": -1, **job})

    def ask(self, **job: object) -> Later:
        """Have the card do a job, or have it wait for its turn."""
        later = Later()
        with self.lock:
            if alive := self.alive:
                self._begin(later, job)
        if not alive:
            later.fail(errno.EAGAIN, GONE)
        return later

    def has_room(self) -> bool:
        """Tell whether there is room for a job; if not, note that somebody waits for it."""
        with self.lock:
            self.full = len(self.out) + len(self.waiting) >= DEPTH
            return not self.full

    def _begin(self, later: Later, job: dict[str, object]) -> None:
        if len(self.out) >= DEPTH:
            self.waiting.append((later, job))
            return
        number = next(self._ids)
        self.out[number] = later
        self._send({"id": number, **job})

    def _send(self, job: dict[str, object]) -> None:
        if not self.alive:
            return
        try:
            self._socket.sendall(json.dumps(job).encode() + b"\n")
        except OSError:
            self.alive = False  # who listens hears of it too, and hands all back

    def _listen(self) -> None:
        with self._socket.makefile("rb") as lines:
            try:
                for line in lines:
                    self._answered(json.loads(line))
            except (OSError, ValueError):
                pass  # cut off in the midst of a line
        with self.lock:
            self.alive = False
            lost = [*self.out.values(), *(later for later, _ in self.waiting)]
            self.out.clear()
            self.waiting.clear()
            full, self.full = self.full, False
        for later in lost:
            later.fail(errno.EAGAIN, GONE)
        if full:
            self._room()

    def _answered(self, answer: dict[str, Any]) -> None:
        with self.lock:
            later = self.out.pop(answer["id"])
            if self.waiting:
                self._begin(*self.waiting.popleft())
            full, self.full = self.full, False
        later.finish(bytes.fromhex(answer["data"]))
        del later
        if full:
            self._room()

    def close(self) -> None:
        """Hang up; what is not answered is handed back."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the card has hung up first
        self._thread.join()
        self._socket.close()

    def abandon(self) -> None:
        """Let go of it in a forked child, where the parent goes on with it."""
        self.lock = threading.Lock()
        self.alive = False
        self.out.clear()
        self.waiting.clear()
        self._socket.close()


class OnCard:
    """A key that is on the card."""

    numbers = itertools.count(1)

    def __init__(self, card: Connection, cri: Cryptoini) -> None:
        self.card = card
        self.number = next(self.numbers)
        card.tell(op="load", key=self.number, data=bytes(cri.key or b"").hex())

    def wipe(self) -> None:
        """Have the card forget it."""
        self.card.tell(op="forget", key=self.number)


class Cbc(OnCard):
    """AES-CBC, by the card."""

    async def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Send the region, and put the answer in its place."""
        op = "encrypt" if encrypt else "decrypt"
        data = gather(parts).hex()
        scatter(parts, await self.card.ask(op=op, key=self.number, iv=iv.hex(), data=data))


class Hmac(OnCard):
    """HMAC-SHA-256, by the card."""

    async def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Send the region."""
        data = b"".join(parts).hex()
        mac: bytes = await self.card.ask(op="mac", key=self.number, data=data)
        return mac


class CardDriver(ChainDriver):
    """A card with eight jobs at a time."""

    name = "card"
    flags = 0
    later = True
    capabilities: Mapping[int, Capability] = {
        CRYPTO_AES_CBC: Capability(),
        CRYPTO_SHA2_256_HMAC: Capability(),
    }
    selftest = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._card = Connection(path, self._make_room)
        self.factories: Mapping[int, TransformFactory] = {
            CRYPTO_AES_CBC: lambda cri: Cbc(self._card, cri),
            CRYPTO_SHA2_256_HMAC: lambda cri: Hmac(self._card, cri),
        }
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Have no card in a forked child: it is the parent's."""
        self._card.abandon()

    def _make_room(self) -> None:
        self.unblock(CRYPTO_SYMQ)

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Load the keys; take requests while there is room on the card."""
        answer = super().newsession(ini)
        assert isinstance(answer, tuple)
        lid, process = answer
        card = self._card

        def take(crp: Cryptop, hint: int) -> int:
            return process(crp, hint) if card.has_room() else ERESTART

        return lid, take

    def close(self) -> None:
        """Hang up."""
        self._card.close()
        super().close()
