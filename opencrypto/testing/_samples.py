"""
What to try, read from a driver's capabilities: algorithms, keys, lengths, buffers, descriptors.

Every sample is the same in every run: keys and data are drawn from SHAKE128 of a label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opencrypto import Cryptodesc, Cryptoini
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    Alg,
)
from opencrypto.driver import Capability
from opencrypto.xform import AEAD_PARTNERS, FACTS, Facts, Kind

GUARD = 24
"""Bytes before and after all that a request names, which must stay as they are."""

AAD = 20
"""Bytes of additional data of an authenticated cipher."""

FEW_KEYS = 8
"""Up to so many key lengths are all tried; of more, the least and the greatest."""

Capabilities = Mapping[int, Capability]


def sample(length: int, label: str) -> bytes:
    """Return bytes that look random and are always the same."""
    return hashlib.shake_128(label.encode()).digest(length)


@dataclass(frozen=True)
class Layout:
    """Where everything of a request stands in its buffer, in bytes from the start."""

    aad: int
    aadlen: int
    iv: int
    ivlen: int
    start: int
    length: int
    mac: int
    maclen: int
    size: int

    @property
    def region(self) -> slice:
        """The region that is ciphered or, with no cipher, authenticated."""
        return slice(self.start, self.start + self.length)


@dataclass(frozen=True)
class Case:
    """
    One way to use a driver: an algorithm with a key length, and its other half if it has one.

    Attributes:
        alg: The algorithm; of an authenticated cipher, the ciphering half.
        keylen: Bytes of key.
        partner: The authenticating half of an authenticated cipher.
        maclen: Bytes of MAC, 0 for the usual number.
    """

    alg: Alg
    keylen: int
    partner: Alg | None = None
    maclen: int = 0

    @property
    def id(self) -> str:
        """The algorithm's name and the key's length, as in ``AES_CBC-16``."""
        return f"{self.alg.name}-{self.keylen}"

    @property
    def facts(self) -> Facts:
        """What is true of the algorithm."""
        return FACTS[self.alg]

    @property
    def ciphers(self) -> bool:
        """Whether it changes its region."""
        return self.facts.kind in (Kind.CIPHER, Kind.AEAD)

    @property
    def keyed(self) -> bool:
        """Whether what comes out depends on the key."""
        return self.keylen > 0 and self.alg not in (Alg.NULL_CBC, Alg.NULL_HMAC)

    @property
    def ivlen(self) -> int:
        """Bytes of IV that a request carries."""
        return self.facts.ivlen(self.keylen)

    @property
    def mac(self) -> int:
        """Bytes of MAC that a request carries."""
        facts = FACTS[self.partner] if self.partner is not None else self.facts
        return self.maclen or facts.mac

    @property
    def payload_is_aad(self) -> bool:
        """GMAC ciphers nothing: what it is given is additional data."""
        return self.alg == Alg.AES_GMAC

    def inis(self, label: str = "key") -> list[Cryptoini]:
        """Make a session's parameters, with a key drawn from `label`."""
        return self.inis_with(sample(self.keylen, label))

    def inis_with(self, key: bytes) -> list[Cryptoini]:
        """Make a session's parameters with this key."""
        maclen = self.maclen
        if self.partner is None:
            return [Cryptoini(self.alg, key, mlen=maclen if self.facts.authenticates else 0)]
        return [Cryptoini(self.alg, key), Cryptoini(self.partner, key, mlen=maclen)]

    def takes(self, key: bytes) -> bool:
        """Whether a key of the right length may be used: XTS wants two halves that differ."""
        half = len(key) // 2
        return self.alg != Alg.AES_XTS or key[:half] != key[half:]

    def layout(self, length: int, aad: int = AAD, guard: int = GUARD) -> Layout:
        """Lay a buffer out for `length` bytes of payload."""
        if self.partner is None:
            aad = 0
        elif self.payload_is_aad:
            aad, length = length, 0
        iv = guard + aad
        start = iv + self.ivlen
        mac = start + length
        end = mac + self.mac
        return Layout(guard, aad, iv, self.ivlen, start, length, mac, self.mac, end + guard)

    def buffer(self, lay: Layout, label: str = "data") -> bytearray:
        """Fill a buffer with data drawn from `label`."""
        return bytearray(sample(lay.size, label))

    def forward(
        self, lay: Layout, iv: bytes | bytearray | None = None, flags: int = CRD_F_IV_EXPLICIT
    ) -> list[Cryptodesc]:
        """Encrypt, or inject a MAC; with an explicit IV, which is written into the buffer too."""
        if not self.ciphers:
            return [Cryptodesc(lay.start, lay.length, lay.mac, 0, alg=self.alg)]
        if flags & CRD_F_IV_EXPLICIT and self.ivlen:
            iv = sample(self.ivlen, "iv") if iv is None else iv
        else:
            iv, flags = None, flags & CRD_F_IV_PRESENT
        return self._pair(lay, CRD_F_ENCRYPT | flags, iv)

    def backward(
        self, lay: Layout, iv: bytes | bytearray | None = None, flags: int = 0
    ) -> list[Cryptodesc]:
        """Decrypt, or verify a MAC; the IV is read from the buffer unless `flags` say otherwise."""
        if not self.ciphers:
            return [Cryptodesc(lay.start, lay.length, lay.mac, CRD_F_VERIFY, alg=self.alg)]
        return self._pair(lay, flags, iv)

    def _pair(self, lay: Layout, flags: int, iv: bytes | bytearray | None) -> list[Cryptodesc]:
        cipher = Cryptodesc(lay.start, lay.length, lay.iv, flags, alg=self.alg, iv=iv)
        if self.partner is None:
            return [cipher]
        verify = 0 if flags & CRD_F_ENCRYPT else CRD_F_VERIFY
        return [cipher, Cryptodesc(lay.aad, lay.aadlen, lay.mac, verify, alg=self.partner)]


