"""
Threads that cannot be started, that are interrupted, or that meet a signal handler in their midst.

Whoever kicks does the work then: slower, in order, and nothing is lost.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

import pytest

from opencrypto import CRK_MOD_EXP, CRYPTO_ASYMQ, CRYPTO_F_BATCH, Cryptkop, Cryptop, Framework
from opencrypto._threads import ThreadInterrupt
from opencrypto.driver import WorkerPool
from tests.toy import KEY, Log, Toy, newsession, request

BATCH = CRYPTO_F_BATCH

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


class Refusals:
    """Makes the next so many starts of a thread of ours fail."""

    def __init__(self) -> None:
        self.left = 0
        self.met = 0
        self._start = threading.Thread.start

    def start(self, thread: threading.Thread) -> None:
        """Stand in for `Thread.start`."""
        if self.left and thread.name.startswith("opencrypto") and "check" not in thread.name:
            self.left -= 1
            self.met += 1
            raise RuntimeError("can't start new thread")
        self._start(thread)


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    """No thread is refused until a test says how many."""
    found = Refusals()
    monkeypatch.setattr(threading.Thread, "start", lambda thread: found.start(thread))
    return found


@pytest.mark.parametrize("failures", [1, 2, 5, 1000])
def test_requests_are_answered_though_no_thread_starts(refusals: Refusals, failures: int) -> None:
    """Batched or not, from the return queue or not: in order, once each, and close() ends."""
    toy, log = Toy(), Log()
    refusals.left = failures
    with Framework(plugins=[toy]) as fw:
        sid = newsession(fw)
        crps = [
            request(sid, log, n, flags=flags)
            for n, flags in enumerate((0, 0, BATCH, BATCH, 0, BATCH))
        ]
        for crp in crps:
            fw.dispatch(crp)
        deadline = time.monotonic() + 10
        while len(log.calls) < len(crps) and time.monotonic() < deadline:
            time.sleep(0.002)
        assert sorted(log.order) == [0, 1, 2, 3, 4, 5]
        assert set(log.etypes) == {0}
        fw.freesession(sid)
    assert refusals.met
    assert toy.closed == 1


@pytest.mark.parametrize("size", [1, 3])
def test_a_pool_without_threads_does_its_jobs_itself(refusals: Refusals, size: int) -> None:
    """A failed start counts for no worker: with the next job one is started."""
    pool = WorkerPool("test", lambda: None, size=size)
    refusals.left = 10
    done: list[str] = []

    def job() -> None:
        done.append(threading.current_thread().name)

    assert pool.submit(job)
    assert done == [threading.current_thread().name]
    refusals.left = 0
    event = threading.Event()
    assert pool.submit(event.set)
    assert event.wait(10)
    assert [t.name for t in threading.enumerate() if t.name.startswith("opencrypto-test")]
    pool.close()


def test_a_refused_start_leaves_no_job_to_be_done_later(refusals: Refusals) -> None:
    """What `submit` took is done when it returns, or a worker does it: never after an answer."""
    pool = WorkerPool("test", lambda: None, size=1, depth=2)
    refusals.left = 3
    ran: list[int] = []
    for n in range(3):
        assert pool.submit(partial(ran.append, n))
        assert ran == list(range(n + 1))
    pool.close()
    assert ran == [0, 1, 2]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without processes left")
def test_a_user_who_may_have_no_more_processes_is_served() -> None:
    """RLIMIT_NPROC does not bind root; another user's threads are refused by the kernel."""
    child = os.fork()
    if not child:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            os.setuid(65534)
            code = _served_without_threads()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _served_without_threads() -> int:
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=int).start()
        return 2  # the limit does not hold: nothing was tried
    log = Log()
    with pytest.warns(RuntimeWarning, match="no thread"):
        fw = Framework(plugins=[Toy()])
    with fw:
        sid = newsession(fw)
        for n in range(5):
            fw.dispatch(request(sid, log, n, flags=0))
        return 0 if log.order == [0, 1, 2, 3, 4] and not any(log.etypes) else 3


SUBINTERPRETER = """
    import sys
    sys.path[:0] = {path!r}
    import warnings
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        from opencrypto import Framework
        from tests.toy import Log, Toy, newsession, request
        log = Log()
        with Framework(plugins=[Toy()]) as fw:
            sid = newsession(fw)
            for n in range(3):
                fw.dispatch(request(sid, log, n, flags=0))
    assert log.order == [0, 1, 2], log.order
    assert log.etypes == [0, 0, 0]
    assert any("no thread" in str(each.message) for each in said), said
    print("served")
"""

OUTER = """
    import sys
    try:
        import _interpreters as interpreters
        sub = interpreters.create("isolated")
    except ImportError:
        import _xxsubinterpreters as interpreters
        sub = interpreters.create(isolated=True)
    failure = interpreters.run_string(sub, {inner!r})
    sys.exit(str(failure) if failure else 0)
"""


