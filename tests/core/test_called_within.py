"""
Finalizers and signal handlers that call us in the midst of anything.

See `tests.core.storms`.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import random
import signal
import threading
import time
import weakref
from collections import Counter
from typing import Any

import pytest

from opencrypto import (
    CRK_MOD_EXP,
    CRYPTO_ASYMQ,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_SYMQ,
    Cryptkop,
    CryptoError,
    Cryptoini,
    Cryptop,
    Framework,
    UnknownSession,
)
from tests.core.storms import (
    ALGS,
    FLAGS,
    HANGS,
    MARKS,
    SECONDS,
    KeyToy,
    alarms,
    say,
    until,
)
from tests.toy import KEY, Toy, request

pytestmark = MARKS


class Frees:
    """An object that frees its session when it is collected, as part of a cycle."""

    def __init__(self, fw: Framework) -> None:
        self.fw = fw
        self.sid = fw.newsession(Cryptoini(CRYPTO_NULL_CBC, KEY))
        self.me = self

    def __del__(self) -> None:
        self.fw.freesession(self.sid)


def drop_a_few(fw: Framework) -> None:
    """Leave behind what frees sessions, by ``__del__`` and by a finalizer, when it is collected."""
    for _ in range(2):
        Frees(fw)

    class Node:
        pass

    node: Any = Node()
    node.me = node
    sid = fw.newsession(Cryptoini(CRYPTO_NULL_CBC, KEY))
    weakref.finalize(node, fw.freesession, sid)


def test_finalizers_free_sessions_in_the_midst_of_everything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With garbage collected at every chance, over each public call, in many threads."""
    one, two = KeyToy("one"), Toy("two", algs=ALGS)
    end = time.monotonic() + SECONDS
    rounds: Counter[str] = Counter()
    failed: list[BaseException] = []
    before = gc.get_threshold()
    fw = Framework(plugins=[one, two])

    def work(number: int) -> None:
        draw = random.Random(number)
        try:
            while time.monotonic() < end:
                drop_a_few(fw)
                sid = fw.newsession(Cryptoini(CRYPTO_NULL_CBC, KEY))
                done: list[Cryptop] = []
                for flags in FLAGS * 2:
                    fw.dispatch(request(sid, done.append, flags=flags))
                krp = Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], done.append)  # type: ignore[arg-type]
                fw.kdispatch(krp)
                assert until(lambda done=done: len(done) == 2 * len(FLAGS) + 1)  # type: ignore[misc]
                fw.freesession(sid)
                choice = draw.randrange(6)
                if choice == 0 and number == 0:
                    fw.detach(two)
                    fw.attach(two)
                elif choice == 1:
                    fw.unblock(0, CRYPTO_SYMQ | CRYPTO_ASYMQ)
                elif choice == 2:
                    assert fw.stats.ops
                    assert dict(fw.sysctl.items())
                elif choice == 3:
                    fw.freereq(fw.getreq(2))
                    fw.kfreereq(fw.kgetreq())
                elif choice == 4 and number == 1:
                    fw.sysctl["opencrypto.timing"] = int(not fw.sysctl["opencrypto.timing"])
                else:
                    with contextlib.suppress(UnknownSession):
                        fw.freesession(sid)
                rounds["rounds"] += 1
                rounds["requests"] += len(done)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    gc.collect()
    gc.freeze()  # what is there already need not be looked at each time
    gc.set_threshold(1, 1, 1)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + HANGS / 2)
        assert not any(thread.is_alive() for thread in threads), "a deadlock"
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    gc.collect()
    assert not failed
    assert until(lambda: not fw._sessions.table)
    fw.close()
    assert not one.keys
    assert not two.keys
    say(capsys, **rounds)
    assert rounds["rounds"]


