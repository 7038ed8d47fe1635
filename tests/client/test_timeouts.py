"""A message has the time that its session gives it; what comes too late harms nobody."""

from __future__ import annotations

import asyncio
import errno
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTO_SHA2_256_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Driver,
    DriverTimeout,
    Framework,
    Profile,
    UsageError,
)
from opencrypto.aio import AsyncSession
from opencrypto.client import Session
from tests.client.late import HandsBackLate, Late, Unwilling
from tests.toy import KEY, Toy, nothing_left

SOON = 0.05
"""Seconds that a session here gives a driver which does not answer."""
PATIENCE = 20.0
"""Seconds after which a test that still waits has failed."""
INI = Cryptoini(CRYPTO_NULL_CBC, KEY)
REFUSAL = r"timeout is .*seconds, not"


def by_thread(session: Session, data: bytes) -> bytes:
    return session.encrypt(data).data


def by_coroutine(session: Session, data: bytes) -> bytes:
    async def main() -> bytes:
        async with asyncio.timeout(PATIENCE):
            return (await AsyncSession(session).encrypt(data)).data

    return asyncio.run(main())


Face = Callable[[Session, bytes], bytes]
faces = pytest.mark.parametrize("ask", [by_thread, by_coroutine])


@contextmanager
def framework(*drivers: Driver) -> Iterator[Framework]:
    with Framework(plugins=False) as fw:
        for driver in drivers:
            fw.attach(driver, selftest=False)
        yield fw


def held(name: str = "held", **options: Any) -> Toy:
    """Make a driver that takes requests and answers when it is told."""
    return Toy(name, flags=CRYPTOCAP_F_SOFTWARE, hold=True, **options)


def gives_up(ask: Face, session: Session, data: bytes = bytes(16)) -> DriverTimeout:
    """Ask, and return the error; it came when the time was over, and not much later."""
    began = time.monotonic()
    with pytest.raises(DriverTimeout) as error:
        ask(session, data)
    assert SOON <= time.monotonic() - began < PATIENCE
    return error.value


@faces
def test_a_driver_that_never_answers_is_named(ask: Face) -> None:
    """The error is a TimeoutError with ETIMEDOUT, and says which driver had the message."""
    driver = held()
    with framework(Toy("other"), driver) as fw:
        with Session(INI, framework=fw, driver="held", timeout=SOON) as session:
            error = gives_up(ask, session)
            assert isinstance(error, TimeoutError)
            assert error.errno == errno.ETIMEDOUT
            assert error.drivers == ("held",)
            assert "driver held within 0.05 s" in str(error)
        driver.answer()


@faces
def test_a_late_answer_is_dropped_quietly(ask: Face, caplog: pytest.LogCaptureFixture) -> None:
    """The next message has its own answer; nothing is logged, nobody is blamed."""
    driver = held()
    with framework(driver) as fw:
        with Session(INI, framework=fw, timeout=SOON) as session:
            data = bytes(range(16))
            gives_up(ask, session, data)
            driver.answer()
            assert data == bytes(range(16)), "a late answer wrote into the caller's bytes"
            driver.hold = False
            assert ask(session, bytes(16)) == KEY[:1] * 16
        assert fw.sysctl["opencrypto.stats.callback_errors"] == 0
        assert fw.driver_bugs.count == 0
        assert nothing_left(fw)
    assert not caplog.text


@faces
@pytest.mark.parametrize("late", [0, errno.EAGAIN, errno.EIO])
def test_a_session_closed_before_the_late_answer_is_freed_by_it(ask: Face, late: int) -> None:
    """The driver forgets the session with its last request, however that ends."""
    driver = held()
    with framework(driver) as fw:
        with Session(INI, framework=fw, timeout=SOON) as session:
            gives_up(ask, session)
        assert not driver.freed, "freed under a request that the driver has"
        driver.answer(etype=late)
        assert driver.freed == driver.opened
        assert fw.sysctl["opencrypto.stats.callback_errors"] == 0
        assert fw.driver_bugs.count == 0
        assert nothing_left(fw)


@faces
def test_time_passes_in_a_blocked_drivers_queue_too(ask: Face) -> None:
    """A message that the driver has never taken is late as well, and still carried out once."""
    driver = Toy("full", flags=CRYPTOCAP_F_SOFTWARE)
    driver.full = True
    with framework(driver) as fw, Session(INI, framework=fw, timeout=SOON) as session:
        assert gives_up(ask, session).drivers == ("full",)
        driver.full = False
        fw.unblock(0, 1)
        assert ask(session, bytes(16)) == KEY[:1] * 16
        assert len(driver.seen) == 2


@faces
def test_moves_from_driver_to_driver_are_within_the_time(ask: Face) -> None:
    """The time is the message's, not each driver's: nobody is asked after it."""
    unwilling = Unwilling(1000)

    class Slowly(HandsBackLate):
        def serve(self, crp: Cryptop) -> None:
            time.sleep(0.6 * SOON)
            super().serve(crp)

    ini = Cryptoini(CRYPTO_NULL_CBC)
    drivers = Slowly("one", unwilling), Slowly("two", unwilling)
    with framework(*drivers) as fw, Session(ini, framework=fw, timeout=SOON) as session:
        error = gives_up(ask, session)
        assert error.drivers[0] in ("one", "two")
        assert unwilling.tries <= 2


