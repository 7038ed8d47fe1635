"""What a `ChainDriver` that answers later, by workers or devices, makes of a session's requests."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_CBC,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA2_256_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
    Capability,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
    UsageError,
)
from opencrypto.chain import ChainDriver, Later, Segments, TransformFactory
from tests.kit.correct_drivers import Cbc, Hmac, Honest
from tests.toy import Log, threaded

KEY = bytes(range(16))
GIVEN = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
WAIT_S = 10.0


class Gate(Cbc):
    """A cipher that waits for its gate, if the request's first byte names one."""

    gates: Mapping[int, threading.Event] = {}

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        gate = self.gates.get(parts[0][0])
        if gate is not None and not gate.wait(WAIT_S):
            raise TimeoutError
        super().crypt(iv, parts, encrypt)


class Gated(ChainDriver):
    """AES-CBC by three workers, behind gates."""

    name = "gated"
    workers = 3
    capabilities: Mapping[int, Capability] = {CRYPTO_AES_CBC: Capability()}

    def __init__(self) -> None:
        super().__init__()
        self.gates = {1: threading.Event(), 2: threading.Event()}
        gates = self.gates

        class Own(Gate):
            pass

        Own.gates = gates
        self.factories: Mapping[int, TransformFactory] = {CRYPTO_AES_CBC: Own}


class Small(Gated):
    """The same, for 64 bytes and more."""

    name = "small"
    threads_from = 64


class Narrow(Gated):
    """One worker, and room for one more."""

    name = "narrow"
    workers = 1
    depth = 1


def cbc(sid: int, callback: Callable[[Cryptop], object], mark: int, size: int = 64) -> Cryptop:
    """A request that begins with a byte, and comes back at once with it in `opaque`."""
    crd = Cryptodesc(0, size, alg=CRYPTO_AES_CBC, flags=GIVEN, iv=bytes(16))
    buf = bytearray([mark]) + bytearray(size - 1)
    return Cryptop(sid, buf, [crd], callback, CRYPTO_F_CBIMM, opaque=mark)


class Answers(Log):
    """A callback that waits for so many answers."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._left = threading.Semaphore(0)
        self.number = number

    def __call__(self, crp: Cryptop) -> None:
        super().__call__(crp)
        self._left.release()

    def wait(self, number: int = 0) -> Answers:
        for _ in range(number or self.number):
            assert self._left.acquire(timeout=WAIT_S), f"{len(self.calls)} answers came"
        return self


@contextmanager
def session(driver: Driver, *inis: Cryptoini) -> Iterator[tuple[Framework, int]]:
    """A framework with one driver, and a session on it."""
    with threaded(driver) as framework:
        yield framework, framework.newsession(inis or [Cryptoini(CRYPTO_AES_CBC, KEY)])


def encrypted(mark: int, size: int = 64) -> bytes:
    buf = bytearray([mark]) + bytearray(size - 1)
    Cbc(Cryptoini(CRYPTO_AES_CBC, KEY)).crypt(bytes(16), [memoryview(buf)], True)
    return bytes(buf)


# Workers.


def test_a_session_is_answered_in_the_order_in_which_it_asked() -> None:
    """The second is done long before the first."""
    driver = Gated()
    with session(driver) as (framework, sid):
        log = Answers(4)
        requests = [cbc(sid, log, mark) for mark in (1, 7, 2, 8)]
        for crp in requests:
            framework.dispatch(crp)
        while bytes(requests[1].buf) != encrypted(7):
            os.sched_yield()
        assert log.calls == []
        driver.gates[1].set()
        log.wait(2)
        assert log.order == [1, 7]
        driver.gates[2].set()
        log.wait(2)
    assert log.order == [1, 7, 2, 8]
    assert [bytes(crp.buf) for crp in requests] == list(map(encrypted, (1, 7, 2, 8)))


def test_one_session_does_not_hold_up_another() -> None:
    driver = Gated()
    with session(driver) as (framework, sid):
        other = framework.newsession(Cryptoini(CRYPTO_AES_CBC, KEY))
        log = Answers(2)
        framework.dispatch(cbc(sid, log, 1))
        framework.dispatch(cbc(other, log, 7))
        log.wait(1)
        assert log.order == [7]
        driver.gates[1].set()
        log.wait(1)


def test_what_is_small_is_done_at_once_unless_something_is_before_it() -> None:
    driver = Small()
    with session(driver) as (framework, sid):
        log = Answers(3)
        framework.dispatch(cbc(sid, log, 7, 48))
        assert log.order == [7]
        framework.dispatch(cbc(sid, log, 1, 64))
        framework.dispatch(cbc(sid, log, 8, 48))
        assert log.order == [7]
        driver.gates[1].set()
        log.wait()
    assert log.order == [7, 1, 8]


def test_too_many_wait_in_the_queue_and_keep_their_order() -> None:
    driver = Narrow()
    with session(driver) as (framework, sid):
        log = Answers(20)
        framework.dispatch(cbc(sid, log, 1))
        for mark in range(3, 22):
            framework.dispatch(cbc(sid, log, mark))
        assert framework.stats.blocks > 0
        driver.gates[1].set()
        log.wait()
    assert log.order == [1, *range(3, 22)]
    assert set(log.etypes) == {0}


class Raising(Cbc):
    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        if parts[0][0] == 9:
            raise TypeError(bytes(parts[0]).hex())
        super().crypt(iv, parts, encrypt)


class Broken(Honest):
    """Its cipher raises for some requests."""

    name = "broken"
    workers = 2
    factories: Mapping[int, TransformFactory] = {**Honest.factories, CRYPTO_AES_CBC: Raising}


def test_what_a_transform_raises_is_an_answer_and_a_bug_by_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The request ends with EIO, the next one is served; neither log nor status quotes it."""
    with session(Broken()) as (framework, sid):
        log = Answers(2)
        bad, good = cbc(sid, log, 9), cbc(sid, log, 3)
        framework.dispatch(bad)
        framework.dispatch(good)
        log.wait()
        assert log.etypes == [errno.EIO, 0]
        assert bad.error == "driver broken raised TypeError"
        assert framework.stats.driver_bugs == 1
    assert "driver=broken" in caplog.text
    assert "error=TypeError" in caplog.text
    assert bytes([9] + [0] * 31).hex() not in caplog.text


