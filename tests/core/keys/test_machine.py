"""
Key operations under drivers that answer late, twice, never, refuse, hand back, raise, and leave.

The machine steps the interrupts by hand, so a failure shrinks to a few steps; the storm does the
same with threads, where nothing can be foreseen but the outcome.
"""

import errno
import random
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from opencrypto import (
    CRK_MOD,
    CRK_MOD_ADD,
    CRYPTO_ASYMQ,
    CRYPTO_F_CBIMM,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    Cryptkop,
    Driver,
    DriverBug,
    Framework,
)
from opencrypto.driver import WorkerPool
from opencrypto.testing import ManualInterrupt
from tests.support import examples

WAYS = ("answer", "late", "never", "twice", "refuse", "hand back", "raise", "wrong")
ENDS = {0, errno.ENODEV, errno.EIO, errno.EINVAL}


class Moody(Driver):
    """Treats each request in the way it was told to last."""

    def __init__(self, name: str, flags: int, ops: tuple[int, ...]) -> None:
        self.name, self.flags, self.keyops = name, flags, ops
        self.way = "answer"
        self.kept: list[Cryptkop] = []

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Act as told."""
        match self.way:
            case "answer" | "twice":
                self.answer(krp)
                if self.way == "twice":
                    with pytest.raises(DriverBug):
                        self.kdone(krp)
            case "late" | "never":
                self.kept.append(krp)
            case "refuse":
                return ERESTART
            case "hand back":
                krp.fail(errno.EAGAIN)
                self.kdone(krp)
            case "raise":
                raise ValueError
            case _:
                return 7
        return 0

    def answer(self, krp: Cryptkop) -> None:
        """Do the sum and complete the request."""
        krp.outputs[0].store(krp.inputs[0].to_int() % 7)
        self.kdone(krp)


class KeyMachine(RuleBasedStateMachine):
    """Requests and drivers in any order; what must hold is in the invariants and the teardown."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupts: list[ManualInterrupt] = []

        def interrupt(
            name: str, work: Callable[[], None], pending: Callable[[], bool]
        ) -> ManualInterrupt:
            self.interrupts.append(ManualInterrupt(name, work, pending))
            return self.interrupts[-1]

        self.framework = Framework(plugins=False, interrupt=interrupt)
        self.drivers: list[Moody] = []
        self.calls: dict[int, int] = {}
        self.requests: list[Cryptkop] = []
        self.names = 0

    def called(self, krp: Cryptkop) -> None:
        """Count a callback and check what it brings."""
        self.calls[krp.opaque] += 1
        assert self.calls[krp.opaque] == 1, "called back twice"
        assert krp.status in ENDS, krp.status
        if not krp.status:
            assert krp.outputs[0].to_int() == krp.opaque % 7

    @rule(hard=st.booleans(), ops=st.sampled_from([(CRK_MOD,), (CRK_MOD, CRK_MOD_ADD)]))
    @precondition(lambda self: len(self.drivers) < 4)
    def attach(self, hard: bool, ops: tuple[int, ...]) -> None:
        """A driver comes."""
        self.names += 1
        driver = Moody(f"d{self.names}", 0 if hard else CRYPTOCAP_F_SOFTWARE, ops)
        self.drivers.append(driver)
        self.framework.attach(driver)

    @rule(data=st.data(), way=st.sampled_from(WAYS))
    @precondition(lambda self: self.drivers)
    def turn(self, data: st.DataObject, way: str) -> None:
        """A driver changes its way."""
        data.draw(st.sampled_from(self.drivers)).way = way

    @rule(flags=st.sampled_from([0, CRYPTO_F_CBIMM]), op=st.sampled_from([CRK_MOD, CRK_MOD_ADD]))
    def dispatch(self, flags: int, op: int) -> None:
        """A consumer asks."""
        number = len(self.requests)
        inputs = [number, 7] if op == CRK_MOD else [number, 0, 7]
        krp = Cryptkop.of(op, inputs, [8], self.called, flags)
        krp.opaque = number
        self.calls[number] = 0
        self.requests.append(krp)
        self.framework.kdispatch(krp)

    @rule(data=st.data())
    @precondition(lambda self: any(d.kept and d.way != "never" for d in self.drivers))
    def answer_late(self, data: st.DataObject) -> None:
        """A driver answers something it kept."""
        driver = data.draw(st.sampled_from([d for d in self.drivers if d.kept]))
        krp = driver.kept.pop(data.draw(st.integers(0, len(driver.kept) - 1)))
        driver.answer(krp)

    @rule(data=st.data())
    @precondition(lambda self: self.drivers)
    def unblock(self, data: st.DataObject) -> None:
        """A driver says it has room."""
        data.draw(st.sampled_from(self.drivers)).unblock(CRYPTO_ASYMQ)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """An interrupt runs."""
        data.draw(st.sampled_from(self.interrupts)).step()

    @rule(data=st.data())
    @precondition(lambda self: self.drivers)
    def detach(self, data: st.DataObject) -> None:
        """A driver leaves, whatever it has in hand."""
        driver = data.draw(st.sampled_from(self.drivers))
        self.drivers.remove(driver)
        kdone = driver.kdone
        self.framework.detach(driver, timeout=0)
        for krp in driver.kept:
            with pytest.raises(DriverBug):
                kdone(krp)

    @invariant()
    def nothing_is_held_by_nobody(self) -> None:
        """What is not called back yet is with a driver that is here, or on the return queue."""
        waiting = {n for n, count in self.calls.items() if not count}
        held = {krp.opaque for slot in self.framework._drivers for krp in slot.keys.inflight}
        returning = {krp.opaque for krp in self.framework._key_requests.returns._items}
        assert waiting == held | returning
        assert not held & returning

    def teardown(self) -> None:
        """In the end everything was called back once."""
        for driver in self.drivers:
            driver.way = "answer"
            driver.unblock(CRYPTO_ASYMQ)
        for _ in range(10):
            for each in self.interrupts:
                each.step()
        for driver in self.drivers:
            for krp in driver.kept:
                driver.answer(krp)
        self.framework.close()
        assert all(count == 1 for count in self.calls.values())
        assert self.framework.stats.kops == len(self.requests)
        assert self.framework.stats.kerrs == sum(1 for krp in self.requests if krp.status)


