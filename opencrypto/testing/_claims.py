"""D1 to D3: a driver is what it says it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from opencrypto import Cryptodesc, Cryptoini
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTOCAP_F_ACCEL_SOFTWARE,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
    Kop,
)
from opencrypto.driver import Capability, Driver, Profile
from opencrypto.exceptions import CryptoError
from opencrypto.testing._base import ContractBase, a_few, each_algorithm, each_key
from opencrypto.testing._samples import Case, sample, usual_cases
from opencrypto.testing.clauses import CLAUSES, ContractBroken, Trial, clause, require
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind

FLAGS = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_SYNC | CRYPTOCAP_F_ACCEL_SOFTWARE

PROFILES = tuple(
    Profile(direction, ordered)
    for direction in ("", "encrypt", "decrypt")
    for ordered in (False, True)
)
"""All that a session may promise."""

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

    def inis(self) -> list[Cryptoini]:
        """Make the session's parameters, with a key of its own for each."""
        return [ini for at, case in enumerate(self.cases) for ini in case.inis(f"key {at}")]

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


class Claims(ContractBase):
    """Names, flags, key lengths, combinations."""

    def test_deviations_name_what_is_there(self) -> None:
        """A deviation names a clause, and gives a reason."""
        for key, reason in self.deviations.items():
            if key.partition(":")[0] not in CLAUSES or not reason.strip():
                raise AssertionError(f"deviation {key!r}: name a clause (D1 ...) and give a reason")

    @clause("D1")
    def test_D1_it_attaches_under_its_name(self) -> None:
        """The name is one token, by which the framework lists the driver."""
        with self.rig() as rig:
            names = [info.name for info in rig.framework.drivers]
            require(names == [rig.driver.name], "D1", f"listed as {names}")

    @clause("D1")
    def test_D1_capabilities_are_of_known_algorithms(self) -> None:
        """What is claimed exists: algorithms, key lengths, MAC lengths, key operations."""
        driver = self.make_driver()
        driver.close()
        for alg, capability in driver.capabilities.items():
            require(alg in FACTS, "D1", f"there is no algorithm {alg!r}")
            facts, name = FACTS[alg], FACTS[alg].name
            require(isinstance(capability, Capability), "D1", f"{name}: not a Capability")
            keys = [] if capability.keys is None else sorted(capability.keys)
            wrong = [length for length in keys if not facts.key_ok(length)]
            require(not wrong, "D1", f"{name} has no keys of {wrong} bytes")
            require(keys or capability.keys is None, "D1", f"{name} claims no key length at all")
            macs = [] if capability.macs is None else sorted(capability.macs)
            wrong = [length for length in macs if length not in facts.macs]
            require(not wrong, "D1", f"{name} has no MACs of {wrong} bytes")
            require(capability.maxlen >= 0, "D1", f"{name}: maxlen is negative")
            if facts.kind is Kind.AEAD:
                partners = set(AEAD_PARTNERS[alg]) & set(driver.capabilities)
                require(partners, "D1", f"{name} is claimed without an authenticator for it")
        wrong = [op for op in driver.keyops if op not in set(Kop)]
        require(not wrong, "D1", f"there are no key operations {wrong}")

    @clause("D1")
    def test_D1_flags_agree(self) -> None:
        """Flags are CRYPTOCAP_F_*; ACCEL_SOFTWARE stands beside SOFTWARE."""
        driver = self.make_driver()
        driver.close()
        flags = driver.flags
        require(not flags & ~FLAGS, "D1", f"flags {flags:#x} are not all CRYPTOCAP_F_*")
        if flags & CRYPTOCAP_F_ACCEL_SOFTWARE:
            require(flags & CRYPTOCAP_F_SOFTWARE, "D1", "ACCEL_SOFTWARE without SOFTWARE")

    @clause("D1", each_algorithm)
    def test_D1_sync_means_done_before_process_returns(self, case: Case) -> None:
        """A driver flagged SYNC has called done when process returns, each time."""
        with self.session(case) as (rig, sid, lay):
            for _ in range(3):
                ticket = rig.submit(sid, case.buffer(lay), case.forward(lay))
                rig.sym.wait(ticket)
                if rig.driver.flags & CRYPTOCAP_F_SYNC:
                    require(
                        ticket.answered_on_return,
                        "D1",
                        "flagged CRYPTOCAP_F_SYNC, but done came after process had returned",
                    )

    @clause("D2", each_key)
    def test_D2_each_key_length_claimed_works(self, case: Case) -> None:
        """A session opens with this length of key, and gives back what it was given."""
        with self.session(case) as (rig, sid, lay):
            buf = case.buffer(lay)
            before = bytes(buf)
            rig.good("D2", "one way", sid, buf, case.forward(lay))
            rig.good("D2", "back", sid, buf, case.backward(lay))
            require(buf[lay.region] == before[lay.region], "D2", "there and back is not the same")

    @clause("D2", each_algorithm)
    def test_D2_other_key_lengths_are_refused(self, case: Case) -> None:
        """One byte less or more than what is claimed opens no session."""
        capability = self.capabilities()[case.alg]
        with self.rig() as rig:
            lengths = {each.keylen for each in each_key(self) if each.alg == case.alg}
            for length in sorted({min(lengths) - 1, max(lengths) + 1} - {-1}):
                legal = case.facts.key_ok(length)
                if legal and (capability.keys is None or length in capability.keys):
                    continue
                try:
                    rig.newsession(Case(case.alg, length, case.partner).inis())
                except CryptoError:
                    continue
                require(False, "D2", f"{case.alg.name} opened with a key of {length} bytes")

    @clause("D3")
    def test_D3_algorithms_not_claimed_are_refused(self) -> None:
        """No session opens for an algorithm that is not among the capabilities."""
        claimed = self.capabilities()
        absent = dict.fromkeys(set(FACTS) - set(claimed), Capability())
        with self.rig() as rig:
            for case in usual_cases({**claimed, **absent}):
                if {case.alg, case.partner} & set(absent):
                    try:
                        rig.newsession(case.inis())
                    except CryptoError:
                        continue
                    require(False, "D3", f"{case.id} opened, but is not claimed")

    @clause("D3", combinations)
    def test_D3_refusal_is_a_sentence(self, case: Combination) -> None:
        """refusal() says why in words, or says nothing; asked again, it says the same."""
        driver = self.make_driver()
        try:
            for profile in PROFILES:
                said = [self._says(driver, case, profile) for _ in range(2)]
                wrong = [each for each in said if not isinstance(each, str)]
                require(not wrong, "D3", f"refusal() returned {wrong[:1]}, not a string")
                require(said[0] == said[1], "D3", "refusal() says another thing the second time")
        finally:
            driver.close()

    def _says(self, driver: Driver, case: Combination, profile: Profile) -> object:
        try:
            return driver.refusal(case.inis(), profile)
        except Exception as error:
            raise ContractBroken("D3", f"refusal() raised {type(error).__name__}") from error

    @clause("D3", combinations)
    def test_D3_a_chain_is_refused_at_once_or_served(self, case: Combination) -> None:
        """A combination opens and then works, or does not open."""
        with self.rig() as rig:
            try:
                sid = rig.newsession(case.inis())
            except CryptoError:
                return
            rig.good("D3", f"{case.id} was not refused, but", sid, *case.request())