def test_a_callback_that_interrupts_stops_nobody() -> None:
    """It does so in a worker, which then has others to answer."""
    driver = Gated()
    with session(driver) as (framework, sid):
        log = Answers(2)

        def interrupt(crp: Cryptop) -> None:
            raise KeyboardInterrupt

        framework.dispatch(cbc(sid, interrupt, 1))
        framework.dispatch(cbc(sid, log, 3))
        framework.dispatch(cbc(sid, log, 4))
        driver.gates[1].set()
        log.wait()
    assert log.order == [3, 4]


def test_a_session_is_freed_and_a_driver_leaves_with_requests_at_work() -> None:
    driver = Gated()
    with session(driver) as (framework, sid):
        log = Answers(3)
        framework.dispatch(cbc(sid, log, 1))
        framework.dispatch(cbc(sid, log, 3))
        framework.freesession(sid)
        framework.dispatch(late := cbc(sid, log, 4))
        assert late.etype == errno.ENOENT
        threading.Timer(0.05, driver.gates[1].set).start()
        framework.detach(driver)
        assert [etype for _, etype, _ in log.wait().calls] == [errno.ENOENT, 0, 0]
    assert driver._sessions == {}
    assert not [t for t in threading.enumerate() if t.name.startswith("opencrypto-gated")]


@pytest.mark.parametrize("kind", [Gated, Small])
def test_it_is_no_synchronous_driver_whatever_its_flags_say(kind: type[Gated]) -> None:
    driver = kind()
    assert kind.flags & CRYPTOCAP_F_SYNC
    assert driver.flags == CRYPTOCAP_F_SOFTWARE


@pytest.mark.parametrize(
    ("fact", "value"), [("workers", -1), ("threads_from", True), ("depth", 0), ("workers", "two")]
)
def test_numbers_that_mean_nothing_are_refused(fact: str, value: object) -> None:
    kind = type("Odd", (Gated,), {fact: value})
    with pytest.raises(UsageError, match=f"{fact} is a number"):
        kind()


def test_a_forked_child_has_a_line_of_its_own() -> None:
    """What waits in the parent is the parent's; the child's requests do not wait behind it."""
    driver = Gated()
    with session(driver) as (framework, sid):
        log = Answers(1)
        framework.dispatch(cbc(sid, log, 1))
        pid = os.fork()
        if not pid:
            try:
                mine = Answers(1)
                crp = cbc(sid, mine, 3)
                framework.dispatch(crp)
                mine.wait()
                os._exit(0 if bytes(crp.buf) == encrypted(3) else 1)
            except BaseException:
                os._exit(2)
        driver.gates[1].set()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        log.wait()
    assert log.etypes == [0]


# Transforms that wait.


class Asked:
    """A transform whose answers are the test's to give."""

    def __init__(self, transform: Any, given: list[tuple[Later, Callable[[], object]]]) -> None:
        self.transform = transform
        self.given = given

    def _give(self, work: Callable[[], object]) -> Later:
        later = Later()
        self.given.append((later, work))
        return later

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> Any:
        return self._give(lambda: self.transform.crypt(iv, parts, encrypt))

    def mac(self, parts: Sequence[memoryview]) -> Any:
        return self._give(lambda: self.transform.mac(parts))


