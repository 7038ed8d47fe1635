"""The drivers that stand in for real ones, and the interrupts run by hand."""

from __future__ import annotations

import errno
import threading

import pytest

from opencrypto import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_HINT_MORE,
    CRYPTO_SHA1,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    UsageError,
)
from opencrypto.testing import (
    BlockingDriver,
    LateDriver,
    ManualInterrupt,
    RecordingDriver,
    step,
)


def request(sid: int, answered: list[Cryptop], flags: int = 0) -> Cryptop:
    desc = [Cryptodesc(0, 4, 4, alg=CRYPTO_SHA1)]
    return Cryptop(sid, bytearray(24), desc, answered.append, flags)


def test_recording_remembers_sessions_requests_and_hints() -> None:
    answered: list[Cryptop] = []
    driver = RecordingDriver()
    with Framework(plugins=False, interrupt=ManualInterrupt) as framework:
        framework.attach(driver)
        sid = framework.newsession(Cryptoini(CRYPTO_SHA1))
        requests = [request(sid, answered, CRYPTO_F_BATCH | CRYPTO_F_CBIMM) for _ in range(3)]
        for crp in requests:
            framework.dispatch(crp)
        assert driver.processed == []
        assert step(framework) == 1
        hints = [CRYPTO_HINT_MORE, CRYPTO_HINT_MORE, 0]
        assert driver.processed == list(zip(requests, hints, strict=True))
        assert answered == requests
        framework.freesession(sid)
    assert driver.opened == driver.freed
    assert not driver.sessions
    assert driver.closed == 1


def test_recording_claims_what_it_is_told() -> None:
    driver = RecordingDriver("mine", flags=0, algs=[CRYPTO_SHA1])
    assert (driver.name, driver.flags, set(driver.capabilities)) == ("mine", 0, {CRYPTO_SHA1})


def test_blocking_refuses_until_released() -> None:
    answered: list[Cryptop] = []
    driver = BlockingDriver()
    with Framework(plugins=False, interrupt=ManualInterrupt) as framework:
        framework.attach(driver)
        sid = framework.newsession(Cryptoini(CRYPTO_SHA1))
        crp = request(sid, answered)
        framework.dispatch(crp)
        assert driver.refused == [crp]
        assert step(framework) == 0
        assert framework.drivers[0].blocked
        driver.release()
        assert step(framework) == 2
        assert answered == [crp]


def test_late_answers_when_told() -> None:
    answered: list[Cryptop] = []
    driver = LateDriver()
    with Framework(plugins=False) as framework:
        framework.attach(driver)
        sid = framework.newsession(Cryptoini(CRYPTO_SHA1))
        requests = [request(sid, answered, CRYPTO_F_CBIMM) for _ in range(3)]
        for crp in requests:
            framework.dispatch(crp)
        assert list(driver.held) == requests
        assert driver.release(1) == 1
        assert answered == requests[:1]
        assert driver.release() == 2
        assert answered == requests


def test_late_answers_from_a_thread() -> None:
    threads: list[threading.Thread] = []
    done = threading.Event()

    def callback(crp: Cryptop) -> None:
        threads.append(threading.current_thread())
        done.set()

    with Framework(plugins=False) as framework:
        framework.attach(LateDriver(threaded=True))
        crp = request(framework.newsession(Cryptoini(CRYPTO_SHA1)), [], CRYPTO_F_CBIMM)
        crp.callback = callback
        framework.dispatch(crp)
        assert done.wait(5)
    assert threads[0].name == "opencrypto-late"


def test_late_is_given_up_with_what_it_holds_at_the_end() -> None:
    answered: list[Cryptop] = []
    driver = LateDriver()
    with Framework(plugins=False) as framework:
        framework.attach(driver)
        framework.dispatch(request(framework.newsession(Cryptoini(CRYPTO_SHA1)), answered))
        framework.detach(driver, timeout=0.01)
    assert [crp.etype for crp in answered] == [errno.EIO]


def test_a_session_it_does_not_have() -> None:
    driver = RecordingDriver()
    answered: list[Cryptop] = []
    driver.done = answered.append
    driver.process(request(77, []), 0)
    assert answered[0].etype == errno.ENOENT


def test_step_is_for_frameworks_without_threads() -> None:
    with (
        Framework(plugins=False) as framework,
        pytest.raises(UsageError, match="ManualInterrupt"),
    ):
        step(framework)
