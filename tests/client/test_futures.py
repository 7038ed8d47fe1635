"""`submit_…`: futures that end once, with the answer, with what went wrong, or in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, as_completed, wait
from typing import Any

import pytest

from opencrypto import AuthenticationError, CryptoError, DriverTimeout, Framework, UsageError
from opencrypto._client.clock import Clock
from opencrypto.client import Session
from tests.client.late import HandsBackAtOnce, HandsBackLate, Late, Unwilling

KEY = bytes(range(16))
PATIENCE = 30.0


@pytest.fixture(params=["openssl", "swcrypto", "late"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    late = request.param == "late"
    with Framework(plugins=False if late else [request.param]) as fw:
        if late:
            fw.attach(Late("late"), selftest=False)
        with fw.session("aes-128-gcm", KEY, timeout=PATIENCE) as made:
            yield made


def test_each_method_has_a_twin_that_does_not_wait(session: Session) -> None:
    for size in (0, 64, 40_000):
        data = bytes(size)
        token = session.submit_seal(data, b"aad").result(PATIENCE)
        assert session.submit_open(token, b"aad").result(PATIENCE) == data
        sealed = session.submit_encrypt(data, aad=b"aad").result(PATIENCE)
        assert session.submit_decrypt(sealed, aad=b"aad").result(PATIENCE) == data
        assert session.open(sealed.to_bytes(), b"aad") == data


def test_futures_are_those_of_the_standard_library(session: Session) -> None:
    futures: list[Future[bytes]] = [session.submit_seal(bytes([n])) for n in range(50)]
    assert {session.open(each.result()) for each in as_completed(futures, PATIENCE)} == {
        bytes([n]) for n in range(50)
    }
    called: list[Future[bytes]] = []
    last = session.submit_seal(b"last")
    last.add_done_callback(called.append)
    wait([last], PATIENCE)
    assert not last.cancel()
    for _ in range(1000):
        if called:
            break
        time.sleep(0.001)
    assert called == [last]


def test_what_goes_wrong_is_in_the_future(session: Session) -> None:
    token = session.seal(bytes(64))
    future = session.submit_open(token[:-1] + bytes([token[-1] ^ 1]))
    assert isinstance(future.exception(PATIENCE), AuthenticationError)
    for short in (b"", token[:20]):
        assert isinstance(session.submit_open(short).exception(PATIENCE), AuthenticationError)
    with pytest.raises(UsageError):
        session.submit_seal(b"", iv=b"too short")
    session.close()
    with pytest.raises(CryptoError, match="closed"):
        session.submit_seal(b"").result(PATIENCE)


def test_compression_comes_first_and_last() -> None:
    with Framework(plugins=["openssl", "swcrypto"]) as fw:
        with fw.session("deflate+aes-128-gcm", KEY) as session:
            for size in (0, 100, 100_000):
                token = session.submit_seal(bytes(size)).result(PATIENCE)
                assert session.submit_open(token).result(PATIENCE) == bytes(size)
                assert session.open(token) == bytes(size)
            assert isinstance(session.submit_open(bytes(99)).exception(), AuthenticationError)
        with fw.session("deflate") as session:
            packed = session.submit_compress(bytes(1000)).result(PATIENCE)
            assert len(packed) < 100
            assert session.submit_decompress(packed).result(PATIENCE) == bytes(1000)
            damaged = session.submit_decompress(b"\xff" * 20)
            assert isinstance(damaged.exception(PATIENCE), CryptoError)


def test_digests_and_macs() -> None:
    with Framework(plugins=["openssl"]) as fw:
        with fw.session("hmac-sha2-256", KEY) as session:
            mac = session.submit_mac(b"text").result(PATIENCE)
            assert mac == session.mac(b"text")
            assert session.submit_verify(b"text", mac).result(PATIENCE) is None
            wrong = session.submit_verify(b"Text", mac)
            assert isinstance(wrong.exception(PATIENCE), AuthenticationError)
            with pytest.raises(UsageError, match="has a key"):
                session.submit_digest(b"")
        with fw.session("sha2-256") as session:
            assert session.submit_digest(b"").result(PATIENCE).hex().startswith("e3b0c442")


@pytest.mark.parametrize("driver", [HandsBackAtOnce, HandsBackLate])
def test_a_future_follows_its_session(driver: type[HandsBackLate]) -> None:
    unwilling = Unwilling(3)
    with Framework(plugins=False) as fw:
        for name in ("one", "two"):
            fw.attach(driver(name, unwilling), selftest=False)
        with fw.session("aes-128-gcm", KEY) as session:
            token = session.submit_seal(b"text").result(PATIENCE)
            assert unwilling.tries == 4
            assert session.open(token) == b"text"


class Stuck(Late):
    """A driver that answers when a test says so."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.go_on = threading.Event()

    def serve(self, crp: Any) -> None:
        """Wait for that."""
        assert self.go_on.wait(PATIENCE)
        super().serve(crp)


def test_an_answer_that_comes_too_late_is_dropped() -> None:
    """Whoever waits hears of it in time, by whatever means he waits."""
    driver = Stuck("stuck")
    with Framework(plugins=False) as fw:
        fw.attach(driver, selftest=False)
        with fw.session("aes-128-gcm", KEY, timeout=0.05) as session:
            future = session.submit_seal(b"text")
            done, _ = wait([future], PATIENCE)
            assert done == {future}
            error = future.exception()
            assert isinstance(error, DriverTimeout)
            assert error.drivers == ("stuck",)
            driver.go_on.set()
        fw.detach("stuck")  # which waits for the answer
        assert future.exception() is error


def test_a_late_answer_meets_no_other_message() -> None:
    """The request and the buffer of a message that was given up are used for no other one."""
    driver = Stuck("stuck")
    with Framework(plugins=False) as fw:
        fw.attach(driver, selftest=False)
        with fw.session("aes-128-gcm", KEY, timeout=0.05) as session:
            for _ in range(3):
                with pytest.raises(DriverTimeout):
                    session.seal(b"given up")
            driver.go_on.set()
        with fw.session("aes-128-gcm", KEY) as session:
            for n in range(50):
                assert session.open(session.seal(bytes([n]) * 8)) == bytes([n]) * 8


# The clock.


def test_an_alarm_rings_once_and_the_thread_ends() -> None:
    clock = Clock()
    rung = threading.Semaphore(0)
    alarms = [clock.set(0.01 * n, rung.release) for n in (3, 1, 2)]
    off = clock.set(0.02, lambda: pytest.fail("it was called off"))
    clock.call_off(off)
    for _ in alarms:
        assert rung.acquire(timeout=PATIENCE)
    assert not rung.acquire(timeout=0.05)
    late = clock.set(PATIENCE, rung.release)
    clock.call_off(late)
    deadline = time.monotonic() + PATIENCE
    while clock._runs:
        assert time.monotonic() < deadline, "it waits for an alarm that is off"
        time.sleep(0.001)
    clock.set(0.001, rung.release)
    assert rung.acquire(timeout=PATIENCE)
