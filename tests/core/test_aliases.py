"""Every SID that a session ever had leads to it, and to nothing else."""

from __future__ import annotations

import errno
import gc
import threading
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_NULL_CBC,
    Cryptoini,
    Cryptop,
    DriverBug,
    Framework,
    NoDriverError,
    UnknownSession,
)
from opencrypto._core import lineage
from opencrypto._core.lineage import MAX_ALIASES, Lineage
from opencrypto._core.slots import Session
from opencrypto._rules.chain import Chain
from opencrypto._state import SessionEvent, SessionState
from tests.toy import (
    Log,
    Toy,
    newsession,
    nothing_left,
    request,
    stepped,
    the_session,
    threaded,
)


class Restless(Toy):
    """A driver that hands every session back, unless it is told to work."""

    works = False

    def newsession(self, ini: Sequence[Cryptoini]) -> Any:
        self.opened.clear()  # what a test keeps for itself shall not look like a leak
        self.freed.clear()
        return super().newsession(ini)

    def process(self, crp: Cryptop, hint: int) -> int:
        if self.works:
            return super().process(crp, hint)
        crp.fail(errno.EAGAIN)
        self.done(crp)
        return 0


class LowestFirst(Restless):
    """One that numbers its sessions from 0, and takes the lowest number that is free."""

    def newlid(self) -> int:
        return next(n for n in range(1 << 16) if n not in self.keys)


def move(fw: Framework, crp: Cryptop, times: int) -> None:
    """Have a session moved so many times, one request after the other."""
    for _ in range(times):
        fw.dispatch(crp)
        assert crp.etype == errno.EAGAIN


def test_a_consumer_far_behind_is_told_the_newest_sid_and_can_free() -> None:
    """However many moves it has missed, it is told once, and both SIDs free the session."""
    with stepped(Restless("one"), Restless("two")) as fw:
        sid, log = newsession(fw), Log()
        crp = request(sid, lambda crp: None)
        move(fw, crp, 300)
        middle = crp.sid
        move(fw, crp, 300)
        for former in (sid, middle):
            late = request(former, log)
            for driver in fw._drivers:
                driver.driver.works = True  # type: ignore[union-attr]  # it is attached
            fw.dispatch(late)
            assert (late.etype, late.sid) == (errno.EAGAIN, crp.sid)
            fw.dispatch(late)
            assert late.etype == 0
        fw.freesession(middle)
        for gone in (sid, middle, crp.sid):
            with pytest.raises(UnknownSession):
                fw.freesession(gone)
        assert nothing_left(fw)


