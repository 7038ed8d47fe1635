"""
Signal handlers that raise in the midst of anything: nothing is lost, doubled, or left half done.

See `tests.core.storms`.
"""

from __future__ import annotations

import contextlib
import errno
import random
import time
from collections import Counter

import pytest

from opencrypto import (
    CRK_MOD_EXP,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    Cryptkop,
    Cryptop,
    Framework,
    UnknownSession,
)
from opencrypto._threads import ThreadInterrupt
from opencrypto.exceptions import UsageError
from tests.core.storms import (
    ALGS,
    BOTH,
    FLAGS,
    MARKS,
    SECONDS,
    XORED,
    CToy,
    KeyToy,
    Pacer,
    Refusing,
    Stubborn,
    alarms,
    chain_of,
    least_time,
    say,
    until,
)
from tests.toy import Toy, newsession, request, the_session

pytestmark = MARKS


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


@pytest.mark.parametrize("chain", [(CRYPTO_NULL_CBC,), BOTH])
def test_no_session_is_lost_wherever_opening_and_freeing_are_interrupted(
    chain: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the consumer was not told of is no more; what it asked to be freed is."""
    pacer, driver, other = Pacer(), CToy(), CToy("mac", (CRYPTO_NULL_HMAC,))
    told = freed = broken_off = 0
    ini = chain_of(chain)
    with Framework(plugins=False) as fw, contextlib.ExitStack() as stack:
        fw.attach(driver)
        fw.attach(other)
        # So that not each is broken off, on a slow machine too.
        took = least_time(lambda: fw.freesession(fw.newsession(ini)))
        every = max(0.0002 if len(chain) == 1 else 0.002, 2 * took)
        count = stack.enter_context(alarms(every, pacer))
        end = time.monotonic() + SECONDS
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
