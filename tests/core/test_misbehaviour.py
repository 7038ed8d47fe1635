"""Drivers and callbacks that break the rules: counted, contained, and nobody's request is lost."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_SYMQ,
    ERESTART,
    Cryptoini,
    Cryptop,
    DriverBug,
    Framework,
    NoDriverError,
    Profile,
)
from tests.toy import Log, Toy, newsession, nothing_left, request, step, stepped, threaded

WAYS = [CRYPTO_F_CBIMM, CRYPTO_F_CBIMM | CRYPTO_F_BATCH, 0, CRYPTO_F_BATCH]


class Bad(Toy):
    """A driver whose process is the test's."""

    def __init__(self, process: Callable[[Bad, Cryptop], Any]) -> None:
        super().__init__("bad")
        self.how = process

    def process(self, crp: Cryptop, hint: int) -> int:
        answer: int = self.how(self, crp)
        return answer


def raises(driver: Bad, crp: Cryptop) -> int:
    """Raise before answering."""
    raise RuntimeError("of the driver")


def answers_and_raises(driver: Bad, crp: Cryptop) -> int:
    """Answer, then raise."""
    driver.done(crp)
    raise RuntimeError("of the driver")


def returns_garbage(driver: Bad, crp: Cryptop) -> int:
    """Return an errno, as in C."""
    return errno.EINVAL


def returns_text(driver: Bad, crp: Cryptop) -> Any:
    """Return what is no number."""
    return "done"


def answers_and_returns_garbage(driver: Bad, crp: Cryptop) -> int:
    """Answer, then return an errno."""
    driver.done(crp)
    return errno.EINVAL


def answers_and_restarts(driver: Bad, crp: Cryptop) -> int:
    """Answer, then ask for the request again."""
    driver.done(crp)
    return ERESTART


def answers_twice(driver: Bad, crp: Cryptop) -> int:
    """Answer and answer again, the second of which raises in the driver."""
    driver.done(crp)
    driver.done(crp)
    return 0