def test_an_isolated_subinterpreter_says_so_and_serves() -> None:
    """Threads are refused there: a warning at `Framework()`, and the work done inline."""
    inner = textwrap.dedent(SUBINTERPRETER).format(path=sys.path)
    outer = textwrap.dedent(OUTER).format(inner=inner)
    done = subprocess.run(
        [sys.executable, "-c", outer], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "served"), done.stderr


@pytest.mark.parametrize("error", [SystemExit, CancelledError, GeneratorExit, KeyboardInterrupt])
def test_no_exception_of_a_job_costs_a_worker(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    pool = WorkerPool("test", lambda: None, size=1)

    def broken() -> None:
        raise error

    for _ in range(3):
        assert pool.submit(broken)
    done = threading.Event()
    assert pool.submit(done.set)
    assert done.wait(10)
    assert len([t for t in threading.enumerate() if t.name.startswith("opencrypto-test")]) == 1
    pool.close()
    assert caplog.text.count("job_failed") == 3


def test_a_room_that_raises_costs_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise SystemExit

    pool = WorkerPool("test", broken, size=1, depth=1)
    gate, busy, done = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        busy.set()
        gate.wait(10)

    assert pool.submit(job)
    assert busy.wait(10)
    assert pool.submit(int)
    assert not pool.submit(int)
    gate.set()
    while not pool.submit(done.set):
        time.sleep(0.002)
    assert done.wait(10)
    pool.close()
    assert "room_failed" in caplog.text


@pytest.fixture
def interrupted_join(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The first join of each thread of ours is interrupted, as by Ctrl-C."""
    seen: list[threading.Thread] = []
    join = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name.startswith("opencrypto") and thread not in seen:
            seen.append(thread)
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    return seen


def test_an_interrupted_close_of_a_pool_is_finished_by_the_next(
    interrupted_join: list[threading.Thread],
) -> None:
    pool = WorkerPool("test", lambda: None, size=2)
    met = threading.Barrier(3)
    for _ in range(2):
        assert pool.submit(lambda: met.wait(10))
    met.wait(10)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pool.close()
        assert not pool.submit(int), "it is being closed, and takes no jobs"
    pool.close()
    assert len(interrupted_join) == 2
    assert not [t for t in threading.enumerate() if t.name.startswith("opencrypto-test")]
    done = threading.Event()
    assert pool.submit(done.set), "a closed pool starts anew"
    assert done.wait(10)
    with pytest.raises(KeyboardInterrupt):
        pool.close()
    pool.close()


def test_an_interrupted_stop_is_finished_by_the_next(
    interrupted_join: list[threading.Thread],
) -> None:
    work: list[int] = []
    done = threading.Event()

    def run() -> None:
        if work:
            work.pop()
            done.set()

    interrupt = ThreadInterrupt("opencrypto-test", run, lambda: bool(work))
    work.append(1)
    interrupt.kick()
    assert done.wait(10)
    with pytest.raises(KeyboardInterrupt):
        interrupt.stop()
    interrupt.stop()
    assert interrupted_join
    work.append(1)
    interrupt.kick()
    assert not work, "after the end it is done by whoever kicks"
    interrupt.stop()


@contextlib.contextmanager
def alarms(interval: float, handler: Callable[[], object]) -> Iterator[list[int]]:
    """Have a signal handler run in the main thread again and again."""
    count: list[int] = []

    def handle(_signal: int, _frame: FrameType | None) -> None:
        count.append(1)
        handler()

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, interval, interval)
    try:
        yield count
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_may_submit_in_the_midst_of_a_submit() -> None:
    """No lock is held at any time, so none is waited for by the thread that holds it."""
    pool = WorkerPool("test", lambda: None, size=2, depth=1 << 20)
    done: list[int] = []
    with alarms(0.0003, lambda: pool.submit(lambda: done.append(-1))) as count:
        for n in range(20_000):
            assert pool.submit(partial(done.append, n))
    pool.close()
    assert count
    assert len(done) == 20_000 + len(count)
    assert sorted(n for n in done if n >= 0) == list(range(20_000))


def test_a_signal_handler_may_kick_in_the_midst_of_a_kick() -> None:
    """Every ring is followed by a run."""
    queued: list[int] = []
    ran: list[int] = []

    def run() -> None:
        while queued:
            ran.append(queued.pop())

    interrupt = ThreadInterrupt("opencrypto-test", run, lambda: bool(queued))

    def ring() -> None:
        queued.append(1)
        interrupt.kick()

    with alarms(0.0003, ring) as count:
        for _ in range(20_000):
            ring()
    interrupt.stop()
    assert count
    assert len(ran) == 20_000 + len(count)


def test_key_requests_are_answered_though_no_thread_starts(refusals: Refusals) -> None:
    """The driver's pool and the framework's interrupts alike."""
    refusals.left = 1000
    done: list[tuple[int, int]] = []
    with Framework(plugins=["swcrypto"]) as fw:
        krp = Cryptkop.of(
            CRK_MOD_EXP, [3, 5, 7], [8], lambda k: done.append((k.status, k.outputs[0].to_int()))
        )
        fw.kdispatch(krp)
        fw.unblock(0, CRYPTO_ASYMQ)
    assert done == [(0, 5)]


def test_an_inline_callback_may_dispatch_without_end(refusals: Refusals) -> None:
    """Served inline, a callback's own request waits for the next round instead of nesting."""
    refusals.left = 1 << 30
    left = 3000

    with Framework(plugins=[Toy()]) as fw:
        sid = newsession(fw)

        def again(crp: Cryptop) -> None:
            nonlocal left
            left -= 1
            if left and not crp.etype:
                fw.dispatch(crp)

        crp = request(sid, Log(), 0, flags=0)
        crp.callback = again
        fw.dispatch(crp)
        assert left == 0
    assert KEY


@contextlib.contextmanager
def one_alarm(seconds: float) -> Iterator[None]:
    """Have a KeyboardInterrupt come once, and see that it does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def hanging(*names: str) -> tuple[Framework, list[Toy], Log]:
    """Make a framework whose drivers have taken a request each and never answer."""
    toys, log = [Toy(name) for name in names], Log()
    fw = Framework(plugins=list(toys))
    for toy, name in zip(toys, names, strict=True):
        toy.hold = True  # only now: the self-test wants answers
        fw.dispatch(request(newsession(fw, driver=name), log, name, flags=0))
    return fw, toys, log


def test_an_interrupted_close_is_finished_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it waits for a driver that hangs: drivers are closed and nothing is lost."""
    fw, toys, log = hanging("one", "two")
    for _ in range(2):
        with one_alarm(0.05):
            fw.close()
    assert [toy.closed for toy in toys] == [0, 0]
    monkeypatch.setattr("opencrypto._core.framework.DETACH_TIMEOUT", 0.01)
    fw.close()
    assert [toy.closed for toy in toys] == [1, 1]
    assert sorted(log.order) == ["one", "two"]
    assert all(log.etypes)
    fw.close()
    assert [toy.closed for toy in toys] == [1, 1]


def test_an_interrupted_detach_is_finished_by_the_next() -> None:
    """It is not "being detached already" by somebody who has given up."""
    fw, toys, log = hanging("one")
    with fw:
        for _ in range(2):
            with one_alarm(0.05):
                fw.detach("one")
        fw.detach("one", timeout=0.01)
        assert toys[0].closed == 1
        fw.attach(Toy("one"))
    assert log.order == ["one"]


def test_all_that_hang_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    fw, toys, log = hanging("one", "two", "three")
    monkeypatch.setattr("opencrypto._core.framework.DETACH_TIMEOUT", 0.6)
    begun = time.monotonic()
    fw.close()
    assert time.monotonic() - begun < 1.2
    assert [toy.closed for toy in toys] == [1, 1, 1]
    assert sorted(log.order) == ["one", "three", "two"]


def test_a_signal_handler_may_close_in_the_midst_of_a_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that is in it finishes."""
    fw, toys, log = hanging("one")
    monkeypatch.setattr("opencrypto._core.framework.DETACH_TIMEOUT", 0.2)
    with alarms(0.01, fw.close) as count:
        fw.close()
    assert count
    assert toys[0].closed == 1
    assert log.order == ["one"]


def test_a_second_close_waits_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes finds everything closed when that returns."""
    fw, toys, log = hanging("one")
    monkeypatch.setattr("opencrypto._core.framework.DETACH_TIMEOUT", 0.3)
    first = threading.Thread(target=fw.close)
    first.start()
    while not fw.closed:
        time.sleep(0.001)
    fw.close()
    assert toys[0].closed == 1
    assert log.order == ["one"]
    first.join()


def test_a_close_waits_for_who_detaches_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's detach with an hour to go does not keep a driver beyond the end of close."""
    fw, toys, log = hanging("one")
    monkeypatch.setattr("opencrypto._core.framework.DETACH_TIMEOUT", 0.2)
    other = threading.Thread(target=lambda: fw.detach("one", timeout=3600))
    other.start()
    while not next(iter(fw._drivers)).closing:
        time.sleep(0.001)
    begun = time.monotonic()
    fw.close()
    assert time.monotonic() - begun < 5
    assert toys[0].closed == 1
    assert log.order == ["one"]
    other.join()


def test_a_callback_may_detach_the_driver_that_calls_it() -> None:
    """At once, where nothing is left to be waited for; else when the driver has come to its end."""
    toy = Toy()
    with Framework(plugins=[toy]) as fw:
        sid = newsession(fw)
        fw.dispatch(request(sid, lambda _: fw.detach(toy)))
        deadline = time.monotonic() + 10
        while not toy.closed and time.monotonic() < deadline:
            time.sleep(0.002)
        assert toy.closed == 1


def test_a_forked_child_may_detach_what_the_parent_was_detaching() -> None:
    """Who was at it has not come along."""
    fw, toys, _ = hanging("one")
    next(iter(fw._drivers)).closing = -1  # another thread's, at the fork
    fw.after_fork()
    toys[0].held.clear()
    fw.detach("one", timeout=1)
    assert toys[0].closed == 1
    fw.close()
