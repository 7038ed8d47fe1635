"""Sessions move when their driver leaves, and nobody's request is lost."""

from __future__ import annotations

import errno
import gc
import threading
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from opencrypto import (
    CRK_MOD_EXP,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    Cryptkop,
    Cryptoini,
    Cryptop,
    Framework,
    UnknownSession,
    UsageError,
    hookimpl,
)
from opencrypto._state import (
    IllegalTransition,
    RequestState,
    SessionEvent,
    SessionState,
    SlotEvent,
    SlotState,
)
from opencrypto.driver import Process
from opencrypto.testing import ManualInterrupt
from tests.toy import (
    KEY,
    Log,
    Toy,
    newsession,
    nothing_left,
    request,
    step,
    stepped,
    the_session,
    threaded,
)

BATCHED = CRYPTO_F_CBIMM | CRYPTO_F_BATCH


def test_a_framework_says_whether_it_is_closed() -> None:
    with stepped() as fw:
        assert not fw.closed
    assert fw.closed


@pytest.mark.parametrize("hard", ["hardware", 1.0, None, True])
def test_the_class_of_drivers_is_a_number(hard: Any) -> None:
    """A truth might have been meant for "hardware only", and would have been, by its value."""
    with stepped(Toy()) as fw, pytest.raises(UsageError, match="hard is a number"):
        newsession(fw, hard=hard)


def test_a_session_takes_no_step_that_is_not_in_the_table() -> None:
    with stepped(Toy()) as fw:
        session = the_session(fw, newsession(fw))
        with pytest.raises(IllegalTransition, match="LIVE has no transition DRAINED"):
            session.move(SessionEvent.DRAINED)
        assert session.state is SessionState.LIVE


def test_the_driver_of_a_session_is_named_before_and_after_it_moves() -> None:
    with stepped(Toy("first"), Toy("second")) as fw:
        sid, log = newsession(fw), Log()
        assert fw.driver_of(sid) == ("first",)
        fw.detach("first")
        fw.dispatch(request(sid, log))
        assert log.etypes == [errno.EAGAIN]
        new = log.calls[0][2]
        assert new != sid
        assert fw.driver_of(sid) == fw.driver_of(new) == ("second",)


def test_every_request_of_a_session_gets_the_same_new_sid() -> None:
    """Queued and later ones alike: EAGAIN, one new session, and the buffer untouched."""
    one, two = Toy("one"), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        requests = [request(sid, log, n, flags=BATCHED) for n in range(3)]
        for crp in requests:
            fw.dispatch(crp)
        fw.detach("one")
        fw.dispatch(request(sid, log, 3))
        assert log.etypes == [errno.EAGAIN] * 4
        (new,) = {sid for _, _, sid in log.calls}
        assert new != sid
        assert all(crp.buf == bytes(16) for crp in requests)
        assert one.freed == one.opened
        assert len(two.opened) == 1
        fw.dispatch(requests[0])
        step(fw)
        assert log.etypes[-1] == 0
        assert requests[0].buf == bytes([KEY[0]]) * 16
        assert fw.stats.migrated == 1


def test_what_the_driver_took_is_finished_by_it() -> None:
    """detach waits for what the driver has, which ends as the driver says, before it is closed."""
    one, two = Toy("one", hold=True), Toy("two")
    with threaded(one, two) as fw:
        log = Log()
        fw.dispatch(request(newsession(fw), log, 1))
        leaver = threading.Thread(target=fw.detach, args=("one",))
        leaver.start()
        leaver.join(0.1)
        assert leaver.is_alive()
        assert one.closed == 0
        one.answer()
        leaver.join()
        assert log.etypes == [0]
        assert (one.freed, one.closed) == (one.opened, 1)


def test_what_the_driver_never_answers_is_not_said_to_be_untouched() -> None:
    """
    After the timeout it ends with EIO, since its driver may have worked on it, and may still.

    EAGAIN had consumers send the same buffer through once more, and a counter mode then gave the
    plaintext back. The session has moved nonetheless; a late answer changes nothing.
    """
    one, two = Toy("one", hold=True), Toy("two", hold=True)
    with stepped(one, two) as fw:
        log = Log()
        crp = request(newsession(fw), log, 1)
        fw.dispatch(crp)
        fw.detach("one", timeout=0.01)
        assert log.etypes == [errno.EIO]
        assert "driver one left without an answer" in crp.error
        assert one.freed == one.opened
        assert fw.stats.driver_bugs == 1
        fw.dispatch(crp)
        assert log.etypes == [errno.EIO, errno.EAGAIN]
        fw.dispatch(crp)
        with pytest.raises(UsageError, match="not attached"):
            one.done(crp)
        assert log.etypes == [errno.EIO, errno.EAGAIN]
        two.answer()
        assert log.etypes == [errno.EIO, errno.EAGAIN, 0]


