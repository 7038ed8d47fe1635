"""Many consumers, drivers that come and go, forks: all answers right, none lost or twice."""

from __future__ import annotations

import errno
import functools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from opencrypto import (
    CRYPTO_AES_CTR,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_SYMQ,
    ERESTART,
    Cryptodesc,
    CryptoError,
    Cryptoini,
    Cryptop,
    Framework,
)
from opencrypto._rules.iv import IvSource
from opencrypto._threads import HAS_GIL
from tests.toy import Log, Toy, newsession, nothing_left, request, the_session, threaded

FLAGS = (0, CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC, CRYPTO_F_BATCH, CRYPTO_F_BATCH | CRYPTO_F_CBIMM)
CONSUMERS = 8
PATIENCE = 60.0


@pytest.fixture
def restless() -> Iterator[None]:
    """Have the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def running(*jobs: Callable[[], None]) -> Iterator[None]:
    """Run jobs in threads of their own; what one raises is raised at the end."""
    wrong: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(PATIENCE * 2)
        assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if wrong:
        raise wrong[0]


class Consumer:
    """Keeps requests in flight on a session of its own, checks each answer, follows the session."""

    def __init__(self, fw: Framework, number: int, count: int, sid: int = 0) -> None:
        self.fw = fw
        self.key = bytes([number + 1]) * 8
        self.count = count
        self.sid = sid or newsession(fw, self.key)
        self.rng = random.Random(number)
        # Callbacks come from several threads: appending is one step, where adding one is three.
        self.outcomes: dict[str, list[None]] = {"right": [], "again": [], "nobody": []}
        self.wrong: list[str] = []
        self.room = threading.Semaphore(32)
        self.back: list[Cryptop] = []

    @property
    def right(self) -> int:
        """How many were done."""
        return len(self.outcomes["right"])

    @property
    def again(self) -> int:
        """How many came back since the session had moved."""
        return len(self.outcomes["again"])

    @property
    def nobody(self) -> int:
        """How many came back since no driver was there."""
        return len(self.outcomes["nobody"])

    def callback(self, crp: Cryptop) -> None:
        """Note the outcome; what was not done is kept for another try."""
        if crp.etype in {errno.EAGAIN, errno.ENODEV}:
            if any(crp.buf):
                self.wrong.append("not done, and touched")
            if crp.etype == errno.EAGAIN:
                self.sid = crp.sid
                self.outcomes["again"].append(None)
            else:
                self.outcomes["nobody"].append(None)
            self.back.append(crp)
        elif crp.etype:
            self.wrong.append(crp.error)
        elif crp.buf != bytes([self.key[0]]) * 16 or crp.opaque:
            self.wrong.append("a wrong answer, or a second one")
        else:
            crp.opaque = "done"
            self.outcomes["right"].append(None)
        self.room.release()

    def run(self) -> None:
        """Dispatch until all are done; to be slow is no fault, to stand still is."""
        started = seen = 0
        deadline = time.monotonic() + PATIENCE
        while self.right < self.count and not self.wrong:
            if self.right > seen:
                seen, deadline = self.right, time.monotonic() + PATIENCE
            assert time.monotonic() < deadline, f"{self.right} of {self.count}, and no more"
            if not self.room.acquire(timeout=1):
                continue
            if self.back:
                crp = self.back.pop()
                crp.sid = self.sid
                if crp.etype == errno.ENODEV:
                    time.sleep(0.0005)
            elif started < self.count:
                started += 1
                flags = FLAGS[self.rng.randrange(len(FLAGS))]
                crp = request(self.sid, self.callback, flags=flags)
            else:
                self.room.release()
                time.sleep(0.0002)
                continue
            self.fw.dispatch(crp)
        assert self.wrong == []


class Moody(Toy):
    """Now and then full, until another thread has it unblocked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.rng = random.Random(name)

    def process(self, crp: Cryptop, hint: int) -> int:
        if self.rng.random() < 0.01:
            threading.Thread(target=self.unblock, args=(CRYPTO_SYMQ,)).start()
            return ERESTART
        self.work(crp)
        self.done(crp)
        return 0


