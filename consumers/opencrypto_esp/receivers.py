"""
Which SA an ESP packet is for: its SPI says, and its addresses where it does not (RFC 4301 §4.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from opencrypto_esp.bundle import ReceivingBundle
from opencrypto_esp.ends import ReceivingEnd
from opencrypto_esp.policy import Policy, joins
from opencrypto_esp.sa import ANY_SPI

Receiver: TypeAlias = ReceivingEnd | ReceivingBundle


class Receivers:
    """
    The receiving ends of some SAs.

    Args:
        ends: In the order of the file: of several that a packet may be for, the first is taken.
    """

    def __init__(self, ends: Iterable[Receiver]) -> None:
        self._ends = tuple(ends)
        self._alone: dict[int, Receiver] = {}
        self._several: dict[int, Policy[Receiver]] = {}
        for spi in {end.sa.spi for end in self._ends}:
            some = [end for end in self._ends if end.sa.spi == spi]
            if len(some) == 1 and spi != ANY_SPI:
                self._alone[spi] = some[0]
            else:
                self._several[spi] = Policy([(end.sa, end) for end in some], joins)
        self._any = self._several.get(ANY_SPI)
        self._by_addresses = Policy([(end.sa, end) for end in self._ends], joins)

    def find(self, packet: bytes, spi: int) -> Receiver | None:
        """
        Return the end that an ESP packet is for, if there is one.

        One SPI with one SA needs no addresses; an SA for any SPI has what none is named for.
        """
        end = self._alone.get(spi)
        if end is not None:
            return end
        some = self._several.get(spi) if spi != ANY_SPI else None
        end = some.find(packet) if some is not None else None
        if end is None and self._any is not None:
            end = self._any.find(packet)
        return end

    def find_by_addresses(self, packet: bytes) -> Receiver | None:
        """Return the first end that a packet without an SPI is for, if there is one."""
        return self._by_addresses.find(packet)

    def __iter__(self) -> Iterator[Receiver]:
        return iter(self._ends)