def test_what_the_driver_never_saw_may_go_elsewhere() -> None:
    """A request that waits in the queue of a driver that hangs is untouched: EAGAIN."""
    one, two = Toy("one", hold=True), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log, 1))
        fw.dispatch(request(sid, log, 2, flags=CRYPTO_F_CBIMM | CRYPTO_F_BATCH))
        fw.detach("one", timeout=0.01)
        assert sorted(log.etypes) == sorted([errno.EIO, errno.EAGAIN])


def test_an_answer_in_close_comes_too_late_and_is_no_bug_of_close() -> None:
    """What was handed back already, a driver may still answer as it closes: nobody hears of it."""

    class Slow(Toy):
        def close(self) -> None:
            super().close()
            for crp in self.held:
                self.done(crp)

    one, two = Slow("one", hold=True), Toy("two", hold=True)
    with stepped(one, two) as fw:
        log = Log()

        def again(crp: Cryptop) -> None:
            log(crp)
            if crp.etype:
                fw.dispatch(crp)

        fw.dispatch(request(newsession(fw), again, 1))
        fw.detach("one", timeout=0.01)
        assert log.etypes == [errno.EIO, errno.EAGAIN]
        assert one.closed == 1
        two.answer()
        assert log.etypes == [errno.EIO, errno.EAGAIN, 0]


def test_a_driver_hands_a_session_back() -> None:
    """EAGAIN from a driver moves the session away from it, and it forgets the session."""
    one, two = Toy("one", hold=True), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        for number in range(2):
            fw.dispatch(request(sid, log, number))
        one.answer(etype=errno.EAGAIN)
        assert log.etypes == [errno.EAGAIN] * 2
        assert {s for _, _, s in log.calls} == {the_session(fw, sid).latest().sid}
        assert the_session(fw, sid).latest().slot.name == "two"
        assert one.freed == one.opened


def test_nobody_takes_over() -> None:
    """ENODEV ends it, each time, until a driver comes; then the session moves after all."""
    with stepped(Toy("one")) as fw:
        sid, log = newsession(fw), Log()
        fw.detach("one")
        for number in range(3):
            fw.dispatch(request(sid, log, number))
        assert log.etypes == [errno.ENODEV] * 3
        fw.attach(Toy("two"))
        fw.dispatch(request(sid, log, 3))
        assert log.etypes[-1] == errno.EAGAIN


def test_keys_are_in_the_session_not_in_the_descriptors() -> None:
    """A session migrates with its key although no descriptor carries one."""
    one, two = Toy("one"), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        crp = request(sid, log)
        fw.detach("one")
        fw.dispatch(crp)
        assert crp.desc[0].key is None
        fw.dispatch(crp)
        assert crp.buf == bytes([KEY[0]]) * 16


def test_an_old_sid_stays_an_alias_and_frees_the_new_session() -> None:
    """freesession of a former SID frees what it became; then neither is known."""
    one, two = Toy("one"), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        fw.detach("one")
        fw.dispatch(request(sid, log))
        new = log.calls[0][2]
        fw.freesession(sid)
        assert two.freed == two.opened
        for gone in (sid, new):
            with pytest.raises(UnknownSession):
                fw.freesession(gone)
        assert nothing_left(fw)


def test_a_driver_attached_again_has_its_name_again() -> None:
    """While a former SID still names the old slot, the name is free, and so are its counts kept."""
    with stepped(Toy("one"), Toy("two")) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log))
        fw.detach("one")
        fw.dispatch(request(sid, log))
        hid = fw.attach(Toy("one"))
        assert [each.name for each in fw.drivers] == ["two", "one"]
        assert hid == 2
        assert fw.stats.ops == 2
        fw.detach("one")
        with pytest.raises(UsageError, match=r"attached: two\)"):
            fw.detach("one")
        with pytest.raises(UsageError):
            fw.detach(0)


def test_a_leaving_driver_never_sends_a_request_back_to_itself() -> None:
    """A request between a driver's leaving and its session's orphaning gets another SID at once."""
    one, two = Toy("one"), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        slot = the_session(fw, sid).slot
        with slot.lock:
            slot.move(SlotEvent.UNREGISTER)  # the first half of leaving
        fw.dispatch(request(sid, log))
        assert log.calls[0][1:] == (errno.EAGAIN, the_session(fw, sid).latest().sid)
        assert log.calls[0][2] != sid
        fw._sessions.orphan_all(slot)
        assert one.freed == one.opened
        slot.driver = None
        fw._drivers.release(slot)


