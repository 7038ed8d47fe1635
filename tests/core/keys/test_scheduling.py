"""Which driver gets a key request, and when."""

import errno

import pytest

from opencrypto import (
    CRK_DSA_VERIFY,
    CRK_MOD,
    CRK_MOD_ADD,
    CRK_MOD_EXP,
    CRYPTO_ASYMQ,
    CRYPTO_F_CBIMM,
    CRYPTO_F_USER,
    CRYPTO_HINT_MORE,
    ERESTART,
    Cryptkop,
    DriverGone,
    Framework,
    UsageError,
)
from tests.core.keys.scripted import (
    SOFTWARE,
    Scripted,
    answer,
    framework,
    go,
    hand_back,
    hids,
    keep,
    mod,
    refuse,
)
from tests.core.keys.support import run

__all__ = ["framework"]


# Which driver.


def test_hardware_comes_first(framework: Framework) -> None:
    """The class decides before the load does."""
    framework.attach(Scripted("soft", flags=SOFTWARE))
    hard = Scripted("hard", keep)
    hid = framework.attach(hard)
    completions = go(framework, 5)
    assert len(hard.kept) == 5
    hard.finish()
    assert hids(completions) == [hid] * 5


def test_the_least_busy_of_a_class_is_next(framework: Framework) -> None:
    """Requests spread over drivers by what each has in flight, the lowest id on a tie."""
    drivers = [Scripted(f"d{n}", keep) for n in range(3)]
    for driver in drivers:
        framework.attach(driver)
    go(framework, 7)
    assert [len(driver.kept) for driver in drivers] == [3, 2, 2]
    drivers[1].finish()
    go(framework, 2)
    assert [len(driver.kept) for driver in drivers] == [3, 2, 2]
    for driver in drivers:
        driver.finish()


def test_a_blocked_driver_is_passed_over(framework: Framework) -> None:
    """While the better one takes nothing the other one works; the first one waits for it."""
    framework.attach(Scripted("hard", refuse, answer))
    soft = framework.attach(Scripted("soft", flags=SOFTWARE))
    first = go(framework)[0]
    assert hids(go(framework, 3)) == [soft] * 3
    assert not first.calls
    framework.unblock(0, CRYPTO_ASYMQ)
    assert hids([first]) == [0]
    assert framework.stats.kblocks == 1


def test_a_pinned_request_goes_nowhere_else(framework: Framework) -> None:
    """Asked for one driver, it is that one or ENODEV."""
    framework.attach(Scripted("a"))
    b = Scripted("b", answer, hand_back)
    hid = framework.attach(b)
    krp, _ = mod()
    framework.kdispatch(krp, driver="b")
    assert (krp.status, krp.hid) == (0, hid)
    framework.kdispatch(krp, driver=hid)
    assert (krp.status, krp.hid) == (errno.ENODEV, -1)
    with pytest.raises(UsageError):
        framework.kdispatch(krp, driver="c")


def test_nobody_is_enodev(framework: Framework) -> None:
    """No driver at all, or none with the operation."""
    krp = run(framework, CRK_MOD, [5, 3], [8], status=errno.ENODEV)
    with pytest.raises(DriverGone, match="MOD"):
        krp.check()
    assert krp.hid == -1
    driver = Scripted("a")
    driver.keyops = (CRK_MOD_ADD,)
    framework.attach(driver)
    run(framework, CRK_MOD, [5, 3], [8], status=errno.ENODEV)
    assert (framework.stats.kops, framework.stats.kerrs) == (2, 2)


# Blocking.


def test_refused_requests_are_served_in_order_with_hints(framework: Framework) -> None:
    """What queued up while the driver was blocked goes first in, first out."""
    order: list[int] = []

    def note(driver: Scripted, krp: Cryptkop) -> int:
        order.append(krp.opaque)
        return answer(driver, krp)

    driver = Scripted("a", refuse, note)
    framework.attach(driver)
    completions = []
    for n in range(5):
        krp, done = mod()
        krp.opaque = n
        framework.kdispatch(krp)
        completions.append(done)
    driver.unblock(CRYPTO_ASYMQ)
    for done in completions:
        done.wait()
    assert order == [0, 1, 2, 3, 4]
    assert driver.hints == [0, *[CRYPTO_HINT_MORE] * 4, 0]


def test_an_unblock_within_kprocess_is_not_lost(framework: Framework) -> None:
    """Room that comes up between refusing and being marked blocked still wakes the queue."""

    def refuse_and_unblock(driver: Scripted, krp: Cryptkop) -> int:
        driver.unblock(CRYPTO_ASYMQ)
        return ERESTART

    framework.attach(Scripted("a", refuse_and_unblock, refuse_and_unblock, answer))
    assert hids(go(framework)) == [0]


def test_unblocking_the_other_queue_does_nothing(framework: Framework) -> None:
    """Sessions and key operations block apart."""
    framework.attach(Scripted("a", refuse, answer))
    done = go(framework)[0]
    framework.unblock(0, 1)
    assert not done.calls
    framework.unblock(0, CRYPTO_ASYMQ)
    done.wait()


# User programs.


def test_user_programs_get_the_drivers_an_operator_allows(framework: Framework) -> None:
    """kern.cryptodevallowsoft is `hard` for them, and kern.userasymcrypto 0 forbids all."""
    framework.attach(Scripted("soft", flags=SOFTWARE))
    user = CRYPTO_F_CBIMM | CRYPTO_F_USER
    for allow, status in ((1, errno.ENODEV), (0, 0), (-1, 0)):
        framework.sysctl["kern.cryptodevallowsoft"] = allow
        assert go(framework, flags=user)[0].wait().status == status
    framework.sysctl["kern.userasymcrypto"] = 0
    assert go(framework, flags=user)[0].wait().status == errno.ENODEV
    assert go(framework)[0].wait().status == 0, "the program itself is no user"


def test_the_mask_of_what_there_is(framework: Framework) -> None:
    """getfeat ors the bits of the drivers attached, MOD among them; 0 if users may do nothing."""
    assert framework.getfeat() == 0
    framework.attach(Scripted("soft", flags=SOFTWARE))
    everything = 1 << CRK_MOD_EXP | 1 << CRK_MOD_ADD | 1 << CRK_MOD | 1 << CRK_DSA_VERIFY
    assert framework.getfeat() == everything
    assert framework.getfeat(1) == 0
    assert framework.getfeat(-1) == everything
    framework.sysctl["kern.userasymcrypto"] = 0
    assert framework.getfeat() == 0
