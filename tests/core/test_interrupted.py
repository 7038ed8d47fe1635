"""
Storms of signal handlers and finalizers: what raises, or calls us, in the midst of anything.

``make storm SECONDS=60`` has each last that long, and prints its counts.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import logging
import os
import random
import signal
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from types import FrameType
from typing import Any

import pytest

from opencrypto import (
    CRK_MOD_EXP,
    CRYPTO_ASYMQ,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTO_SYMQ,
    ERESTART,
    BusyError,
    Cryptkop,
    CryptoError,
    Cryptoini,
    Cryptop,
    Framework,
    UnknownSession,
)
from opencrypto._threads import ThreadInterrupt
from opencrypto.exceptions import UsageError
from tests.toy import KEY, Toy, newsession, request, the_session

pytestmark = [
    pytest.mark.alone,
    # By signals it would take a late alarm of the storm's for its own.
    pytest.mark.timeout(180, method="thread"),
    # Where a signal handler raises in a finalizer, Python can but say so.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FLAGS = (CRYPTO_F_BATCH, 0, CRYPTO_F_CBIMM, CRYPTO_F_BATCH | CRYPTO_F_CBIMM)
SECONDS = float(os.environ.get("OPENCRYPTO_STORM_SECONDS", "1.5"))
NESTED = 3
"""How many handlers are on top of each other at most."""
HANGS = 30.0
"""Seconds after which a storm that does not end says where all threads are, and dies."""


@pytest.fixture(autouse=True)
def _no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log nothing: interrupted before its ``try``, Python's own `Handler.handle` keeps its lock."""
    monkeypatch.setattr(logging.getLogger("opencrypto"), "disabled", True)


@pytest.fixture(autouse=True)
def _no_hanging() -> Iterator[None]:
    faulthandler.dump_traceback_later(SECONDS + HANGS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    # CPython lists for ever a thread whose start was interrupted before it ran.
    for thread in threading.enumerate():
        if not thread.is_alive():
            threading._limbo.pop(thread, None)  # type: ignore[attr-defined]


class Pacer:
    """Interrupts as Ctrl-C does, while it is armed, and at moments that nothing here decides."""

    def __init__(self) -> None:
        self.armed = False
        self.hits = 0

    def __call__(self) -> None:
        if self.armed:
            self.armed = False
            self.hits += 1
            raise KeyboardInterrupt

    def __enter__(self) -> None:
        self.armed = True

    def __exit__(self, *_: object) -> None:
        self.armed = False


@contextlib.contextmanager
def alarms(interval: float, handle: Callable[[], object]) -> Iterator[list[int]]:
    """Have a signal handler run in the main thread again and again."""
    count = [0]
    depth = [0]

    def handler(_signal: int, _frame: FrameType | None) -> None:
        if depth[0] >= NESTED:
            return
        count[0] += 1
        depth[0] += 1
        try:
            handle()
        finally:
            depth[0] -= 1

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, interval, interval)
        yield count
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # drops one that is on its way
        signal.signal(signal.SIGALRM, before)