def test_moving_and_freeing_hold_no_lock_while_observers_are_told() -> None:
    """An observer of a migration may free either session, or dispatch on it."""
    log = Log()

    class Watcher:
        name = "watcher"
        seen: ClassVar[list[tuple[int, int]]] = []

        @hookimpl
        def opencrypto_migrated(self, sid: int, new_sid: int) -> None:
            self.seen.append((sid, new_sid))
            fw.dispatch(request(sid, log, "nested"))
            fw.freesession(sid)

    watcher = Watcher()
    with Framework(plugins=[watcher], interrupt=ManualInterrupt) as fw:
        one, two = Toy("one"), Toy("two")
        fw.attach(one)
        fw.attach(two)
        sid = newsession(fw)
        fw.detach("one")
        done = threading.Thread(target=fw.dispatch, args=(request(sid, log, "first"),))
        done.daemon = True
        done.start()
        done.join(10)
        assert not done.is_alive()
        assert len(watcher.seen) == 1
        assert log.order == ["nested", "first"]
        assert two.freed == two.opened


class Gate(Toy):
    """A driver whose newsession or freesession stops half way until it is let go."""

    def __init__(self, name: str, stop_in: str) -> None:
        super().__init__(name)
        self.stop_in = stop_in
        self.inside, self.go = threading.Event(), threading.Event()
        self.events: list[str] = []

    def _stop(self, where: str) -> None:
        if where == self.stop_in:
            self.inside.set()
            assert self.go.wait(10)
        self.events.append(where)

    def newsession(self, ini: Sequence[Cryptoini]) -> Any:
        lid = super().newsession(ini)
        self._stop("newsession")
        return lid

    def freesession(self, lid: int) -> None:
        super().freesession(lid)
        self._stop("freesession")

    def close(self) -> None:
        self._stop("close")


@pytest.mark.parametrize("stop_in", ["newsession", "freesession"])
def test_a_driver_is_closed_after_every_call_has_returned(stop_in: str) -> None:
    """detach waits for newsession and freesession in other threads; close is the last call."""
    gate, other = Gate("gate", stop_in), Toy("other", flags=2)
    with threaded(gate, other) as fw:
        sids: list[int] = []

        def work() -> None:
            sids.append(newsession(fw))
            if stop_in == "freesession":
                fw.freesession(sids[0])

        worker = threading.Thread(target=work)
        worker.start()
        assert gate.inside.wait(10)
        leaver = threading.Thread(target=fw.detach, args=("gate",))
        leaver.start()
        leaver.join(0.05)
        assert leaver.is_alive()
        gate.go.set()
        leaver.join(10)
        worker.join(10)
        assert not leaver.is_alive()
        assert gate.events[-1] == "close"
        assert gate.events.count("freesession") == 1
        assert not gate.keys
        if stop_in == "newsession":
            assert the_session(fw, sids[0]).slot.name == "other"
            fw.freesession(sids[0])


def test_two_threads_detach_one_driver() -> None:
    """One of them does, the other is told; the driver is closed once."""
    toy = Toy("toy", hold=True)
    with threaded(toy) as fw:
        log = Log()
        fw.dispatch(request(newsession(fw), log))
        leaver = threading.Thread(target=fw.detach, args=("toy",))
        leaver.start()
        while fw._drivers.get(0).state is not SlotState.CLEANUP:
            pass
        with pytest.raises(UsageError, match="already"):
            fw.detach("toy")
        toy.answer()
        leaver.join()
        assert toy.closed == 1


