"""
The framework against a plain model, driven by hypothesis and stepped by hand.

The model knows what must be true whatever the order of calls: each accepted request is called
back once; each driver sees the requests of a session in the order of dispatch; HINT_MORE is given
exactly when that driver's next queued request follows at once; nothing and nobody is left over.
"""

from __future__ import annotations

import errno
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_HINT_MORE,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    Framework,
    NoDriverError,
    UnknownSession,
)
from opencrypto._core.lineage import MAX_ALIASES
from opencrypto._state import SessionState
from opencrypto.testing import ManualInterrupt
from tests.toy import KEY, SYNC, Toy, nothing_left, step

FLAGS = st.sampled_from([0, CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC]).flatmap(
    lambda when: st.sampled_from([when, when | CRYPTO_F_BATCH])
)

GOING = (SessionState.DRAINING, SessionState.FREED)


class Recorder(Toy):
    """Checks the order and the hints of what it is given, as it is given it."""

    def __init__(self, machine: Machine, name: str, flags: int, hold: bool) -> None:
        super().__init__(name, flags=flags, hold=hold)
        self.machine = machine
        self.last: dict[int, int] = {}
        self.follows: int | None = None

    def process(self, crp: Cryptop, hint: int) -> int:
        number: int = crp.opaque
        expect = self.machine.expect
        expect(self.follows in {None, number}, "HINT_MORE was given, and another request came")
        queue = self.machine.queue_of(self) if self.machine.stepping else []
        expect(hint == (CRYPTO_HINT_MORE if queue else 0), "the hint is wrong")
        self.follows = queue[0] if queue and not self.full else None
        if not self.full:
            expect(self.last.get(crp.lid, -1) < number, "out of order within a session")
            self.last[crp.lid] = number
        return super().process(crp, hint)

    def freesession(self, lid: int) -> None:
        super().freesession(lid)
        under = self in self.machine.drivers and any(crp.lid == lid for crp in self.held)
        self.machine.expect(not under, "freed under a request")