def until(true: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait until something is so; tell whether it is."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    return bool(true())


def say(capsys: pytest.CaptureFixture[str], **counts: object) -> None:
    """Print the counts of a storm."""
    with capsys.disabled():
        if "OPENCRYPTO_STORM_SECONDS" in os.environ:
            print("\n   ", ", ".join(f"{name} {value}" for name, value in counts.items()))


ALGS = (CRYPTO_NULL_CBC,)
XORED = bytes([KEY[0]]) * 16


class CToy(Toy):
    """A toy in whose newsession and freesession an interrupt comes before or after, not between."""

    def __init__(self, name: str = "toy", algs: Collection[int] = ALGS) -> None:
        super().__init__(name, algs=algs)
        self.freesession = self.keys.pop  # type: ignore[method-assign, assignment]

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        key = ini[0].key[0] if ini[0].key else 0
        lid = self.newlid()
        self.keys[lid] = key
        return lid


class KeyToy(Toy):
    """A toy that answers key requests at once, or refuses them now and then."""

    keyops = (CRK_MOD_EXP,)
    asked = 0

    def __init__(self, name: str = "toy") -> None:
        super().__init__(name, algs=ALGS)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        self.asked += 1
        if self.asked % 7 == 0:
            self.unblock(CRYPTO_ASYMQ)
            return ERESTART
        self.kdone(krp)
        return 0


class Stubborn(CToy):
    """A toy that takes no key request ever: they wait for it."""

    keyops = (CRK_MOD_EXP,)

    def kprocess(self, krp: Cryptkop, hint: int) -> int:
        return ERESTART


class Refusing(Toy):
    """A toy that now and then takes nothing until later."""

    def process(self, crp: Cryptop, hint: int) -> int:
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked % 7 == 0:
            self.unblock(CRYPTO_SYMQ)  # sooner than the refusal
            return ERESTART
        key = self.keys[crp.lid]
        crp.buf[:] = bytes(byte ^ key for byte in crp.buf)
        self.done(crp)
        return 0


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("kind", [Toy, Refusing])
def test_no_request_is_lost_or_doubled_wherever_dispatch_is_interrupted(
    flags: int, kind: type[Toy], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one whose dispatch raised: it is answered once, or it is idle and was never taken."""
    pacer, driver = Pacer(), kind(algs=ALGS)
    accepted = answered = refused = wrong = 0
    answers: list[Cryptop] = []
    end = time.monotonic() + SECONDS / 4
    with Framework(plugins=[driver]) as fw:
        sid = newsession(fw)
        session = the_session(fw, sid)
        with alarms(0.0002, pacer) as count:
            while time.monotonic() < end:
                crps = [request(sid, answers.append, flags=flags) for _ in range(64)]
                broken_off = []
                for crp in crps:
                    try:
                        with pacer:
                            fw.dispatch(crp)
                        accepted += 1
                    except KeyboardInterrupt:
                        broken_off.append(crp)
                stuck = [crp for crp in crps if not until(lambda crp=crp: not crp.state)]  # type: ignore[misc]
                assert not stuck, [(c.state, c in session.inflight) for c in stuck]
                assert not session.inflight
                got = Counter(map(id, answers))
                assert set(got.values()) <= {1}, "doubled"
                accepted += sum(id(crp) in got for crp in broken_off)
                refused += sum(id(crp) not in got for crp in broken_off)
                assert {crp.etype for crp in answers} <= {0, errno.EIO}
                wrong += sum(not crp.etype and crp.buf != XORED for crp in answers)
                answered += len(answers)
                answers.clear()
        assert until(lambda: session.straight), "the straight way is open again"
        assert session.queued == 0
        fw.freesession(sid)
        assert not driver.keys
    say(
        capsys, signals=count[0], interrupts=pacer.hits, accepted=accepted, answered=answered,
        refused=refused, lost=accepted - answered, wrong=wrong,
    )  # fmt: skip
    assert pacer.hits
    assert (accepted - answered, wrong) == (0, 0)
    assert fw.driver_bugs.count == 0


BOTH = (CRYPTO_NULL_CBC, CRYPTO_NULL_HMAC)
"""A chain that one toy serves, or two do together."""


def chain_of(algs: Sequence[int]) -> list[Cryptoini]:
    """Return the parameters of a session of some of these."""
    return [Cryptoini(alg, KEY if alg == CRYPTO_NULL_CBC else b"") for alg in algs]


@pytest.mark.parametrize("chain", [(CRYPTO_NULL_CBC,), BOTH])
def test_no_session_is_lost_wherever_opening_and_freeing_are_interrupted(
    chain: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the consumer was not told of is no more; what it asked to be freed is."""
    pacer, driver, other = Pacer(), CToy(), CToy("mac", (CRYPTO_NULL_HMAC,))
    told = freed = broken_off = 0
    ini = chain_of(chain)
    end = time.monotonic() + SECONDS
    with (
        Framework(plugins=False) as fw,
        alarms(0.0002 if len(chain) == 1 else 0.002, pacer) as count,
    ):
        fw.attach(driver)
        fw.attach(other)
        while time.monotonic() < end:
            sids: list[int] = []
            for _ in range(16):
                try:
                    with pacer:
                        sids.append(fw.newsession(ini))
                    told += 1
                except KeyboardInterrupt:
                    broken_off += 1
            for sid in sids:
                try:
                    with pacer:
                        fw.freesession(sid)
                    freed += 1
                except KeyboardInterrupt:
                    broken_off += 1
                    with contextlib.suppress(UnknownSession):
                        fw.freesession(sid)  # which it may not have come to
            assert until(lambda: not fw._sessions.table)
            slot = fw._drivers.find("toy")
            assert until(lambda slot=slot: not slot.calls and not slot.sym.sessions)  # type: ignore[misc]
            assert not other.keys
            assert not fw._virtual._parts
    say(
        capsys,
        signals=count[0],
        interrupts=pacer.hits,
        told=told,
        freed=freed,
        kept=len(driver.keys),
    )
    assert pacer.hits
    assert broken_off
    assert told
    assert not driver.keys, "the driver was told of each"
    assert not other.keys


@pytest.mark.parametrize("chain", [(CRYPTO_NULL_CBC,), BOTH])
@pytest.mark.parametrize("pinned", [False, True])
def test_no_session_is_lost_wherever_its_move_is_interrupted(
    chain: tuple[int, ...], pinned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """From driver to driver, from several to one and back: its SIDs lead to it till it is freed."""
    pacer, draw = Pacer(), random.Random(3)
    toys = [CToy("cipher"), CToy("mac", (CRYPTO_NULL_HMAC,)), CToy("one", BOTH), CToy("two", BOTH)]
    inis = chain_of(chain)
    moves = lost = 0
    end = time.monotonic() + SECONDS / 4
    with Framework(plugins=False) as fw, alarms(0.0002, pacer) as count:
        attached: set[str] = set()

        def come_or_go() -> None:
            for toy in draw.sample(toys, 2):
                if toy.name in attached:
                    attached.remove(toy.name)
                    fw.detach(toy)
                else:
                    attached.add(toy.name)
                    fw.attach(toy)

        while time.monotonic() < end:
            for toy in toys:
                if toy.name not in attached:
                    attached.add(toy.name)
                    fw.attach(toy)
            sids = {fw.newsession(inis, driver="one" if pinned else None)}
            for _ in range(8):
                come_or_go()
                crp = request(draw.choice(tuple(sids)), lambda crp: None, flags=draw.choice(FLAGS))
                try:
                    with pacer:
                        fw.dispatch(crp)
                except KeyboardInterrupt:
                    pass
                assert until(lambda crp=crp: not crp.state)  # type: ignore[misc]
                lost += crp.etype == errno.ENOENT
                if crp.etype == errno.EAGAIN:
                    moves += 1
                    sids.add(crp.sid)
            sid = draw.choice(tuple(sids))
            try:
                with pacer:
                    fw.freesession(sid)
            except KeyboardInterrupt:
                with contextlib.suppress(UnknownSession):
                    fw.freesession(sid)  # which it may not have come to
            assert until(lambda: not fw._sessions.table), fw._sessions.table
            assert until(lambda: not any(toy.keys for toy in toys)), [toy.keys for toy in toys]
            assert not fw._virtual._parts
            assert not fw._virtual.slot.sym.sessions
    say(capsys, signals=count[0], interrupts=pacer.hits, moves=moves, lost=lost)
    assert pacer.hits
    assert moves
    assert lost == 0


def test_no_key_request_is_lost_or_doubled_wherever_its_dispatch_is_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As of the others."""
    pacer, driver = Pacer(), KeyToy()
    accepted = answered = refused = 0
    answers: list[Cryptkop] = []
    end = time.monotonic() + SECONDS
    with Framework(plugins=[driver]) as fw, alarms(0.0002, pacer) as count:
        inflight = fw._drivers.find("toy").keys.inflight
        while time.monotonic() < end:
            krps = []
            for n in range(32):
                krp = Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], answers.append)
                krp.flags = (0, CRYPTO_F_CBIMM)[n & 1]
                krps.append(krp)
            broken_off = []
            for krp in krps:
                try:
                    with pacer:
                        fw.kdispatch(krp)
                    accepted += 1
                except KeyboardInterrupt:
                    broken_off.append(krp)
            stuck = [krp for krp in krps if not until(lambda krp=krp: not krp.state)]  # type: ignore[misc]
            assert not stuck, [(k.state, k in inflight) for k in stuck]
            assert not inflight
            got = Counter(map(id, answers))
            assert set(got.values()) <= {1}, "doubled"
            accepted += sum(id(krp) in got for krp in broken_off)
            refused += sum(id(krp) not in got for krp in broken_off)
            answered += len(answers)
            answers.clear()
    say(
        capsys, signals=count[0], interrupts=pacer.hits, accepted=accepted, answered=answered,
        refused=refused, lost=accepted - answered,
    )  # fmt: skip
    assert pacer.hits
    assert accepted == answered
    assert fw.driver_bugs.count == 0


@pytest.mark.parametrize("late", [0.0, 0.003, 0.03])
def test_an_end_that_is_interrupted_anywhere_is_finished_by_the_next(
    late: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    detach and close, over requests that wait: each is answered, each driver is closed once.

    Threads that start late leave their work to who ends, and may come in the midst of that.
    """
    run = ThreadInterrupt._run

    def run_late(interrupt: ThreadInterrupt) -> None:
        time.sleep(random.random() * late)
        run(interrupt)

    monkeypatch.setattr(ThreadInterrupt, "_run", run_late)
    pacer = Pacer()
    ends = lost = 0
    end = time.monotonic() + SECONDS
    with alarms(0.0002, pacer) as count:
        while time.monotonic() < end:
            one, two = Stubborn("one"), Stubborn("two")
            fw = Framework(plugins=[one, two])
            answers: list[Cryptop] = []
            kanswers: list[Cryptkop] = []
            krps = [Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], kanswers.append) for _ in range(4)]
            for krp in krps:
                fw.kdispatch(krp)
            crps = [
                request(newsession(fw, driver=name), answers.append, flags=CRYPTO_F_BATCH)
                for name in ("one", "two") * 4
            ]
            for crp in crps:
                fw.dispatch(crp)
            for step in (lambda fw=fw: fw.detach("one"), fw.close):
                for _ in range(100):
                    try:
                        with pacer:
                            step()
                        break
                    except KeyboardInterrupt:
                        continue
                    except UsageError:
                        break  # it was at its end
            fw.close()
            lost += len(crps) + len(krps) - len(answers) - len(kanswers)
            assert Counter(map(id, kanswers)) == Counter(map(id, krps))
            assert (one.closed, two.closed) == (1, 1)
            assert not one.keys
            assert not two.keys
            ends += 1
    say(capsys, signals=count[0], interrupts=pacer.hits, ends=ends, lost=lost)
    assert pacer.hits
    assert lost == 0


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


def test_two_threads_that_dispatch_one_request_transform_it_once() -> None:
    """One of them is told that it is dispatched already; for the session nothing is changed."""
    toy = Toy(algs=ALGS)
    interval = sys.getswitchinterval()
    outcomes: Counter[str] = Counter()
    rounds = 400
    with Framework(plugins=[toy]) as fw:
        sid = newsession(fw)
        for flags in FLAGS:
            answers: list[Cryptop] = []
            crps = [request(sid, answers.append, flags=flags) for _ in range(rounds)]
            barrier = threading.Barrier(2)

            def race(crps: list[Cryptop] = crps, barrier: threading.Barrier = barrier) -> None:
                barrier.wait(10)
                for crp in crps:
                    try:
                        fw.dispatch(crp)
                        outcomes["taken"] += 1
                    except BusyError:
                        outcomes["busy"] += 1

            toy.hold = not flags & CRYPTO_F_BATCH  # so that none is idle again before the other
            threads = [threading.Thread(target=race) for _ in range(2)]
            sys.setswitchinterval(1e-6)
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(20)
            finally:
                sys.setswitchinterval(interval)
            toy.answer()
            assert until(lambda answers=answers: len(answers) >= rounds)  # type: ignore[misc]
            if toy.hold:
                assert all(crp.buf == XORED for crp in crps)
                assert len(answers) == rounds
                toy.hold = False
            session = the_session(fw, sid)
            assert until(lambda: session.straight)  # noqa: B023
            assert (session.queued, session.inflight) == (0, set())
    assert outcomes["busy"] >= 2 * rounds
    assert fw.driver_bugs.count == 0


def test_two_threads_that_dispatch_one_key_request_have_it_done_once() -> None:
    """Likewise."""
    held: list[Cryptkop] = []

    class Holds(KeyToy):
        def kprocess(self, krp: Cryptkop, hint: int) -> int:
            held.append(krp)
            return 0

    driver, interval = Holds(), sys.getswitchinterval()
    answers: list[Cryptkop] = []
    busy: list[int] = []
    krps = [Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], answers.append) for _ in range(300)]
    with Framework(plugins=[driver]) as fw:
        barrier = threading.Barrier(2)

        def race() -> None:
            barrier.wait(10)
            for krp in krps:
                try:
                    fw.kdispatch(krp)
                except BusyError:
                    busy.append(1)

        threads = [threading.Thread(target=race) for _ in range(2)]
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        finally:
            sys.setswitchinterval(interval)
        assert len(held) == len(krps) == len(busy)
        for krp in held:
            driver.kdone(krp)
        assert until(lambda: len(answers) == len(krps))