def test_a_session_that_moves_without_end_does_not_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its first SID and the last ones lead to it; what is kept for them is bounded."""
    bound = 500
    monkeypatch.setattr(lineage, "MAX_ALIASES", bound)
    with stepped(Restless("one"), Restless("two")) as fw:
        sid = newsession(fw)
        crp = request(sid, lambda crp: None)
        move(fw, crp, bound + 2)
        tracemalloc.start()
        try:
            move(fw, crp, 100)
            before = tracemalloc.get_traced_memory()[0]
            move(fw, crp, bound)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert len(fw._sessions.table) == bound + 2
        each = 200  # bytes; what was there before was not traced, so all that was kept is seen
        assert grown < bound * each + 50_000
        assert sum(len(driver.keys) for driver in restless(fw)) == 1
        fw.freesession(sid)
        assert nothing_left(fw)


@pytest.mark.slow
def test_a_hundred_thousand_moves_leave_one_session() -> None:
    """And its stand-in, and so many SIDs as it is said."""
    with stepped(Restless("one"), Restless("two")) as fw:
        crp = request(newsession(fw), lambda crp: None)
        move(fw, crp, 1)
        gc.collect()
        before = alive()
        move(fw, crp, 100_000)
        assert alive() == before
        assert len(fw._sessions.table) == MAX_ALIASES + 2
        fw.freesession(crp.sid)
        assert nothing_left(fw)


def test_a_session_that_comes_back_takes_its_former_sid() -> None:
    """Between drivers that number from 0 there are two SIDs, whichever was moved from last."""
    with stepped(LowestFirst("one"), LowestFirst("two")) as fw:
        sid = newsession(fw)
        crp = request(sid, lambda crp: None)
        move(fw, crp, 1)
        other = crp.sid
        move(fw, crp, 1)
        assert crp.sid == sid
        move(fw, crp, 501)
        assert crp.sid == other
        assert set(fw._sessions.table) == {sid, other}
        second = newsession(fw)
        assert second not in {sid, other}
        fw.freesession(sid)
        fw.freesession(second)
        assert nothing_left(fw)


def test_former_sids_keep_no_slot() -> None:
    """Drivers come and go; a session that goes along names their ids, and those cost nothing."""
    with stepped(Toy("t0")) as fw:
        sid, log = newsession(fw), Log()
        crp = request(sid, log)
        for number in range(1, 100):
            fw.attach(Toy(f"t{number}"))
            fw.detach(f"t{number - 1}")
            fw.dispatch(crp)
            assert log.etypes[-1] == errno.EAGAIN
            assert len(list(fw._drivers)) == 1
        assert len({crp.sid >> 32, sid >> 32}) == 2
        fw.dispatch(crp)
        assert log.etypes[-1] == 0
        fw.freesession(sid)
        assert fw.attach(Toy("again")) == 0, "the ids are free again with the session"


def test_the_oldest_alias_goes_and_the_first_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound a consumer in between hears that there is no such session."""
    monkeypatch.setattr(lineage, "MAX_ALIASES", 3)
    with stepped(Restless("one"), Restless("two")) as fw:
        sid = newsession(fw)
        crp = request(sid, lambda crp: None)
        had = []
        for _ in range(6):
            move(fw, crp, 1)
            had.append(crp.sid)
        assert set(fw._sessions.table) == {sid, *had[-4:]}
        late = request(had[0], lambda crp: None)
        fw.dispatch(late)
        assert late.etype == errno.ENOENT
        fw.freesession(sid)
        assert nothing_left(fw)


def test_an_old_session_that_is_still_held_keeps_none_of_those_between() -> None:
    """A request that its driver never answers holds the first session, not the thousand after."""
    one = Toy("one", hold=True)
    with stepped(one, Restless("two"), Restless("three")) as fw:
        sid, log = newsession(fw), Log()
        held, crp = request(sid, log), request(sid, lambda crp: None)
        fw.dispatch(held)
        old = the_session(fw, sid)
        fw._sessions.orphan(old)
        fw.dispatch(crp)
        seen = old.latest()
        move(fw, crp, 20)
        assert old.latest() is not seen
        assert old.latest().sid == crp.sid
        one.answer()
        assert log.etypes == [0]
        assert one.freed == one.opened


def test_a_session_that_was_freed_needs_no_garbage_collector() -> None:
    """Nor do those before it: nothing of a session refers to itself in a circle."""
    with stepped(Restless("one"), Restless("two")) as fw:
        crp = request(0, lambda crp: None)
        gc.collect()
        gc.disable()
        before = alive()  # of other tests
        try:
            for _ in range(10):
                crp.sid = newsession(fw)
                move(fw, crp, 10)
                fw.freesession(crp.sid)
            after = alive()
        finally:
            gc.enable()
        assert after == before


