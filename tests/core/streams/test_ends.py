"""Messages in pieces whose driver leaves, whose session is freed, whose process is forked."""

from __future__ import annotations

import errno
import gc
import os
import threading
import time
from collections.abc import Iterator

import pytest

from opencrypto import Cryptop, Framework
from tests.core.streams.support import Piecewise, toy_piece
from tests.toy import (
    Log,
    newsession,
    nothing_left,
    request,
    step,
    stepped,
    the_session,
    threaded,
)

EAGAIN, EINVAL, EIO = errno.EAGAIN, errno.EINVAL, errno.EIO
ENODEV, ENOENT = errno.ENODEV, errno.ENOENT
WAIT_S = 10.0


@pytest.fixture
def two() -> Iterator[tuple[Framework, Piecewise, Piecewise]]:
    one, other = Piecewise("one"), Piecewise("other")
    with threaded(one) as fw:
        fw.attach(other)
        yield fw, one, other


def sent(fw: Framework, log: Log, crp: Cryptop) -> int:
    """Send a piece, and wait for its end, by whatever thread."""
    log.event.clear()
    fw.dispatch(crp)
    assert log.event.wait(WAIT_S)
    return log.etypes[-1]


def test_a_driver_that_leaves_ends_its_messages_at_once(
    two: tuple[Framework, Piecewise, Piecewise],
) -> None:
    """EAGAIN would say that nothing was done: it is ENODEV up to the last piece."""
    fw, one, other = two
    sid, log = newsession(fw), Log()
    assert sent(fw, log, toy_piece(sid, log)) == 0
    one.leave("the card was pulled")
    assert sent(fw, log, toy_piece(sid, log)) == ENODEV
    assert sent(fw, log, toy_piece(sid, log, more=False)) == ENODEV
    crp = toy_piece(sid, log)
    assert sent(fw, log, crp) == EAGAIN
    assert sent(fw, log, crp) == 0
    assert sent(fw, log, toy_piece(crp.sid, log, more=False)) == 0
    assert fw.driver_of(crp.sid) == ("other",)
    assert [stream.wiped for stream in one.streams] == [1]
    assert [stream.sizes for stream in other.streams] == [[16, 16]]


def test_a_driver_that_left_before_the_first_piece_has_the_message_moved(
    two: tuple[Framework, Piecewise, Piecewise],
) -> None:
    fw, one, other = two
    sid, log = newsession(fw), Log()
    one.leave("the card was pulled")
    pieces = [toy_piece(sid, log, more=number < 2) for number in range(3)]
    assert [sent(fw, log, crp) for crp in pieces] == [EAGAIN] * 3
    assert [sent(fw, log, crp) for crp in pieces] == [0] * 3
    assert [stream.sizes for stream in other.streams] == [[16] * 3]


@pytest.mark.parametrize("handed_back", [EAGAIN, ENODEV])
def test_a_first_piece_that_is_handed_back_moves(
    two: tuple[Framework, Piecewise, Piecewise], handed_back: int
) -> None:
    fw, one, other = two
    sid, log = newsession(fw), Log()
    one.etypes.append(handed_back)
    crp = toy_piece(sid, log)
    assert sent(fw, log, crp) == EAGAIN
    assert sent(fw, log, crp) == 0
    assert sent(fw, log, toy_piece(crp.sid, log, more=False)) == 0
    assert len(other.streams) == 1
    assert fw.stats.driver_bugs == 0


@pytest.mark.parametrize("handed_back", [EAGAIN, ENODEV])
def test_a_later_piece_that_is_handed_back_ends_the_message(
    two: tuple[Framework, Piecewise, Piecewise], handed_back: int
) -> None:
    fw, one, _ = two
    sid, log = newsession(fw), Log()
    assert sent(fw, log, toy_piece(sid, log)) == 0
    one.etypes.append(handed_back)
    assert sent(fw, log, toy_piece(sid, log)) == ENODEV
    assert sent(fw, log, toy_piece(sid, log)) == ENODEV
    assert sent(fw, log, toy_piece(sid, log, more=False)) == ENODEV
    assert sent(fw, log, crp := toy_piece(sid, log, more=False)) == EAGAIN
    assert sent(fw, log, crp) == 0
    assert [stream.wiped for stream in one.streams] == [1]


def test_detach_waits_for_an_open_message(two: tuple[Framework, Piecewise, Piecewise]) -> None:
    """Sessions without one move at once; that one when its last piece is done."""
    fw, one, _ = two
    sid, idle, log = newsession(fw), newsession(fw, driver="one"), Log()
    assert sent(fw, log, toy_piece(sid, log)) == 0
    thread = threading.Thread(target=fw.detach, args=("one",), kwargs={"timeout": 30})
    thread.start()
    while the_session(fw, idle).state.name == "LIVE":
        time.sleep(0.001)
    for _ in range(3):
        assert sent(fw, log, toy_piece(sid, log)) == 0
    assert thread.is_alive()
    assert one.closed == 0
    assert sent(fw, log, toy_piece(sid, log, more=False)) == 0
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert one.closed == 1
    assert [stream.sizes for stream in one.streams] == [[16] * 5]
    assert sent(fw, log, toy_piece(sid, log)) == EAGAIN
    assert fw.stats.driver_bugs == 0


