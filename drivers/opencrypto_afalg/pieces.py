"""
Messages in pieces: what the kernel keeps from piece to piece, and what is kept for it here.

A hash is fed with ``MSG_MORE`` on an operation socket of its own, where its state is; the kernel
clones it by accept(2). A cipher is asked anew for each piece, with the IV that chaining or counting
gives it: its own streaming lives in the socket too, and is wrong after pieces that are no whole
blocks. Authenticated ciphers take a message whole: nothing comes out before all of it is in.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from opencrypto import Cryptop
from opencrypto.chain import ByCounter, ChainStream, Plan, Segments
from opencrypto_afalg.names import Form
from opencrypto_afalg.sockets import (
    MSG_MORE,
    KernelBroke,
    KernelRefused,
    KernelTransform,
    Result,
)
from opencrypto_afalg.transforms import IOV_MAX, Cipher, Mac, digest_of

if TYPE_CHECKING:
    from opencrypto_afalg.driver import AfalgDriver

FIRST_COUNTER: Final = b"\0\0\0\1"


class CounterCipher(Cipher):
    """A cipher whose counter block is made of nonce, IV and 1; in pieces the block goes on."""

    def stream(self, iv: bytes, encrypt: bool) -> ByCounter:
        """Begin a message that comes in pieces."""
        whole = Cipher(self.transform, Form.BLOCK_COUNTER)
        return ByCounter(whole.crypt, self.nonce + iv + FIRST_COUNTER, encrypt)


class PiecewiseMac(Mac):
    """A hash or MAC, of messages whole or in pieces."""

    def stream(self) -> MacInPieces:
        """Begin a message that comes in pieces, on an operation socket of its own."""
        running = MacInPieces(self.transform, self.transform.take(), self.length, self.after)
        if self.before:
            running.update([memoryview(self.before)])
        return running


class MacInPieces:
    """
    A hash or MAC in the midst of a message.

    Args:
        transform: Its name and key.
        operation: A socket for it alone.
        length: How many **bytes** the whole MAC has.
        after: What the message ends with.
    """

    def __init__(
        self, transform: KernelTransform, operation: socket.socket, length: int, after: bytes
    ) -> None:
        self._transform = transform
        self._operation: socket.socket | None = operation
        self._length = length
        self._after = after

    def update(self, parts: Segments) -> None:
        """Go on with the next region."""
        for at in range(0, len(parts), IOV_MAX):
            self._send(parts[at : at + IOV_MAX])

    def _send(self, parts: Segments) -> None:
        if self._call(lambda held: held.sendmsg(parts, (), MSG_MORE)) != sum(map(len, parts)):
            raise KernelRefused("the hash took only a part of the data")

    def mac(self) -> bytes:
        """End the message; return its MAC."""
        self._call(lambda held: held.sendmsg([self._after]))
        return self._call(lambda held: digest_of(held, self._length))

    def copy(self) -> MacInPieces:
        """Return another one that has come as far: the kernel clones it."""
        cloned = self._call(lambda held: held.accept()[0])
        cloned.setblocking(True)
        return MacInPieces(self._transform, cloned, self._length, self._after)

    def _call(self, call: Callable[[socket.socket], Result]) -> Result:
        held = self._operation
        assert held is not None
        try:
            return call(held)
        except OSError as error:
            raise self._transform.refused(error) from None

    def wipe(self) -> None:
        """Close the socket, and with it the kernel's state."""
        held, self._operation = self._operation, None
        if held is not None:
            self._transform.drop(held)


class KernelStream:
    """
    The state of one message in pieces.

    Args:
        driver: The driver.
        stream: What carries its pieces out.
        inline: The bytes over which a piece goes to a thread.
        done: What completes a piece.
    """

    def __init__(
        self,
        driver: AfalgDriver,
        stream: ChainStream,
        inline: int,
        done: Callable[[Cryptop], None],
    ) -> None:
        self._driver = driver
        self._stream = stream
        self._inline = inline
        self._done = done
        self._begun = False

    def piece(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        """Carry the next piece out, by a thread if it is long; if all are busy, here."""
        if sum(step.length for step in plan.steps) > self._inline:
            if self._driver.pool.submit(partial(self._work, crp, plan, last)):
                return
        self._carry_out(crp, plan, last)
        self._done(crp)

    def _work(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        try:
            self._carry_out(crp, plan, last)
        except Exception as error:
            crp.fail(errno.EIO, f"driver {self._driver.name} raised {type(error).__name__}")
            self._driver.raised(error)
        self._done(crp)

    def _carry_out(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        begun, self._begun = self._begun, True
        try:
            self._stream.carry_out(crp, plan, last)
        except KernelBroke as broken:
            crp.fail(errno.EIO, broken.what)
        except KernelRefused as refusal:
            # Nothing is done of a first piece with one step; from elsewhere nobody could go on.
            untouched = not begun and len(plan.steps) == 1
            crp.fail(errno.EAGAIN if untouched else errno.EIO, refusal.what)

    def copy(self, lid: int, done: Callable[[Cryptop], None]) -> KernelStream:
        """Copy what is kept, for another session with the same keys."""
        session, inline = self._driver.chain_of(lid)
        twin = KernelStream(self._driver, self._stream.copy(session), inline, done)
        twin._begun = True
        return twin

    def wipe(self) -> None:
        """Drop what is kept of the message."""
        self._stream.wipe()
