"""The one tree of names: what is there, what it says, and that its sums are exact."""

from __future__ import annotations

import errno
import threading
import time

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    Cryptoini,
    Cryptop,
    Framework,
    UsageError,
)
from opencrypto._measure.counters import SIZE_CLASSES, size_class
from opencrypto._measure.histogram import BUCKETS
from opencrypto._measure.timing import PHASES, Times
from opencrypto.sysctl import Node, Sysctl, UnknownName
from opencrypto.testing import ManualInterrupt
from tests.operators.load import Hardware, Instant, Load

BSD_NAMES = (
    "kern.usercrypto kern.userasymcrypto kern.cryptodevallowsoft "
    "opencrypto.crypto_ret_q.len opencrypto.crypto_ret_q.maxlen opencrypto.crypto_ret_q.drops "
    "opencrypto.crypto_ret_kq.len opencrypto.crypto_ret_kq.maxlen opencrypto.crypto_ret_kq.drops "
    "opencrypto.timing "
    + " ".join(
        f"opencrypto.stats.{n}" for n in "ops errs kops kerrs intrs rets blocks kblocks".split()
    )
).split()
PER_DRIVER = (
    "hid class flags sessions inflight queued blocked ops bytes errs kops migrated algs".split()
)


def send(framework: Framework, sid: int, size: int = 64, flags: int = CRYPTO_F_CBIMM) -> Cryptop:
    """Dispatch one request and return it."""
    crp = framework.getreq(1)
    assert crp is not None
    crp.sid, crp.ilen, crp.flags, crp.callback = sid, size, flags, lambda crp: None
    framework.dispatch(crp)
    return crp


def test_every_name_is_there_typed_and_described() -> None:
    """Each node has a sentence, a value of its type, and a name under one of the two roots."""
    with Framework(plugins=[Instant()]) as framework:
        nodes = framework.sysctl.nodes()
        wanted = {*BSD_NAMES, *(f"opencrypto.drivers.instant.{name}" for name in PER_DRIVER)}
        assert wanted <= set(nodes)
        types = {"integer": int, "number": float, "string": str, "integers": tuple}
        for name, node in nodes.items():
            assert name.startswith(("kern.", "opencrypto."))
            assert node.description
            assert isinstance(node.get(), types[node.type]), name


def test_a_prefix_asks_only_its_branch() -> None:
    """A look-up of one name does not build the rest of the tree."""
    tree = Sysctl()
    tree.graft(lambda: [Node("a.one", "one", lambda: 1)], "a.")

    def other() -> list[Node]:
        raise AssertionError("not asked for")

    tree.graft(other, "b.")
    assert tree["a.one"] == 1
    assert list(tree.below("a")) == ["a.one"]


def test_unknown_names_suggest_near_ones() -> None:
    """A misspelt name is an error that names what was probably meant."""
    with Framework(plugins=False) as framework:
        with pytest.raises(UnknownName, match="cryptodevallowsoft") as caught:
            framework.sysctl["kern.cryptodevallowsof"]
        assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("kern.usercrypto", 2, errno.EINVAL),
        ("kern.usercrypto", "1", errno.EINVAL),
        ("kern.usercrypto", True, errno.EINVAL),
        ("kern.usercrypto", 1.0, errno.EINVAL),
        ("opencrypto.timing", -1, errno.EINVAL),
        ("opencrypto.stats.ops", 0, errno.EPERM),
        ("opencrypto.crypto_ret_q.maxlen", 2**40, errno.EINVAL),
    ],
)
def test_wrong_writes_are_refused(name: str, value: int, code: int) -> None:
    """A write of the wrong type, out of range, or to what is read-only changes nothing."""
    with Framework(plugins=False) as framework:
        before = framework.sysctl[name]
        with pytest.raises(UsageError) as caught:
            framework.sysctl[name] = value
        assert caught.value.errno == code
        assert framework.sysctl[name] == before


@pytest.mark.parametrize("value", [10**5000, -(10**5000)], ids=["positive", "negative"])
def test_a_number_without_end_is_refused_by_its_size(value: int) -> None:
    """The message has neither its digits nor Python's own error about them."""
    with Framework(plugins=False) as framework:
        with pytest.raises(UsageError, match="a number of 16610 bits"):
            framework.sysctl["kern.usercrypto"] = value
        with pytest.raises(UsageError, match=r"\.\.\. \(5000 characters\)") as caught:
            framework.sysctl["x" * 5000]
        assert len(str(caught.value)) < 300


