"""
What becomes of a framework in a forked child: `Framework.after_fork`, without the fork.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    Cryptoini,
    Framework,
    _threads,
)
from opencrypto._core.default import DEFAULT
from opencrypto.driver import Rule, renew_after_fork
from tests.toy import Log, Toy, newsession, request, step, stepped, the_session

LOCKS = (type(threading.Lock()), type(threading.RLock()))
CONTAINERS = (dict, list, tuple, set, frozenset, deque)


def parts(thing: Any) -> Iterator[Any]:
    """Yield what a container holds, or what an object of ours has."""
    if isinstance(thing, dict):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, CONTAINERS):
        yield from thing
    elif type(thing).__module__.startswith("opencrypto"):
        yield from getattr(thing, "__dict__", {}).values()
        for each in type(thing).__mro__:
            names = getattr(each, "__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                yield getattr(thing, name, None)


def locks(framework: Framework) -> list[Any]:
    """Return every lock that can be reached from a framework, drivers left out."""
    found, seen, left = [], set[int](), [framework]
    while left:
        thing: Any = left.pop()
        if id(thing) in seen or isinstance(thing, (type, str, bytes, Toy)):
            continue
        seen.add(id(thing))
        if isinstance(thing, LOCKS):
            found.append(thing)
        left.extend(parts(thing))
    return found


def held(lock: Any) -> bool:
    """Tell whether another thread than a new one holds a lock."""
    got: list[bool] = []

    def take() -> None:
        got.append(lock.acquire(blocking=False))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return not got[0]


@contextmanager
def busy() -> Iterator[Framework]:
    """Give a framework in which there is one of everything that has a lock."""
    one, other = Toy("one", algs=[CRYPTO_NULL_CBC]), Toy("other", algs=[CRYPTO_NULL_HMAC])
    with stepped(one, other, Toy("gone")) as fw:
        newsession(fw, driver="gone")
        fw.detach("gone")
        fw.newsession([Cryptoini(CRYPTO_NULL_CBC, b"k"), Cryptoini(CRYPTO_NULL_HMAC)])
        yield fw


def test_every_lock_is_a_new_one() -> None:
    """Any of them may have been held, at the fork, by a thread that did not come along."""
    with busy() as fw:
        before = locks(fw)
        assert len(before) > 10, "the walk finds them"
        for lock in before:
            lock.acquire()
        fw.after_fork()
        after = locks(fw)
        assert not [lock for lock in after if held(lock)]
        assert len(after) == len(before)
        for lock in before:
            lock.release()
        sid, back = newsession(fw), Log()
        fw.dispatch(request(sid, back, flags=CRYPTO_F_BATCH))
        fw.driver_bugs.report(Rule.CLOSE, "one")
        step(fw)
        assert back.etypes == [0]


def test_the_parents_requests_are_idle_and_are_not_answered() -> None:
    """Queued, at the driver, or completed: the parent calls them back, the child may use them."""
    driver, log = Toy(hold=True), Log()
    with stepped(driver) as fw:
        sid = newsession(fw)
        taken = request(sid, log, "taken")
        queued = request(sid, log, "queued", flags=CRYPTO_F_BATCH)
        completed = request(0xBAD, log, "completed", flags=0)
        for crp in (taken, queued, completed):
            fw.dispatch(crp)
        session = the_session(fw, sid)
        assert not session.straight
        fw.after_fork()
        assert session.straight
        assert [crp.state for crp in (taken, queued, completed)] == [0, 0, 0]
        step(fw)
        assert not log.calls
        driver.hold = False
        for crp in (taken, queued):
            fw.dispatch(crp)
        step(fw)
        assert log.order == ["taken", "queued"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_while_the_default_framework_is_made_can_make_its_own() -> None:
    """The thread that made it holds a lock of the module, and does not come along."""
    making, made = threading.Event(), threading.Event()

    def make() -> None:
        with DEFAULT.lock:
            making.set()
            made.wait(10)

    maker = threading.Thread(target=make)
    maker.start()
    assert making.wait(10)
    child = os.fork()
    if not child:
        os._exit(0 if DEFAULT.lock.acquire(timeout=5) else 1)
    made.set()
    maker.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_while_a_refused_thread_is_logged_can_log_its_own() -> None:
    """The limits of events that may come often have locks of their own."""
    with _threads._refused._lock:
        child = os.fork()
        if not child:
            os._exit(0 if _threads._refused._lock.acquire(timeout=5) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_what_cannot_be_renewed_in_a_child_keeps_nothing_else_from_it() -> None:
    """They are come to in no certain order, so there are many of either kind."""

    class Renewed:
        count = 0

        def after_fork(self) -> None:
            self.count += 1

    class Broken:
        def after_fork(self) -> None:
            raise SystemExit

    things = [kind() for _ in range(20) for kind in (Renewed, Broken)]
    for each in things:
        renew_after_fork(each)
    child = os.fork()
    if not child:
        renewed = [each.count for each in things if isinstance(each, Renewed)]
        os._exit(0 if renewed == [1] * 20 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_can_detach_what_a_thread_of_the_parent_was_detaching() -> None:
    """That thread waits for the parent's requests, and does not come along."""
    toy = Toy(hold=True)
    with stepped(toy) as fw:
        (slot,) = fw._drivers
        fw.dispatch(request(newsession(fw), Log()))
        thread = threading.Thread(target=fw.detach, args=("toy",), kwargs={"timeout": 20})
        thread.start()
        while not slot.closing:
            thread.join(0.01)
        child = os.fork()
        if not child:
            status = 1
            try:
                fw.detach("toy", timeout=0)
                status = toy.closed - 1
            finally:
                os._exit(status)
        toy.answer()
        thread.join()
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
