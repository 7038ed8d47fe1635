"""
What comes of a packet: the packet made of it, or one reason; and how often each came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from opencrypto_esp.sa import SecurityAssociation


class Reason(StrEnum):
    """Why a packet was not handed on. The value is what a person reads in a summary."""

    # Both ways.
    NOT_IP = "not IP"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    NO_LENGTH = "no length (segmentation offload or jumbogram)"
    FRAGMENT = "fragment in transport mode"
    UNKNOWN_ROUTE = "routing header that AH cannot foresee"
    NO_DRIVER = "no driver"
    MOVING = "session kept moving"
    BUSY = "no request free"
    FAILED = "driver failed"
    NOT_KEPT = "sequence numbers cannot be kept"
    # Outbound.
    NO_SA = "no SA"
    TOO_BIG = "too big"
    NO_PAYLOAD = "no next header"
    SEQUENCE_EXHAUSTED = "sequence exhausted"
    # Inbound.
    NOT_ESP = "not ESP"
    UNKNOWN_SPI = "unknown SPI"
    BAD_LENGTH = "bad length"
    TOO_OLD = "too old"
    REPLAYED = "replayed"
    BAD_ICV = "bad ICV"
    BAD_PADDING = "bad padding"
    BAD_NEXT_HEADER = "bad next header"
    BAD_INNER = "bad inner packet"
    POLICY = "not what the SA is for"
    CONGESTION = "congestion mark on a packet that cannot carry it"
    DUMMY = "dummy"
    KEEP_ALIVE = "NAT keep-alive"
    IKE = "IKE"
    BAD_COMPRESSION = "bad compression"


EMPTY: Final = (Reason.DUMMY, Reason.KEEP_ALIVE)
"""Of packets that hold nothing: RFC 4303 §2.6, RFC 3948 §4."""


class Drop(Exception):  # not "Error": it never leaves the package, and a bad packet is no error
    """Ends the work on one packet. Raised and caught within the package."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Result(NamedTuple):
    """
    What came of one packet: either `packet` or `reason` is set.

    `sa` is the SA that was used, as far as one was found.
    """

    packet: bytes | None
    reason: Reason | None = None
    sa: SecurityAssociation | None = None


@dataclass(slots=True)
class Flow:
    """
    What went one way: a snapshot, or the live counts inside the package.

    Attributes:
        packets: Packets handed on.
        octets_in: Bytes of IP packets taken in, of those handed on.
        octets_out: Bytes of IP packets handed on.
        dropped: How many were not, by reason.
        resubmitted: Requests dispatched again because their session had moved (EAGAIN).
        migrations: Times a session was found to have moved.
        drivers: Requests that succeeded, by the name of the driver that served them; of a
            session that several drivers serve, their names joined by " + ".
    """

    packets: int = 0
    octets_in: int = 0
    octets_out: int = 0
    dropped: Counter[Reason] = field(default_factory=Counter)
    resubmitted: int = 0
    migrations: int = 0
    drivers: Counter[str] = field(default_factory=Counter)

    def add(self, other: Flow) -> None:
        """Add another flow's counts to these."""
        self.packets += other.packets
        self.octets_in += other.octets_in
        self.octets_out += other.octets_out
        self.dropped.update(other.dropped)
        self.resubmitted += other.resubmitted
        self.migrations += other.migrations
        self.drivers.update(other.drivers)

    @property
    def lost(self) -> int:
        """Packets not handed on, but for those that hold nothing and are there to be dropped."""
        return self.dropped.total() - sum(self.dropped[reason] for reason in EMPTY)

    def as_dict(self) -> Mapping[str, object]:
        """Return the counts as plain values, reasons and drivers in order of number."""
        return {
            "packets": self.packets,
            "octets_in": self.octets_in,
            "octets_out": self.octets_out,
            "dropped": {reason.value: n for reason, n in self.dropped.most_common()},
            "resubmitted": self.resubmitted,
            "migrations": self.migrations,
            "drivers": dict(self.drivers.most_common()),
        }


@dataclass(frozen=True, slots=True)
class Counters:
    """Both ways of one SA, or of all."""

    protected: Flow
    unprotected: Flow
