"""
In which forms packets are received: what an `Esp` tells those who sort packets for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from opencrypto_esp import ip
from opencrypto_esp.sa import NAT_T_PORT, Protocol, SecurityAssociation

NUMBERS: Final = {Protocol.ESP: ip.ESP, Protocol.AH: ip.AH, Protocol.IPCOMP: ip.IPCOMP}
"""The protocols' numbers in IP."""


class Forms(NamedTuple):
    """
    The forms of packets that some SAs receive.

    Attributes:
        protocols: By their numbers in IP.
        udp_ports: On these UDP ports ESP comes in UDP (RFC 3948).
        bare: Whether packets come as they are, too: IPComp leaves those which it would not make
            smaller.
    """

    protocols: frozenset[int] = frozenset({ip.ESP})
    udp_ports: frozenset[int] = frozenset({NAT_T_PORT})
    bare: bool = False

    @classmethod
    def of(cls, sas: Iterable[SecurityAssociation]) -> Self:
        """Return those of some SAs, each the first that a packet meets; ESP is always one."""
        sas = tuple(sas)
        ports = {
            port
            for sa in sas
            if sa.encap
            for port in (sa.encap_source_port, sa.encap_destination_port)
        }
        return cls(
            frozenset({ip.ESP, *(NUMBERS[sa.protocol] for sa in sas)}),
            frozenset({NAT_T_PORT, *ports}),
            any(sa.protocol is Protocol.IPCOMP for sa in sas),
        )