@pytest.mark.parametrize("by", ["one thread", "two threads"])
def test_a_number_given_twice_is_a_bug_that_is_counted(by: str) -> None:
    """The second session is refused and the first one works on, whoever was told first."""
    meeting = threading.Barrier(2 if by == "two threads" else 1)

    class Same(Toy):
        def newsession(self, ini: Sequence[Cryptoini]) -> Any:
            self.keys[7] = 1
            if len(opened) + len(refused) < meeting.parties:
                meeting.wait(10)
            return 7

    opened: list[int] = []
    refused: list[BaseException | None] = []
    same = Same("same")

    def open_one() -> None:
        try:
            opened.append(newsession(fw))
        except NoDriverError as error:
            refused.append(error.__cause__)

    with threaded(same) as fw:
        threads = [threading.Thread(target=open_one) for _ in range(meeting.parties)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if by == "one thread":
            open_one()
        assert (len(opened), len(refused)) == (1, 1)
        assert isinstance(refused[0], DriverBug)
        assert "session number 7 is in use already" in str(refused[0])
        assert fw.stats.driver_bugs == 1
        assert same.freed == [], "the number is the first one's"
        log = Log()
        fw.dispatch(request(opened[0], log))
        assert log.etypes == [0]
        fw.freesession(opened[0])
        assert same.freed == [7]


class Stub:
    """As much of a session as its lineage knows."""

    def __init__(self, sid: int, lineage: Lineage[Stub], table: dict[int, Stub]) -> None:
        self.sid, self.lineage, self.table = sid, lineage, table
        self.slot: object = None
        self.state = SessionState.LIVE
        table[sid] = self

    def may(self, event: SessionEvent) -> bool:
        return False

    def stand_in(self) -> Stub:
        return Stub(self.sid, self.lineage, {})


def test_who_succeeds_must_find_it_orphaned_and_the_newest() -> None:
    """Another mover has been there, or it is being freed: then nothing is done."""
    table: dict[int, Stub] = {}
    own: Lineage[Stub] = Lineage(Chain([Cryptoini(CRYPTO_NULL_CBC)]), 0)
    own.first, old = 7, Stub(7, own, table)
    own.newest, new = old, Stub(8, own, table)
    for state in (SessionState.LIVE, SessionState.DRAINING):
        old.state = state
        assert not own.succeed(old, new, table)
    old.state, own.newest = SessionState.ORPHANED, new
    assert not own.succeed(old, Stub(9, own, table), table)
    assert table[7] is old
    assert old.state is SessionState.ORPHANED
    assert own.newest is new


def test_a_session_that_is_withdrawn_gives_a_former_number_back() -> None:
    """A driver has given a number anew that the session had before, and then nothing came of it."""
    table: dict[int, Stub] = {}
    own: Lineage[Stub] = Lineage(Chain([Cryptoini(CRYPTO_NULL_CBC)]), 0)
    own.first, old = 7, Stub(7, own, table)
    old.state, own.newest = SessionState.ORPHANED, old
    assert own.succeed(old, Stub(8, own, table), table)
    assert own.is_alias(7, table)
    own.withdraw(Stub(7, own, table), table)
    assert own.is_alias(7, table)
    own.withdraw(Stub(9, own, table), table)
    assert sorted(table) == [7, 8]


def moves(own: Lineage[Stub], sid: int, table: dict[int, Stub]) -> Stub:
    """Have the lineage's newest session followed by another one."""
    assert own.newest is not None
    own.newest.state = SessionState.ORPHANED
    new = Stub(sid, own, table)
    assert own.succeed(own.newest, new, table)
    return new


def test_a_former_number_that_is_the_present_one_again_is_not_forgotten_with_the_oldest() -> None:
    """A driver gives a number anew that the session had before; there it stays in the table."""
    table: dict[int, Stub] = {}
    own: Lineage[Stub] = Lineage(Chain([Cryptoini(CRYPTO_NULL_CBC)]), 0)
    own.first = 1
    own.newest = Stub(1, own, table)
    moves(own, 2, table)
    moves(own, 3, table)
    assert own.former == [2]
    again = moves(own, 2, table)
    assert own.former == [3]
    assert table[2] is again


def test_a_number_that_another_session_has_by_now_stays_its_own() -> None:
    """When the oldest former SIDs are forgotten; one that is in no table at all is no hindrance."""
    table: dict[int, Stub] = {}
    own: Lineage[Stub] = Lineage(Chain([Cryptoini(CRYPTO_NULL_CBC)]), 0)
    own.first = 1
    own.newest = Stub(1, own, table)
    moves(own, 2, table)
    moves(own, 3, table)
    moves(own, 4, table)
    other: Lineage[Stub] = Lineage(Chain([Cryptoini(CRYPTO_NULL_CBC)]), 0)
    taken = Stub(2, other, table)
    del table[3]
    for sid in range(5, 5 + MAX_ALIASES + 2):
        moves(own, sid, table)
    assert 2 not in own.former
    assert 3 not in own.former
    assert table[2] is taken


def alive() -> int:
    """Count what there is of sessions."""
    return sum(isinstance(each, (Session, Lineage)) for each in gc.get_objects())


def restless(fw: Framework) -> list[Toy]:
    """Return the drivers attached."""
    return [slot.driver for slot in fw._drivers if isinstance(slot.driver, Toy)]
