"""Both ends of some associations, as one: what the first sends the second receives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

from opencrypto import Framework
from opencrypto_esp import Counters, Direction, Esp, Result, SecurityAssociation, one_way


class Ends:
    """
    A sender and a receiver.

    Args:
        framework: Where both open their sessions.
        sas: Associations that name no direction: the sender has them to send by, the receiver to
            receive on.
    """

    def __init__(
        self, framework: Framework, sas: Iterable[SecurityAssociation], **settings: Any
    ) -> None:
        self.sas = tuple(sas)
        self.sender = Esp(framework, one_way(self.sas, Direction.OUT), **settings)
        self.receiver = Esp(framework, one_way(self.sas, Direction.IN), **settings)
        self.protect, self.protect_many = self.sender.protect, self.sender.protect_many
        self.unprotect = self.receiver.unprotect
        self._inbound = {end.sa.spi: end for end in self.receiver._receiving}

    def unprotect_many(self, packets: Iterable[bytes], depth: int = 64) -> Iterator[Result]:
        """Receive packets."""
        return self.receiver.unprotect_many(packets, depth)

    def counters(self, spi: int | None = None) -> Counters:
        """Count what was sent, and what received."""
        sent, received = self.sender.counters(spi), self.receiver.counters(spi)
        return Counters(sent.protected, received.unprotected)

    def open(self) -> None:
        """Open the sessions of both."""
        self.sender.open()
        self.receiver.open()

    def close(self) -> None:
        """Close both."""
        self.sender.close()
        self.receiver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
