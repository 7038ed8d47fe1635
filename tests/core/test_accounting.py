"""What the core counts and marks on a request's way comes back to nothing, whichever way it was."""

from __future__ import annotations

import errno

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    BusyError,
    Cryptoini,
    Cryptop,
    Framework,
    KeySerial,
    NoDriverError,
    UsageError,
)
from opencrypto._core.slots import Session
from opencrypto._state import RequestState
from opencrypto.testing import RecordingDriver
from tests.toy import SYNC, Log, Toy, newsession, request, step, stepped, the_session

BATCHED = CRYPTO_F_CBIMM | CRYPTO_F_BATCH


class Leaving(Toy):
    """A driver that withdraws while it is asked, and then refuses what it was asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.framework: Framework | None = None
        self.hid = -1

    def process(self, crp: Cryptop, hint: int) -> int:
        """Leave once, and refuse."""
        framework, self.framework = self.framework, None
        if framework is None:
            return super().process(crp, hint)
        framework.unregister_all(self.hid)
        return ERESTART


class Odd(Toy):
    """A driver that answers `process` as a test says."""

    answer_with: int | BaseException = 0

    def process(self, crp: Cryptop, hint: int) -> int:
        """Do nothing, and return that, or raise it."""
        if isinstance(self.answer_with, BaseException):
            raise self.answer_with
        return self.answer_with


def is_straight(session: Session) -> bool:
    """Tell whether nothing of a session is queued, by its count and by its way."""
    assert session.queued >= 0
    assert session.straight == (not session.queued)
    return session.straight


# How many requests of a session are queued.


def test_a_new_framework_has_counted_nothing() -> None:
    with stepped() as fw:
        assert not any(fw.stats)


def test_batched_requests_are_counted_until_their_driver_has_them() -> None:
    """Each is one; the last one makes the way straight again."""
    with stepped(Toy()) as fw:
        sid, log = newsession(fw), Log()
        session = the_session(fw, sid)
        for number in range(3):
            fw.dispatch(request(sid, log, number, flags=BATCHED))
            assert session.queued == number + 1
            assert not session.straight
        step(fw)
        assert log.order == [0, 1, 2]
        assert is_straight(session)


def test_a_request_that_is_refused_is_counted_until_it_is_taken() -> None:
    """Straight to a full driver, again and again: it is one request all the time."""
    driver = Toy()
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        session = the_session(fw, sid)
        driver.full = True
        fw.dispatch(request(sid, log))
        for _ in range(3):
            assert session.queued == 1
            assert not session.straight
            driver.unblock(CRYPTO_SYMQ)
            step(fw)
        driver.full = False
        driver.unblock(CRYPTO_SYMQ)
        step(fw)
        assert log.etypes == [0]
        assert is_straight(session)


def test_a_queued_request_that_is_refused_is_counted_once() -> None:
    """From the queue and back into it changes nothing."""
    driver = Toy()
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        session = the_session(fw, sid)
        driver.full = True
        for number in range(2):
            fw.dispatch(request(sid, log, number, flags=BATCHED))
        step(fw)
        assert driver.refused == [0]
        assert session.queued == 2
        driver.full = False
        driver.unblock(CRYPTO_SYMQ)
        step(fw)
        assert log.order == [0, 1]
        assert is_straight(session)


@pytest.mark.parametrize("flags", [CRYPTO_F_CBIMM, BATCHED])
def test_what_a_leaving_driver_refuses_is_queued_no_more(flags: int) -> None:
    """It is told to go elsewhere, and the session that it was of has nothing left."""
    leaving, other = Leaving("leaving"), Toy("other")
    with stepped(leaving, other) as fw:
        sid, log = newsession(fw), Log()
        session = the_session(fw, sid)
        leaving.framework, leaving.hid = fw, 0
        fw.dispatch(request(sid, log, flags=flags))
        step(fw)
        assert log.etypes == [errno.EAGAIN]
        assert (session.queued, session.inflight) == (0, set())
        fw.dispatch(request(log.calls[0][2], log))
        assert log.etypes == [errno.EAGAIN, 0]


def test_what_is_queued_as_a_driver_leaves_is_queued_no_more() -> None:
    """All of it ends with EAGAIN, and the session has nothing left."""
    with stepped(Toy("one"), Toy("two")) as fw:
        sid, log = newsession(fw), Log()
        session = the_session(fw, sid)
        for number in range(3):
            fw.dispatch(request(sid, log, number, flags=BATCHED))
        fw.detach("one")
        assert log.calls == [(n, errno.EAGAIN, session.latest().sid) for n in range(3)]
        assert (session.queued, session.inflight) == (0, set())


@pytest.mark.parametrize("answer", [7, -1, ValueError("x")])
@pytest.mark.parametrize("flags", [CRYPTO_F_CBIMM, BATCHED])
def test_a_driver_that_answers_nonsense_leaves_nothing_queued(
    answer: int | BaseException, flags: int
) -> None:
    """The request ends with EIO, the driver is blamed once, the session goes on."""
    driver = Odd()
    driver.answer_with = answer
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        session = the_session(fw, sid)
        fw.dispatch(request(sid, log, flags=flags))
        step(fw)
        assert log.etypes == [errno.EIO]
        assert fw.stats.driver_bugs == 1
        assert is_straight(session)
        assert not session.inflight


# When and where a request is called back that no driver answered.


@pytest.mark.parametrize(
    ("flags", "at_once"), [(0, False), (CRYPTO_F_CBIMM, True), (CRYPTO_F_CBIFSYNC, False)]
)
def test_who_meets_no_session_is_called_back_as_asked(flags: int, at_once: bool) -> None:
    """Within dispatch only if that was asked for; until then the request is the framework's."""
    with stepped(Toy(flags=SYNC)) as fw:
        log = Log()
        crp = request(0xBAD, log, flags=flags)
        fw.dispatch(crp)
        assert bool(log.calls) == at_once
        if not at_once:
            assert crp.state == RequestState.RETURNING
            with pytest.raises(BusyError, match="wait for its callback"):
                fw.dispatch(crp)
            step(fw)
        assert log.etypes == [errno.ENOENT]
        assert crp.state == RequestState.IDLE
        assert len(fw._dispatcher.returns) == 0


