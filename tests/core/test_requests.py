"""A request's way: straight, queued, refused for the moment, completed once."""

from __future__ import annotations

import threading
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import nullcontext
from errno import EAGAIN, EINVAL, EIO, ENODEV
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_F_ONRETQ,
    CRYPTO_HINT_MORE,
    CRYPTO_SYMQ,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    BusyError,
    Cryptop,
    DriverBug,
    UsageError,
)
from opencrypto._core.requests import TURN
from opencrypto._state import RequestState
from tests.toy import (
    KEY,
    SYNC,
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

BATCH = CRYPTO_F_BATCH
CBIMM = CRYPTO_F_CBIMM
MORE = CRYPTO_HINT_MORE


def test_what_is_dispatched_twice_is_counted_once() -> None:
    """Neither with its session nor among those that have none."""
    toy = Toy(hold=True)
    with stepped(toy) as fw:
        crp = request(newsession(fw), lambda _: None)
        fw.dispatch(crp)
        for flags in (CBIMM, BATCH):
            crp.flags = flags
            with pytest.raises(BusyError, match="dispatched already"):
                fw.dispatch(crp)
        crp.flags = CBIMM
        assert fw._dispatcher.without_session.total().ops == 0
        assert fw.stats.ops == 1
        toy.answer()


@pytest.mark.parametrize("ilen", [None, "8", 8.0, -1, 2**48])
def test_a_length_that_is_none_is_refused_and_counts_no_bytes(ilen: Any) -> None:
    with stepped(Toy()) as fw:
        log = Log()
        crp = request(newsession(fw), log)
        crp.ilen = ilen
        fw.dispatch(crp)
        step(fw)
        assert log.etypes == [EINVAL]
        strays = fw._dispatcher.without_session.total()
        assert (strays.ops, strays.bytes, strays.errs) == (1, 0, 1)


def test_who_leaves_and_refuses_is_not_asked_again() -> None:
    """A driver that unregisters within process and answers ERESTART: the request goes elsewhere."""

    class Leaves(Toy):
        def process(self, crp: Cryptop, hint: int) -> int:
            self.seen.append((crp.opaque, hint))
            fw.unregister_all(hid)
            return ERESTART

    toy = Leaves()
    with stepped(toy) as fw:
        (hid,) = (slot.hid for slot in fw._drivers if slot.driver is toy)
        log = Log()
        fw.dispatch(request(newsession(fw), log))
        step(fw)
        assert log.etypes == [ENODEV]
        assert len(toy.seen) == 1


def test_what_is_refused_after_its_session_has_moved_moves_too() -> None:
    """A driver hands one request back, and then has no room for the next one of that session."""

    class HandsBack(Toy):
        def process(self, crp: Cryptop, hint: int) -> int:
            if not self.held:
                self.held.append(crp)
                return 0
            first = self.held[0]
            first.fail(EAGAIN)
            self.done(first)
            return ERESTART

    toy = HandsBack("one")
    with stepped(toy, Toy("two")) as fw:
        sid, log = newsession(fw), Log()
        assert the_session(fw, sid).slot.driver is toy
        crps = [request(sid, log) for _ in range(2)]
        for crp in crps:
            fw.dispatch(crp)
        step(fw)
        assert log.etypes == [EAGAIN, EAGAIN]
        assert {crp.sid for crp in crps} == {the_session(fw, sid).latest().sid} != {sid}


def test_the_straight_way_stays_in_the_callers_thread() -> None:
    """With CBIMM driver and callback run inside dispatch, and the answer is right."""
    with stepped(Toy()) as fw:
        where: list[int] = []
        crp = request(newsession(fw), lambda _: where.append(threading.get_ident()))
        fw.dispatch(crp)
        assert where == [threading.get_ident()]
        assert crp.buf == bytes([KEY[0]]) * 16
        assert crp.state == RequestState.IDLE


@pytest.mark.parametrize(
    ("flags", "driver_flags", "at_once"),
    [
        (0, SYNC, False),
        (CRYPTO_F_CBIMM, CRYPTOCAP_F_SOFTWARE, True),
        (CRYPTO_F_CBIFSYNC, SYNC, True),
        (CRYPTO_F_CBIFSYNC, CRYPTOCAP_F_SOFTWARE, False),
        (CRYPTO_F_CBIMM | CRYPTO_F_CBIFSYNC, SYNC, True),
    ],
)
def test_when_the_callback_comes(flags: int, driver_flags: int, at_once: bool) -> None:
    """CBIMM in done; CBIFSYNC in done if the driver is SYNC; else by the return interrupt."""
    with stepped(Toy(flags=driver_flags)) as fw:
        log = Log()
        crp = request(newsession(fw), log, 1, flags=flags)
        fw.dispatch(crp)
        assert log.order == ([1] if at_once else [])
        assert crp.state == (RequestState.IDLE if at_once else RequestState.RETURNING)
        step(fw)
        assert log.order == [1]


def test_batched_requests_go_with_the_hint() -> None:
    """BATCH queues; the driver gets them in order, each but the last with HINT_MORE."""
    toy = Toy()
    with stepped(toy) as fw:
        sid, log = newsession(fw), Log()
        for number in range(4):
            fw.dispatch(request(sid, log, number, flags=CBIMM | BATCH))
        assert toy.seen == []
        step(fw)
        assert toy.seen == [(0, MORE), (1, MORE), (2, MORE), (3, 0)]


def test_what_follows_a_queued_request_of_its_session_queues_behind_it() -> None:
    """A plain request does not overtake a batched one; once all went, the way is straight again."""
    toy = Toy()
    with stepped(toy) as fw:
        sid, other, log = newsession(fw), newsession(fw), Log()
        fw.dispatch(request(sid, log, "batched", flags=CBIMM | BATCH))
        fw.dispatch(request(sid, log, "behind"))
        fw.dispatch(request(other, log, "of another session"))
        assert toy.seen == [("of another session", 0)]
        step(fw)
        assert toy.seen[1:] == [("batched", MORE), ("behind", 0)]
        fw.dispatch(request(sid, log, "straight"))
        assert toy.seen[-1] == ("straight", 0)


def test_one_drivers_turn_ends_so_that_another_has_its() -> None:
    """After so many requests of one driver the next one's come, and the turn's last has no hint."""
    one, two = Toy("one"), Toy("two")
    with stepped(one, two) as fw:
        busy, other, log = newsession(fw, driver="one"), newsession(fw, driver="two"), Log()
        for number in range(TURN + 2):
            fw.dispatch(request(busy, log, number, flags=CBIMM | BATCH))
        fw.dispatch(request(other, log, "other", flags=CBIMM | BATCH))
        step(fw)
        assert log.order == [*range(TURN), "other", TURN, TURN + 1]
        hints = [hint for _, hint in one.seen]
        assert hints == [MORE] * (TURN - 1) + [0, MORE, 0]


def test_a_blocked_driver_delays_nobody_else() -> None:
    """ERESTART blocks: its requests wait in order, other drivers' go on, unblock lets them go."""
    one, two = Toy("one"), Toy("two")
    with stepped(one, two) as fw:
        waits, goes, log = newsession(fw, driver="one"), newsession(fw, driver="two"), Log()
        one.full = True
        for number in range(3):
            fw.dispatch(request(waits, log, number))
            fw.dispatch(request(goes, log, f"other {number}"))
        step(fw)
        assert one.refused == [0]
        assert log.order == ["other 0", "other 1", "other 2"]
        assert fw.drivers[0].blocked
        assert fw.drivers[0].queued == 3
        one.full = False
        one.unblock(CRYPTO_SYMQ)
        step(fw)
        assert one.seen == [(0, MORE), (1, MORE), (2, 0)]
        assert fw.stats.blocks == 1


def test_an_unblock_inside_process_is_not_lost() -> None:
    """A driver that unblocks before it returns ERESTART is asked again by itself."""

    class Hasty(Toy):
        def process(self, crp: Cryptop, hint: int) -> int:
            if not self.refused:
                self.refused.append(crp.opaque)
                self.unblock(CRYPTO_SYMQ)
                return ERESTART
            return super().process(crp, hint)

    with stepped(Hasty()) as fw:
        log = Log()
        fw.dispatch(request(newsession(fw), log, 1))
        step(fw)
        assert log.order == [1]
        assert not fw.drivers[0].blocked


def test_refused_from_the_queue_keeps_its_place() -> None:
    """A queued request that is refused stays before those behind it."""
    toy = Toy()
    with stepped(toy) as fw:
        sid, log = newsession(fw), Log()
        toy.full = True
        for number in range(3):
            fw.dispatch(request(sid, log, number, flags=CBIMM | BATCH))
        step(fw)
        assert toy.refused == [0]
        toy.full = False
        toy.unblock(CRYPTO_SYMQ)
        step(fw)
        assert log.order == [0, 1, 2]


def test_freesession_waits_for_the_last_request() -> None:
    """A session in use is marked, refuses new requests, and is freed with its last."""
    toy = Toy(hold=True)
    with stepped(toy) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log, 1))
        fw.freesession(sid)
        assert toy.freed == []
        fw.dispatch(request(sid, log, "late"))
        assert [(o, e) for o, e, _ in log.calls] == [("late", 2)]
        toy.answer()
        assert log.etypes == [2, 0]
        assert toy.freed == toy.opened
        assert not toy.keys
        fw.dispatch(request(sid, log, "later"))
        assert log.etypes[-1] == 2
        assert fw._sessions.table == {}