def come_and_go(fw: Framework, drivers: list[Toy], stop: threading.Event) -> Callable[[], None]:
    """Detach each driver in turn and attach it again, every few milliseconds."""

    def run() -> None:
        while not stop.is_set():
            for driver in drivers:
                time.sleep(0.003)
                fw.detach(driver)
                assert not driver.keys
                fw.attach(driver)

    return run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_thousand_requests_while_drivers_come_and_go() -> None:
    """Eight consumers, two drivers detached and attached all the time: all right, none twice."""
    drivers: list[Toy] = [Toy("one"), Toy("two")]
    with threaded(*drivers) as fw:
        consumers = [Consumer(fw, n, 200_000 // CONSUMERS) for n in range(CONSUMERS)]
        stop = threading.Event()
        with running(come_and_go(fw, drivers, stop)):
            try:
                with running(*(consumer.run for consumer in consumers)):
                    pass
            finally:
                stop.set()
        assert sum(consumer.right for consumer in consumers) == 200_000
        assert sum(consumer.again for consumer in consumers) > 100
        for consumer in consumers:
            fw.freesession(consumer.sid)
        stats = fw.stats
        assert (stats.callback_errors, stats.driver_bugs) == (0, 0)
        assert stats.ops == 200_000 + sum(each.again + each.nobody for each in consumers)
        assert nothing_left(fw)
    for driver in drivers:
        assert sorted(driver.freed) == sorted(driver.opened)
    assert list(fw._drivers) == []


def test_drivers_that_block_come_and_go_under_a_restless_interpreter(restless: None) -> None:
    """The same, shorter, with ERESTART and unblock from other threads and constant switching."""
    drivers: list[Toy] = [Moody("one"), Moody("two")]
    with threaded(*drivers) as fw:
        consumers = [Consumer(fw, n, 300) for n in range(4)]
        stop = threading.Event()
        with running(come_and_go(fw, drivers, stop)):
            try:
                with running(*(consumer.run for consumer in consumers)):
                    pass
            finally:
                stop.set()
        for consumer in consumers:
            fw.freesession(consumer.sid)
        assert nothing_left(fw)
        assert fw.stats.driver_bugs == 0


def test_many_threads_on_one_session(restless: None) -> None:
    """Requests of eight threads on one session each come back once, with the right answer."""
    with threaded(Moody("one")) as fw:
        sid = newsession(fw, b"\x05" * 8)
        consumers = [Consumer(fw, 4, 300, sid) for _ in range(CONSUMERS)]
        with running(*(consumer.run for consumer in consumers)):
            pass
        fw.freesession(sid)
        assert nothing_left(fw)


def test_sessions_are_freed_under_load(restless: None) -> None:
    """What was accepted before the free is served, what comes after is ENOENT; none stays."""
    toy = Moody("one")
    with threaded(toy) as fw:
        for _ in range(30):
            sid, log = newsession(fw), Log()
            begun = threading.Event()

            def work(sid: int = sid, log: Log = log, begun: threading.Event = begun) -> None:
                for number in range(40):
                    fw.dispatch(request(sid, log, number, flags=FLAGS[number % len(FLAGS)]))
                    begun.set()

            with running(work, work):
                begun.wait(10)
                fw.freesession(sid)
            deadline = time.monotonic() + PATIENCE
            while len(log.calls) < 80:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            assert set(log.etypes) <= {0, errno.ENOENT}
        deadline = time.monotonic() + 10
        while not nothing_left(fw) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert nothing_left(fw)
        assert sorted(toy.freed) == sorted(toy.opened)


def test_one_free_of_many_succeeds(restless: None) -> None:
    """Eight threads free one session: one does, seven hear that it is gone."""
    toy = Toy()
    with threaded(toy) as fw:
        for _ in range(50):
            sid = newsession(fw)
            failed: list[CryptoError] = []

            def free(sid: int = sid, failed: list[CryptoError] = failed) -> None:
                try:
                    fw.freesession(sid)
                except CryptoError as error:
                    failed.append(error)

            with running(*[free] * CONSUMERS):
                pass
            assert len(failed) == CONSUMERS - 1
        assert sorted(toy.freed) == sorted(toy.opened)


def test_unblock_races_erestart(restless: None) -> None:
    """However an unblock falls between refusal and marking, the queue never sleeps on."""

    class Racer(Toy):
        def process(self, crp: Cryptop, hint: int) -> int:
            if crp.opaque not in self.refused:
                self.refused.append(crp.opaque)
                go.set()
                return ERESTART
            self.done(crp)
            return 0

    go, over = threading.Event(), threading.Event()
    racer = Racer()

    def unblocker() -> None:
        while not over.is_set():
            if go.wait(0.01):
                go.clear()
                racer.unblock(CRYPTO_SYMQ)

    with threaded(racer) as fw:
        sid = newsession(fw)
        with running(unblocker):
            try:
                for number in range(500):
                    log = Log()
                    fw.dispatch(request(sid, log, number))
                    assert log.event.wait(10), f"asleep at {number}"
            finally:
                over.set()


def test_a_migration_happens_once_for_all_threads(restless: None) -> None:
    """Eight threads that meet a gone driver at once are all told the same new SID."""
    for _ in range(20):
        one, two = Toy("one"), Toy("two")
        with threaded(one, two) as fw:
            sid = newsession(fw)
            fw.detach("one")
            logs = [Log() for _ in range(CONSUMERS)]
            jobs = [functools.partial(fw.dispatch, request(sid, log)) for log in logs]
            with running(*jobs):
                pass
            assert len({log.calls[0] for log in logs}) == 1
            assert len(two.opened) == 1


def in_a_child(job: Callable[[], bool]) -> None:
    """Run a job in a forked child, and fail if it is false, raises or hangs."""
    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if job() else 1)
        except BaseException:
            os._exit(2)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    pytest.fail("the child hangs")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_makes_requests() -> None:
    """A child forked while the threads run uses old and new sessions, queued and not."""
    with threaded(Toy()) as fw:
        sid, log = newsession(fw), Log()
        fw.dispatch(request(sid, log, flags=CRYPTO_F_BATCH))
        assert log.event.wait(10)

        def child() -> bool:
            for each in (sid, newsession(fw)):
                for flags in FLAGS:
                    back = Log()
                    fw.dispatch(request(each, back, flags=flags))
                    if not back.event.wait(5) or back.etypes != [0]:
                        return False
                fw.freesession(each)
            return True

        in_a_child(child)
        fw.freesession(sid)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(
    not HAS_GIL,
    reason="a free-threaded Python 3.13 forks while other threads hold locks of its own objects: a "
    "child of a program that does nothing but dict.get hangs there",
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_under_load_makes_requests() -> None:
    """What other threads held or had half done at the fork does not stop the child."""
    stop = threading.Event()
    with threaded(Toy()) as fw:
        sid = newsession(fw)

        def load() -> None:
            while not stop.is_set():
                mine = newsession(fw)
                for flags in FLAGS:
                    fw.dispatch(request(sid, lambda crp: None, flags=flags))
                    fw.dispatch(request(mine, lambda crp: None, flags=flags))
                fw.freesession(mine)

        def child() -> bool:
            for each in (sid, newsession(fw)):
                for flags in FLAGS:
                    back = Log()
                    fw.dispatch(request(each, back, flags=flags))
                    if not back.event.wait(5) or back.etypes != [0]:
                        return False
            return True

        with running(load, load):
            try:
                for _ in range(10):
                    in_a_child(child)
            finally:
                stop.set()
        fw.freesession(sid)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("length", [8, 12])
def test_parent_and_child_make_different_ivs(length: int) -> None:
    """A counter that came along into a child starts anew there: no IV comes twice under one key."""
    source = IvSource(length, counter=True)
    source.fresh()
    reader, writer = os.pipe()

    def child() -> bool:
        ivs = [source.fresh() for _ in range(100)]
        return os.write(writer, b"".join(ivs)) == 100 * length and len(set(ivs)) == 100

    try:
        in_a_child(child)
        theirs = os.read(reader, 100 * length)
    finally:
        os.close(reader)
        os.close(writer)
    ours = {source.fresh() for _ in range(100)}
    assert not ours & {theirs[at : at + length] for at in range(0, len(theirs), length)}


def test_fresh_ivs_of_many_threads_differ(restless: None) -> None:
    """No IV of a counter comes twice, however many threads ask."""
    source = IvSource(8, counter=True)
    found: list[bytes] = []
    with running(*[lambda: found.extend([source.fresh() for _ in range(500)])] * CONSUMERS):
        pass
    assert len(set(found)) == 500 * CONSUMERS


def test_a_sessions_ivs_go_on_where_it_moves() -> None:
    """The sequence of fresh IVs is the session's: after a migration none comes again."""

    class Fresh(Toy):
        cri: Cryptoini

        def newsession(self, ini: Sequence[Cryptoini]) -> int:
            (self.cri,) = ini
            return self.newlid()

        def freesession(self, lid: int) -> None:
            self.freed.append(lid)

    one, two = Fresh("one", algs=[CRYPTO_AES_CTR]), Fresh("two", algs=[CRYPTO_AES_CTR])
    with threaded(one, two) as fw:
        sid = fw.newsession(Cryptoini(CRYPTO_AES_CTR, bytes(20)))
        before = [one.cri.fresh_iv() for _ in range(10)]
        fw.detach("one")
        crd = Cryptodesc(8, 8, 0, alg=CRYPTO_AES_CTR)
        fw.dispatch(Cryptop(sid, bytearray(16), [crd], Log(), CRYPTO_F_CBIMM))
        assert the_session(fw, sid).latest().slot.name == "two"
        after = [two.cri.fresh_iv() for _ in range(10)]
        assert len({*before, *after}) == 20
