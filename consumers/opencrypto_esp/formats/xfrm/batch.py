"""
SAs as commands of ``ip``, which take them into the kernel: ``ip -batch FILE``.

States have no direction (but in new kernels) and no selectors that matter in tunnel mode: policies
have both, and refer to their states by a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, Final

from opencrypto import UsageError
from opencrypto_esp.formats import names
from opencrypto_esp.formats.content import ends
from opencrypto_esp.sa import ANY_SPI, Direction, Mode, Network, Protocol, SecurityAssociation

CARRIES: Final = frozenset({
    "spi", "protocol", "encryption", "encryption_key", "integrity", "integrity_key", "direction",
    "mode", "tunnel_source", "tunnel_destination", "source", "destination", "esn", "replay_window",
    "sequence", "replay_seq_hi", "dscp", "encap", "encap_source_port", "encap_destination_port",
    "tfc_padding", "unauthenticated", "keys", "name",
})  # fmt: skip
"""What the kernel has of an SA; the last three it can do without."""

_MOST_WINDOW: Final = 4096
"""The kernel's widest window, in **packets**."""


def write(sas: Iterable[SecurityAssociation]) -> str:
    """
    Return commands that add SAs, and policies for those that have a direction.

    Raises:
        UsageError: the kernel has no such SA.
    """
    lines = ["# SAs for the kernel: ip -batch FILE; it holds keys"]
    numbers: dict[object, int] = {}
    policies: dict[str, str] = {}
    for sa in sas:
        # SAs that follow one another for the same packets have one number, and one policy.
        use = (sa.direction, sa.mode, ends(sa), sa.source, sa.destination)
        reqid = numbers.setdefault(use if sa.direction else sa, len(numbers) + 1)
        lines.append("# " + "".join(c if c.isprintable() else "?" for c in sa.label))
        lines.append(" ".join(_state(sa, reqid)))
        for packets, template in _policies(sa, reqid):
            if policies.get(packets, template) != template:
                raise _bad(sa, "has one policy for the same packets, and an SA before has it")
            if packets not in policies:
                lines.append(f"{packets} {template}")
            policies[packets] = template
    return "\n".join(lines) + "\n"


def _bad(sa: SecurityAssociation, what: str) -> UsageError:
    return UsageError(f"SA {sa.label}: the kernel {what}; keep it in TOML")


def _state(sa: SecurityAssociation, reqid: int) -> Iterator[str]:
    """Yield the words that add an SA."""
    if sa.spi == ANY_SPI:
        raise _bad(sa, "has one SPI for each SA, and not any")
    if sa.mode is Mode.EITHER:
        raise _bad(sa, "must be told whether it is transport or tunnel mode")
    source, destination = ends(sa)
    if source is None or destination is None:
        raise _bad(sa, "has two addresses for each SA; selectors of one host, or ends of a tunnel")
    if sa.replay_window > _MOST_WINDOW:
        raise _bad(sa, f"has windows of {_MOST_WINDOW} packets at most")
    if sa.protocol is Protocol.IPCOMP:
        raise _bad(sa, "has no such SA that stands for itself")
    yield f"xfrm state add src {source} dst {destination} proto {sa.protocol} spi {sa.spi:#010x}"
    yield f"reqid {reqid} mode {sa.mode}"
    yield f"replay-window {sa.replay_window}"
    if sa.sequence:
        yield f"replay-oseq {sa.sequence & 0xFFFFFFFF:#x}"
    if sa.esn:
        yield "flag esn"
        if sa.sequence >> 32:
            yield f"replay-oseq-hi {sa.sequence >> 32:#x}"
        if sa.replay_seq_hi:
            yield f"replay-seq-hi {sa.replay_seq_hi:#x}"
    yield from _suite(sa)
    if sa.encap:
        yield f"encap espinudp {sa.encap_source_port} {sa.encap_destination_port} 0.0.0.0"
    if sa.tfc_padding:
        yield f"tfcpad {sa.tfc_padding}"
    if sa.dscp is not None:
        if sa.dscp:
            raise _bad(sa, "copies the DSCP, or leaves it 0")
        yield "extra-flag dont-encap-dscp"


def _suite(sa: SecurityAssociation) -> Iterator[str]:
    key = f"0x{sa.encryption_key.hex()}" if sa.encryption_key else '""'
    if sa.protocol is Protocol.ESP and sa.cipher.icv:
        name, bits = _theirs(names.LINUX_AEADS, sa, sa.encryption)
        yield f"aead {name} {key} {bits}"
        return
    if sa.protocol is Protocol.ESP:
        yield f"enc {_theirs(names.LINUX_ENCRYPTIONS, sa, sa.encryption)} {key}"
    if sa.integrity:
        name, bits = _theirs(names.LINUX_INTEGRITIES, sa, sa.integrity)
        yield f"auth-trunc {name} 0x{sa.integrity_key.hex()} {bits}"


def _theirs(table: Any, sa: SecurityAssociation, ours: str) -> Any:
    for theirs, value in table.items():
        if value == ours:
            return theirs
    raise _bad(sa, f"has no {ours}")


def _policies(sa: SecurityAssociation, reqid: int) -> Iterator[tuple[str, str]]:
    """Yield the words that add each policy of an SA: which packets, and what for."""
    if sa.direction is None:
        return
    source, destination = ends(sa)
    ways = ("out",) if sa.direction is Direction.OUT else ("in", "fwd")
    for one, other in _pairs(sa):
        for way in ways if sa.mode is Mode.TUNNEL else ways[:1]:
            yield (
                f"xfrm policy add src {one} dst {other} dir {way}",
                f"tmpl src {source} dst {destination} proto {sa.protocol}"
                f" reqid {reqid} mode {sa.mode}",
            )


def _pairs(sa: SecurityAssociation) -> Iterator[tuple[Network | str, Network | str]]:
    """Yield from where and to where an SA's packets are, by IP version."""
    for version, anywhere in ((4, "0.0.0.0/0"), (6, "::/0")):
        sides = [
            [network for network in networks if network.version == version]
            if networks
            else [anywhere]
            for networks in (sa.source, sa.destination)
        ]
        yield from product(*sides)
