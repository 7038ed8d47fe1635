"""
Everything at once, as long as asked: ``make soak`` for ten minutes, a minute in CI, else seconds.

Drivers come and go, some of them answering from threads; sixteen consumers ask for every algorithm,
in chains that no one driver has too, for compression, and for every key operation, in every mode
of completion. Each answer is checked against a published one or another library's, and at the end
nothing is left: no session, no thread, no memory.
"""

import gc
import os
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from opencrypto import Cryptop, Framework, Kop
from opencrypto._core.virtual import Pipeline
from opencrypto._measure.counters import LockedCount
from opencrypto.xform import FACTS
from tests.soak.consumers import Asker, Consumer, KeyConsumer
from tests.soak.drivers import MAKERS, churn
from tests.soak.jobs import families
from tests.soak.keywork import KeyWork

SECONDS = float(os.environ.get("OPENCRYPTO_SOAK_SECONDS", "60" if os.environ.get("CI") else "4"))
CONSUMERS = 16
KEY_CONSUMERS = 3
"""How many of them ask for key operations."""

GROWTH = 8 << 20
"""Bytes that the second half of the time may add to what the first half left."""


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> LockedCount:
    """Count how often a part of a virtual session is followed, which its consumer does not hear."""
    count, follow = LockedCount(), Pipeline.follow

    def counting(self: Pipeline, sub: Cryptop) -> None:
        count.add()
        follow(self, sub)

    monkeypatch.setattr(Pipeline, "follow", counting)
    return count


def memory() -> int:
    """Return the bytes that Python objects take, without garbage."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


class Churn(threading.Thread):
    """Has drivers come and go."""

    def __init__(self, fw: Framework, until: threading.Event) -> None:
        super().__init__(name="churn")
        self.fw, self.until = fw, until
        self.changes = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        """Change drivers until told to stop."""
        try:
            self.changes = churn(self.fw, self.until)
        except Exception as error:
            self.wrong.append(f"churn: {error!r}")


def askers(fw: Framework, until: threading.Event) -> list[Asker]:
    """Make the consumers; the work they share is made before."""
    Consumer.families = families()
    KeyConsumer.keys = KeyWork()
    kinds = [KeyConsumer] * KEY_CONSUMERS + [Consumer] * (CONSUMERS - KEY_CONSUMERS)
    return [kind(fw, number, until) for number, kind in enumerate(kinds)]


def run(threads: Sequence[threading.Thread], until: threading.Event) -> int:
    """Let the threads work for the time, and return what memory grew by in its second half."""
    for thread in threads:
        thread.start()
    time.sleep(SECONDS / 2)
    half = memory()
    time.sleep(SECONDS / 2)
    grown = memory() - half
    until.set()
    for thread in threads:
        thread.join()
    return grown


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(SECONDS * 2 + 120)
@pytest.mark.usefixtures("traced")
def test_soak(followed: LockedCount) -> None:
    """Every answer is right and comes once, and nothing is left behind."""
    until = threading.Event()
    before = set(threading.enumerate())
    with Framework(plugins=False) as fw:
        for make in MAKERS.values():
            fw.attach(make(), selftest=False)
        crowd, changing = askers(fw, until), Churn(fw, until)
        grown = run([changing, *crowd], until)
        wrong = changing.wrong + [line for each in crowd for line in each.wrong]
        assert not wrong, wrong[:5]
        symmetric = [each for each in crowd if isinstance(each, Consumer)]
        keyed = [each for each in crowd if isinstance(each, KeyConsumer)]
        served = sum((each.served for each in symmetric), Counter[int]())
        kserved = sum((each.served for each in keyed), Counter[int]())
        answers, kanswers = (sum(a.answers for a in group) for group in (symmetric, keyed))
        moved, refused, together = (
            sum(getattr(a, what) for a in crowd) for what in ("moved", "refused", "together")
        )
        rarest = min(served, key=lambda alg: served[alg])
        print(
            f"{SECONDS:.0f} s: {answers} answers of {len(served)} algorithms "
            f"(fewest: {served[rarest]} of {FACTS[rarest].name}), {refused} of them refusals, "
            f"{kanswers} of {len(kserved)} key operations; {together} requests to virtual "
            f"sessions, {moved} migrated; {changing.changes} times a driver came or went; "
            f"memory {grown:+} bytes in the second half"
        )
        assert set(served) == set(FACTS), "not every algorithm was served"
        assert set(kserved) == set(Kop), "not every key operation was served"
        assert min(moved, refused, together, changing.changes) > 0
        stats = fw.stats
        assert stats.driver_bugs == stats.callback_errors == stats.kerrs == 0
        assert stats.errs == moved + refused + followed.value
        assert stats.kops == kanswers
        assert grown < GROWTH
        assert not fw._sessions.table
        assert not any(slot.sym.sessions for slot in fw._drivers)
        assert not any(slot.keys.inflight for slot in fw._drivers)
    assert set(threading.enumerate()) == before
