"""
A security association's configuration: what was agreed on, and its checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

from opencrypto import UsageError
from opencrypto_esp.suites import ENCRYPTIONS, INTEGRITIES, Encryption, Integrity

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

AGREED: Final = "agreed"
WRITTEN: Final = "written"

ANY_SPI: Final = 0
"""Stands for any SPI, on receipt. On the wire there is no such (RFC 4303 §2.1)."""

LOWEST_SENT: Final = 256
"""The lowest SPI to send by: those below are IANA's, and some old associations' (RFC 4303 §2.1)."""

MAX_WINDOW: Final = 1 << 16
LAST_SHORT: Final = 0xFFFFFFFF
LAST_LONG: Final = 0xFFFFFFFFFFFFFFFF


class Mode(StrEnum):
    """
    What is protected: the payload of a packet, or the packet as a whole (RFC 4303 §3.1).

    To receive on, it may also be `EITHER`, where nobody said which: a packet that holds an IP
    packet is then taken for a tunnel's.
    """

    TRANSPORT = "transport"
    TUNNEL = "tunnel"
    EITHER = "either"


class Direction(StrEnum):
    """Which way an SA goes: it is simplex (RFC 4301 §4.1)."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityAssociation:
    """
    One SA: its algorithms and keys, its mode, its direction, and which packets it is for.

    Its repr shows no key.

    Attributes:
        spi: The number on the wire, 1 to 2**32 - 1, to send by 256 at least (RFC 4303 §2.1);
            `ANY_SPI` to receive on whatever no other SA has, replays not told apart.
        encryption: A name of `ENCRYPTIONS`.
        encryption_key: Its key; of counter modes, with the salt at the end.
        integrity: A name of `INTEGRITIES`; empty with a combined mode, or with `unauthenticated`.
        integrity_key: Its key.
        direction: Whether packets are sent by it or received; None where whoever uses it says.
        mode: Transport or tunnel; to receive on, perhaps either.
        tunnel_source: Outer source address, in tunnel mode; to receive on, None for any.
        tunnel_destination: Outer destination address; to receive on, None for any.
        source: Packets from these networks are for this SA; empty for all (RFC 4301 §4.4.1.1).
        destination: Packets to these networks are; empty for all.
        esn: Extended, 64-bit sequence numbers (RFC 4303 §2.2.1).
        replay_window: Sequence numbers told apart on receipt; 0 checks nothing. Default 64.
        sequence: The last sequence number sent; the first packet has the next one.
        replay_seq_hi: The upper half of the extended numbers expected first; None for that of
            what follows `sequence`.
        hop_limit: TTL or hop limit of the outer header.
        dscp: DSCP of the outer header, 0 to 63; None copies the inner packet's.
        unauthenticated: Allow encryption alone, which RFC 8221 §4 forbids to use.
        keys: Where the keys are from: `AGREED` with the other end, by IKE or as often as they are
            used; `WRITTEN` into a file, and so the same each time; empty if a program gives them,
            which then knows. Counter modes are not sent by with written ones.
        name: For people; the SPI if empty.
    """

    spi: int
    encryption: str
    encryption_key: bytes = field(default=b"", repr=False)
    integrity: str = ""
    integrity_key: bytes = field(default=b"", repr=False)
    direction: Direction | None = None
    mode: Mode = Mode.TRANSPORT
    tunnel_source: Address | None = None
    tunnel_destination: Address | None = None
    source: tuple[Network, ...] = ()
    destination: tuple[Network, ...] = ()
    esn: bool = False
    replay_window: int = 64
    sequence: int = 0
    replay_seq_hi: int | None = None
    hop_limit: int = 64
    dscp: int | None = None
    unauthenticated: bool = False
    keys: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the SA and the remedy, never a key."""
        self._check_numbers()
        self._check_encryption()
        self._check_integrity()
        self._check_mode()
        if self.keys not in ("", AGREED, WRITTEN):
            raise self._bad(f'keys are "{AGREED}", or say nothing of them')

    @property
    def label(self) -> str:
        """What to call it in a message or a table."""
        return self.name or (f"{self.spi:#010x}" if self.spi != ANY_SPI else "*")

    @property
    def cipher(self) -> Encryption:
        """The encryption transform."""
        return ENCRYPTIONS[self.encryption]

    @property
    def authenticator(self) -> Integrity | None:
        """The integrity transform, where it is one of its own."""
        return INTEGRITIES[self.integrity] if self.integrity else None

    @property
    def icv(self) -> int:
        """Bytes of ICV at the end of each packet."""
        return self.cipher.icv or (INTEGRITIES[self.integrity].icv if self.integrity else 0)

    @property
    def window(self) -> int:
        """How many sequence numbers are told apart on receipt."""
        # Without integrity anybody could move the window (RFC 4303 §3.4.3); each SPI has its own.
        return self.replay_window if self.icv and self.spi != ANY_SPI else 0

    @property
    def first_high(self) -> int | None:
        """The upper half of the extended sequence numbers that are expected first, if they are."""
        if self.replay_seq_hi is not None or not self.esn:
            return self.replay_seq_hi
        return min(self.sequence + 1, self.last_sequence) >> 32

    @property
    def last_sequence(self) -> int:
        """The highest sequence number it may send; it never starts again (RFC 4303 §3.3.3)."""
        return LAST_LONG if self.esn else LAST_SHORT

    def _bad(self, problem: str) -> UsageError:
        return UsageError(f"SA {self.label}: {problem}")

    def _check_numbers(self) -> None:
        if not 0 <= self.spi <= 0xFFFFFFFF:
            raise self._bad("the SPI must be 1 to 0xffffffff")
        if self.direction is Direction.OUT and self.spi < LOWEST_SENT:
            raise self._bad(
                "to send by, the SPI must be 256 to 0xffffffff; lower ones are reserved"
            )
        if not 0 <= self.replay_window <= MAX_WINDOW:
            raise self._bad(f"replay_window must be 0 to {MAX_WINDOW} packets")
        if self.esn and not self.replay_window:
            raise self._bad("extended sequence numbers need a replay_window to be inferred from")
        if not 0 <= self.sequence <= self.last_sequence:
            raise self._bad(f"sequence must be 0 to {self.last_sequence}")
        if self.replay_seq_hi is not None and not (
            self.esn and 0 <= self.replay_seq_hi <= LAST_SHORT
        ):
            raise self._bad(f"replay_seq_hi must be 0 to {LAST_SHORT}, and esn be true")
        if not 1 <= self.hop_limit <= 255:
            raise self._bad("hop_limit must be 1 to 255")
        if self.dscp is not None and not 0 <= self.dscp <= 63:
            raise self._bad("dscp must be 0 to 63")

    def _check_encryption(self) -> None:
        suite = ENCRYPTIONS.get(self.encryption)
        if suite is None:
            known = ", ".join(ENCRYPTIONS)
            raise self._bad(f"unknown encryption {self.encryption!r}; it is one of {known}")
        if len(self.encryption_key) not in suite.keys:
            sizes = " or ".join(map(str, sorted(suite.keys)))
            salt = ", the last 4 being the salt" if 20 in suite.keys else ""
            raise self._bad(
                f"{self.encryption} takes a key of {sizes} bytes{salt}, "
                f"not {len(self.encryption_key)}"
            )
        key = self.encryption_key
        if self.encryption == "3des-cbc" and (key[:8] == key[8:16] or key[8:16] == key[16:]):
            raise self._bad("two thirds of the 3DES key are equal, which leaves plain DES")

    def _check_integrity(self) -> None:
        suite = INTEGRITIES.get(self.integrity)
        if self.integrity and suite is None:
            known = ", ".join(INTEGRITIES)
            raise self._bad(f"unknown integrity {self.integrity!r}; it is one of {known}")
        if self.cipher.icv and self.integrity:
            raise self._bad(f"{self.encryption} authenticates by itself; leave integrity out")
        if suite is None:
            if self.integrity_key:
                raise self._bad("an integrity_key, but no integrity that takes it")
            if not self.cipher.icv and not (self.cipher.hides and self.unauthenticated):
                raise self._bad(f"{self.encryption} needs an integrity, such as hmac-sha2-256-128")
            return
        if len(self.integrity_key) != suite.key:
            raise self._bad(
                f"{self.integrity} takes a key of {suite.key} bytes, not {len(self.integrity_key)}"
            )

    def _check_mode(self) -> None:
        source, destination = self.tunnel_source, self.tunnel_destination
        if self.mode is Mode.TRANSPORT:
            if source or destination:
                raise self._bad("tunnel addresses, but the mode is transport")
            return
        if self.direction is Direction.OUT:
            if self.mode is Mode.EITHER:
                raise self._bad("to send by, the mode is transport or tunnel, one of them")
            if source is None or destination is None:
                raise self._bad(
                    "to send by, tunnel mode needs tunnel_source and tunnel_destination"
                )
        if source and destination and source.version != destination.version:
            raise self._bad("tunnel_source and tunnel_destination must both be IPv4 or both IPv6")


def check_together(sas: Sequence[SecurityAssociation]) -> None:
    """
    Refuse SAs that one end cannot have together.

    Raises:
        UsageError: there are none, one is for neither direction, two of one direction have one
            SPI and the same addresses, or two of different directions the same keys: packets that
            one sends, the other would take for its peer's when somebody sends them back.
    """
    for sa in sas:
        if sa.direction is None:
            raise UsageError(
                f'SA {sa.label} has no direction; write direction = "out" if packets are sent by '
                'it, or direction = "in" if they are received'
            )
    if not sas or len(set(map(_place, sas))) < len(sas):
        raise UsageError(
            "give at least one SA, and each of one direction an SPI of its own, or else addresses"
        )
    sending = {_keys(sa): sa for sa in sas if sa.direction is Direction.OUT}
    for sa in sas:
        if sa.direction is Direction.IN and _keys(sa) in sending:
            raise UsageError(
                f"SA {sending[_keys(sa)].label} (out) and SA {sa.label} (in) have the same keys: "
                "what is sent would be taken when it comes back; agree on keys for each direction"
            )


def _place(sa: SecurityAssociation) -> tuple[object, ...]:
    """Return what tells it from others on the wire."""
    if sa.mode is Mode.TRANSPORT:
        return sa.direction, sa.spi, sa.source, sa.destination
    return sa.direction, sa.spi, sa.tunnel_source, sa.tunnel_destination


def _keys(sa: SecurityAssociation) -> tuple[str, bytes, str, bytes]:
    return sa.encryption, sa.encryption_key, sa.integrity, sa.integrity_key


def check_sendable(sas: Iterable[SecurityAssociation]) -> None:
    """
    Refuse to send by a counter mode with keys that are used again each time.

    Two packets with one IV under one key give both away, and let others forge. RFC 3686 (section 7)
    and RFC 4106 (section 10) want keys that are agreed anew.

    Raises:
        UsageError: an SA to send by has such keys.
    """
    for sa in sas:
        if sa.direction is Direction.OUT and sa.keys == WRITTEN and sa.cipher.counter:
            raise UsageError(
                f"SA {sa.label}: {sa.encryption} is not safe with keys that a file has again each "
                'time; agree on new ones (IKE) and write keys = "agreed", take aes-cbc with an '
                "integrity, or say that the keys are for tests (--test-keys)"
            )


def one_way(sas: Iterable[SecurityAssociation], direction: Direction) -> list[SecurityAssociation]:
    """
    Return the SAs of one way; those that name none are taken to be of it.

    Raises:
        UsageError: all are for the other way.
    """
    chosen = [
        replace(sa, direction=direction)
        for sa in sas
        if sa.direction is None or sa.direction is direction
    ]
    if not chosen:
        use = "sending" if direction is Direction.OUT else "receiving"
        raise UsageError(f'no SA is for {use}; write direction = "{direction}" in one that is')
    return chosen