@pytest.mark.parametrize("flags", WAYS)
@pytest.mark.parametrize(
    ("how", "etype"),
    [
        (raises, errno.EIO),
        (answers_and_raises, 0),
        (returns_garbage, errno.EIO),
        (returns_text, errno.EIO),
        (answers_and_returns_garbage, 0),
        (answers_and_restarts, 0),
        (answers_twice, 0),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_process(how: Callable[[Bad, Cryptop], int], etype: int, flags: int) -> None:
    """Each request is called back once, the bug is counted, and the next request is served."""
    with stepped(Bad(how)) as fw:
        sid, log = newsession(fw), Log()
        for number in range(2):
            fw.dispatch(request(sid, log, number, flags=flags))
            step(fw)
        assert log.order == [0, 1]
        assert log.etypes == [etype] * 2
        assert fw.stats.driver_bugs >= 2
        assert not fw.drivers[0].blocked
        fw.freesession(sid)
        assert nothing_left(fw)


def test_the_error_names_the_driver_and_the_rule() -> None:
    """What a consumer hears of a broken driver is a DriverBug that names it."""
    with stepped(Bad(raises)) as fw:
        crp = request(newsession(fw), Log())
        fw.dispatch(crp)
        with pytest.raises(DriverBug, match="driver bad raised RuntimeError"):
            crp.check()


def returning(answer: Any) -> Callable[[Toy, Sequence[Cryptoini]], Any]:
    """A newsession that returns this."""
    return lambda toy, ini: answer


def raising(error: type[Exception]) -> Callable[[Toy, Sequence[Cryptoini]], Any]:
    """A newsession that raises this."""

    def newsession(toy: Toy, ini: Sequence[Cryptoini]) -> Any:
        raise error("of the driver")

    return newsession


@pytest.mark.parametrize(
    "how",
    [
        *map(
            returning, [None, -1, 1 << 32, "1", True, 1.0, (), (1,), (1, 2), (1, 2, 3), (1, None)]
        ),
        *map(raising, [RuntimeError, OSError, KeyError]),
    ],
)
def test_a_broken_newsession(how: Callable[[Toy, Sequence[Cryptoini]], Any]) -> None:
    """The bug is counted and named, and the next driver is asked."""

    class Broken(Toy):
        def newsession(self, ini: Sequence[Cryptoini]) -> Any:
            return how(self, ini)

    with stepped(Broken("broken", flags=0)) as fw:
        with pytest.raises(NoDriverError, match="driver broken: newsession") as refusal:
            newsession(fw)
        assert refusal.value.errno == errno.EIO
        assert fw.stats.driver_bugs == 1
        good = Toy("good")
        fw.attach(good)
        fw.freesession(newsession(fw))
        assert good.freed == good.opened


def test_a_session_number_given_twice() -> None:
    """Its first session stays what it is; the second is refused as a bug."""

    class Same(Toy):
        def newlid(self) -> int:
            return 7

    with stepped(Same()) as fw:
        sid, log = newsession(fw), Log()
        with pytest.raises(NoDriverError, match="session number 7 is in use already"):
            newsession(fw)
        fw.dispatch(request(sid, log))
        assert log.etypes == [0]


def test_a_freesession_or_close_that_raises() -> None:
    """Both are counted, and the session and the driver are gone all the same."""

    class Clinging(Toy):
        def freesession(self, lid: int) -> None:
            super().freesession(lid)
            raise RuntimeError

        def close(self) -> None:
            super().close()
            raise RuntimeError

    toy = Clinging()
    with stepped(toy) as fw:
        fw.freesession(newsession(fw))
        assert nothing_left(fw)
        fw.detach(toy)
        assert fw.drivers == []
        assert fw.stats.driver_bugs == 2
        assert toy.freed == toy.opened


def test_an_answer_from_another_thread_before_process_returns() -> None:
    """done may come from any thread, even while process still runs."""

    def elsewhere(driver: Bad, crp: Cryptop) -> int:
        thread = threading.Thread(target=driver.done, args=(crp,))
        thread.start()
        thread.join()
        return 0

    with stepped(Bad(elsewhere)) as fw:
        sid, log = newsession(fw), Log()
        for flags in WAYS:
            fw.dispatch(request(sid, log, flags=flags))
            step(fw)
        assert log.etypes == [0] * 4
        assert fw.stats.driver_bugs == 0


def test_a_process_that_takes_the_program_down_does_so() -> None:
    """KeyboardInterrupt in a driver reaches the caller of dispatch; the request is completed."""

    def interrupted(driver: Bad, crp: Cryptop) -> int:
        raise KeyboardInterrupt

    with stepped(Bad(interrupted)) as fw:
        sid, log = newsession(fw), Log()
        with pytest.raises(KeyboardInterrupt):
            fw.dispatch(request(sid, log, "straight"))
        for number in range(3):
            fw.dispatch(request(sid, log, number, flags=WAYS[1]))
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                fw._dispatcher.run_requests()
        assert log.order == ["straight", 0, 1, 2]
        assert log.etypes == [errno.EIO] * 4
        fw.freesession(sid)
        assert nothing_left(fw)


def test_system_exit_in_a_driver_ends_no_interrupt() -> None:
    """SystemExit from process in the request interrupt's thread is survived by that thread."""

    def exits(driver: Bad, crp: Cryptop) -> int:
        if crp.opaque:
            raise SystemExit
        driver.done(crp)
        return 0

    with threaded(Bad(exits)) as fw:
        sid, bad, good = newsession(fw), Log(), Log()
        fw.dispatch(request(sid, bad, 1, flags=CRYPTO_F_BATCH))
        assert bad.event.wait(10)
        fw.dispatch(request(sid, good, 0, flags=CRYPTO_F_BATCH))
        assert good.event.wait(10)
        assert bad.etypes == [errno.EIO]


@pytest.mark.parametrize("flags", WAYS)
@pytest.mark.parametrize("act", ["freesession", "detach", "close"])
def test_callbacks_may_end_what_they_stand_on(act: str, flags: int) -> None:
    """A callback may free its session, detach its driver, or close the framework, from anywhere."""
    toy = Toy()
    fw = Framework(plugins=False)
    fw.attach(toy)
    sid, ended = newsession(fw), threading.Event()

    def callback(crp: Cryptop) -> None:
        if act == "freesession":
            fw.freesession(sid)
        elif act == "detach":
            fw.detach(toy)
        else:
            fw.close()
        ended.set()

    fw.dispatch(request(sid, callback, flags=flags))
    assert ended.wait(10)
    assert toy.freed == toy.opened
    assert toy.closed == (act != "freesession")
    assert fw.stats.callback_errors == 0
    fw.close()
    assert nothing_left(fw)


def test_requests_behind_a_callback_that_closes() -> None:
    """What is queued behind it is completed too, with ENODEV."""
    log = Log()
    fw = Framework(plugins=False)
    toy = Toy()
    fw.attach(toy)
    sid = newsession(fw)
    toy.full = True
    fw.dispatch(request(sid, lambda crp: fw.close(), "closes", flags=WAYS[1]))
    for number in range(3):
        fw.dispatch(request(sid, log, number, flags=WAYS[1]))
    toy.full = False
    toy.unblock(CRYPTO_SYMQ)
    for _ in range(1000):
        if len(log.calls) == 3:
            break
        threading.Event().wait(0.01)
    assert log.etypes == [errno.ENODEV] * 3
    fw.close()


class Unsure(Toy):
    """A driver that cannot say what it refuses."""

    def __init__(self, answer: Any) -> None:
        super().__init__("unsure")
        self.said = answer

    def refusal(self, ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
        if isinstance(self.said, Exception):
            raise self.said
        text: str = self.said
        return text


@pytest.mark.parametrize("answer", [RuntimeError("of the driver"), None, 7])
def test_a_refusal_that_is_none_is_in_nobodys_way(answer: Any) -> None:
    """The driver is passed over and blamed; the next one serves."""
    with stepped(Unsure(answer), Toy()) as fw:
        sid = newsession(fw)
        assert fw.stats.driver_bugs == 1
        calls: list[Cryptop] = []
        fw.dispatch(request(sid, calls.append))
        assert not calls[0].etype
        with pytest.raises(NoDriverError, match="unsure: cannot say whether it would"):
            newsession(fw, driver="unsure")