@pytest.mark.parametrize("flags", [0, CBIMM])
def test_a_callback_that_raises_at_a_refusal_is_counted(flags: int) -> None:
    """Its request came to no driver; the error is the callback's all the same."""

    def callback(crp: Cryptop) -> None:
        raise ValueError(crp.etype)

    with stepped(Toy()) as fw:
        fw.dispatch(request(7, callback, flags=flags))
        step(fw)
        assert fw.stats.callback_errors == 1


@pytest.mark.parametrize("flags", [0, CBIMM])
def test_a_completion_that_was_broken_off_is_finished_once(
    flags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler raises in the midst of ``done``: the request is the framework's by then."""
    toy, log = Toy("first", hold=True), Log()
    with stepped(toy, Toy("second")) as fw:
        fw.dispatch(request(newsession(fw), log, flags=flags))

        def signalled(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(fw._dispatcher._sessions, "may_wait", signalled)
            toy.answer(1, EAGAIN)
        assert not log.calls
        step(fw)
        assert log.etypes == [EAGAIN]


def test_a_refused_request_blocks_the_driver_for_other_sessions_too() -> None:
    """It is the driver that is full, and not the session."""
    toy = Toy()
    with stepped(toy) as fw:
        one, two, log = newsession(fw), newsession(fw), Log()
        toy.full = True
        fw.dispatch(request(one, log, 1))
        fw.dispatch(request(two, log, 2))
        assert toy.refused == [1]
        toy.full = False
        toy.unblock(CRYPTO_SYMQ)
        step(fw)
        assert log.order == [1, 2]


def test_a_request_says_that_it_is_on_the_return_queue_until_its_callback() -> None:
    with stepped(Toy()) as fw:
        seen: list[int] = []
        crp = request(newsession(fw), lambda crp: seen.append(crp.flags), flags=0)
        fw.dispatch(crp)
        assert crp.flags == CRYPTO_F_ONRETQ
        step(fw)
        assert seen == [crp.flags] == [0]


def test_accepted_before_the_free_is_served_after_a_refusal() -> None:
    """ERESTART for a request whose session is being freed requeues it; it is not turned away."""
    toy = Toy()
    with stepped(toy) as fw:
        sid, log = newsession(fw), Log()
        toy.full = True
        fw.dispatch(request(sid, log, 1))
        fw.freesession(sid)
        toy.unblock(CRYPTO_SYMQ)  # and is refused once more, now that the session drains
        step(fw)
        assert toy.refused == [1, 1]
        toy.full = False
        toy.unblock(CRYPTO_SYMQ)
        step(fw)
        assert log.etypes == [0]
        assert toy.freed == toy.opened


@pytest.mark.parametrize("flags", [CBIMM, CBIMM | BATCH])
@pytest.mark.parametrize("interrupted", [False, True])
def test_refused_by_a_driver_that_leaves_meanwhile_it_goes_to_the_next(
    flags: int, interrupted: bool
) -> None:
    """From the queue too, and where a signal handler raises before it is turned away: it ends."""

    class Leaving(Toy):
        def process(self, crp: Cryptop, hint: int) -> int:
            fw.unregister_all(0)
            return ERESTART

    with stepped(Leaving("leaving"), Toy("next")) as fw:
        sid, log = newsession(fw, driver=None), Log()
        session = the_session(fw, sid)
        if interrupted:
            turn_away = fw._dispatcher._turn_away

            def signalled(*_: object) -> None:
                fw._dispatcher._turn_away = turn_away  # type: ignore[method-assign]  # a stand-in
                raise KeyboardInterrupt

            fw._dispatcher._turn_away = signalled  # type: ignore[method-assign,assignment]  # likewise
        with pytest.raises(KeyboardInterrupt) if interrupted else nullcontext():
            fw.dispatch(request(sid, log, flags=flags))
            step(fw)
        step(fw)
        if not interrupted:
            assert log.etypes == [EAGAIN]
        elif flags & BATCH:
            assert log.etypes == [EIO]
        else:
            assert log.etypes == [], "the program knows that it was not dispatched"
        assert not session.inflight
        assert not session.queued


def test_a_second_done_is_heard_by_the_driver_alone() -> None:
    """done for what is completed raises DriverBug and calls nobody back, whatever the flags."""
    for flags in (CBIMM, 0):
        toy = Toy()
        with stepped(toy) as fw:
            log = Log()
            crp = request(newsession(fw), log, 1, flags=flags)
            fw.dispatch(crp)
            with pytest.raises(DriverBug, match="call it once"):
                toy.done(crp)
            step(fw)
            assert log.order == [1]
            assert fw.stats.driver_bugs == 1


def test_what_waits_in_the_queue_is_not_the_drivers_to_answer() -> None:
    """done for a request that the driver refused with ERESTART raises, and it is served later."""
    toy = Toy()
    with stepped(toy) as fw:
        log = Log()
        crp = request(newsession(fw), log, 1)
        toy.full = True
        fw.dispatch(crp)
        with pytest.raises(DriverBug, match="does not hold"):
            toy.done(crp)
        toy.full = False
        toy.unblock(CRYPTO_SYMQ)
        step(fw)
        assert log.order == [1]


def test_a_request_may_be_dispatched_again_from_its_callback() -> None:
    """Once called back a request is its consumer's, who may use it again at once or free it."""
    with stepped(Toy()) as fw:
        sid = newsession(fw)
        rounds: list[int] = []

        def again(crp: Cryptop) -> None:
            rounds.append(crp.etype)
            if len(rounds) < 5:
                fw.dispatch(crp)
            else:
                fw.freereq(crp)

        for flags in (CBIMM, 0, BATCH):
            rounds.clear()
            crp = request(sid, again, flags=flags)
            fw.dispatch(crp)
            step(fw)
            assert rounds == [0] * 5
            assert crp.state == RequestState.FREED


@pytest.mark.parametrize("flags", [CBIMM, 0, BATCH, CBIMM | BATCH])
def test_a_callback_that_raises_stops_nothing(flags: int) -> None:
    """It is counted; requests before and after it are called back."""

    def fails(crp: Cryptop) -> None:
        raise RuntimeError("of the consumer")

    with stepped(Toy()) as fw:
        sid, log = newsession(fw), Log()
        callbacks: list[Callable[[Cryptop], object]] = [log, fails, log]
        for number, callback in enumerate(callbacks):
            fw.dispatch(request(sid, callback, number, flags=flags))
        step(fw)
        assert log.order == [0, 2]
        assert fw.stats.callback_errors == 1


@pytest.mark.parametrize("flags", [0, BATCH | CBIMM])
def test_even_system_exit_in_a_callback_ends_no_interrupt(flags: int) -> None:
    """SystemExit from a callback in an interrupt's thread is survived by that thread."""

    def exits(crp: Cryptop) -> None:
        raise SystemExit

    with threaded(Toy()) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, exits, flags=flags))
        fw.dispatch(request(sid, log, 1, flags=flags))
        assert log.event.wait(10)


