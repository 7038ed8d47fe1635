"""
Wires: what the rooms of a framework call of each other, before those that they call are made.
"""

from __future__ import annotations

from opencrypto._core.attach import Attachments
from opencrypto._core.errands import Errands
from opencrypto._core.key_requests import KeyRequests
from opencrypto._core.lasting import Lasting
from opencrypto._core.lineage import Lineage
from opencrypto._core.requests import Dispatcher
from opencrypto._core.slots import Session, Slot
from opencrypto._core.views import Settings
from opencrypto._core.virtual import Virtual
from opencrypto._request.symmetric import Cryptop
from opencrypto._threads import Interrupt, ThreadInterrupt


class Wires:
    """
    The calls that go round in circles, each to a room that is set when it has been made.

    They know nothing of the framework, and the threads know only them: so a framework that its
    program has dropped is found by the garbage collector, and ends.
    """

    attachments: Attachments
    dispatcher: Dispatcher
    key_requests: KeyRequests
    virtual: Virtual
    requests: Interrupt
    returns: Interrupt

    def __init__(self, settings: Settings, lasting: Lasting) -> None:
        self._settings = settings
        self.lasting = lasting
        self.errands = Errands(self.kick_requests)

    def kick_requests(self) -> None:
        """Have the request interrupt run."""
        self.requests.kick()

    def kick_returns(self) -> None:
        """Have the return interrupt run."""
        self.returns.kick()

    def blocked(self) -> None:
        """Have the request interrupt wake up for a driver that may stay blocked, or silent."""
        self.lasting.begin()
        if isinstance(self.requests, ThreadInterrupt):  # no other one wakes up by itself
            self.requests.kick()

    def owes(self, slot: Slot) -> None:
        """Have the request interrupt look whether a driver answers what it has taken."""
        slot.owes = True
        self.blocked()

    def look_around(self) -> None:
        """Note which drivers do not come back from a call."""
        self.lasting.look_around(self.owes)

    def run_requests(self) -> None:
        """Do what the request interrupt does."""
        self.lasting.check()
        if self.requests_wait():  # or it was for that alone
            self.dispatcher.run_requests(self.key_requests.lane.run_turn)

    def requests_wait(self) -> bool:
        """Tell whether the request interrupt has work."""
        waiting = self.dispatcher.lane.pending() or self.key_requests.lane.pending()
        return waiting or self.errands.pending()

    def run_returns(self) -> None:
        """Do what the return interrupt does."""
        self.dispatcher.run_returns(self.key_requests.run_returns)

    def returns_wait(self) -> bool:
        """Tell whether the return interrupt has work."""
        return bool(len(self.dispatcher.returns) or len(self.key_requests.returns))

    def done(self, crp: Cryptop) -> None:
        """Complete a request."""
        self.dispatcher.done(crp)

    def leave(self, slot: Slot, reason: str) -> None:
        """Have a driver leave."""
        self.attachments.leave(slot, reason)

    def compose(self, lineage: Lineage[Session]) -> Session | None:
        """Open a virtual session."""
        return self.virtual.compose(lineage)

    def user_class(self) -> int | None:
        """Return `hard` for user programs' key operations, or None if they may do none."""
        settings = self._settings
        return settings.cryptodevallowsoft if settings.userasymcrypto else None