@pytest.mark.parametrize("flags", [0, CRYPTO_F_CBIFSYNC])
def test_what_a_leaving_driver_never_saw_is_called_back_from_the_queue(flags: int) -> None:
    """Not within detach, whose caller may hold what the callback wants."""
    with stepped(Toy("one"), Toy("two")) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log, flags=flags | CRYPTO_F_BATCH))
        fw.detach("one")
        assert not log.calls
        step(fw)
        assert log.etypes == [errno.EAGAIN]


@pytest.mark.parametrize(
    ("flags", "driver_flags", "at_once"),
    [
        (0, SYNC, False),
        (CRYPTO_F_CBIMM, CRYPTOCAP_F_SOFTWARE, True),
        (CRYPTO_F_CBIFSYNC, SYNC, True),
        (CRYPTO_F_CBIFSYNC, CRYPTOCAP_F_SOFTWARE, False),
    ],
)
def test_who_is_watched_is_called_back_as_who_is_not(
    flags: int, driver_flags: int, at_once: bool
) -> None:
    """Timing changes nothing of when and where the callback comes."""
    with stepped(Toy(flags=driver_flags)) as fw:
        fw.sysctl["opencrypto.timing"] = 1
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log, flags=flags))
        assert bool(log.calls) == at_once
        step(fw)
        assert log.etypes == [0]


# Requests that are refused at once, and drivers that there are not.


def test_a_request_without_callback_is_refused() -> None:
    """Nobody would hear of its end. It stays the consumer's, and nothing is counted."""
    with stepped(Toy()) as fw:
        for sid in (newsession(fw), 0xBAD):
            crp = request(sid, Log())
            crp.callback = None
            with pytest.raises(UsageError, match="no callback"):
                fw.dispatch(crp)
            assert (crp.state, crp.etype) == (RequestState.IDLE, 0)
        assert fw.stats.ops == 0


@pytest.mark.parametrize("hid", [1, -1, 99, "toy", None, 0.0])
def test_an_id_that_no_driver_has_is_refused(hid: int) -> None:
    """A sentence, for numbers beyond the table, below it, and for what is none."""
    with stepped(Toy()) as fw, pytest.raises(UsageError, match="no driver has the id"):
        fw.unblock(hid, CRYPTO_SYMQ)


def test_two_drivers_of_one_name_are_told_apart() -> None:
    """The later ones have a number, and the first that is free."""
    with stepped(Toy("toy"), Toy("toy"), Toy("toy")) as fw:
        assert [info.name for info in fw.drivers] == ["toy", "toy#2", "toy#3"]
        fw.detach("toy#2")
        fw.attach(Toy("toy"))
        assert sorted(info.name for info in fw.drivers if info.hid is not None) == [
            "toy", "toy#2", "toy#3",
        ]  # fmt: skip


# Where a session goes.


def test_a_session_does_not_return_to_who_has_just_handed_it_back() -> None:
    """Though that one is of the better class and has fewer sessions than all others."""
    best, other = Toy("best", flags=0, hold=True), Toy("other")
    with stepped(best, other) as fw:
        for _ in range(3):
            newsession(fw, driver="other")
        sid, log = newsession(fw), Log()
        assert fw.driver_of(sid) == ("best",)
        fw.dispatch(request(sid, log))
        best.answer(etype=errno.EAGAIN)
        assert log.etypes == [errno.EAGAIN]
        assert fw.driver_of(log.calls[0][2]) == ("other",)
        # And from there it may go to the first again: that one is avoided no more.
        fw.detach("other")
        fw.dispatch(request(sid, log))
        assert fw.driver_of(log.calls[1][2]) == ("best",)


def test_a_session_that_only_one_driver_serves_has_nowhere_to_go() -> None:
    """Handed back, it is not sent to the same driver again and again: it ends with ENODEV."""
    only = Toy("only", hold=True)
    with stepped(only) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log))
        only.answer(etype=errno.EAGAIN)
        assert log.etypes == [errno.ENODEV]