def key_lengths(alg: int, capability: Capability) -> list[int]:
    """Return the key lengths to try, in bytes: all if they are few, else the least and greatest."""
    facts = FACTS[alg]
    if capability.keys is not None:
        legal = sorted(capability.keys)
    elif facts.keys is None:
        legal = [0, 1, facts.block, facts.block + 1, 200]
    else:
        legal = sorted(facts.keys)
    return legal if len(legal) <= FEW_KEYS else [legal[0], legal[-1]]


def partner_of(alg: int, keylen: int, capabilities: Capabilities) -> Alg | None:
    """Find the other half of an authenticated cipher that the driver has for this key length."""
    for partner in sorted(AEAD_PARTNERS.get(alg, ())):
        capability = capabilities.get(partner)
        if capability is None or not FACTS[partner].key_ok(keylen):
            continue
        if capability.keys is None or keylen in capability.keys:
            return partner
    return None


def maclen_of(alg: int, capability: Capability) -> int:
    """Return 0 for the usual MAC length, or the greatest one if the driver does not give that."""
    if capability.macs is None or FACTS[alg].mac in capability.macs:
        return 0
    return max(capability.macs, default=0)


def all_cases(capabilities: Capabilities) -> Iterator[Case]:
    """Give every algorithm with every key length to try."""
    for alg in sorted(set(capabilities) & set(FACTS)):
        facts = FACTS[alg]
        if facts.kind in (Kind.AEAD_AUTH, Kind.COMP):
            continue
        for keylen in key_lengths(alg, capabilities[alg]):
            partner = partner_of(alg, keylen, capabilities)
            if facts.kind is Kind.AEAD and partner is None:
                continue
            authenticator = alg if partner is None else partner
            yield Case(
                Alg(alg), keylen, partner, maclen_of(authenticator, capabilities[authenticator])
            )


def usual_cases(capabilities: Capabilities) -> list[Case]:
    """Give each algorithm once, with a key length in common use."""
    by_alg: dict[int, list[Case]] = {}
    for case in all_cases(capabilities):
        by_alg.setdefault(case.alg, []).append(case)
    return [_usual(cases) for cases in by_alg.values()]


def _usual(cases: list[Case]) -> Case:
    # An HMAC with no key, or a cipher with five bytes of it, is legal but says little.
    return next((case for case in cases if case.keylen >= 16), cases[-1])


def legal_lengths(case: Case, maxlen: int) -> list[int]:
    """Return the payload lengths to try: 0, 1, about a block, just over 64 KiB."""
    block, granule = case.facts.block, case.facts.granule
    wanted = {0, 1, block - 1, block, block + 1, granule, 2 * block, 65536 + granule}
    return sorted(n for n in wanted if n % granule == 0 and (not maxlen or n <= maxlen))


def some_length(case: Case, maxlen: int, blocks: int = 3) -> int:
    """Return one ordinary payload length: a few blocks, with a broken one if that is allowed."""
    granule = case.facts.granule
    length = blocks * granule if granule > 1 else 12 * blocks + 1
    if maxlen:
        length = min(length, maxlen - maxlen % granule)
    return length


def rounded(case: Case, length: int, maxlen: int) -> int:
    """Return the greatest payload length up to `length` that the algorithm, and the driver, has."""
    length = min(length, maxlen) if maxlen else length
    return length - length % case.facts.granule


def written(case: Case, lay: Layout) -> list[tuple[int, int]]:
    """Return where the way forward may write: places as (start, length)."""
    places = [(lay.mac, lay.maclen)]
    if case.ciphers:
        places += [(lay.start, lay.length), (lay.iv, lay.ivlen)]
    return places


def contents(buf: Any) -> bytes:
    """Return what is in a buffer of any kind."""
    return b"".join(buf) if isinstance(buf, list) else bytes(buf)