class Machine(RuleBasedStateMachine):
    """Rules are what consumers, drivers and operators may do at any time."""

    sids = Bundle("sids")

    def __init__(self) -> None:
        super().__init__()
        self.fw = Framework(plugins=False, interrupt=ManualInterrupt)
        self.stepping = False
        self.drivers: list[Recorder] = []  # attached
        self.everyone: list[Recorder] = []
        self.by_hand: dict[int, list[Any]] = {}  # hid to what its process took
        self.dispatched = 0
        self.completed: Counter[int] = Counter()
        self.again: list[Cryptop] = []  # handed back with EAGAIN
        self.freed: set[int] = set()
        self.wrong: list[str] = []
        self.silent = 0
        self.left: set[int] = set()  # what a driver had as it left without an answer

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note what is wrong: an exception in a driver or callback would go to the log."""
        if not holds:
            self.wrong.append(otherwise)

    def queue_of(self, driver: Recorder) -> list[int]:
        """What waits for a driver, by number."""
        slot = next(slot for slot in self.fw._drivers if slot.driver is driver)
        return [crp.opaque for crp in slot.sym.queue.items]

    def called_back(self, crp: Cryptop) -> None:
        """Count."""
        self.completed[crp.opaque] += 1
        broken = crp.etype == errno.EIO
        self.expect(broken == (crp.opaque in self.left), f"{crp.etype} of what a driver had")
        if broken:
            return
        if crp.etype == errno.EAGAIN:
            self.again.append(crp)
        else:
            self.expect(crp.etype in {0, errno.ENODEV, errno.ENOENT}, crp.error)

    # Drivers.

    @initialize()
    def begin(self) -> None:
        self.attach(False, SYNC)
        self.attach(True, 0)

    @rule(hold=st.booleans(), flags=st.sampled_from([0, CRYPTOCAP_F_SOFTWARE, SYNC]))
    def attach(self, hold: bool, flags: int) -> None:
        if len(self.drivers) < 3:
            driver = Recorder(self, f"d{len(self.everyone)}", flags, hold)
            self.fw.attach(driver)
            self.drivers.append(driver)
            self.everyone.append(driver)

    @precondition(lambda self: self.drivers)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        driver = data.draw(st.sampled_from(self.drivers))
        self.drivers.remove(driver)
        driver.follows = None
        if data.draw(st.booleans(), "answers first"):
            driver.answer()
        self.silent += bool(driver.held)  # each time that is one breach of the contract
        self.left.update(crp.opaque for crp in driver.held)
        self.fw.detach(driver, timeout=0)
        assert not driver.keys, "a session was not freed"
        assert driver.closed == 1
        driver.held.clear()

    @precondition(lambda self: self.drivers)
    @rule(data=st.data(), etype=st.sampled_from([0, 0, 0, errno.EAGAIN]))
    def answer(self, data: st.DataObject, etype: int) -> None:
        driver = data.draw(st.sampled_from(self.drivers))
        driver.answer(data.draw(st.integers(1, 3)), etype)

    @precondition(lambda self: self.drivers)
    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.drivers)).full = True

    @precondition(lambda self: any(driver.full for driver in self.drivers))
    @rule(data=st.data())
    def unblock(self, data: st.DataObject) -> None:
        driver = data.draw(st.sampled_from([d for d in self.drivers if d.full]))
        driver.full = data.draw(st.booleans(), "but is full still")
        driver.follows = None
        driver.unblock(CRYPTO_SYMQ)

    @rule()
    def register(self) -> None:
        if len(self.by_hand) < 2:
            hid = self.fw.get_driverid(0)
            taken: list[Any] = self.by_hand.setdefault(hid, [])
            lids = iter(range(1000))

            def process(arg: object, crp: Cryptop, hint: int) -> int:
                if len(taken) > 3:
                    return ERESTART
                taken.append(crp)
                return 0

            self.fw.register(
                hid, CRYPTO_NULL_CBC, 0, 0, lambda arg, ini: next(lids), lambda *_: None, process
            )
            self.fw.register(hid, CRYPTO_NULL_HMAC, 0, 0, None, None, None)

    @precondition(lambda self: self.by_hand)
    @rule(data=st.data(), all_at_once=st.booleans())
    def unregister(self, data: st.DataObject, all_at_once: bool) -> None:
        hid = data.draw(st.sampled_from(sorted(self.by_hand)))
        if all_at_once:
            self.fw.unregister_all(hid)
        else:
            self.fw.unregister(hid, CRYPTO_NULL_HMAC)
            self.fw.unregister(hid, CRYPTO_NULL_CBC)
        for crp in self.by_hand.pop(hid):
            self.fw.done(crp)

    @precondition(lambda self: self.by_hand)
    @rule(data=st.data())
    def answer_by_hand(self, data: st.DataObject) -> None:
        hid = data.draw(st.sampled_from(sorted(self.by_hand)))
        taken = self.by_hand[hid]
        while taken:
            self.fw.done(taken.pop(0))
        self.fw.unblock(hid, CRYPTO_SYMQ)

    # Consumers.

    @rule(target=sids, hard=st.sampled_from([-1, 0, 0, 1]))
    def newsession(self, hard: int) -> Any:
        try:
            return self.fw.newsession(Cryptoini(CRYPTO_NULL_CBC, KEY), hard)
        except NoDriverError:
            return multiple()

    @rule(sid=consumes(sids))
    def freesession(self, sid: int) -> None:
        known = self.fw._sessions.table.get(sid)
        going = known is not None and known.latest().state in GOING
        try:
            self.fw.freesession(sid)
        except UnknownSession:
            assert known is None or going
        else:
            assert not going
            self.freed.add(sid)

    @precondition(lambda self: self.freed)
    @rule()
    def dispatch_to_nobody(self) -> None:
        self.dispatch(min(self.freed), [0])

    @rule(sid=sids, burst=st.lists(FLAGS, min_size=1, max_size=9))
    def dispatch(self, sid: int, burst: list[int]) -> None:
        for flags in burst:
            crd = Cryptodesc(0, 8, alg=CRYPTO_NULL_CBC)
            crp = Cryptop(sid, bytearray(8), [crd], self.called_back, flags, opaque=self.dispatched)
            self.dispatched += 1
            self.fw.dispatch(crp)

    @rule(sid=sids, number=st.integers(2, 12))
    def dispatch_many(self, sid: int, number: int) -> None:
        self.dispatch(sid, [CRYPTO_F_CBIMM | CRYPTO_F_BATCH] * number)

    @precondition(lambda self: self.again)
    @rule()
    def dispatch_again(self) -> None:
        """What EAGAIN gave back goes out again, as a new request of the model."""
        while self.again:
            crp = self.again.pop(0)
            assert not any(crp.buf), "EAGAIN, and the operation was performed"
            crp.opaque = self.dispatched
            self.dispatched += 1
            self.fw.dispatch(crp)

    @rule()
    def interrupts(self) -> None:
        self.stepping = True
        step(self.fw)
        self.stepping = False

    # What is always so.

    @invariant()
    def nothing_is_wrong(self) -> None:
        stats = self.fw.stats
        assert (self.wrong, stats.callback_errors, stats.driver_bugs) == ([], 0, self.silent)

    @invariant()
    def aliases_are_bounded(self) -> None:
        live = {session.latest().sid for session in list(self.fw._sessions.table.values())}
        assert len(self.fw._sessions.table) <= len(live) * (MAX_ALIASES + 2)

    @invariant()
    def queues_and_counts_agree(self) -> None:
        for slot in self.fw._drivers:
            waiting = Counter(id(crp.holder) for crp in slot.sym.queue.items)
            for session in slot.sym.sessions.values():
                assert session.queued == waiting[id(session)]
                assert len(session.inflight) >= session.queued

    @invariant()
    def every_sid_leads_to_the_newest_session(self) -> None:
        table = self.fw._sessions.table
        for sid, session in list(table.items()):
            lineage = session.lineage
            assert lineage.newest is table[session.latest().sid]
            assert session is (lineage.newest if sid == session.latest().sid else lineage.stand_in)
            assert sid in lineage.sids()

    def teardown(self) -> None:
        for driver in self.drivers:
            driver.full = False
            driver.follows = None
            driver.unblock(CRYPTO_SYMQ)
        self.interrupts()
        for driver in self.drivers:
            driver.answer()
        for hid in list(self.by_hand):
            for crp in self.by_hand.pop(hid):
                self.fw.done(crp)
            self.fw.unregister_all(hid)
        for sid in list(self.fw._sessions.table):
            try:
                self.fw.freesession(sid)
            except CryptoError:
                pass  # an alias of one just freed
        self.interrupts()
        try:
            assert self.completed == Counter(range(self.dispatched)), "lost, or called back twice"
            assert nothing_left(self.fw)
        finally:
            self.fw.close()
        for driver in self.everyone:
            assert not driver.keys
            assert sorted(driver.freed) == sorted(driver.opened)
            assert driver.closed == 1


Machine.TestCase.settings = settings(
    max_examples=300,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.slow
class TestMachine(Machine.TestCase):  # type: ignore[misc,valid-type]  # hypothesis makes it at run time
    """Any order of calls keeps the rules above."""