def test_the_driver_that_leaves_with_the_message_is_the_one_named() -> None:
    """A session may have moved on meanwhile: who has not answered is its old driver."""
    old = held("old")
    errors: list[DriverTimeout] = []
    with framework(old, Toy("new")) as fw, Session(INI, framework=fw, timeout=0.5) as session:
        asking = threading.Thread(target=lambda: errors.append(gives_up(by_thread, session)))
        asking.start()
        while not old.held:
            time.sleep(0.001)
        fw.unregister_all(0)
        crp = Cryptop(session.sid, bytearray(16), [Cryptodesc(0, 16, alg=CRYPTO_NULL_CBC)])
        crp.callback = lambda crp: None
        fw.dispatch(crp)  # which has the session moved
        assert fw.driver_of(session.sid) == ("new",)
        asking.join(PATIENCE)
        assert not asking.is_alive()
        assert [error.drivers for error in errors] == [("old",)]
        old.answer()


@faces
def test_a_virtual_session_names_its_drivers(ask: Face) -> None:
    """Which of them has the message is theirs to find out."""
    cipher = held("cipher", algs=(CRYPTO_NULL_CBC,))
    mac = Toy("mac", algs=(CRYPTO_NULL_HMAC,))
    with framework(cipher, mac) as fw:
        chain = [INI, Cryptoini(CRYPTO_NULL_HMAC, KEY)]
        weak = Profile(weak_auth=True)
        with Session(chain, framework=fw, profile=weak, timeout=SOON) as session:
            assert set(gives_up(ask, session).drivers) == {"cipher", "mac"}
        cipher.answer()
        assert nothing_left(fw)


@faces
def test_an_answer_within_the_time_is_an_answer(ask: Face) -> None:
    """A late driver is waited for, a prompt one has any time; a long time does not overflow."""
    ini = Cryptoini(CRYPTO_NULL_CBC)
    with framework(Late("late")) as fw, Session(ini, framework=fw, timeout=1e300) as session:
        for number in range(20):
            assert ask(session, bytes([number] * 8)) == bytes([number] * 8)
    with framework(Toy()) as fw, Session(INI, framework=fw, timeout=1e-9) as session:
        assert ask(session, bytes(16)) == KEY[:1] * 16


def test_coroutines_may_have_a_time_of_their_own() -> None:
    """An AsyncSession's is its session's, unless it is given one."""
    driver = held()

    async def asks(session: Session, **options: Any) -> None:
        with pytest.raises(DriverTimeout):
            await AsyncSession(session, **options).encrypt(bytes(16))

    with framework(driver) as fw:
        with Session(INI, framework=fw, timeout=SOON) as session:
            asyncio.run(asks(session))
        with Session(INI, framework=fw) as session:
            asyncio.run(asks(session, timeout=SOON))
        driver.answer()


def test_other_coroutines_run_on_while_one_waits() -> None:
    """The wait blocks no loop, and a cancellation from outside stays one."""
    driver = held()

    async def main(session: Session) -> None:
        asession = AsyncSession(session)
        waiting = asyncio.ensure_future(asession.encrypt(bytes(16)))
        await asyncio.sleep(0)
        driver.answer()
        await waiting
        with pytest.raises(asyncio.CancelledError):
            task = asyncio.ensure_future(asession.encrypt(bytes(16)))
            await asyncio.sleep(0)
            task.cancel()
            await task

    with framework(driver) as fw, Session(INI, framework=fw, timeout=PATIENCE) as session:
        asyncio.run(main(session))
        driver.answer()


@pytest.mark.parametrize("wrong", [0, 0.0, -1, -0.5, math.nan, math.inf, True, "1", b"1", [1]])
def test_a_time_that_is_none_is_refused(wrong: Any) -> None:
    """Before a session is opened; the sentence says what it must be."""
    with framework(Toy()) as fw, Session(INI, framework=fw) as good:
        with pytest.raises(UsageError, match=REFUSAL):
            Session(INI, framework=fw, timeout=wrong)
        with pytest.raises(UsageError, match=REFUSAL):
            AsyncSession(good, timeout=wrong)
        assert fw.sysctl["opencrypto.sessions.active"] == 1


@pytest.mark.parametrize("wrong", [-1, math.nan, True, "1", None])
def test_a_driver_is_not_withdrawn_for_a_time_that_is_none(wrong: Any) -> None:
    """`detach` checks what it is given before it does anything."""
    with framework(Toy()) as fw:
        with pytest.raises(UsageError, match=REFUSAL):
            fw.detach("toy", timeout=wrong)
        with Session(INI, framework=fw) as session:
            assert by_thread(session, bytes(16)) == KEY[:1] * 16
        fw.detach("toy", timeout=0)


def test_the_macs_of_a_late_driver_are_not_mixed_up() -> None:
    """Each message's answer is its own, though some were given up and came in between."""
    ini = Cryptoini(CRYPTO_SHA2_256_HMAC, b"k" * 32)
    with (
        framework(Late("late")) as fw,
        Session(ini, framework=fw) as patient,
        Session(ini, framework=fw, timeout=1e-4) as hasty,
    ):
        expected = {number: patient.mac(bytes([number])) for number in range(50)}
        late = 0
        for number, mac in expected.items():
            try:
                assert hasty.mac(bytes([number])) == mac
            except DriverTimeout:
                late += 1
        assert late, "nothing was late"
