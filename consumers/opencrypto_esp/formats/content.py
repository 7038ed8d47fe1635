"""
What a file of SAs has, whichever format it is in: the SAs, and what it says about those of others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Final

from opencrypto import UsageError
from opencrypto_esp.sa import Address, Direction, Mode, Network, Protocol, SecurityAssociation

FIELDS: Final = {each.name: each for each in fields(SecurityAssociation)}
"""What can be said of an SA, by its name."""


@dataclass(slots=True)
class Found:
    """
    An SA, and by what the kernel's policies refer to it.

    Attributes:
        sa: The SA.
        reqid: The number that its policies have too; 0 for none.
        ends: From where to where its packets go; None if it is not the kernel's.
    """

    sa: SecurityAssociation
    reqid: int = 0
    ends: tuple[Address, Address] | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """Which of the kernel's SAs a policy wants; unspecified addresses and zeros fit all."""

    protocol: Protocol
    source: Address
    destination: Address
    spi: int
    reqid: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy of the kernel: packets from and to these networks go through those SAs."""

    direction: Direction
    source: Network
    destination: Network
    templates: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """What an IKE daemon says of an SA, whose keys it has agreed on."""

    spi: int
    direction: Direction
    name: str


@dataclass(slots=True)
class Content:
    """
    What some files have.

    Attributes:
        found: The SAs, in their order.
        rules: Policies, which say of SAs what they are for.
        listed: What IKE says of SAs.
        remarks: What is there and cannot be taken, each with how often.
    """

    found: list[Found] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    listed: list[Listed] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)

    def add(self, other: Content) -> None:
        """Take in what another file has."""
        self.found += other.found
        self.rules += other.rules
        self.listed += other.listed
        self.remarks += other.remarks


def made(where: str, values: dict[str, Any]) -> SecurityAssociation:
    """
    Return the SA of some values, by the names of its fields.

    Raises:
        UsageError: they make none; it says where they stand.
    """
    try:
        return SecurityAssociation(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error.strerror}") from None


def ends(sa: SecurityAssociation) -> tuple[Address | None, Address | None]:
    """Return from where and to where an SA's packets go, as far as that is one address."""
    if sa.mode is not Mode.TRANSPORT:
        return sa.tunnel_source, sa.tunnel_destination
    hosts = [
        networks[0].network_address
        if len(networks) == 1 and networks[0].prefixlen == networks[0].max_prefixlen
        else None
        for networks in (sa.source, sa.destination)
    ]
    return hosts[0], hosts[1]
