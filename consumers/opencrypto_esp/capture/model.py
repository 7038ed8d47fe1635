"""
What a capture is made of, whichever format it has: sections, interfaces, frames, and other blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from opencrypto_esp.capture.links import LINKS, Finder, finder

MAX_FRAME: Final = 262144
"""The most **bytes** of a frame, tcpdump's and Wireshark's too: a record with more is damaged."""

SURPLUS: Final = 256
"""
**Bytes** that may be kept of a frame beyond its original length: some recorders count a header of
their own in the one and not in the other. More is a damaged length, which swallows what follows.
"""

MICRO: Final = 10**6
NANO: Final = 10**9


@dataclass(slots=True, frozen=True)
class Section:
    """A pcapng section begins: its byte order ("<" or ">"), and its options as they stand."""

    order: str
    options: bytes


@dataclass(slots=True, eq=False)
class Interface:
    """
    Where frames were recorded.

    Attributes:
        number: Its place in its section.
        linktype: What its frames begin with (`LINKS`).
        order: The byte order of what describes it, "<" or ">".
        fcs: **Bytes** of frame check sequence at the end of each frame, which are no part of it.
        snaplen: The most **bytes** kept of a frame; 0 for no limit.
        per_second: How many ticks of its frames' times make a second.
        offset: **Seconds** to add to them.
        options: Its other options, as pcapng has them.
        find: Finds the IP packet in a frame, or names what it is instead.
    """

    number: int
    linktype: int
    order: str = "<"
    fcs: int = 0
    snaplen: int = 0
    per_second: int = MICRO
    offset: int = 0
    options: bytes = b""
    find: Finder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Look up how its frames begin."""
        self.find = finder(self.linktype)

    @property
    def written(self) -> int:
        """Its link type in what is written."""
        link = LINKS.get(self.linktype)
        return link.written if link else self.linktype

    def seconds(self, ticks: int, per_second: int) -> tuple[int, int]:
        """Return a time as seconds since 1970, and the rest in parts of a second as asked for."""
        whole, part = divmod(ticks, self.per_second)
        return whole + self.offset, part * per_second // self.per_second


class Frame(NamedTuple):
    """
    One recorded frame.

    Attributes:
        interface: Where it was recorded.
        ticks: When, in ticks of its interface since 1970; None if that was not recorded.
        data: What was kept of it, without frame check sequence.
        length: How many **bytes** it had.
        options: Its options as pcapng has them, but for those that a change of it makes wrong.
    """

    interface: Interface
    ticks: int | None
    data: bytes
    length: int
    options: bytes = b""


@dataclass(slots=True, frozen=True)
class Block:
    """A pcapng block that is no packet: its type, and all its bytes."""

    kind: int
    raw: bytes


Item: TypeAlias = Frame | Section | Interface | Block


def trimmed(data: bytes, length: int, fcs: int) -> tuple[bytes, int]:
    """Return a frame and its length without check sequence, which may be cut off already."""
    length = max(length - fcs, 0)
    return data[:length], length
