"""Sessions can be listed: what they are, how old, how idle, and where they were opened."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CryptoError,
    Cryptoini,
    Framework,
    Profile,
    UsageError,
)
from opencrypto._core import census
from opencrypto._core.listing import SORTS, Wanted
from opencrypto._measure import callers
from opencrypto.control import Client
from tests.operators.load import Instant, Load
from tests.operators.over_socket import client, framework, raw
from tests.support import require_module
from tests.toy import Log, Toy, newsession, request, step, stepped, the_session

__all__ = ["client", "framework"]

WATCH = "opencrypto.sessions.watch"


def older(fw: Framework, sid: int, seconds: float) -> None:
    """Have a session be older than it is."""
    the_session(fw, sid).lineage.born -= seconds


def test_what_is_said_of_each_session() -> None:
    toy = Toy("one", hold=True)
    with stepped(toy) as fw:
        first = newsession(fw)
        promised = Profile("encrypt", ordered=True, shared=True)
        inis = [Cryptoini(CRYPTO_NULL_CBC), Cryptoini(CRYPTO_NULL_HMAC)]
        second = fw.newsession(inis, profile=promised)
        older(fw, second, 100)
        fw.dispatch(request(first, Log()))
        oldest, newest = fw.open_sessions()
        assert (oldest.sid, oldest.chain, oldest.drivers, oldest.state, oldest.inflight) == (
            second, ("NULL_CBC", "NULL_HMAC"), ("one",), "live", 0,
        )  # fmt: skip
        assert 100 <= oldest.age < 110
        assert oldest.profile == "encrypt ordered shared"
        assert (newest.sid, newest.inflight, newest.profile) == (first, 1, "")
        assert (newest.idle, newest.requests, newest.bytes, newest.opened) == (None, None, None, ())
        fw.freesession(first)
        assert [each.state for each in fw.open_sessions()] == ["live", "draining"]
        assert len(fw.open_sessions(most=1)) == 1
        toy.answer()


def test_counts_by_chain_and_by_age() -> None:
    """They add up to the sessions open, and are there though nobody watches."""
    with stepped(Toy()) as fw:
        sids = [newsession(fw) for _ in range(5)]
        sids += [fw.newsession(Cryptoini(CRYPTO_NULL_HMAC)) for _ in range(2)]
        for sid, age in zip(sids, (0, 30, 300, 3000, 30000, 300000, 300001), strict=True):
            older(fw, sid, age)
        tree = fw.sysctl
        chains = {"NULL_CBC": 5, "NULL_HMAC": 2}
        assert {c: tree[f"opencrypto.sessions.chains.{c}"] for c in chains} == chains
        assert [tree[f"opencrypto.sessions.ages.{age}"] for age in census.AGES] == [
            1, 1, 1, 1, 1, 2,
        ]  # fmt: skip
        assert tree["opencrypto.sessions.active"] == 7
        assert tree["opencrypto.sessions.oldest"] >= 300001  # type: ignore[operator]  # a number
        for sid in sids[:5]:
            fw.freesession(sid)
        assert tree["opencrypto.sessions.chains.NULL_CBC"] == 0
        assert tree["opencrypto.sessions.active"] == 2


def test_a_session_that_moves_is_one_and_keeps_its_age() -> None:
    one, two = Toy("one"), Toy("two")
    with stepped(one, two) as fw:
        sid, log = newsession(fw), Log()
        older(fw, sid, 1000)
        fw.sysctl[WATCH] = 1
        fw.dispatch(request(sid, log))
        fw.detach("one")
        assert [(s.sid, s.drivers, s.state) for s in fw.open_sessions()] == [
            (sid, ("one",), "orphaned")
        ]
        for number in (sid, log.calls[-1][2]):
            fw.dispatch(request(number, log))
        fw.dispatch(request(log.calls[-1][2], log))
        (only,) = fw.open_sessions(sort="requests")
        assert (only.drivers, only.state, only.requests) == (("two",), "live", 2)
        assert only.sid == log.calls[-1][2] != sid
        assert only.age >= 1000
        ages = (fw.sysctl[f"opencrypto.sessions.ages.{age}"] for age in census.AGES)
        assert sum(ages) == fw.sysctl["opencrypto.sessions.active"] == 1  # type: ignore[arg-type]  # integers


def test_a_virtual_session_is_one_with_several_drivers() -> None:
    with stepped(Toy("a", algs=[CRYPTO_NULL_CBC]), Toy("b", algs=[CRYPTO_NULL_HMAC])) as fw:
        fw.newsession([Cryptoini(CRYPTO_NULL_CBC), Cryptoini(CRYPTO_NULL_HMAC)])
        (only,) = fw.open_sessions()
        assert only.drivers == ("a", "b")
        assert only.chain == ("NULL_CBC", "NULL_HMAC")
        assert fw.sysctl["opencrypto.sessions.ages.under_1s"] == 1


# While sessions are watched.


def test_idle_requests_and_bytes_while_they_are_watched() -> None:
    """Straight, batched and refused ones count once each; off, nothing is known."""
    driver = Toy()
    with stepped(driver) as fw:
        sid, quiet, log = newsession(fw), newsession(fw), Log()
        fw.dispatch(request(sid, log))  # before anybody watches
        fw.sysctl[WATCH] = 1
        assert fw.sysctl[WATCH] == 1
        for flags in (CRYPTO_F_CBIMM, CRYPTO_F_CBIMM | CRYPTO_F_BATCH):
            crp = request(sid, log, flags=flags)
            crp.ilen = 100
            fw.dispatch(crp)
            step(fw)
        driver.full = True
        fw.dispatch(request(sid, log))
        driver.full = False
        driver.unblock(1)
        step(fw)
        assert log.etypes == [0] * 4
        of = {each.sid: each for each in fw.open_sessions(sort="requests")}
        assert [*of] == [sid, quiet]
        assert (of[sid].requests, of[quiet].requests, of[quiet].bytes) == (3, 0, 0)
        assert of[sid].bytes == 200 + crp_size(log)
        idle, less = of[quiet].idle, of[sid].idle
        assert idle is not None
        assert less is not None
        assert 0 <= less <= idle < 10
        fw.sysctl[WATCH] = 0
        assert {each.requests for each in fw.open_sessions()} == {None}
        fw.sysctl[WATCH] = 1  # starts anew
        assert {each.requests for each in fw.open_sessions()} == {0}


def crp_size(log: Log) -> int:
    """The ``ilen`` of the one request whose size a test does not set."""
    return request(0, log).ilen


def test_the_way_is_straight_again_when_nobody_watches() -> None:
    with stepped(Toy()) as fw:
        session = the_session(fw, newsession(fw))
        assert session.straight
        fw.sysctl[WATCH] = 1
        assert not session.straight
        assert not the_session(fw, newsession(fw)).straight
        fw.sysctl[WATCH] = 0
        assert session.straight
        assert session.lineage.tally is None


def test_watching_timing_and_tracing_do_not_end_each_other() -> None:
    with stepped(Toy()) as fw:
        sid, log = newsession(fw), Log()
        trace = fw.start_trace()
        fw.sysctl[WATCH] = 1
        fw.sysctl["opencrypto.timing"] = 1
        fw.dispatch(request(sid, log))
        fw.stop_trace()
        fw.sysctl["opencrypto.timing"] = 0
        fw.dispatch(request(sid, log))
        assert len(trace) == 1
        assert fw.sysctl["opencrypto.timing.done.count"] == 1
        assert [each.requests for each in fw.open_sessions(sort="requests")] == [2]


def test_the_idle_ones_are_found() -> None:
    """A leak in two steps: what is idle, and of which chain."""
    with stepped(Toy()) as fw:
        forgotten = [newsession(fw) for _ in range(3)]
        busy, log = newsession(fw), Log()
        for sid in (*forgotten, busy):
            older(fw, sid, 500)
        fw.sysctl[WATCH] = 1
        fw._dispatcher.watcher.run_began -= 400
        fw.dispatch(request(busy, log))
        assert {each.sid for each in fw.open_sessions(idle=60)} == set(forgotten)
        assert fw.open_sessions(idle=1000) == []
        assert [s.sid for s in fw.open_sessions(sort="idle")][-1] == busy
        value = fw.sysctl["opencrypto.sessions.oldest_idle"]
        assert isinstance(value, float)
        assert 400 <= value < 450


def test_a_session_with_a_request_in_flight_is_not_idle() -> None:
    driver = Toy(hold=True)
    with stepped(driver) as fw:
        sid = newsession(fw)
        older(fw, sid, 500)
        fw.sysctl[WATCH] = 1
        fw._dispatcher.watcher.run_began -= 400
        fw.dispatch(request(sid, Log()))
        assert [each.idle for each in fw.open_sessions(sort="idle")] == [0.0]
        driver.answer()


@pytest.mark.parametrize(
    ("idle", "sort", "word"),
    [(1.0, "age", "watch=1"), (0.0, "idle", "watch=1"), (0.0, "requests", "watch=1"),
     (-1.0, "age", "seconds"), (float("nan"), "age", "seconds"), (0.0, "size", "sorted")],
)  # fmt: skip
def test_what_is_not_known_is_refused(idle: float, sort: str, word: str) -> None:
    with stepped(Toy()) as fw, pytest.raises(UsageError, match=word):
        fw.open_sessions(idle=idle, sort=sort)


def test_what_is_watched_adds_up_under_load() -> None:
    """Many threads on sessions of their own, and all on one: no request is missed."""
    with Framework(plugins=[Toy()]) as fw:
        shared = newsession(fw)
        fw.sysctl[WATCH] = 1

        def work() -> None:
            for _ in range(300):
                fw.dispatch(request(shared, lambda crp: None))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (only,) = fw.open_sessions(sort="requests")
        assert only.requests == fw.stats.ops == 2400


# Where they were opened.


def open_here(fw: Framework, key: bytes) -> int:
    """Open a session; the key must not be seen."""
    return fw.newsession(Cryptoini(CRYPTO_NULL_CBC, key))


def test_where_a_session_was_opened() -> None:
    """By file, line and function, the nearest first; and nothing of what was given."""
    with Framework(plugins=[Toy()], trace_sessions=True) as fw:
        open_here(fw, b"not-to-be-seen")
        (only,) = fw.open_sessions()
        here, caller, *_ = only.opened
        assert here.startswith(__file__)
        assert here.endswith(" open_here")
        assert caller.endswith(" test_where_a_session_was_opened")
        assert 2 <= len(only.opened) <= callers.FRAMES
        assert "not-to-be-seen" not in repr(only)


def test_our_own_frames_are_left_out() -> None:
    with Framework(plugins=[Toy()], trace_sessions=True) as fw:
        from opencrypto.client import Session

        with Session(Cryptoini(CRYPTO_NULL_CBC), framework=fw):
            (only,) = fw.open_sessions()
            assert only.opened[0].endswith(" test_our_own_frames_are_left_out")


def test_an_ivs_prefix_is_shown_by_its_length() -> None:
    assert census.promise(Profile(iv_prefix=b"abcd", weak_auth=True)) == "weak_auth iv_prefix=4"


def test_places_are_kept_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "KEPT", 3)
    noted = callers.Callers()
    stacks = [noted.now() for _ in range(5)]
    assert all(stack is stacks[0] for stack in stacks)
    for _ in range(5):
        exec(compile("\n" * _ + "noted.now()", "<made>", "exec"), {"noted": noted})  # noqa: S102 - lines of a file of no name
    assert len(noted._places) <= 3
    assert len(noted._stacks) <= 3


# Over the control socket.


def pages(client: Client, most: int, sort: str = "age") -> Iterator[dict[str, Any]]:
    """Ask for page after page."""
    after = None
    while True:
        page = client.sessions(most=most, sort=sort, after=after)
        yield page
        after = page["next"]
        if after is None:
            return


@pytest.mark.parametrize("sort", SORTS)
def test_pages_have_each_session_once(framework: Framework, client: Client, sort: str) -> None:
    sids = {newsession(framework) for _ in range(23)}
    client.set(WATCH, 1)
    found = [*pages(client, 10, sort)]
    assert [len(page["sessions"]) for page in found] == [10, 10, 3]
    assert {page["open"] for page in found} == {page["matching"] for page in found} == {23}
    rows = [*itertools.chain.from_iterable(page["sessions"] for page in found)]
    assert [row["sid"] for row in rows] == [s.sid for s in framework.open_sessions(sort=sort)]
    assert {row["sid"] for row in rows} == sids


@pytest.mark.parametrize(
    "wrong",
    [{"most": 0}, {"most": 10**9}, {"most": True}, {"most": "1"}, {"idle": -1}, {"idle": "1"},
     {"idle": 1e300}, {"idle": True}, {"sort": "size"}, {"sort": 1}, {"after": 1},
     {"after": [1]}, {"after": ["a", "b"]}, {"after": [1, 2, 3]}, {"sort": "idle"}],
)  # fmt: skip
def test_wrong_questions_are_refused(
    framework: Framework, client: Client, wrong: dict[str, object]
) -> None:
    with pytest.raises(CryptoError) as caught:
        client.call("sessions", **wrong)
    assert type(caught.value) is UsageError
    assert client.sessions()["open"] == 0


def test_no_number_of_ours_is_no_number_in_the_question(framework: Framework) -> None:
    """JSON as Python reads it knows NaN and infinities."""
    for word in ("NaN", "Infinity", "-Infinity"):
        with raw(framework) as connection:
            connection.sendall(b'{"v":1,"id":1,"op":"sessions","idle":%s}\n' % word.encode())
            answer = json.loads(connection.recv(65536))
        assert answer["error"]["errno"] == "EINVAL"


@pytest.mark.slow
def test_many_sessions_are_looked_at_step_by_step() -> None:
    """A step has so many, however many there are: so nobody who asks keeps the others waiting."""
    with stepped(Toy()) as fw:
        for _ in range(5_000):
            newsession(fw)
        fw.sysctl[WATCH] = 1
        steps = 0
        for wanted in (Wanted(), Wanted(sort="idle", most=100)):
            for page in fw.session_page(wanted):
                steps += page is None
            assert page is not None
            assert (page.open, len(page.rows)) == (5_000, wanted.most)
        assert steps >= 2 * 5_000 // census.STEP
        node = fw.sysctl.node("opencrypto.sessions.ages.under_1m")
        assert sum(value is None for value in node.read()) >= 5_000 // census.STEP


def test_sessions_come_and_go_while_they_are_listed() -> None:
    """Each page is whole, and nobody stumbles over the others."""
    with Framework(plugins=[Toy()]) as fw:
        for _ in range(200):
            newsession(fw)
        stop = threading.Event()

        def come_and_go() -> None:
            while not stop.is_set():
                fw.freesession(newsession(fw))

        threads = [threading.Thread(target=come_and_go) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                assert 200 <= len(fw.open_sessions()) <= 203
        finally:
            stop.set()
            for thread in threads:
                thread.join()


# Metrics.


def gauges(fw: Framework) -> dict[str, dict[str, float]]:
    """The gauges of sessions: by name, by their one label."""
    prometheus = require_module("prometheus_client", "prometheus-client")
    from opencrypto.metrics import Collector

    found = prometheus.CollectorRegistry()
    found.register(Collector(fw))
    result: dict[str, dict[str, float]] = {}
    for metric in found.collect():
        if metric.name.startswith("opencrypto_session") and metric.type == "gauge":
            result[metric.name] = {
                "".join(sample.labels.values()): sample.value for sample in metric.samples
            }
    return result


def test_metrics_of_sessions() -> None:
    """By chain they add up to all; how idle they are is shown while that is known."""
    with stepped(Toy()) as fw:
        assert gauges(fw)["opencrypto_sessions"] == {"": 0}
        sids = [newsession(fw), newsession(fw), fw.newsession(Cryptoini(CRYPTO_NULL_HMAC))]
        older(fw, sids[0], 50)
        found = gauges(fw)
        assert found["opencrypto_sessions"] == {"": 0, "NULL_CBC": 2, "NULL_HMAC": 1}
        assert sum(found["opencrypto_sessions_by_age"].values()) == 3
        assert found["opencrypto_session_oldest_age_seconds"][""] >= 50
        assert found["opencrypto_session_oldest_idle_seconds"] == {}  # nobody knows
        fw.sysctl[WATCH] = 1
        found = gauges(fw)
        assert 0 <= found["opencrypto_session_oldest_idle_seconds"][""] < 10
        assert found["opencrypto_session_watch_enabled"] == {"": 1}
        for sid in sids:
            fw.freesession(sid)
        assert gauges(fw)["opencrypto_sessions"] == {"": 0, "NULL_CBC": 0, "NULL_HMAC": 0}


def test_a_load_leaves_no_session() -> None:
    with Framework(plugins=[Instant()]) as fw, Load(fw, threads=4):
        time.sleep(0.05)
    assert sum(gauges(fw)["opencrypto_sessions"].values()) == 0