def test_counts_by_driver_algorithm_and_size() -> None:
    """One request shows in the total, at its driver, at each of its algorithms, in its class."""
    with Framework(plugins=[Instant()]) as framework:
        sid = framework.newsession([Cryptoini(CRYPTO_NULL_HMAC), Cryptoini(CRYPTO_NULL_CBC)])
        for size in (0, 64, 65, 256, 2_000_000):
            send(framework, sid, size)
        tree = framework.sysctl
        assert tree["opencrypto.stats.ops"] == tree["opencrypto.drivers.instant.ops"] == 5
        assert tree["opencrypto.drivers.instant.bytes"] == 2_000_385
        assert tree["opencrypto.algs.NULL_HMAC.ops"] == tree["opencrypto.algs.NULL_CBC.ops"] == 5
        assert tree["opencrypto.sizes.ops"] == (2, 2, 0, 0, 0, 0, 0, 0, 1)
        assert tree["opencrypto.algs.NULL_HMAC.sizes"] == tree["opencrypto.sizes.ops"]


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1024, 1025, 1 << 20, (1 << 20) + 1, 1 << 40])
def test_size_classes_have_upper_bounds(size: int) -> None:
    """A size belongs to the first class whose bound it does not exceed."""
    place = size_class((size - 1).bit_length())
    assert place == sum(size > bound for bound in SIZE_CLASSES)


def test_items_are_of_one_look() -> None:
    """A driver that left between the names and their values made `dict` raise a KeyError."""
    looks: list[int] = []

    def branch() -> list[Node]:
        looks.append(len(looks))
        return [Node(f"a.n{looks[-1]}", "there for one look", lambda: 7)]

    tree = Sysctl()
    tree.graft(branch, "a.")
    assert dict(tree.items()) == {"a.n0": 7}
    assert list(tree.values()) == [7]
    assert looks == [0, 1]


def test_strays_and_departed_keep_the_sums_whole() -> None:
    """What drivers that left have done, and what met no session, stays in the totals."""
    driver = Instant()
    with Framework(plugins=[driver]) as framework:
        send(framework, framework.newsession(Cryptoini(CRYPTO_NULL_CBC)))
        framework.detach("instant")
        assert send(framework, 0xDEAD00000001).etype == errno.ENOENT
        tree = framework.sysctl
        rest = tree["opencrypto.rest.departed.ops"], tree["opencrypto.rest.strays.ops"]
        assert rest in {(1, 1), (0, 1)}  # the driver's slot goes when its session is freed
        drivers = sum(driver.ops for driver in framework.stats.drivers.values())
        assert tree["opencrypto.stats.ops"] == drivers + sum(map(int, rest)) == 2


def test_sessions_are_counted() -> None:
    """Active is created less freed; a migration is a move, not a new session."""
    with Framework(plugins=[Hardware("a"), Instant("b")]) as framework:
        tree = framework.sysctl
        first = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
        second = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
        framework.freesession(second)
        framework.detach("a")
        assert send(framework, first).etype == errno.EAGAIN
        names = ("active", "created", "freed", "migrated")
        assert [tree[f"opencrypto.sessions.{name}"] for name in names] == [1, 2, 1, 1]
        assert 0 <= float(str(tree["opencrypto.sessions.oldest"])) < 60


def test_timing_measures_four_phases() -> None:
    """Turned on, each request gives one sample to each phase; turned off, none any more."""
    with Framework(plugins=[Instant()]) as framework:
        tree = framework.sysctl
        sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
        send(framework, sid)
        tree["opencrypto.timing"] = 1
        for flags in (CRYPTO_F_CBIMM, 0, CRYPTO_F_BATCH):
            for _ in range(100):
                send(framework, sid, flags=flags)
        deadline = time.monotonic() + 10
        while tree["opencrypto.timing.finis.count"] != 300 and time.monotonic() < deadline:
            time.sleep(0.01)
        for phase in PHASES:
            values = {
                name: tree[f"opencrypto.timing.{phase}.{name}"]
                for name in ("count", "sum", "min", "max", "p50", "p99")
            }
            assert values["count"] == 300
            low, p50, p99, high = (int(str(values[n])) for n in ("min", "p50", "p99", "max"))
            assert 0 < low <= p50 <= p99 <= high <= int(str(values["sum"]))
            histogram = tree[f"opencrypto.timing.{phase}.histogram"]
            assert isinstance(histogram, tuple)
            assert len(histogram) == BUCKETS
            assert sum(histogram) == 300
        assert tree["opencrypto.drivers.instant.latency.count"] == 300
        tree["opencrypto.timing"] = 0
        send(framework, sid)
        assert tree["opencrypto.timing.done.count"] == 300
        tree["opencrypto.timing"] = 1
        assert tree["opencrypto.timing.done.count"] == 0


