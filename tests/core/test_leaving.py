"""Drivers that leave by their own word, or by an errno: what becomes of them and their requests."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    Cryptkop,
    Cryptoini,
    Cryptop,
    DriverInfo,
    Framework,
    UsageError,
)
from opencrypto._core import attach
from tests.core.keys.scripted import Scripted, answer, go, keep
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

WAIT_S = 10.0
GONE = [errno.ENODEV, errno.ENXIO]


def gone(fw: Framework) -> list[tuple[str, str]]:
    """The drivers that are listed without an id, and why."""
    return [(info.name, info.reason) for info in fw.drivers if info.hid is None]


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_its_sessions_move_and_it_is_listed_with_its_reason() -> None:
    """Nobody detaches it; it is closed once, and each of its sessions freed once."""
    card, soft = Toy("card", flags=0), Toy("soft")
    with threaded(card, soft) as fw:
        log = Log()
        sid = newsession(fw)
        idle = newsession(fw)
        fw.dispatch(request(sid, log))
        card.leave("the card was pulled")
        assert gone(fw) == [("card", "left: the card was pulled")]
        fw.dispatch(crp := request(sid, log))
        assert log.etypes == [0, errno.EAGAIN]
        fw.dispatch(crp)
        assert log.etypes == [0, errno.EAGAIN, 0]
        assert fw.driver_of(crp.sid) == ("soft",)
        until(lambda: card.closed)
        until(lambda: [info.name for info in fw.drivers] == ["soft", "card"])
        assert sorted(card.freed) == sorted(card.opened)
        assert gone(fw) == [("card", "left: the card was pulled")]
        with pytest.raises(UsageError, match="no driver 'card'"):
            fw.detach("card")
        fw.dispatch(request(idle, log))
        assert log.etypes[-1] == errno.EAGAIN
    assert (card.closed, soft.closed) == (1, 1)
    assert fw.stats.driver_bugs == 0


def test_it_returns_at_once_and_calls_nothing_of_the_drivers() -> None:
    """So it may hold any lock, and wait for nobody."""
    card = Toy("card", flags=0)
    with stepped(card) as fw:
        newsession(fw)
        card.leave("pulled")
        assert (card.freed, card.closed) == ([], 0)
        step(fw)
        until(lambda: card.closed)
        assert card.freed == card.opened


def test_what_it_has_is_answered_or_handed_back() -> None:
    card, soft = Toy("card", flags=0, hold=True), Toy("soft")
    with threaded(card, soft) as fw:
        log = Log()
        sid = newsession(fw)
        requests = [request(sid, log, number) for number in range(4)]
        for crp in requests:
            fw.dispatch(crp)
        card.leave("pulled")
        card.answer(1)
        card.answer(1, errno.EAGAIN)
        card.answer(1, errno.ENODEV)  # which says the same, of one that leaves
        time.sleep(0.02)
        assert not card.closed  # it is waited for
        card.answer(1)
        until(lambda: card.closed)
        assert log.order == [0, 1, 2, 3]
        assert log.etypes == [0, errno.EAGAIN, errno.EAGAIN, 0]
        assert {crp.sid for crp in requests[1:3]} == {the_session(fw, sid).latest().sid}
    assert gone(fw) == [("card", "left: pulled")]


def test_what_waits_for_it_in_the_queue_is_handed_back() -> None:
    card, soft = Toy("card", flags=0), Toy("soft")
    with stepped(card, soft) as fw:
        log = Log()
        sid = newsession(fw)
        card.full = True
        for number in range(3):
            fw.dispatch(request(sid, log, number, flags=CRYPTO_F_CBIMM | CRYPTO_F_BATCH))
        step(fw)
        card.leave("pulled")
        step(fw)
        until(lambda: len(log.order) == 3)  # a thread sees it off
        assert log.order == [0, 1, 2]
        assert log.etypes == [errno.EAGAIN] * 3


def test_one_that_never_answers_is_waited_for_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have worked on the buffer: EIO, and never EAGAIN."""
    monkeypatch.setattr(attach, "DETACH_TIMEOUT", 0.05)
    card = Toy("card", flags=0, hold=True)
    with threaded(card, Toy("soft")) as fw:
        log = Log()
        fw.dispatch(request(newsession(fw), log))
        card.leave("pulled")
        until(lambda: card.closed)
        assert log.etypes == [errno.EIO]


