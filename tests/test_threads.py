"""The threads that a driver may have: bounded, named, joined, and none in a forked child."""

import os
import threading
import time
from functools import partial
from typing import Any

import pytest

from opencrypto.driver import WorkerPool


def names() -> set[str]:
    """Return the names of the threads of pools in these tests."""
    return {t.name for t in threading.enumerate() if t.name.startswith("opencrypto-test-")}


def test_threads_come_with_work_and_go_with_close() -> None:
    """None before the first job, as many as there is work for, at most `size`, none after."""
    pool = WorkerPool("test", lambda: None, size=3)
    assert not names()
    gate, started = threading.Event(), threading.Semaphore(0)

    def job() -> None:
        started.release()
        gate.wait(10)

    for _ in range(5):
        assert pool.submit(job)
    for _ in range(3):
        assert started.acquire(timeout=10)
    assert names() == {"opencrypto-test-1", "opencrypto-test-2", "opencrypto-test-3"}
    gate.set()
    pool.close()
    assert not names()


def test_an_idle_thread_is_used_before_a_new_one() -> None:
    """One job at a time needs one thread."""
    pool = WorkerPool("test", lambda: None, size=4)
    for _ in range(20):
        done = threading.Event()
        pool.submit(done.set)
        assert done.wait(10)
        time.sleep(0.002)  # it goes idle after it has said so
    assert len(names()) <= 2
    pool.close()


def test_two_jobs_at_once_run_at_once() -> None:
    """An idle thread that has been woken is not counted on twice."""
    pool = WorkerPool("test", lambda: None, size=2)
    met = threading.Semaphore(0)
    for _ in range(50):
        meeting = threading.Barrier(2)

        def meet(meeting: threading.Barrier = meeting) -> None:
            meeting.wait(10)
            met.release()

        assert pool.submit(meet)
        assert pool.submit(meet)
        assert met.acquire(timeout=10)
        assert met.acquire(timeout=10)
    pool.close()


def test_more_to_follow_wakes_nobody_until_the_last() -> None:
    """A worker that is awake comes to them; the last one has as many at work as are needed."""
    pool = WorkerPool("test", lambda: None, size=3)
    gate, started = threading.Event(), threading.Semaphore(0)

    def job() -> None:
        started.release()
        gate.wait(10)

    for _ in range(4):
        assert pool.submit(job, more=True)
    assert started.acquire(timeout=10), "the first is begun at once, whatever follows"
    assert names() == {"opencrypto-test-1"}
    assert pool.submit(job)
    assert started.acquire(timeout=10)
    assert started.acquire(timeout=10)
    assert len(names()) == 3
    gate.set()
    pool.close()


def test_a_thread_that_is_slow_to_begin_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who started it neither does the job himself, nor starts another in its place."""
    begin, run = threading.Event(), WorkerPool._run

    def slow(pool: WorkerPool, crew: Any, number: int) -> None:
        begin.wait(10)
        run(pool, crew, number)

    monkeypatch.setattr(WorkerPool, "_run", slow)
    pool = WorkerPool("test", lambda: None, size=3)
    where: list[str] = []
    for _ in range(4):
        assert pool.submit(lambda: where.append(threading.current_thread().name), more=True)
    assert not where
    assert names() == {"opencrypto-test-1"}
    begin.set()
    pool.close()
    assert where == ["opencrypto-test-1"] * 4


def test_what_was_held_back_is_begun_when_the_pool_is_full() -> None:
    """The one that would have been the last is refused, and so wakes them."""
    pool = WorkerPool("test", lambda: None, size=2, depth=2)
    gate, started = threading.Event(), threading.Semaphore(0)

    def job() -> None:
        started.release()
        gate.wait(10)

    assert pool.submit(job, more=True)
    assert started.acquire(timeout=10)
    assert pool.submit(job, more=True)
    assert pool.submit(job, more=True)
    assert len(names()) == 1
    assert not pool.submit(job)
    assert started.acquire(timeout=10)
    gate.set()
    pool.close()


def test_a_full_pool_refuses_and_calls_when_there_is_room() -> None:
    """One call of `room` for any number of refusals, once half of what waited is gone."""
    rooms: list[int] = []
    gate, busy = threading.Event(), threading.Event()
    pool = WorkerPool("test", lambda: rooms.append(1), size=1, depth=4)

    def job() -> None:
        busy.set()
        gate.wait(10)

    pool.submit(job)
    assert busy.wait(10)
    assert all(pool.submit(lambda: None) for _ in range(4))
    assert not pool.submit(lambda: None)
    assert not pool.submit(lambda: None)
    assert not rooms
    gate.set()
    pool.close()
    assert len(rooms) <= 1


def test_room_is_called_after_a_refusal() -> None:
    """A driver that answered ERESTART hears of it."""
    room, gate, busy = threading.Event(), threading.Event(), threading.Event()
    pool = WorkerPool("test", room.set, size=1, depth=1)

    def job() -> None:
        busy.set()
        gate.wait(10)

    pool.submit(job)
    assert busy.wait(10)
    pool.submit(lambda: None)
    assert not pool.submit(lambda: None)
    gate.set()
    assert room.wait(10)
    pool.close()


def test_close_does_what_waits() -> None:
    """Nothing that was taken is dropped."""
    pool = WorkerPool("test", lambda: None, size=2, depth=1000)
    done: list[int] = []
    for n in range(500):
        assert pool.submit(partial(done.append, n))
    pool.close()
    assert sorted(done) == list(range(500))


def test_a_closed_pool_starts_anew() -> None:
    """A driver may be attached again."""
    pool = WorkerPool("test", lambda: None)
    for _ in range(3):
        done = threading.Event()
        assert pool.submit(done.set)
        pool.close()
        assert done.is_set()
    pool.close()


def test_a_job_that_raises_ends_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, without its text; the next job runs."""
    pool = WorkerPool("test", lambda: None, size=1)

    def broken() -> None:
        raise ValueError("secret")

    done = threading.Event()
    pool.submit(broken)
    pool.submit(done.set)
    assert done.wait(10)
    pool.close()
    assert "job_failed" in caplog.text
    assert "secret" not in caplog.text


def test_close_from_a_worker() -> None:
    """The one worker there is may close the pool: it does what waits itself, and ends."""
    pool = WorkerPool("test", lambda: None, size=1)
    gate, done = threading.Event(), threading.Event()
    after: list[str] = []

    def closing() -> None:
        gate.wait(10)
        pool.close()
        after.append("closed")
        done.set()

    pool.submit(closing)
    pool.submit(lambda: after.append("job"))
    gate.set()
    assert done.wait(10)
    assert after == ["job", "closed"]
    deadline = time.monotonic() + 10
    while names() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert not names()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_an_empty_pool() -> None:
    """What the parent's jobs do, the child does not; its own jobs run."""
    pool = WorkerPool("test", lambda: None, size=1)
    gate, busy = threading.Event(), threading.Event()

    def job() -> None:
        busy.set()
        gate.wait(20)

    pool.submit(job)
    assert busy.wait(10)
    ran: list[int] = []
    pool.submit(lambda: ran.append(os.getpid()))
    child = os.fork()
    if not child:
        done = threading.Event()
        ok = pool.submit(done.set) and done.wait(10) and not ran
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    gate.set()
    pool.close()
    assert os.waitstatus_to_exitcode(status) == 0
    assert ran == [os.getpid()]