def test_timing_can_be_switched_under_load() -> None:
    """Turning it on and off while requests fly loses none, counts none twice, breaks nothing."""
    with Framework(plugins=[Instant()]) as framework:
        with Load(framework, threads=6, flags=0) as load:
            for n in range(40):
                framework.sysctl["opencrypto.timing"] = n % 2
                time.sleep(0.005)
        assert framework.sysctl["opencrypto.stats.ops"] == load.ops
        assert framework.sysctl["opencrypto.timing.done.count"] <= load.ops  # type: ignore[operator]  # a number, by its name
        assert load.errors == 0


def test_timing_of_a_queued_request_by_hand() -> None:
    """A batched request's wait for the request interrupt is in invoke, not in done."""
    with Framework(plugins=[Instant()], interrupt=ManualInterrupt) as framework:
        framework.sysctl["opencrypto.timing"] = 1
        sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
        send(framework, sid, flags=CRYPTO_F_BATCH | CRYPTO_F_CBIMM)
        time.sleep(0.02)
        framework._requests.step()  # type: ignore[attr-defined]  # a ManualInterrupt
        assert framework.sysctl.integer("opencrypto.timing.invoke.min") > 15_000_000
        assert framework.sysctl.integer("opencrypto.timing.done.max") < 15_000_000


def test_times_sees_each_sample_once_while_it_is_written() -> None:
    """A reader beside the writer never sees the number of samples fall, or exceed the truth."""
    times = Times(1)
    written = 20_000
    stop = threading.Event()
    seen: list[tuple[int, int]] = []

    def read() -> None:
        last = 0
        while not stop.is_set():
            count = times.phases[0].count
            seen.append((last, count))
            last = count

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(written):
        times.fresh.append((0, 10, 1010, 5000, 10**12))
        if len(times.fresh) >= 100:
            times.fold()
    stop.set()
    reader.join()
    assert all(before <= after <= written for before, after in seen)
    assert [phase.count for phase in times.phases] == [written] * 4
    assert times.phases[0].histogram[0] == written
    assert times.phases[3].histogram[-1] == written


@pytest.mark.slow
@pytest.mark.parametrize("attach", [False, True])
def test_sums_are_exact_with_threads(attach: bool) -> None:
    """Sixteen threads, drivers coming and going: every request is counted exactly once."""
    with Framework(plugins=[Instant("a"), Instant("b")]) as framework:
        with Load(framework) as load:
            for n in range(10):
                if attach:
                    framework.attach(Hardware(f"hw{n}"))
                time.sleep(0.05)
                if attach:
                    framework.detach(f"hw{n}")
        tree = framework.sysctl
        rest = sum(tree.integer(f"opencrypto.rest.{each}.ops") for each in ("departed", "strays"))
        drivers = framework.stats.drivers
        assert tree["opencrypto.stats.ops"] == load.ops
        assert sum(each.ops for each in drivers.values()) + rest == load.ops
        assert tree["opencrypto.sizes.bytes"] == load.bytes
        assert tree["opencrypto.stats.errs"] == load.errors
        assert tree["opencrypto.sessions.active"] == 0


@pytest.mark.bench
def test_cost_of_counting_and_timing() -> None:
    """Print what a request costs with timing off and on; on must add less than 1.5 us."""
    cost = {0: 1e9, 1: 1e9}
    with Framework(plugins=[Instant()]) as framework:
        sid = framework.newsession(Cryptoini(CRYPTO_NULL_CBC))
        crp = Cryptop(sid, flags=CRYPTO_F_CBIMM, callback=lambda crp: None)
        dispatch = framework.dispatch
        for turn in range(40):  # in turns, so that a busy neighbour meets both alike
            timing = turn % 2
            framework.sysctl["opencrypto.timing"] = timing
            start = time.perf_counter()
            for _ in range(20_000):
                dispatch(crp)
            cost[timing] = min(cost[timing], (time.perf_counter() - start) / 20_000 * 1e6)
    print(f"\na request: {cost[0]:.2f} us; with timing {cost[1]:.2f} us")