@pytest.mark.parametrize("timing", [0, 1])
@pytest.mark.parametrize("error", [SystemExit, CancelledError, GeneratorExit])
@pytest.mark.parametrize("flags", [CBIMM, 0, BATCH, CBIMM | BATCH])
def test_a_callback_that_exits_is_counted_and_leaves_dispatch_alone(
    flags: int, error: type[BaseException], timing: int
) -> None:
    """``sys.exit()`` and a cancelled future are a consumer's failures like any other."""

    def exits(crp: Cryptop) -> None:
        raise error

    with stepped(Toy()) as fw:
        fw.sysctl["opencrypto.timing"] = timing
        sid, log = newsession(fw), Log()
        callbacks: list[Callable[[Cryptop], object]] = [log, exits, log]
        for number, callback in enumerate(callbacks):
            fw.dispatch(request(sid, callback, number, flags=flags))
        step(fw)
        assert log.order == [0, 2]
        assert fw.stats.callback_errors == 1
        assert fw.stats.driver_bugs == 0


@pytest.mark.parametrize("flags", [CBIMM, 0])
def test_a_keyboard_interrupt_in_a_callback_goes_upwards_and_loses_nothing(flags: int) -> None:
    """Its own request is idle again, and those behind it are called back later."""

    def interrupted(crp: Cryptop) -> None:
        raise KeyboardInterrupt

    with stepped(Toy()) as fw:
        sid, log = newsession(fw), Log()
        crp = request(sid, interrupted, flags=flags)
        with pytest.raises(KeyboardInterrupt):
            fw.dispatch(crp)
            fw.dispatch(request(sid, log, 1, flags=flags))
            fw._dispatcher.run_returns()
        assert (crp.state, crp.holder) == (RequestState.IDLE, None)
        step(fw)
        assert log.order == ([] if flags else [1])
        fw.dispatch(request(sid, log, 2, flags=flags))
        step(fw)
        assert log.order[-1:] == [2]
        assert fw.stats.callback_errors == 1


