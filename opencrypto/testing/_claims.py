"""D1 to D3: a driver is what it says it is."""

from __future__ import annotations

from opencrypto.constants import (
    CRYPTOCAP_F_ACCEL_SOFTWARE,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
    Kop,
)
from opencrypto.driver import Capability, Driver, Pace, Profile
from opencrypto.exceptions import CryptoError, DriverUnavailable
from opencrypto.testing._base import ContractBase, a_few, each_algorithm, each_key
from opencrypto.testing._bounded import at_once
from opencrypto.testing._chains import Combination, combinations
from opencrypto.testing._samples import Case, usual_cases
from opencrypto.testing.clauses import CLAUSES, ContractBroken, clause, require
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind

FLAGS = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_SYNC | CRYPTOCAP_F_ACCEL_SOFTWARE

PROFILES = tuple(
    Profile(direction, ordered)
    for direction in ("", "encrypt", "decrypt")
    for ordered in (False, True)
)
"""All that a session may promise."""


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
        with self.bare() as driver:
            pass
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
        with self.bare() as driver:
            flags = driver.flags
        require(not flags & ~FLAGS, "D1", f"flags {flags:#x} are not all CRYPTOCAP_F_*")
        if flags & CRYPTOCAP_F_ACCEL_SOFTWARE:
            require(flags & CRYPTOCAP_F_SOFTWARE, "D1", "ACCEL_SOFTWARE without SOFTWARE")

    @clause("D1")
    def test_D1_two_may_be_open_unless_it_says_exclusive(self) -> None:
        """A second one works beside the first; or `exclusive` is set, and it is refused cleanly."""
        exclusive = self.claimed().exclusive
        with self.rig() as first:
            try:
                second = at_once(self.patience, "D1", "making a second one", self.make_driver)
            except (DriverUnavailable, CryptoError) as error:
                says = "a second one cannot be made while the first is open: say exclusive = True"
                require(exclusive, "D1", f"{says} ({error})")
            else:
                at_once(self.patience, "D19", "close", second.close)
            for case in list(a_few(self))[:1]:
                lay = self.layout(case)
                sid = first.open(case.inis())
                first.good("D1", "beside a second", sid, case.buffer(lay), case.forward(lay))

    @clause("D1")
    def test_D1_a_pace_of_its_own_has_a_reason(self) -> None:
        """Whoever lets process take longer than drivers may says why."""
        with self.bare() as driver:
            pace, usual = driver.pace, Pace()
        wider = pace.median > usual.median or pace.worst > usual.worst
        require(
            pace.reason.strip() or not wider, "D1", "a wider pace needs a reason: Pace(reason=)"
        )

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
        absent = dict.fromkeys(set(FACTS) - set(claimed) - self.claimed().unasked, Capability())
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
        with self.bare() as driver:
            for profile in PROFILES:
                said = [self._says(driver, case, profile) for _ in range(2)]
                wrong = [each for each in said if not isinstance(each, str)]
                require(not wrong, "D3", f"refusal() returned {wrong[:1]}, not a string")
                require(said[0] == said[1], "D3", "refusal() says another thing the second time")

    def _says(self, driver: Driver, case: Combination, profile: Profile) -> object:
        def ask() -> object:
            return driver.refusal(case.inis(), profile)

        try:
            return at_once(self.patience, "D3", "refusal", ask)
        except ContractBroken:
            raise
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