def test_a_lid_that_a_former_session_holds_is_not_taken_twice() -> None:
    """A driver that counts its sessions from 0 again never makes a SID mean two sessions."""

    class Counter(Toy):
        def newlid(self) -> int:
            return next(n for n in range(100) if n not in self.keys)

    one, two = Counter("one", hold=True), Counter("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log))
        one.answer(etype=errno.EAGAIN)
        assert one.freed == [0]
        second = newsession(fw)
        assert second != sid
        assert len(one.keys) == 1
        fw.freesession(sid)
        fw.freesession(second)
        assert not one.keys
        assert not two.keys
        assert nothing_left(fw)


def test_registered_by_hand_a_driver_leaves_likewise() -> None:
    """unregister_all does not wait; its sessions move, and its freesession gets the whole SID."""
    freed: list[tuple[object, int]] = []
    held: list[Cryptop] = []
    with stepped(Toy("other", flags=2)) as fw:
        hid = fw.get_driverid(0)
        fw.register(
            hid,
            CRYPTO_NULL_CBC,
            0,
            0,
            lambda arg, ini: 7,
            lambda arg, sid: freed.append((arg, sid)),
            lambda arg, crp, hint: held.append(crp) or 0,  # type: ignore[func-returns-value]  # append, and then 0
            "arg",
        )
        sid, log = newsession(fw), Log()
        assert sid == (hid + 1) << 32 | 7
        fw.dispatch(request(sid, log, 1))
        fw.unregister_all(hid)
        fw.dispatch(request(sid, log, 2))
        assert log.etypes == [errno.EAGAIN]
        assert freed == []
        fw.done(held[0])
        assert log.etypes == [errno.EAGAIN, 0]
        assert freed == [("arg", sid)]
        fw.freesession(sid)
        assert [slot.name for slot in fw._drivers] == ["other"]


def test_close_gives_back_what_an_unregistered_driver_never_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A driver that unregistered with a request in hand leaves it to close() to complete."""
    monkeypatch.setattr("opencrypto._core.framework.DETACH_TIMEOUT", 0.01)
    with stepped() as fw:
        hid = fw.get_driverid(0)
        fw.register(hid, CRYPTO_NULL_CBC, 0, 0, lambda *_: 7, None, lambda *_: 0)
        log = Log()
        fw.dispatch(request(newsession(fw), log, 1))
        fw.unregister_all(hid)
        fw.close()
        assert log.etypes == [errno.EIO]
        assert nothing_left(fw)


def test_a_session_freed_while_its_old_driver_still_works() -> None:
    """Freed under its new SID, the old driver is told once its own last request is done."""
    one, two = Toy("one", hold=True), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log, "held"))
        fw.unregister_all(0)
        fw.dispatch(request(sid, log, "moved"))
        fw.freesession(log.calls[0][2])
        assert two.freed == two.opened
        assert one.freed == []
        one.answer()
        assert one.freed == one.opened
        assert log.etypes == [errno.EAGAIN, 0]
        fw.detach("one")


def test_the_states_end_where_the_table_says() -> None:
    """A session that moved is MIGRATED, what it became is LIVE, and both are FREED at the end."""
    with stepped(Toy("one"), Toy("two")) as fw:
        sid, log = newsession(fw), Log()
        fw.detach("one")
        old = the_session(fw, sid)
        assert old.state is SessionState.ORPHANED
        fw.dispatch(request(sid, log))
        stand_in, new = the_session(fw, sid), old.latest()
        assert old.state is stand_in.state is SessionState.MIGRATED
        assert new.state is SessionState.LIVE
        fw.freesession(sid)
        assert stand_in.state is new.state is SessionState.FREED


def test_freeing_no_session_does_nothing() -> None:
    """0 names none; 1 could, and does not."""
    with stepped(Toy()) as fw:
        sid = newsession(fw)
        fw.freesession(0)
        with pytest.raises(UnknownSession):
            fw.freesession(1)
        assert list(fw._sessions.table) == [sid]


def test_what_a_driver_has_compiled_goes_with_its_session() -> None:
    """It may hold on to keys, and somebody may hold on to the session."""

    class Compiles(Toy):
        def newsession(self, ini: Sequence[Cryptoini]) -> tuple[int, Process]:
            def process(crp: Cryptop, hint: int) -> int:
                self.done(crp)
                return 0

            compiled.append(weakref.ref(process))
            return super().newsession(ini), process

    compiled: list[weakref.ref[Process]] = []
    with stepped(Compiles()) as fw:
        sid = newsession(fw)
        session = the_session(fw, sid)
        assert compiled[0]() is session.process
        fw.freesession(sid)
        gc.collect()
        assert compiled[0]() is None


def test_in_a_forked_child_a_request_is_its_consumers_again() -> None:
    """And its session has none."""
    with stepped(Toy()) as fw:
        session = the_session(fw, newsession(fw))
        crp = Cryptop()
        crp.state, crp.holder = RequestState.SUBMITTED, session
        session.inflight.add(crp)
        session.queued = 1
        session.after_fork(watched=False)
        assert (crp.state, crp.holder) == (RequestState.IDLE, None)
        assert (session.inflight, session.queued, session.straight) == (set(), 0, True)


def test_in_a_forked_child_a_key_request_is_its_consumers_again() -> None:
    """That which the parent's driver has, the child's has not."""
    with stepped(Toy()) as fw:
        (slot,) = (slot for slot in fw._drivers if slot.driver is not None)
        krp = Cryptkop(CRK_MOD_EXP)
        krp.state, krp.holder = RequestState.SUBMITTED, object()
        slot.keys.inflight.add(krp)
        slot.after_fork(slot.lock)
        assert (krp.state, krp.holder) == (RequestState.IDLE, None)
        assert not slot.keys.inflight