def test_a_signal_handler_may_call_anything_in_the_midst_of_anything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each public call by a handler, on top of each by the main thread, while others are busy."""
    one, two = KeyToy("one"), Toy("two", algs=ALGS)
    extra = Toy("extra", algs=ALGS)
    end = time.monotonic() + SECONDS
    draw = random.Random(1)
    called: Counter[str] = Counter()
    answered: list[object] = []
    dispatched = [0]
    fw = Framework(plugins=[one, two])
    mine = [fw.newsession(Cryptoini(CRYPTO_NULL_CBC, KEY)) for _ in range(4)]

    def dispatch() -> None:
        dispatched[0] += 1
        fw.dispatch(request(draw.choice(mine), follow, flags=draw.choice(FLAGS)))

    def follow(crp: Cryptop) -> None:
        if crp.etype == errno.EAGAIN:
            fw.dispatch(crp)
        else:
            answered.append(crp)

    def kdispatch() -> None:
        dispatched[0] += 1
        fw.kdispatch(Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], answered.append))

    def open_and_free() -> None:
        fw.freesession(fw.newsession(Cryptoini(CRYPTO_NULL_CBC, KEY)))

    def come_and_go() -> None:
        with contextlib.suppress(CryptoError):
            fw.attach(extra)
        with contextlib.suppress(CryptoError):
            fw.detach(extra, timeout=5)

    def unblock() -> None:
        fw.unblock(0, CRYPTO_SYMQ | CRYPTO_ASYMQ)

    def look() -> None:
        assert fw.stats.ops >= 0
        assert fw.drivers
        with contextlib.suppress(CryptoError):  # of a driver that goes meanwhile
            assert dict(fw.sysctl.items())

    def time_it() -> None:
        fw.sysctl["opencrypto.timing"] = int(not fw.sysctl["opencrypto.timing"])

    def requests() -> None:
        fw.freereq(fw.getreq(1))
        fw.kfreereq(fw.kgetreq())

    calls = [dispatch, kdispatch, open_and_free, unblock, look, time_it, requests, come_and_go]

    def keep_busy() -> None:
        while time.monotonic() < end:
            open_and_free()

    def soon() -> None:
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.00005, 0.002))

    def any_call() -> None:
        call = draw.choice(calls)
        call()
        called[call.__name__] += 1

    busy = threading.Thread(target=keep_busy)
    busy.start()

    def soon_again() -> None:
        soon()
        any_call()

    with alarms(0, soon_again) as count:
        while time.monotonic() < end:
            soon()
            any_call()
    busy.join(HANGS / 2)
    assert not busy.is_alive()
    assert until(lambda: len(answered) == dispatched[0]), (len(answered), dispatched[0])
    fw.close()
    assert not one.keys
    assert not two.keys
    say(
        capsys,
        signals=count[0],
        calls=sum(called.values()),
        dispatched=dispatched[0],
        lost=dispatched[0] - len(answered),
    )
    assert min(called[call.__name__] for call in calls)


@pytest.mark.parametrize(
    "beneath", ["dispatch", "batch", "newsession", "freesession", "detach", "kdispatch"]
)
def test_a_signal_handler_may_close_in_the_midst_of_anything(
    beneath: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A SIGTERM handler: it returns at once or at the end, and a later close waits for that."""
    end = time.monotonic() + SECONDS / 4
    draw = random.Random(2)
    ends = 0
    while time.monotonic() < end:
        one, two = KeyToy("one"), Toy("two", algs=ALGS)
        fw = Framework(plugins=[one, two])
        answers: list[object] = []
        dispatched = 0
        closed = [0]

        def close(fw: Framework = fw, closed: list[int] = closed) -> None:
            closed[0] += 1
            if closed[0] == 1:
                fw.close()

        sid = fw.newsession(Cryptoini(CRYPTO_NULL_CBC, KEY))
        with alarms(draw.uniform(0.0002, 0.002), close), contextlib.suppress(CryptoError):
            while not closed[0]:
                if beneath in ("dispatch", "batch"):
                    dispatched += 1
                    flags = CRYPTO_F_BATCH if beneath == "batch" else CRYPTO_F_CBIMM
                    fw.dispatch(request(sid, answers.append, flags=flags))
                elif beneath == "kdispatch":
                    dispatched += 1
                    fw.kdispatch(Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], answers.append))
                elif beneath == "detach":
                    fw.detach(two)
                    fw.attach(two)
                else:
                    fw.freesession(fw.newsession(Cryptoini(CRYPTO_NULL_CBC, KEY)))
        begun = time.monotonic()
        fw.close()
        assert time.monotonic() - begun < 5
        assert one.closed == 1
        assert two.closed >= 1
        assert not one.keys
        assert not two.keys
        assert len(answers) == dispatched
        ends += 1
    say(capsys, ends=ends)
    assert ends
