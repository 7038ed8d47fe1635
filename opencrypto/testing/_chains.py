"""
Chains to try: which algorithms go together in one session, and what a request on them is.
"""

from __future__ import annotations

import itertools
import unittest
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opencrypto import Cryptodesc, Cryptoini
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
)
from opencrypto.exceptions import CryptoError
from opencrypto.testing._base import ContractBase, a_few, each_algorithm
from opencrypto.testing._rig import Rig
from opencrypto.testing._samples import Case, Layout, sample
from opencrypto.testing.clauses import Trial
from opencrypto.xform import Kind

FEW_PAIRS = 3

REGION = 96
"""Bytes that a region of every granule can have."""


@dataclass(frozen=True)
class Combination:
    """Several algorithms in one chain."""

    cases: tuple[Case, ...]

    @property
    def id(self) -> str:
        """The algorithms in order."""
        return "+".join(case.alg.name for case in self.cases)

    def inis(self, label: str = "key") -> list[Cryptoini]:
        """Make the session's parameters, with a key of its own for each."""
        return [ini for at, case in enumerate(self.cases) for ini in case.inis(f"{label} {at}")]

    def request(self) -> tuple[bytearray, list[Cryptodesc]]:
        """Make a request that runs the chain over one region, every MAC in a place of its own."""
        buf = bytearray(sample(REGION, "combination"))
        desc: list[Cryptodesc] = []
        for case in self.cases:
            lay = case.layout(REGION)
            for crd in case.forward(lay, flags=CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT):
                ciphers = bool(crd.flags & CRD_F_ENCRYPT)
                crd.skip, crd.len = 0, 0 if ciphers and case.payload_is_aad else REGION
                if not ciphers:
                    # The tag of an authenticated cipher goes over no additional data here.
                    crd.len = 0 if case.partner is not None else REGION
                    crd.inject = len(buf)
                    buf += bytes(case.mac)
                desc.append(crd)
        return buf, desc


def combinations(contract: ContractBase) -> Iterator[Trial]:
    """Give pairs of each two kinds that the driver has, both orders, and each with itself."""
    few = list(a_few(contract))
    for one, other in itertools.product(few, repeat=2):
        if not (one.partner is not None and other.partner is not None):
            yield Combination((one, other))


def pairs(contract: ContractBase) -> Iterator[Pair]:
    """Give each plain cipher with an authenticator, and each authenticator with a cipher."""
    plain = [case for case in each_algorithm(contract) if case.partner is None]
    ciphers = [case for case in plain if case.facts.kind is Kind.CIPHER]
    macs = [case for case in plain if case.facts.kind is Kind.MAC]
    if ciphers and macs:
        count = max(len(ciphers), len(macs))
        for at in range(count):
            yield Pair(ciphers[at % len(ciphers)], macs[at % len(macs)])


class Pair:
    """A cipher and an authenticator in one chain."""

    def __init__(self, cipher: Case, mac: Case) -> None:
        self.cipher = cipher
        self.mac = mac
        self.id = f"{cipher.alg.name}+{mac.alg.name}"

    def inis(self, label: str = "key") -> list[Cryptoini]:
        """Make the parameters of a session with both, with a key of its own for each."""
        return [*self.cipher.inis(f"{label} c"), *self.mac.inis(f"{label} m")]

    def layout(self, length: int) -> tuple[Layout, bytearray, Cryptodesc]:
        """Lay a buffer out: what the cipher needs, and a MAC over IV and payload after it."""
        lay = self.cipher.layout(length)
        buf = self.cipher.buffer(lay) + sample(self.mac.mac, "mac") + sample(8, "guard")
        over = Cryptodesc(lay.iv, lay.ivlen + length, lay.size, alg=self.mac.alg)
        return lay, buf, over


def a_few_pairs(contract: ContractBase) -> Iterator[Pair]:
    """Give some pairs, for clauses that no pair is special to."""
    yield from itertools.islice(pairs(contract), FEW_PAIRS)


def open_pair(rig: Rig, pair: Pair) -> int:
    """Open a session for both; a driver may refuse chains, and then has nothing to show here."""
    try:
        return rig.newsession([*pair.cipher.inis(), *pair.mac.inis()])
    except CryptoError as error:
        raise unittest.SkipTest(f"the driver refuses {pair.id}: {error.strerror}") from error


@dataclass(frozen=True)
class Work:
    """
    What requests of one kind are: of one algorithm, or of a cipher and an authenticator.

    Attributes:
        id: Its name.
        case: The algorithm that changes the region, or the only one.
        mac: The authenticator behind it, if there are two.
    """

    id: str
    case: Case
    mac: Case | None = None

    @property
    def verifies(self) -> bool:
        """Whether the way back compares a MAC."""
        return self.mac is not None or bool(self.case.mac)

    def longest(self, contract: ContractBase) -> int:
        """Return the longest payload that the driver takes, 0 for no limit."""
        limits = [contract.maxlen(self.case)]
        if self.mac is not None and contract.maxlen(self.mac):
            limits.append(contract.maxlen(self.mac) - self.case.ivlen)  # the IV is authenticated
        return min(filter(None, limits), default=0)

    def inis(self, label: str = "key") -> list[Cryptoini]:
        """Make a session's parameters, with keys drawn from `label`."""
        second = [] if self.mac is None else self.mac.inis(f"{label} of the MAC")
        return [*self.case.inis(label), *second]

    def buffer(self, length: int, label: str) -> bytearray:
        """Fill a buffer for `length` bytes of payload, a MAC behind all."""
        lay = self.case.layout(length)
        return self.case.buffer(lay, label) + bytes(self._behind)

    @property
    def _behind(self) -> int:
        return 0 if self.mac is None else self.mac.mac + 8

    def mac_at(self, length: int) -> tuple[int, int]:
        """Return where the MAC stands, and how many bytes it has."""
        lay = self.case.layout(length)
        return (lay.mac, lay.maclen) if self.mac is None else (lay.size, self.mac.mac)

    def forward(self, length: int, label: str) -> list[Cryptodesc]:
        """Encrypt, and authenticate IV and payload."""
        lay = self.case.layout(length)
        return [*self.case.forward(lay, sample(self.case.ivlen, label)), *self._over(lay, 0)]

    def backward(self, length: int) -> list[Cryptodesc]:
        """Verify, and decrypt."""
        lay = self.case.layout(length)
        return [*self._over(lay, CRD_F_VERIFY), *self.case.backward(lay)]

    def _over(self, lay: Layout, flags: int) -> list[Cryptodesc]:
        if self.mac is None:
            return []
        return [Cryptodesc(lay.iv, lay.ivlen + lay.length, lay.size, flags, alg=self.mac.alg)]

    def open(self, rig: Rig, labels: Sequence[str]) -> list[int]:
        """Open a session for each label, or as many as there is room for; skip a refused chain."""
        if self.mac is not None:
            try:
                rig.free(rig.newsession(self.inis(labels[0])))
            except CryptoError as error:
                raise unittest.SkipTest(f"the driver refuses {self.id}: {error}") from error
        return rig.open_some(self.inis(label) for label in labels)


def work_of(trial: Any) -> Work:
    """Return what requests of a case, or of a pair, are."""
    if isinstance(trial, Pair):
        return Work(trial.id, trial.cipher, trial.mac)
    return Work(trial.id, trial)


def a_few_works(contract: ContractBase) -> Iterator[Trial]:
    """Give one algorithm of each kind, and some pairs."""
    yield from map(work_of, a_few(contract))
    yield from map(work_of, a_few_pairs(contract))