@pytest.mark.parametrize("code", GONE)
def test_an_errno_says_the_same_once(code: int) -> None:
    """The request is handed back, and the driver leaves with the sentence of the first one."""
    card, soft = Toy("card", flags=0, hold=True), Toy("soft")
    with threaded(card, soft) as fw:
        log = Log()
        sid = newsession(fw)
        requests = [request(sid, log) for _ in range(3)]
        for crp in requests:
            fw.dispatch(crp)
        for number, held in enumerate(list(card.held)):
            held.fail(code, f"no answer from the card, {number}")
            card.done(held)
        assert log.etypes == [errno.EAGAIN] * 3
        until(lambda: card.closed)
        assert gone(fw) == [("card", "left: no answer from the card, 0")]
        for crp in requests:
            fw.dispatch(crp)
        assert log.etypes[3:] == [0, 0, 0]
        assert all(crp.buf == bytes([KEY[0]]) * 16 for crp in requests)
    assert card.closed == 1


@pytest.mark.parametrize("code", GONE)
def test_where_nobody_takes_over_it_ends_with_enodev(code: int) -> None:
    card = Toy("card", flags=0, hold=True)
    with threaded(card) as fw:
        log = Log()
        fw.dispatch(request(newsession(fw), log))
        card.answer(etype=code)
        assert log.etypes == [errno.ENODEV]
        until(lambda: card.closed)
        assert gone(fw) == [("card", "left: its device is gone")]


@pytest.mark.parametrize("code", GONE)
def test_a_key_request_says_so_too(code: int) -> None:
    """It goes to another driver by itself."""

    def unplugged(driver: Scripted, krp: Cryptkop) -> int:
        krp.fail(code, "unplugged")
        driver.kdone(krp)
        return 0

    first = Scripted("a", unplugged, flags=0)
    with threaded(first, Scripted("b", answer)) as fw:
        done = go(fw)[0]
        assert done.wait().status == 0
        until(lambda: gone(fw) == [("a", "left: unplugged")])
        assert [info.name for info in fw.drivers if info.hid is not None] == ["b"]


def test_key_requests_that_it_has_it_still_answers() -> None:
    card = Scripted("a", keep, flags=0)
    with threaded(card, Scripted("b", answer)) as fw:
        first, second = go(fw, 2)
        card.leave("pulled")
        card.finish()
        assert first.wait().status == second.wait().status == 0


def test_it_comes_back_under_its_name_and_has_its_pinned_sessions() -> None:
    """Whoever attaches it waits for the end of the one before, if need be."""
    card = Toy("card", flags=0)
    with threaded(card) as fw:
        log = Log()
        sid = newsession(fw, driver="card")
        card.leave("pulled")
        fw.attach(card)
        assert [(info.name, info.reason) for info in fw.drivers] == [("card", "")]
        fw.dispatch(crp := request(sid, log))
        fw.dispatch(crp)
        assert log.etypes == [errno.EAGAIN, 0]
        assert card.closed == 1


def test_to_leave_twice_or_from_anywhere_is_to_leave_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    card = Toy("card", flags=0)
    with threaded(card) as fw:
        newsession(fw)
        threads = [
            threading.Thread(target=card.leave, args=(f"thread {number}",)) for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: card.closed)
        card.leave("long gone")
    assert card.closed == 1
    assert caplog.text.count("event=driver_left") == 1
    Toy("nowhere").leave("not attached")


def test_a_reason_is_a_text() -> None:
    card = Toy("card")
    with threaded(card) as fw:
        with pytest.raises(UsageError, match="a reason is a text, not int"):
            card.leave(5)  # type: ignore[arg-type]
        assert gone(fw) == []
        card.leave("")
        assert gone(fw) == [("card", "left: it gave no reason")]


class Departing(Toy):
    """Leaves in the midst of a call."""

    def __init__(self, call: str) -> None:
        super().__init__("card", flags=0)
        self.call = call
        self.lock = threading.Lock()

    def _maybe(self, call: str) -> None:
        if call == self.call:
            with self.lock:
                self.leave(f"in {call}")

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        lid: int = super().newsession(ini)
        self._maybe("newsession")
        return lid

    def freesession(self, lid: int) -> None:
        with self.lock:
            super().freesession(lid)
        self._maybe("freesession")

    def process(self, crp: Cryptop, hint: int) -> int:
        self._maybe("process")
        return super().process(crp, hint)


