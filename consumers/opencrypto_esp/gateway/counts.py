"""
What a gateway counts, as names on the tree that operators read: ``esp.gateway...``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Final

from opencrypto.sysctl import Node
from opencrypto_esp.gateway.associations import Associations
from opencrypto_esp.results import Flow, Reason
from opencrypto_esp.sa import Direction

PREFIX: Final = "esp.gateway"


@dataclass(slots=True)
class Counts:
    """What is counted beside what `Esp` counts: see `MEANINGS`."""

    too_big: int = 0
    answered: int = 0
    not_sent: int = 0
    not_delivered: int = 0
    ike: int = 0
    keepalives: int = 0
    refused_files: int = 0


MEANINGS: Final = {
    "too_big": "packets that did not fit into what their path takes",
    "answered": "ICMP answers to their senders",
    "not_sent": "ESP packets that the kernel did not take",
    "not_delivered": "packets that the TUN device did not take",
    "ike": "datagrams of a key exchange, which is not spoken here",
    "keepalives": "keep-alives of peers behind translators",
    "refused_files": "files of SAs that were refused on SIGHUP",
}

_FLOW: Final = {
    "packets": ("packets {}", ""),
    "octets_in": ("bytes of IP packets before they were {}", "bytes"),
    "octets_out": ("bytes of IP packets after they were {}", "bytes"),
    "migrations": ("times that a session of packets {} has moved to another driver", ""),
    "resubmitted": ("requests sent again because of that, for packets {}", ""),
}


def branch(associations: Associations, counts: Counts) -> Iterator[Node]:
    """Yield the names as they are now, for `opencrypto.sysctl.Sysctl.graft`."""
    both = associations.counters()
    for word, flow in (("protected", both.protected), ("unprotected", both.unprotected)):
        yield from _flow(f"{PREFIX}.{word}", word, flow)
    for field in fields(counts):
        yield Node(
            f"{PREFIX}.{field.name}", MEANINGS[field.name], _reading(counts, field.name),
            kind="counter",
        )  # fmt: skip
    yield Node(
        f"{PREFIX}.renewed", "times that the SAs were replaced (SIGHUP)",
        lambda: associations.renewed, kind="counter",
    )  # fmt: skip
    yield Node(
        f"{PREFIX}.passing", "SAs that were replaced and are still received on",
        lambda: associations.passing, kind="gauge",
    )  # fmt: skip
    for sa in associations.sas:
        counters = associations.counters_of(sa)
        flow = counters.protected if sa.direction is Direction.OUT else counters.unprotected
        prefix = f"{PREFIX}.sa.{sa.direction}.{sa.spi:#010x}"
        yield Node(f"{prefix}.name", "its name", _constant(sa.label), type="string")
        yield Node(f"{prefix}.packets", "packets by this SA", _constant(flow.packets))
        yield Node(f"{prefix}.lost", "packets dropped by this SA", _constant(flow.lost))
        yield Node(
            f"{prefix}.sequence", "its highest sequence number",
            _constant(associations.sequence(sa)),
        )  # fmt: skip


def _flow(prefix: str, word: str, flow: Flow) -> Iterator[Node]:
    for name, (meaning, unit) in _FLOW.items():
        value = getattr(flow, name)
        yield Node(
            f"{prefix}.{name}", meaning.format(word), _constant(value), unit=unit, kind="counter"
        )
    for reason in Reason:
        yield Node(
            f"{prefix}.dropped.{reason.name.lower()}", f"packets not {word}: {reason.value}",
            _constant(flow.dropped[reason]), kind="counter",
        )  # fmt: skip


def _constant(value: int | str) -> Callable[[], int | str]:
    return lambda: value


def _reading(counts: Counts, name: str) -> Callable[[], int]:
    def read() -> int:
        value: int = getattr(counts, name)
        return value

    return read