class Asking(ChainDriver):
    """AES-CBC and HMAC-SHA-256 by such transforms."""

    name = "asking"
    later = True
    capabilities: Mapping[int, Capability] = {
        CRYPTO_AES_CBC: Capability(),
        CRYPTO_SHA2_256_HMAC: Capability(),
    }
    selftest = False

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[Later, Callable[[], object]]] = []
        self.factories: Mapping[int, TransformFactory] = {
            CRYPTO_AES_CBC: lambda cri: Asked(Cbc(cri), self.given),
            CRYPTO_SHA2_256_HMAC: lambda cri: Asked(Hmac(cri), self.given),
        }

    def answer(self) -> None:
        later, work = self.given.pop(0)
        later.finish(work())


BOTH = (Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA2_256_HMAC, KEY * 2))


def chained(sid: int, callback: Callable[[Cryptop], object], mark: int) -> Cryptop:
    """Encrypt 64 bytes, then authenticate them."""
    crp = cbc(sid, callback, mark)
    crp.buf += bytes(16)
    crp.desc = [*crp.desc, Cryptodesc(0, 64, 64, alg=CRYPTO_SHA2_256_HMAC)]
    return crp


def test_the_answer_to_a_step_goes_on_to_the_next_one() -> None:
    driver = Asking()
    with session(driver, *BOTH) as (framework, sid):
        log = Answers(1)
        framework.dispatch(crp := chained(sid, log, 3))
        assert len(driver.given) == 1
        driver.answer()
        assert len(driver.given) == 1
        assert log.calls == []
        driver.answer()
        assert log.etypes == [0]
    want = bytearray(encrypted(3))
    assert crp.buf == want + Hmac(BOTH[1]).mac([memoryview(want)])[:16]


def test_what_fails_half_way_has_its_buffer_as_it_was() -> None:
    """So it may be handed back: EAGAIN says that nothing was done."""
    driver = Asking()
    with session(driver, *BOTH) as (framework, sid):
        framework.attach(Honest())
        log = Answers(1)
        framework.dispatch(crp := chained(sid, log, 3))
        before = bytes(bytes([3]) + bytes(79))
        driver.answer()
        assert bytes(crp.buf) != before
        driver.given.pop()[0].fail(errno.EAGAIN, "the card is full")
        assert (log.etypes, bytes(crp.buf)) == ([errno.EAGAIN], before)
        framework.dispatch(crp)
    assert log.etypes == [errno.EAGAIN, 0]


def test_answers_may_come_in_any_order_and_are_passed_on_in_that_of_the_session() -> None:
    driver = Asking()
    with session(driver) as (framework, sid):
        log = Answers(3)
        for mark in (3, 4, 5):
            framework.dispatch(cbc(sid, log, mark))
        for place in (2, 1, 0):
            assert log.calls == []
            later, work = driver.given[place]
            later.finish(work())
        assert log.order == [3, 4, 5]


def test_an_answer_is_given_once() -> None:
    later = Later()
    later.finish(1)
    with pytest.raises(UsageError, match="answer it once"):
        later.finish(2)
    with pytest.raises(UsageError, match="answer it once"):
        later.fail(errno.EIO)
    with pytest.raises(UsageError, match="not 0"):
        Later().fail(0)


class OfAnotherLoop(Cbc):
    """Awaits what nobody here runs."""

    async def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:  # type: ignore[override]
        await asyncio.sleep(0)


class Foreign(Asking):
    name = "foreign"

    def __init__(self) -> None:
        super().__init__()
        self.factories = {CRYPTO_AES_CBC: OfAnotherLoop}


def test_what_can_never_come_is_not_waited_for() -> None:
    with session(Foreign()) as (framework, sid):
        log = Answers(1)
        framework.dispatch(crp := cbc(sid, log, 3))
        assert log.etypes == [errno.EIO]
        assert crp.error == "driver foreign raised TypeError"
        assert framework.stats.driver_bugs == 1


class Forgetful(Asking):
    """Does not say that its transforms answer later."""

    name = "forgetful"
    later = False


@pytest.mark.parametrize("whole", [True, False])
def test_a_driver_that_forgets_to_say_so_passes_nothing_on_as_done(*, whole: bool) -> None:
    """By the quick way, and by the other."""
    with session(Forgetful()) as (framework, sid):
        log = Answers(1)
        crp = cbc(sid, log, 3)
        if not whole:
            crp.buf = [crp.buf[:20], crp.buf[20:]]
        framework.dispatch(crp)
        assert log.etypes == [errno.EIO]


def test_one_that_is_never_answered_does_not_write_into_a_buffer_given_back() -> None:
    """The driver leaves, and the request ends with EIO; what it had half done stays as it is."""
    driver = Asking()
    with session(driver, *BOTH) as (framework, sid):
        log = Answers(1)
        framework.dispatch(crp := chained(sid, log, 3))
        driver.answer()
        framework.detach(driver, timeout=0)
        assert log.etypes == [errno.EIO]
        crp.buf[:] = bytes(80)
        driver.given.clear()
        assert crp.buf == bytes(80)