@pytest.mark.parametrize("call", ["newsession", "process", "freesession"])
def test_it_may_leave_in_the_midst_of_a_call(call: str) -> None:
    """With a lock held that its freesession takes."""
    card, soft = Departing(call), Toy("soft")
    with threaded(card, soft) as fw:
        log = Log()
        sid = newsession(fw)
        fw.dispatch(crp := request(sid, log))
        if call == "process":
            assert log.etypes == [0]
            fw.dispatch(crp)
            assert log.etypes == [0, errno.EAGAIN]
        fw.freesession(sid)
        until(lambda: card.closed)
        assert sorted(card.freed) == sorted(card.opened)
    assert (card.closed, soft.closed) == (1, 1)
    assert fw.stats.driver_bugs == 0
    assert nothing_left(fw)


def test_a_callback_may_have_it_leave() -> None:
    card = Toy("card", flags=0)
    with threaded(card, Toy("soft")) as fw:
        sid = newsession(fw)
        fw.dispatch(request(sid, lambda crp: card.leave("it has answered enough")))
        until(lambda: card.closed)
        log = Log()
        fw.dispatch(request(sid, log))
        assert log.etypes == [errno.EAGAIN]


def test_a_part_of_a_virtual_session_moves() -> None:
    """The whole is one request, which is carried out."""
    card = Toy("card", flags=0, algs=[CRYPTO_NULL_CBC], hold=True)
    with threaded(card, Toy("mac", algs=[CRYPTO_NULL_HMAC])) as fw:
        log = Log()
        sid = fw.newsession([Cryptoini(CRYPTO_NULL_CBC, KEY), Cryptoini(CRYPTO_NULL_HMAC)])
        assert fw.driver_of(sid) == ("card", "mac")
        fw.attach(Toy("soft", algs=[CRYPTO_NULL_CBC]))
        fw.dispatch(crp := request(sid, log))
        card.answer(etype=errno.ENXIO)
        assert log.etypes == [0]
        assert crp.buf == bytes([KEY[0]]) * 16
        assert fw.driver_of(sid) == ("soft", "mac")


def test_a_virtual_session_never_leaves() -> None:
    """A part for which nobody is left is the request's ENODEV, and no more."""
    card = Toy("card", flags=0, algs=[CRYPTO_NULL_CBC], hold=True)
    with threaded(card, Toy("mac", algs=[CRYPTO_NULL_HMAC])) as fw:
        log = Log()
        sid = fw.newsession([Cryptoini(CRYPTO_NULL_CBC, KEY), Cryptoini(CRYPTO_NULL_HMAC)])
        fw.dispatch(request(sid, log))
        card.answer(etype=errno.ENXIO)
        assert log.etypes == [errno.ENODEV]
        until(lambda: card.closed)
        card.hold = False
        fw.attach(card)
        fw.dispatch(crp := request(sid, log))
        while log.etypes[-1] == errno.EAGAIN:
            fw.dispatch(crp)
        assert log.etypes[-1] == 0


def test_one_that_came_by_id_leaves_by_an_errno() -> None:
    """There is no object to be closed; the id is free again."""
    with threaded(Toy("soft")) as fw:
        hid = fw.get_driverid(0)

        def process(arg: object, crp: Cryptop, hint: int) -> int:
            crp.fail(errno.ENXIO)
            fw.done(crp)
            return 0

        fw.register(hid, CRYPTO_NULL_CBC, 0, 0, lambda arg, ini: 1, None, process)
        log = Log()
        fw.dispatch(crp := request(newsession(fw), log))
        fw.dispatch(crp)
        assert log.etypes == [errno.EAGAIN, 0]
        until(lambda: len([each for each in fw.drivers if each.hid is not None]) == 1)
        fw.freesession(crp.sid)  # whose former SID has the id in it
        assert fw.get_driverid(0) == hid


def test_a_framework_closes_while_a_driver_leaves() -> None:
    for _ in range(20):
        card = Toy("card", flags=0)
        with threaded(card, Toy("soft")) as fw:
            newsession(fw)
            card.leave("pulled")
        assert card.closed == 1