def test_a_session_for_software_stays_with_software() -> None:
    """Through every migration, though there is hardware, which would be asked first."""
    names = ["one", "two", "three"]
    with stepped(Toy("hw", flags=0), *map(Toy, names)) as fw:
        sid, log = newsession(fw, hard=-1), Log()
        for name in names[:-1]:
            assert fw.driver_of(sid) == (name,)
            fw.detach(name)
            fw.dispatch(request(sid, log))
        assert fw.driver_of(sid) == ("three",)


def test_a_session_is_as_old_as_its_first_ancestor() -> None:
    """A migration opens and frees nothing: not in the counts of sessions, not in their age."""
    with stepped(Toy("one"), Toy("two")) as fw:
        sid, log = newsession(fw), Log()
        born = the_session(fw, sid).lineage.born
        fw.detach("one")
        fw.dispatch(request(sid, log))
        assert the_session(fw, sid).lineage.born == born
        created, freed = fw._sessions.created, fw._sessions.freed
        assert (created.value, freed.value) == (1, 0)
        fw.freesession(sid)
        assert (created.value, freed.value) == (1, 1)


# What is counted.


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, 128, 129, 65536, 65537])
@pytest.mark.parametrize("known", [True, False])
def test_a_request_is_counted_in_the_class_of_its_size(size: int, known: bool) -> None:
    """The class of 2**n holds what is at most so long, and longer than half of it."""
    with stepped(Toy()) as fw:
        sid = newsession(fw) if known else 0xBAD
        crp = request(sid, Log())
        crp.ilen = size
        fw.dispatch(crp)
        session = the_session(fw, sid) if known else None
        counts = session.slot.counts if session else fw._dispatcher.without_session
        ((key, number),) = counts.total().by_key().items()
        bits = key - (session.kind if session else 0)
        assert number == 1
        assert 1 << bits >= size > (1 << bits) // 2
        assert counts.total().bytes == size
        assert fw.stats.errs == (not known)


def test_runs_of_the_interrupts_are_counted() -> None:
    """One for each time that there was work."""
    with stepped(Toy()) as fw:
        sid, before = newsession(fw), fw.stats
        fw.dispatch(request(sid, Log(), flags=CRYPTO_F_BATCH))
        step(fw)
        after = fw.stats
        assert (after.intrs, after.rets) == (before.intrs + 1, before.rets + 1)


@pytest.mark.parametrize("flags", [CRYPTO_F_CBIMM, BATCHED])
def test_refusals_are_counted_each_time(flags: int) -> None:
    """A request that a driver refuses three times is three blocks and one request."""
    driver = Toy()
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        driver.full = True
        fw.dispatch(request(sid, log, flags=flags))
        for full in (True, True, False):
            step(fw)
            driver.full = full
            driver.unblock(CRYPTO_SYMQ)
        step(fw)
        assert log.etypes == [0]
        assert (fw.stats.ops, fw.stats.blocks, len(driver.refused)) == (1, 3, 3)


def test_a_forked_child_has_no_turn_to_give() -> None:
    """What the parent's interrupt was told of is not the child's."""
    with stepped(Toy()) as fw:
        fw.dispatch(request(newsession(fw), Log(), flags=CRYPTO_F_BATCH))
        assert fw._dispatcher.lane.pending()
        fw.after_fork()
        assert not fw._dispatcher.lane.pending()


def test_errors_are_counted_once_each() -> None:
    """An error of the driver, a session that has moved, and one that there is not."""
    one, two = Toy("one", hold=True), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log))
        one.answer(etype=errno.EBADMSG)
        assert (fw.stats.errs, fw.stats.drivers["one"].errs) == (1, 1)
        fw.dispatch(request(sid, log, flags=BATCHED))
        fw.detach("one")
        assert fw.stats.errs == 2
        fw.dispatch(request(0xBAD, log))
        assert fw.stats.errs == 3
        fw.dispatch(request(log.calls[1][2], log))
        assert log.etypes == [errno.EBADMSG, errno.EAGAIN, errno.ENOENT, 0]
        assert fw.stats.errs == 3


def test_a_key_by_its_serial_number_needs_a_driver_that_takes_such() -> None:
    """It is no key for a driver that says nothing of them, nor for one registered by hand."""
    takes = RecordingDriver("takes", algs=[CRYPTO_NULL_CBC])
    takes.key_serials = True
    ini = Cryptoini(CRYPTO_NULL_CBC, KeySerial(7, 16))
    with stepped(Toy("takes-not")) as fw:
        hid = fw.get_driverid(SYNC)
        fw.register(hid, CRYPTO_NULL_CBC, 0, 0, lambda _, ini: 1, None, lambda _, crp, hint: 0)
        with pytest.raises(NoDriverError) as refused:
            fw.newsession(ini)
        assert refused.value.reasons == dict.fromkeys(
            ["takes-not", f"driver{hid}"], "takes no key by its serial number"
        )
        fw.attach(takes)
        assert fw.driver_of(fw.newsession(ini)) == ("takes",)
