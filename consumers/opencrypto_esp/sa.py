"""
A security association's configuration: what was agreed on, and its checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

from opencrypto import UsageError
from opencrypto_esp.suites import (
    ENCRYPTIONS,
    INTEGRITIES,
    Encryption,
    Integrity,
    encryption_named,
    integrity_named,
    key_bits,
)

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

AGREED: Final = "agreed"
WRITTEN: Final = "written"

ANY_SPI: Final = 0
"""Stands for any SPI, on receipt. On the wire there is no such (RFC 4303 §2.1)."""

LOWEST_SENT: Final = 256
"""The lowest SPI to send by: those below are IANA's, and some old associations' (RFC 4303 §2.1)."""

MAX_WINDOW: Final = 1 << 16
MAX_ICV: Final = 64
MAX_TFC_PADDING: Final = 65000
MAX_CPI: Final = 0xFFFF

UDP_ENCAP: Final = "udp"
NAT_T_PORT: Final = 4500

DEFLATE_CPI: Final = 2
"""The one of IPComp's well-known numbers that is known here (RFC 2394)."""
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


class Protocol(StrEnum):
    """What is done to packets: ESP (RFC 4303), AH (RFC 4302), or IPComp (RFC 3173)."""

    ESP = "esp"
    AH = "ah"
    IPCOMP = "ipcomp"


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
            `ANY_SPI` to receive on whatever no other SA has, replays not told apart. Of IPComp
            the CPI: 2, or 256 to 65535 (RFC 3173 §3.3).
        protocol: ESP; AH, which has an integrity alone; or IPComp, which has no keys.
        encryption: A name of `ENCRYPTIONS`, or another spelling of it (`encryption_named`).
        encryption_key: Its key; of counter modes, with the salt at the end.
        integrity: A name of `INTEGRITIES`, or another spelling of it; empty with a combined mode,
            with `icv_length`, or with `unauthenticated`.
        integrity_key: Its key.
        icv_length: **Bytes** of an ICV of which the integrity or its key is not known, to be left
            unverified on receipt; 0 otherwise.
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
        encap: ``"udp"`` puts ESP into UDP (NAT-T, RFC 3948); empty for none.
        encap_source_port: Its source port on sending, and one that it is received on.
        encap_destination_port: Its destination port, likewise.
        tfc_padding: In tunnel mode, **bytes** that shorter inner packets are padded to, so that
            their length says less (RFC 4303 §2.7); 0 for none.
        then: The name of the SA that packets go through after this one, as SAs applied together
            do (RFC 4301 §4.1): on sending what it made, on receipt what came out of it.
        dscp: DSCP of the outer header, 0 to 63; None copies the inner packet's.
        unauthenticated: Allow encryption alone, which RFC 8221 §4 forbids to use.
        keys: Where the keys are from: `AGREED` with the other end, by IKE or as often as they are
            used; `WRITTEN` into a file, and so the same each time; empty if a program gives them,
            which then knows. Counter modes are not sent by with written ones.
        name: For people; the SPI if empty.
    """

    spi: int
    protocol: Protocol = Protocol.ESP
    encryption: str = ""
    encryption_key: bytes = field(default=b"", repr=False)
    integrity: str = ""
    integrity_key: bytes = field(default=b"", repr=False)
    icv_length: int = 0
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
    encap: str = ""
    encap_source_port: int = NAT_T_PORT
    encap_destination_port: int = NAT_T_PORT
    tfc_padding: int = 0
    then: str = ""
    unauthenticated: bool = False
    keys: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        """Call the suites by their names here; refuse what cannot work, never naming a key."""
        self._name_suites()
        self._check_numbers()
        self._check_encryption()
        self._check_integrity()
        self._check_mode()
        self._check_encap()
        self._check_tfc_padding()
        if self.protocol is Protocol.AH:
            self._check_ah()
        elif self.protocol is Protocol.IPCOMP:
            self._check_ipcomp()
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
        own = INTEGRITIES[self.integrity].icv if self.integrity else self.icv_length
        return self.cipher.icv or own

    @property
    def numbered(self) -> bool:
        """Whether packets have sequence numbers: not those of IPComp."""
        return self.protocol is not Protocol.IPCOMP

    @property
    def verified(self) -> bool:
        """Whether each packet's ICV can be verified: there is one, and its key is known."""
        return bool(self.cipher.icv or self.integrity)

    @property
    def window(self) -> int:
        """How many sequence numbers are told apart on receipt."""
        # Without integrity anybody could move the window (RFC 4303 §3.4.3); each SPI has its own.
        return self.replay_window if self.verified and self.spi != ANY_SPI else 0

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
        if (
            self.direction is Direction.OUT
            and self.spi < LOWEST_SENT
            and (self.numbered or self.spi != DEFLATE_CPI)
        ):
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

    def _name_suites(self) -> None:
        if self.protocol is not Protocol.ESP and not self.encryption:
            object.__setattr__(self, "encryption", "null")
        object.__setattr__(
            self, "encryption", self._known("encryption", encryption_named, ENCRYPTIONS)
        )
        if self.integrity:
            object.__setattr__(
                self, "integrity", self._known("integrity", integrity_named, INTEGRITIES)
            )

    def _known(
        self,
        what: str,
        named: Callable[[str], Encryption | Integrity | None],
        names: Mapping[str, object],
    ) -> str:
        """Return a suite's name here, if what is written means one and its key has the length."""
        spelling: str = getattr(self, what)
        suite = named(spelling)
        if suite is None:
            raise self._bad(f"unknown {what} {spelling!r}; it is one of {', '.join(names)}")
        size = len(getattr(self, f"{what}_key"))
        said = key_bits(spelling) if what == "encryption" else None
        takes = {said // 8 + suite.salt} if said else suite.keys
        if size not in takes:
            sizes = f"{min(takes)} to {max(takes)}"
            if len(takes) <= 4:
                sizes = " or ".join(map(str, sorted(takes)))
            salt = f", the last {suite.salt} being the salt" if suite.salt else ""
            raise self._bad(f"{spelling} takes a key of {sizes} bytes{salt}, not {size}")
        return suite.name

    def _check_encryption(self) -> None:
        key = self.encryption_key
        if self.encryption == "3des-cbc" and (key[:8] == key[8:16] or key[8:16] == key[16:]):
            raise self._bad("two thirds of the 3DES key are equal, which leaves plain DES")
        if self.cipher.old and self.direction is Direction.OUT:
            raise self._bad(
                f"{self.encryption} is there to read old captures; send by aes-gcm-16 or aes-cbc"
            )

    def _check_integrity(self) -> None:
        if self.cipher.icv and (self.integrity or self.icv_length):
            raise self._bad(f"{self.encryption} authenticates by itself; leave integrity out")
        if self.integrity:
            if self.icv_length:
                raise self._bad("icv_length says how long an unknown ICV is, and integrity too")
            return
        if self.integrity_key:
            raise self._bad("an integrity_key, but no integrity that takes it")
        if self.icv_length:
            self._check_unverified()
        elif (
            self.numbered
            and not self.cipher.icv
            and not (self.cipher.hides and self.unauthenticated)
        ):
            raise self._bad(f"{self.encryption} needs an integrity, such as hmac-sha2-256-128")

    def _check_unverified(self) -> None:
        if not 0 < self.icv_length <= MAX_ICV:
            raise self._bad(f"icv_length must be 1 to {MAX_ICV} bytes")
        if self.direction is Direction.OUT:
            raise self._bad("icv_length is for receiving; to send, name an integrity")

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

    def _check_encap(self) -> None:
        if self.encap not in ("", UDP_ENCAP):
            raise self._bad(f'encap is "{UDP_ENCAP}", or left out')
        for port in (self.encap_source_port, self.encap_destination_port):
            if not 1 <= port <= 0xFFFF:
                raise self._bad("ports of encap must be 1 to 65535")
        if self.encap and self.protocol is not Protocol.ESP:
            raise self._bad("only ESP goes into UDP; leave encap out")

    def _check_tfc_padding(self) -> None:
        if not 0 <= self.tfc_padding <= MAX_TFC_PADDING:
            raise self._bad(f"tfc_padding must be 0 to {MAX_TFC_PADDING} bytes")
        if self.tfc_padding and (self.mode, self.protocol) != (Mode.TUNNEL, Protocol.ESP):
            # Elsewhere the receiver cannot tell it from what it pads.
            raise self._bad("tfc_padding is for ESP in tunnel mode")

    def _check_ah(self) -> None:
        if self.encryption != "null":
            raise self._bad("AH hides nothing; leave encryption out, and name an integrity")
        if not self.integrity:
            raise self._bad("AH needs an integrity, such as hmac-sha2-256-128")

    def _check_ipcomp(self) -> None:
        if self.encryption != "null" or self.integrity or self.icv_length:
            raise self._bad("IPComp has no keys; leave encryption and integrity out")
        if not self.spi <= MAX_CPI:
            raise self._bad(f"the SPI of IPComp is its CPI: 2, or 256 to {MAX_CPI}")
        if self.esn:
            raise self._bad("IPComp has no sequence numbers; leave esn out")
