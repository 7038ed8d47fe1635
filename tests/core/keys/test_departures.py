"""Key requests whose driver leaves: none is lost, none is done twice."""

import errno
import threading

import pytest

from opencrypto import (
    DriverBug,
    Framework,
)
from tests.core.keys.scripted import (
    SOFTWARE,
    Scripted,
    framework,
    go,
    hand_back,
    hids,
    keep,
    mod,
    refuse,
)

__all__ = ["framework"]


def test_what_is_queued_goes_to_another_driver(framework: Framework) -> None:
    """Blocked requests of a driver that leaves are served by the next."""
    framework.attach(Scripted("hard", refuse))
    completions = go(framework, 2)
    other = framework.attach(Scripted("soft", flags=SOFTWARE))
    framework.detach("hard")
    assert hids(completions) == [other] * 2


def test_what_is_handed_back_goes_to_each_driver_once(framework: Framework) -> None:
    """Drivers that pass it round end with ENODEV, each having had it once."""
    drivers = [Scripted(f"d{n}", hand_back) for n in range(4)]
    for driver in drivers:
        framework.attach(driver)
    done = go(framework)[0]
    assert done.wait().status == errno.ENODEV
    assert [len(driver.hints) for driver in drivers] == [1, 1, 1, 1]
    assert len(done.calls) == 1


def test_detach_waits_for_what_is_in_flight(framework: Framework) -> None:
    """The driver answers late, from another thread, and is closed only then."""
    driver = Scripted("a", keep)
    framework.attach(driver)
    done = go(framework)[0]
    moments: list[str] = []
    driver.closed = lambda: moments.append("closed")

    def finish() -> None:
        moments.append("answered")
        driver.finish()

    timer = threading.Timer(0.1, finish)
    timer.start()
    framework.detach("a")
    timer.join()
    assert moments == ["answered", "closed"]
    assert done.wait().status == 0


def test_close_may_hand_back(framework: Framework) -> None:
    """What a driver gives up in close() is served by another."""
    leaving = Scripted("hard", keep)
    framework.attach(leaving)
    other = framework.attach(Scripted("soft", flags=SOFTWARE))
    done = go(framework)[0]

    def give_up() -> None:
        krp = leaving.kept.pop()
        krp.fail(errno.EAGAIN)
        leaving.kdone(krp)

    leaving.closed = give_up
    framework.detach("hard", timeout=0.01)
    assert hids([done]) == [other]
    assert framework.stats.driver_bugs == 0


def test_a_driver_that_never_answers_loses_its_requests(framework: Framework) -> None:
    """They go to another, once; what the first one says later is refused, and heard by it."""
    stuck = Scripted("stuck", keep)
    framework.attach(stuck)
    slow = Scripted("slow", keep, flags=SOFTWARE)
    framework.attach(slow)
    done = go(framework)[0]
    late = stuck.kdone
    framework.detach("stuck", timeout=0.01)
    assert slow.kept == stuck.kept
    with pytest.raises(DriverBug):
        late(stuck.kept[0])
    assert not done.calls
    slow.finish()
    assert done.wait().status == 0
    assert len(done.calls) == 1
    assert framework.stats.driver_bugs == 2


def test_a_framework_that_closes_ends_what_is_queued() -> None:
    """Nothing moves to a driver that is about to go as well."""
    with Framework(plugins=False) as framework:
        framework.attach(Scripted("a", refuse))
        framework.attach(Scripted("b", refuse))
        completions = go(framework, 4)
    assert [done.wait().status for done in completions] == [errno.ENODEV] * 4
    krp, done = mod()
    framework.kdispatch(krp)
    assert done.wait().status == errno.ENODEV


def test_a_slot_that_is_used_again_is_another_driver(framework: Framework) -> None:
    """A request that one driver lost may go to the next that has the same id."""
    first = Scripted("first", keep)
    hid = framework.attach(first)
    second = Scripted("second", keep, flags=SOFTWARE)
    framework.attach(second)
    done = go(framework)[0]
    framework.detach("first", timeout=0.01)
    assert second.kept
    assert framework.attach(Scripted("third")) == hid
    framework.detach("second", timeout=0.01)
    assert hids([done]) == [hid]
