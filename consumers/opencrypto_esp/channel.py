"""
One way of one SA through the framework: its session, its requests, and who served them.

A session is opened when the first packet needs it. Requests are taken from the framework once
and used again and again: what stays the same from packet to packet is filled in only then.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    Framework,
    Mbuf,
    NoDriverError,
    UnknownSession,
)
from opencrypto.driver import renew_after_fork
from opencrypto_esp.ip import Place
from opencrypto_esp.results import Drop, Flow, Reason

RESUBMISSIONS: Final = 8
"""How often one packet follows its session to another driver before it is given up."""

_REASONS: Final = {
    errno.EBADMSG: Reason.BAD_ICV,
    errno.ENODEV: Reason.NO_DRIVER,
    errno.EAGAIN: Reason.MOVING,
}


class Job:
    """
    One packet in flight: its request, and what its maker wants to know when it is done.

    `done` receives the request when it is complete, from whatever thread that happens in: put
    and get are each one call into C, which is what waiting costs when the driver is synchronous.
    """

    __slots__ = ("crp", "done", "head", "made", "octets", "packet", "place", "seq")

    place: Place

    def __init__(self, crp: Cryptop) -> None:
        self.crp = crp
        self.done: SimpleQueue[Cryptop] = SimpleQueue()
        self.packet = b""
        self.head = b""
        self.made: tuple[bytes, ...] = ()
        self.octets = 0
        self.seq = 0


class Channel:
    """
    A session and its requests.

    Args:
        framework: Where the session is opened.
        inis: The session's chain.
        fill: Fills in what is the same in the descriptors of each request.
        remake: Makes the buffer of a job's request, from what the job has of its packet.
        flow: Where to count; guarded by `lock`.
        batch: Dispatch with ``CRYPTO_F_BATCH``.
    """

    def __init__(
        self,
        framework: Framework,
        inis: Sequence[Cryptoini],
        fill: Callable[[Sequence[Cryptodesc]], None],
        remake: Callable[[Job], bytearray | Mbuf],
        flow: Flow,
        *,
        batch: bool = False,
    ) -> None:
        self.lock = threading.Lock()
        """Guards `flow`, `_names`, `_free` and opening; its user may guard more by it."""
        self.sid = 0
        self._framework = framework
        self._inis = inis
        self._fill = fill
        self._remake = remake
        self._flow = flow
        self._flags = CRYPTO_F_CBIMM | (CRYPTO_F_BATCH if batch else 0)
        self._free: list[Job] = []
        self._names: dict[int, str] = {}
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Renew the lock in a forked child; packets in flight at the fork are the parent's."""
        self.lock = threading.Lock()

    def open(self) -> None:
        """
        Open the session, if it is not open.

        Raises:
            NoDriverError: no driver takes the chain.
        """
        with self.lock:
            if not self.sid:
                self.sid = self._framework.newsession(self._inis)
                self._names[self.sid] = self._driver_of(self.sid)

    def _driver_of(self, sid: int) -> str:
        """Name the driver of a session, or all of them if it has several."""
        try:
            return " + ".join(self._framework.driver_of(sid))
        except UnknownSession:
            return "a driver that left"  # the framework was closed meanwhile

    def take(self) -> Job:
        """
        Return a job whose request wants only its buffer, its lengths, and to be started.

        Raises:
            Drop: there is no session and no driver for one, or no request to be had.
        """
        try:
            # Atomic: whoever gets a job has it alone.
            return self._free.pop()
        except IndexError:
            pass
        if not self.sid:
            try:
                self.open()
            except NoDriverError:
                raise Drop(Reason.NO_DRIVER) from None
            except CryptoError:
                raise Drop(Reason.FAILED) from None
        crp = self._framework.getreq(len(self._inis))
        if crp is None:
            raise Drop(Reason.BUSY)
        job = Job(crp)
        crp.callback = job.done.put
        crp.flags = self._flags
        self._fill(crp.desc)
        return job

    def start(self, job: Job) -> None:
        """Dispatch a job's request."""
        crp = job.crp
        crp.sid = self.sid
        self._framework.dispatch(crp)

    def wait(self, job: Job) -> None:
        """
        Wait for a job's request, following its session if that moves.

        Raises:
            Drop: the request failed. The job can be given back either way.
        """
        crp = job.done.get()
        if crp.etype:
            self._follow(job)

    def count(self, crp: Cryptop, octets_in: int, octets_out: int) -> None:
        """Count a packet handed on, and who served it. The caller holds `lock`."""
        flow = self._flow
        flow.packets += 1
        flow.octets_in += octets_in
        flow.octets_out += octets_out
        flow.drivers[self._names[crp.sid]] += 1

    def give(self, job: Job) -> None:
        """Take a finished job back for the next packet."""
        # Plaintext is not kept longer than its packet takes.
        job.crp.buf = None
        job.packet = job.head = b""
        job.made = ()
        self._free.append(job)

    def _follow(self, job: Job) -> None:
        crp = job.crp
        for _ in range(RESUBMISSIONS):
            if crp.etype != errno.EAGAIN:
                break
            self._moved(crp.sid)
            # Anew, with the same sequence number, whatever the last driver has left in the buffer.
            crp.buf = self._remake(job)
            self._framework.dispatch(crp)
            crp = job.done.get()
        if crp.etype:
            raise Drop(_REASONS.get(crp.etype, Reason.FAILED))

    def _moved(self, sid: int) -> None:
        with self.lock:
            self._flow.resubmitted += 1
            if sid not in self._names:
                self._names[sid] = self._driver_of(sid)
                self._flow.migrations += 1
            self.sid = sid

    def close(self) -> None:
        """Free the session and give the requests back. Nothing may be in flight."""
        with self.lock:
            sid, self.sid = self.sid, 0
            jobs, self._free = self._free, []
        for job in jobs:
            self._framework.freereq(job.crp)
        try:
            self._framework.freesession(sid)
        except CryptoError:
            pass  # the framework was closed first, and the session with it
