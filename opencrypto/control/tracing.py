"""
A trace, asked for over the control socket: it belongs to the client that started it, and ends
with it.
"""

from __future__ import annotations

from opencrypto._log import log
from opencrypto._measure.trace import Entry, Trace
from opencrypto.control import protocol
from opencrypto.control.peer import Peer
from opencrypto.control.protocol import Message
from opencrypto.control.subject import Subject
from opencrypto.exceptions import UsageError


class Tracing:
    """The trace of a server's framework, and whose it is."""

    def __init__(self, framework: Subject) -> None:
        self._framework = framework
        self._owner: Peer | None = None
        self._trace: Trace | None = None

    def handle(self, peer: Peer, message: Message) -> object:
        """Start, read or stop a trace."""
        action = protocol.text(message, "action", 16)
        if action == "start":
            self._trace = self._framework.start_trace()
            self._owner = peer
            log.info("trace_started", uid=peer.uid)
            return {"fields": list(Entry._fields)}
        if self._trace is None or self._owner is not peer:
            raise UsageError("no trace of this client is on; start one first")
        if action == "read":
            entries = self._trace.take(protocol.MAX_ENTRIES)
            return {"entries": entries, "left": len(self._trace), "lost": self._trace.lost}
        if action == "stop":
            self._framework.stop_trace()  # what is recorded so far can still be read
            return {"left": len(self._trace), "lost": self._trace.lost}
        raise UsageError('"action" is start, read, or stop')

    def left(self, peer: Peer) -> None:
        """Note that a client has gone: its trace goes with it."""
        if self._owner is peer:
            self._owner = self._trace = None
            self._framework.stop_trace()
            log.info("trace_ended")
