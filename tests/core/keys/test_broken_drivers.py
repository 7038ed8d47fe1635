"""Drivers that answer a key request twice, wrongly, or not as they said."""

import errno

import pytest

from opencrypto import (
    CRK_DSA_VERIFY,
    CRYPTO_ASYMQ,
    ERESTART,
    Cryptkop,
    DriverBug,
    Framework,
)
from tests.core.keys.scripted import (
    Scripted,
    answer,
    framework,
    go,
    hids,
    mod,
    refuse,
)
from tests.core.keys.support import run

__all__ = ["framework"]


def test_a_second_kdone_is_an_error_of_the_driver(framework: Framework) -> None:
    """The callback runs once."""
    heard: list[BaseException] = []

    def twice(driver: Scripted, krp: Cryptkop) -> int:
        driver.kdone(krp)
        try:
            driver.kdone(krp)
        except DriverBug as error:
            heard.append(error)
        return 0

    framework.attach(Scripted("a", twice))
    done = go(framework)[0]
    assert done.wait().status == 0
    assert len(done.calls) == 1
    assert len(heard) == 1
    assert framework.stats.driver_bugs == 1


def test_a_driver_that_raises_is_eio(framework: Framework) -> None:
    """The text of the exception, which might quote a key, goes nowhere."""

    def broken(driver: Scripted, krp: Cryptkop) -> int:
        raise ValueError("secret")

    framework.attach(Scripted("a", broken))
    krp = go(framework)[0].wait()
    assert krp.status == errno.EIO
    assert "ValueError" in krp.error
    assert "secret" not in krp.error


def test_a_driver_that_answers_and_raises_has_answered(framework: Framework) -> None:
    """One completion, with the answer."""

    def both(driver: Scripted, krp: Cryptkop) -> int:
        answer(driver, krp)
        raise ValueError

    framework.attach(Scripted("a", both))
    done = go(framework)[0]
    assert done.wait().status == 0
    assert len(done.calls) == 1
    assert framework.stats.driver_bugs == 1


@pytest.mark.parametrize("value", [7, -1, True])
def test_any_other_return_value_is_eio(framework: Framework, value: int) -> None:
    """Only 0 and ERESTART mean something."""
    framework.attach(Scripted("a", lambda driver, krp: value))
    assert go(framework)[0].wait().status == errno.EIO


def test_refusing_what_was_answered_is_a_bug(framework: Framework) -> None:
    """ERESTART after kdone does not bring the request back."""

    def answer_and_refuse(driver: Scripted, krp: Cryptkop) -> int:
        answer(driver, krp)
        return ERESTART

    driver = Scripted("a", answer_and_refuse, answer)
    framework.attach(driver)
    done = go(framework)[0]
    assert done.wait().status == 0
    assert len(driver.hints) == 1
    assert hids(go(framework)) == [0]


def test_answering_what_was_refused_is_a_bug(framework: Framework) -> None:
    """A queued request is not in the driver's hands."""
    driver = Scripted("a", refuse, answer)
    framework.attach(driver)
    krp, done = mod()
    framework.kdispatch(krp)
    with pytest.raises(DriverBug):
        driver.kdone(krp)
    assert not done.calls
    driver.unblock(CRYPTO_ASYMQ)
    done.wait()


def test_a_verification_without_a_verdict_is_eio(framework: Framework) -> None:
    """Silence is not a good signature; and no verdict comes with an error."""
    framework.attach(Scripted("a"))
    krp = run(framework, CRK_DSA_VERIFY, [b"d", 23, 11, 4, 3, 1, 1], status=errno.EIO)
    assert krp.verdict is None

    def yes_but_no(driver: Scripted, krp: Cryptkop) -> int:
        krp.verdict = True
        krp.fail(errno.EINVAL)
        driver.kdone(krp)
        return 0

    framework.detach("a")
    framework.attach(Scripted("b", yes_but_no))
    krp = run(framework, CRK_DSA_VERIFY, [b"d", 23, 11, 4, 3, 1, 1], status=errno.EINVAL)
    assert krp.verdict is None