def test_detach_ends_a_message_when_its_time_is_over(
    two: tuple[Framework, Piecewise, Piecewise],
) -> None:
    fw, one, _ = two
    sid, log = newsession(fw), Log()
    assert sent(fw, log, toy_piece(sid, log)) == 0
    fw.detach("one", timeout=0.05)
    assert one.closed == 1
    assert [stream.wiped for stream in one.streams] == [1]
    assert sent(fw, log, toy_piece(sid, log)) == ENODEV
    assert sent(fw, log, toy_piece(sid, log, more=False)) == ENODEV
    assert sent(fw, log, toy_piece(sid, log)) == EAGAIN
    assert fw.stats.driver_bugs == 0  # it has answered all that it got


def test_a_piece_that_is_never_answered_ends_with_what_waits_behind_it() -> None:
    """That one with EIO, since it may be half done; those that the driver never saw with ENODEV."""
    driver = Piecewise(hold=True)
    with threaded(driver) as fw:
        sid, log = newsession(fw), Log()
        for number in range(3):
            fw.dispatch(toy_piece(sid, log, number))
        fw.detach("toy", timeout=0.05)
        deadline = time.monotonic() + WAIT_S
        while len(log.calls) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        ended = {opaque: etype for opaque, etype, _ in log.calls}
        assert ended == {0: EIO, 1: ENODEV, 2: ENODEV}
        assert fw.stats.driver_bugs == 1


def test_close_does_not_wait_for_an_open_message() -> None:
    driver = Piecewise()
    with threaded(driver) as fw:
        sid, log = newsession(fw), Log()
        assert sent(fw, log, toy_piece(sid, log)) == 0
        fw.close()  # within the ten seconds that it would wait for a driver, or the suite is slow
        assert driver.closed == 1
        assert [stream.wiped for stream in driver.streams] == [1]
        assert sent(fw, log, toy_piece(sid, log)) in (ENODEV, ENOENT)
        assert driver.freed == driver.opened


def test_freeing_a_session_wipes_its_message() -> None:
    driver = Piecewise()
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(toy_piece(sid, log))
        fw.freesession(sid)
        assert [stream.wiped for stream in driver.streams] == [1]
        fw.dispatch(toy_piece(sid, log))
        assert log.etypes == [0, ENOENT]
        assert nothing_left(fw)


def test_a_session_freed_under_a_piece_ends_with_those_that_were_taken() -> None:
    driver = Piecewise(hold=True)
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(toy_piece(sid, log))
        fw.dispatch(toy_piece(sid, log))
        fw.freesession(sid)
        assert driver.freed == []
        driver.answer_piece()
        driver.answer_piece()
        assert log.etypes == [0, 0]
        assert driver.freed == driver.opened
        assert driver.streams[0].wiped
        assert nothing_left(fw)


def test_a_message_is_of_the_process_that_began_it() -> None:
    """A forked child gets EINVAL up to the last piece; whole messages go on."""
    driver = Piecewise()
    with threaded(driver) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(toy_piece(sid, log))
        child = os.fork()
        if not child:
            code = 1
            try:
                for more in (True, True, False):
                    fw.dispatch(toy_piece(sid, log, more=more))
                fw.dispatch(request(sid, log))
                fw.dispatch(toy_piece(sid, log))
                fw.dispatch(toy_piece(sid, log, more=False))
                code = 0 if log.etypes == [0, EINVAL, EINVAL, EINVAL, 0, 0, 0] else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        fw.dispatch(toy_piece(sid, log))
        fw.dispatch(toy_piece(sid, log, more=False))
        assert log.etypes == [0, 0, 0]


def begin_and_drop(driver: Piecewise) -> None:
    fw = Framework(plugins=False)
    fw.attach(driver)
    fw.dispatch(toy_piece(newsession(fw), Log()))
    del fw
    gc.collect()


def test_a_framework_that_is_dropped_in_the_midst_of_a_message_ends() -> None:
    driver = Piecewise()
    with pytest.warns(ResourceWarning, match="unclosed"):
        begin_and_drop(driver)
    deadline = time.monotonic() + WAIT_S
    while not driver.closed:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert [stream.wiped for stream in driver.streams] == [1]


def test_the_return_queue_gives_pieces_back_in_order() -> None:
    driver = Piecewise()
    with stepped(driver) as fw:
        sid, log = newsession(fw), Log()
        for number in range(4):
            fw.dispatch(toy_piece(sid, log, number, more=number < 3, flags=0))
        assert log.order == []
        step(fw)
        assert log.order == [0, 1, 2, 3]