KeyMachine.TestCase.settings = settings(
    max_examples=examples(150), stateful_step_count=40, deadline=None
)
TestKeyMachine = KeyMachine.TestCase


class Stormy(Driver):
    """Answers from threads of its own, late, and misbehaves by chance."""

    keyops = (CRK_MOD,)

    def __init__(self, name: str, flags: int, seed: int) -> None:
        self.name, self.flags = name, flags
        self.random = random.Random(seed)
        self.pool = WorkerPool(name, lambda: self.unblock(CRYPTO_ASYMQ), size=2, depth=3)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        """Mostly take it."""
        chance = self.random.random()
        if chance < 0.05:
            raise ValueError
        return 0 if self.pool.submit(lambda: self.serve(krp, chance)) else ERESTART

    def serve(self, krp: Cryptkop, chance: float) -> None:
        """Mostly answer."""
        time.sleep(chance / 1000)
        if chance > 0.9:
            krp.fail(errno.EAGAIN)
        else:
            krp.outputs[0].store(krp.inputs[0].to_int() % 7)
        self.kdone(krp)
        if chance < 0.1:
            with pytest.raises(DriverBug):
                self.kdone(krp)

    def close(self) -> None:
        """Answer the rest."""
        self.pool.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_storm(seed: int) -> None:
    """Eight consumers, drivers coming and going: each request ends once, right or with an errno."""
    chance = random.Random(seed)
    with Framework(plugins=False) as framework:
        stop = threading.Event()
        ends: list[tuple[int, int]] = []
        bad: list[str] = []

        def consumer(number: int) -> None:
            sent = 0
            gate = threading.Semaphore(16)

            def called(krp: Cryptkop) -> None:
                right = krp.outputs[0].to_int() == krp.opaque % 7
                if krp.status not in (0, errno.ENODEV, errno.EIO) or not (krp.status or right):
                    bad.append(repr(krp))
                calls.append(krp.opaque)
                gate.release()

            calls: list[int] = []
            while not stop.is_set():
                gate.acquire()
                krp = Cryptkop.of(CRK_MOD, [sent, 7], [8], called, number % 2 * CRYPTO_F_CBIMM)
                krp.opaque = sent
                sent += 1
                framework.kdispatch(krp)
            for _ in range(16):
                assert gate.acquire(timeout=20), f"lost: {sorted(set(range(sent)) - set(calls))}"
            if sorted(calls) != list(range(sent)):
                bad.append(f"{len(calls)} callbacks for {sent} requests")
            ends.append((sent, len(calls)))

        threads = [threading.Thread(target=consumer, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        here: list[Stormy] = []
        deadline = time.monotonic() + 1.5
        count = 0
        while time.monotonic() < deadline:
            if len(here) < 3:
                count += 1
                here.append(Stormy(f"s{count}", chance.choice((0, CRYPTOCAP_F_SOFTWARE)), count))
                framework.attach(here[-1])
            else:
                framework.detach(here.pop(chance.randrange(3)))
            time.sleep(chance.random() / 30)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not bad
        assert len(ends) == 8
        assert framework.stats.kops == sum(sent for sent, _ in ends)
        assert not any(slot.keys.inflight for slot in framework._drivers)