def test_the_list_of_those_that_left_is_bounded() -> None:
    with threaded() as fw:
        for number in range(300):
            card = Toy(f"card{number}")
            fw.attach(card)
            card.leave("pulled")
        assert len(gone(fw)) == 256
        assert DriverInfo("card299", reason="left: pulled").reason == gone(fw)[-1][1]


# Under load.


class Flaky(Toy):
    """Answers from a thread; dies now and then with requests in its hands, and comes back."""

    def __init__(self) -> None:
        super().__init__("card", flags=0)
        self.lock = threading.Lock()
        self.inbox: list[Cryptop] = []
        self.dead = False
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._run, name="opencrypto-flaky", daemon=True)
        self.thread.start()
        self.deaths = 0
        self.rng = random.Random(1)

    def process(self, crp: Cryptop, hint: int) -> int:
        with self.lock:
            self.inbox.append(crp)
        return 0

    def _run(self) -> None:
        while not self.end.wait(0.0005):
            with self.lock:
                taken, self.inbox = self.inbox, []
            if taken and self.rng.random() < 0.05:
                self._die(taken)
                continue
            for crp in taken:
                self.work(crp)
                self.done(crp)
        with self.lock:
            taken, self.inbox = self.inbox, []
        self._die(taken)

    def _die(self, taken: list[Cryptop]) -> None:
        """By the port or by an errno; with each request handed back or, the first half, done."""
        self.deaths += 1
        if self.deaths % 2:
            with self.lock:
                self.leave(f"death {self.deaths}")
        for place, crp in enumerate(taken):
            if place < len(taken) // 2:
                self.work(crp)
            else:
                crp.fail(errno.ENXIO if self.deaths % 3 else errno.EAGAIN, "dead")
            self.done(crp)


@pytest.mark.slow
@pytest.mark.alone
def test_under_load_each_request_is_answered_once_and_rightly() -> None:
    """Four consumers, a card that dies some hundred times, and software that always takes over."""
    card = Flaky()
    stop = threading.Event()
    wrong: list[str] = []
    totals: list[tuple[int, int]] = []

    def consume(fw: Framework, number: int) -> None:
        key = bytes([number + 1]) * 8
        sid = newsession(fw, key)
        rng = random.Random(number)
        taken = answered = 0
        bell = threading.Semaphore(0)

        def callback(crp: Cryptop) -> None:
            crp.opaque += 1
            bell.release()

        while not stop.is_set():
            flags = rng.choice([0, CRYPTO_F_CBIMM, CRYPTO_F_BATCH])
            batch = [request(sid, callback, 0, flags=flags) for _ in range(rng.randrange(1, 9))]
            while batch:
                for crp in batch:
                    crp.sid, crp.opaque = sid, 0
                    fw.dispatch(crp)
                taken += len(batch)
                for _ in batch:
                    if not bell.acquire(timeout=WAIT_S):
                        wrong.append("a request is lost")
                        return
                answered += len(batch)
                again = [crp for crp in batch if crp.etype == errno.EAGAIN]
                for crp in batch:
                    want = bytes(16) if crp in again else bytes([key[0]]) * 16
                    if crp.etype not in (0, errno.EAGAIN) or crp.buf != want or crp.opaque != 1:
                        wrong.append(f"{crp} {crp.buf.hex()} {crp.opaque}")
                if again:
                    sid = again[-1].sid
                batch = again
            if rng.random() < 0.1:
                fw.freesession(sid)
                sid = newsession(fw, key)
        totals.append((taken, answered))

    with threaded(card, Toy("soft")) as fw:
        threads = [threading.Thread(target=consume, args=(fw, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 5
        while time.monotonic() < end and not wrong:
            if all(info.hid is None for info in fw.drivers if info.name == "card"):
                fw.attach(card)
            time.sleep(0.002)
        stop.set()
        for thread in threads:
            thread.join(WAIT_S * 2)
        card.end.set()
        card.thread.join()
    assert wrong == []
    assert len(totals) == 4
    assert all(taken == answered > 100 for taken, answered in totals)
    assert card.deaths > 5
    assert card.keys == {}
    assert fw.stats.driver_bugs == 0