def test_back_pressure_is_at_getreq() -> None:
    """Over maxlen getreq returns None and counts a drop; dispatch itself refuses nothing."""
    with stepped(Toy()) as fw:
        sid, log = newsession(fw), Log()
        fw.sysctl["opencrypto.crypto_ret_q.maxlen"] = 2
        for number in range(3):
            assert fw.getreq(1) is not None
            fw.dispatch(request(sid, log, number, flags=0))
        assert fw.sysctl["opencrypto.crypto_ret_q.len"] == 3
        assert fw.getreq(1) is None
        assert fw.sysctl["opencrypto.crypto_ret_q.drops"] == 1
        step(fw)
        assert fw.getreq(1) is not None


def test_a_pool_hands_out_clean_requests() -> None:
    """A freed request comes back with every field zero, and only for its number of descriptors."""
    with stepped(Toy()) as fw:
        crp = fw.getreq(2)
        assert crp is not None
        crp.desc[1].skip = 7
        crp.opaque = crp.buf = crp.mac = bytearray(1)
        crp.desc[0].key = KEY
        fw.freereq(crp)
        other = fw.getreq(1)
        again = fw.getreq(2)
        assert again is crp
        assert other is not crp
        assert [crp.buf, crp.opaque, crp.mac, crp.callback] == [None] * 4
        assert [(crd.skip, crd.key) for crd in crp.desc] == [(0, None), (0, None)]


@pytest.mark.parametrize("number", [0, -1, 1.5, "1", None])
def test_a_request_has_descriptors(number: int) -> None:
    """getreq of anything but a positive integer is refused, also after such one was freed."""
    with stepped() as fw:
        fw.freereq(Cryptop())
        with pytest.raises(UsageError, match="at least one descriptor"):
            fw.getreq(number)


def test_close_completes_what_is_queued() -> None:
    """Requests that wait when the framework closes end with ENODEV, and nothing is left."""
    toy = Toy()
    with stepped(toy) as fw:
        sid, log = newsession(fw), Log()
        chain = the_session(fw, sid).chain
        toy.full = True
        for number in range(3):
            fw.dispatch(request(sid, log, number, flags=CBIMM if number else 0))
        fw.close()
        assert sorted(log.order) == [0, 1, 2]
        assert set(log.etypes) == {19}
        assert nothing_left(fw)
        assert toy.closed == 1
        assert not any(chain.inis[0].key or b"x")
        fw.close()
        assert toy.closed == 1
