"""
The thread that answers on the control socket.

Theory of operation: one thread, one selector, no lock shared with the framework's own work. What
a client may cost is bounded: how many there are, how long a line is, how many requests a second,
how much of an answer waits unread, how long it may be silent. Who does not keep to that is cut
off with a sentence, and nobody else notices.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from opencrypto._log import Limited, log
from opencrypto._threads import renew_after_fork
from opencrypto.control import protocol
from opencrypto.control.credentials import check_supported, peer_uid
from opencrypto.control.operations import JOBS, OPERATIONS, Job
from opencrypto.control.peer import Peer
from opencrypto.control.places import listen, remove
from opencrypto.control.protocol import Message
from opencrypto.control.subject import Subject
from opencrypto.control.tracing import Tracing
from opencrypto.control.work import SLICE, Slice, Work, internal
from opencrypto.exceptions import BusyError, CryptoError, UsageError

MAX_CLIENTS: Final = 32
SILENT: Final = 5.0
"""Seconds in which a client must have sent its first request."""
IDLE: Final = 300.0
"""Seconds after which a client that asks for nothing is cut off."""
STALLED: Final = 10.0
"""Seconds in which a client must have read something of its answer."""
TICK: Final = 1.0
ACCEPTS: Final = 16
"""How many connections are taken in one turn, so that those who are in get theirs."""


class Server:
    """
    A listening socket and its thread.

    Args:
        framework: Whom it speaks for.
        wanted: Where: see `opencrypto.control.places.listen`.

    Raises:
        CryptoError: it cannot be had there, or this process can have no more files or threads.
    """

    def __init__(self, framework: Subject, wanted: str | Path | bool) -> None:
        check_supported()
        self._framework = framework
        self._tracing = Tracing(framework)
        self._uids = {0, os.geteuid()}
        self._peers: dict[int, Peer] = {}
        self._job: threading.Thread | None = None
        self._job_runs = False
        self._working: deque[Work] = deque()
        self._finished: deque[tuple[Peer, bytes]] = deque()
        self._looked = 0.0
        self._stopping = False
        self._closed = False
        self._accept_failed = Limited("control_accept_failed", "error")
        self._refused = Limited("control_refused", "uid")
        with contextlib.ExitStack() as opened:
            try:
                self._open(wanted, opened)
            except CryptoError:
                raise
            except (OSError, RuntimeError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise CryptoError(f"no control socket can be opened: {reason}") from None
            opened.pop_all()  # all of it is there: it stays open
        renew_after_fork(self)
        log.info("control_opened", path=str(self.path))

    def _open(self, wanted: str | Path | bool, opened: contextlib.ExitStack) -> None:
        """Open everything, in an order in which what fails leaves nothing behind."""
        self._selector = opened.enter_context(selectors.DefaultSelector())
        self._bell, self._ear = socket.socketpair()
        for each in (self._bell, self._ear):
            opened.callback(each.close)
            each.setblocking(False)
        self._listener, self.path = listen(wanted)
        opened.callback(self._listener.close)
        self._inode = self.path.lstat().st_ino
        opened.callback(remove, self.path, self._inode)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="opencrypto-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """
        Stop answering, join the thread, remove the socket.

        Closing again does nothing; after a close that was interrupted it does what is left.
        """
        if self._closed:
            return
        self._stopping = True
        self._ring()
        self._thread.join()
        if self._job is not None:
            self._job.join()
        for peer in list(self._peers.values()):
            self._drop(peer)
        remove(self.path, self._inode)
        self._close_all()
        self._closed = True
        log.info("control_closed", path=str(self.path))

    def _close_all(self) -> None:
        self._selector.close()
        for each in (self._listener, self._bell, self._ear):
            each.close()

    def after_fork(self) -> None:
        """Let go of everything in a forked child: the socket remains the parent's."""
        self._stopping = self._closed = True
        for peer in self._peers.values():
            peer.socket.close()
        self._close_all()

    def _ring(self) -> None:
        try:
            self._bell.send(b"!")
        except OSError:
            pass  # full: it has been rung already

    # The thread.

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception as error:
                # Whatever it was, the next turn must come; and it must not come at once for ever.
                log.error("control_failed", error=type(error).__name__)
                time.sleep(TICK)

    def _turn(self) -> None:
        now = time.monotonic()
        due = [peer.next_turn(now) for peer in self._peers.values()]
        wait = 0.0 if self._working else max(0.0, min([TICK, *due]))
        for key, events in self._selector.select(wait):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._ear:
                self._ear.recv(4096)
            else:
                self._traffic(key.data, events)
        while self._finished:
            peer, line = self._finished.popleft()
            peer.busy = self._job_runs = False
            self._send(peer, line)
        now = time.monotonic()
        for peer in list(self._peers.values()):
            self._serve(peer, now)
            self._police(peer, now)
        if now - self._looked >= TICK:
            self._looked = now
            self._look_around()
        self._go_on()

    def _look_around(self) -> None:
        """Have the framework note which drivers do not come back, since we are awake."""
        try:
            self._framework.look_around()
        except ReferenceError:
            pass  # its program has dropped it, and it ends

    def _go_on(self) -> None:
        """Go on with long answers, for a slice in all, so that none keeps the others waiting."""
        slice_ = Slice(SLICE)
        while self._working and slice_.left():
            work = self._working.popleft()
            if work.peer.closed:
                continue
            answer = work.go_on(slice_)
            if answer is None:
                self._working.append(work)
            else:
                work.peer.busy = False
                self._send(work.peer, answer)

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._accept_failed.warning(type(error).__name__)
                time.sleep(0.05)  # out of descriptors: not the whole processor for that
                return
            self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        client.setblocking(False)
        uid = peer_uid(client)
        if uid not in self._uids:
            self._refused.warning(str(uid))
            self._turn_away(client, UsageError("this process answers only its own user and root",
                                               errno=errno.EPERM))  # fmt: skip
            return
        if len(self._peers) >= MAX_CLIENTS:
            silent = [peer for peer in self._peers.values() if not peer.spoken]
            if not silent:
                self._turn_away(client, BusyError("too many clients; close one"))
                return
            self._drop(min(silent, key=lambda peer: peer.since))
        peer = Peer(client, uid, time.monotonic())
        self._peers[client.fileno()] = peer
        self._selector.register(client, selectors.EVENT_READ, peer)

    def _turn_away(self, client: socket.socket, error: CryptoError) -> None:
        try:
            client.send(protocol.failure(None, error))
        except OSError:
            pass  # it does not listen: so be it
        client.close()

    def _traffic(self, peer: Peer, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                peer.flush(time.monotonic())
            if events & selectors.EVENT_READ and not peer.receive():
                self._drop(peer)
                return
        except OSError:
            self._drop(peer)

    def _serve(self, peer: Peer, now: float) -> None:
        """Answer one request of a client, if it has sent one and its turn has come."""
        if peer.closed:
            return
        line = peer.next_line(now)
        if line is not None:
            self._answer(peer, line)
        elif peer.overlong():
            error = UsageError(f"a request is at most {protocol.MAX_LINE} bytes", errno=errno.E2BIG)
            self._part(peer, error)
            return
        self._listen_to(peer)

    def _listen_to(self, peer: Peer) -> None:
        if not peer.closed:
            wanted = selectors.EVENT_READ if peer.hungry() else 0
            wanted |= selectors.EVENT_WRITE if peer.unsent else 0
            peer.watch(self._selector, wanted)

    def _police(self, peer: Peer, now: float) -> None:
        if peer.closed:
            return
        if peer.unsent and now - peer.progress > STALLED:
            self._drop(peer)
        elif not peer.spoken and now - peer.since > SILENT:
            self._part(peer, UsageError(f"nothing asked within {SILENT:.0f} seconds"))
        elif not peer.busy and not peer.unsent and now - peer.progress > IDLE:
            self._part(peer, UsageError(f"nothing asked for {IDLE:.0f} seconds"))

    def _part(self, peer: Peer, error: CryptoError) -> None:
        """Cut a client off with a sentence."""
        peer.queue(protocol.failure(None, error))
        try:
            peer.flush(time.monotonic())
        except OSError:
            pass  # it has hung up itself
        self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        if peer.closed:
            return
        peer.closed = True
        self._tracing.left(peer)
        peer.watch(self._selector, 0)
        self._peers.pop(peer.socket.fileno(), None)
        peer.socket.close()

    # Requests.

    def _answer(self, peer: Peer, line: bytes) -> None:
        ident: object = None
        try:
            message = protocol.parse(line)
            ident = message.get("id")
            if not isinstance(ident, int | str | None):
                ident = None
                raise UsageError('"id" is an integer or a string')
            op = protocol.text(message, "op", 32)
            if op in OPERATIONS:
                self._working.append(Work(peer, ident, OPERATIONS[op](self._framework, message)))
                peer.busy = True
                return
            if op in JOBS:
                self._start_job(peer, ident, JOBS[op], message)
                return
            if op != "trace":
                known = ", ".join(sorted([*OPERATIONS, *JOBS, "trace"]))
                raise UsageError(f"no such operation; there are {known}")
            answer = protocol.answer(ident, self._tracing.handle(peer, message))
        except CryptoError as error:
            answer = protocol.failure(ident, error)
        except Exception as error:
            answer = internal(ident, error)
        self._send(peer, answer)

    def _start_job(self, peer: Peer, ident: object, job: Job, message: Message) -> None:
        if self._job_runs:
            raise BusyError("another driver is being attached or detached; wait for that")
        peer.busy = self._job_runs = True

        def work() -> None:
            try:
                answer = protocol.answer(ident, job(self._framework, message))
            except CryptoError as error:
                answer = protocol.failure(ident, error)
            except Exception as error:
                answer = internal(ident, error)
            self._finished.append((peer, answer))
            self._ring()

        # Detaching waits for the driver, for seconds if need be: not in the thread of all clients.
        self._job = threading.Thread(target=work, name="opencrypto-control-job", daemon=True)
        self._job.start()

    def _send(self, peer: Peer, line: bytes) -> None:
        if peer.closed:
            return
        peer.queue(line)
        try:
            peer.flush(time.monotonic())
        except OSError:
            self._drop(peer)
        self._listen_to(peer)
