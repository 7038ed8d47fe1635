"""Known answers at attachment: what answers wrongly is not offered, and everybody can see it."""

import contextlib
import errno
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pytest

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_VERIFY,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1,
    CRYPTO_SHA1_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    Alg,
    BusyError,
    Capability,
    Cryptoini,
    Cryptop,
    Driver,
    DriverBug,
    DriverGone,
    Framework,
    NoDriverError,
    OperationError,
    UsageError,
)
from opencrypto.chain import ChainDriver, Segments, TransformFactory
from opencrypto.client import Session
from opencrypto.driver import WorkerPool
from opencrypto.selftest import answers, failures
from opencrypto.xform import FACTS, Kind
from opencrypto_swcrypto import opencrypto_drivers
from opencrypto_swcrypto._driver import FACTORIES

GCM = (CRYPTO_AES_GCM_16, CRYPTO_AES_128_GMAC)


class Nothing:
    """A cipher that leaves everything as it is."""

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Do nothing."""


class Raising:
    """An authenticator whose library has broken."""

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Raise what no driver may."""
        raise ZeroDivisionError


class Broken(ChainDriver):
    """Its AES ciphers nothing and its HMAC raises; its NULL cipher is right."""

    name = "broken"
    capabilities: Mapping[int, Capability] = {
        CRYPTO_AES_CBC: Capability(),
        CRYPTO_SHA1_HMAC: Capability(),
        CRYPTO_NULL_CBC: Capability(),
    }
    factories: Mapping[int, TransformFactory] = {
        CRYPTO_AES_CBC: lambda cri: Nothing(),
        CRYPTO_SHA1_HMAC: lambda cri: Raising(),
        CRYPTO_NULL_CBC: lambda cri: Nothing(),
    }


def test_what_answers_wrongly_is_not_offered(caplog: pytest.LogCaptureFixture) -> None:
    """The wrong algorithms are refused, logged once each and shown; the right one is offered."""
    with Framework(plugins=False) as fw, caplog.at_level(logging.ERROR, "opencrypto"):
        fw.attach(Broken())
        info = fw.drivers[0]
        assert info.algorithms == ("NULL_CBC",)
        assert {name for name, _ in info.failed} == {"AES_CBC", "SHA1_HMAC"}
        assert dict(info.failed)["AES_CBC"] == "its known answer is wrong"
        assert "ZeroDivisionError" in dict(info.failed)["SHA1_HMAC"]
        lines = [r.getMessage() for r in caplog.records if "selftest_failed" in r.getMessage()]
        assert len(lines) == 2
        with pytest.raises(NoDriverError, match="broken: is not trusted with AES_CBC"):
            fw.newsession(Cryptoini(CRYPTO_AES_CBC, bytes(16)))
        fw.newsession(Cryptoini(CRYPTO_NULL_CBC))


def test_who_asks_is_told_why_it_is_missing() -> None:
    """Not that the driver has no such algorithm, which it claims."""
    with Framework(plugins=False) as fw:
        fw.attach(Broken(), selftest=True)
        with pytest.raises(NoDriverError) as caught:
            fw.newsession([Cryptoini(CRYPTO_AES_CBC, bytes(16))])
        assert caught.value.reasons == {
            "broken": "is not trusted with AES_CBC: its known answer is wrong"
        }
        with pytest.raises(NoDriverError) as caught:
            fw.newsession([Cryptoini(CRYPTO_AES_CBC, bytes(16)), Cryptoini(CRYPTO_SHA1)])
        assert caught.value.reasons["broken"] == (
            "has no SHA1, and is not trusted with AES_CBC: its known answer is wrong"
        )


class Harmed(ChainDriver):
    """The software driver, which does one thing wrong that a test names."""

    name = "harmed"

    def __init__(self, harm: Callable[[Cryptop], object], *algs: int) -> None:
        super().__init__()
        self.capabilities = dict.fromkeys(algs, Capability())
        self.factories = {alg: FACTORIES[alg] for alg in algs if alg in FACTORIES}
        self._harm = harm

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        """Open a session all of whose requests come to `process`."""
        opened = super().newsession(ini)
        return opened[0] if isinstance(opened, tuple) else opened

    def process(self, crp: Cryptop, hint: int) -> int:
        """Do what is asked, and then the harm, before anybody sees the answer."""
        port, self.done = self.done, lambda crp: None
        try:
            taken = super().process(crp, hint)
        finally:
            self.done = port
        self._harm(crp)
        self.done(crp)
        return taken


def failures_of(driver: Driver) -> dict[str, str]:
    """Attach a driver, and return why it does not offer what it does not."""
    with Framework(plugins=False) as fw:
        fw.attach(driver, selftest=True)
        (info,) = fw.drivers
        offered = {Alg[name] for name in info.algorithms}
        failed = dict(info.failed)
        assert offered | {Alg[name] for name in failed} == set(driver.capabilities)
        assert not offered & {Alg[name] for name in failed}
        return failed


def encrypts(crp: Cryptop) -> bool:
    return any(crd.flags & CRD_F_ENCRYPT for crd in crp.desc)


def fails_to_encrypt(crp: Cryptop) -> None:
    """Leave the data right and say that it went wrong."""
    if encrypts(crp):
        crp.fail(errno.EIO)


def spoils_decryption(crp: Cryptop) -> None:
    if not encrypts(crp):
        crp.buf[0] ^= 1


def spoils_encryption(crp: Cryptop) -> None:
    if encrypts(crp):
        crp.buf[0] ^= 1


def takes_every_mac(crp: Cryptop) -> None:
    """Say of a MAC that does not verify that it does."""
    if crp.etype == errno.EBADMSG:
        crp.fail(0)


def refuses_every_mac(crp: Cryptop) -> None:
    if any(crd.flags & CRD_F_VERIFY for crd in crp.desc):
        crp.fail(errno.EBADMSG)


def nothing(crp: Cryptop) -> None:
    """Do no harm."""


def test_a_driver_that_does_no_harm_fails_at_nothing() -> None:
    """What the others here are measured against."""
    assert failures_of(Harmed(nothing, CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC, *GCM)) == {}


@pytest.mark.parametrize("harm", [spoils_encryption, spoils_decryption])
def test_either_direction_is_tried(harm: Callable[[Cryptop], object]) -> None:
    """A cipher wrong in one direction is not offered, and an authenticated one neither."""
    wrong = "its known answer is wrong"
    assert failures_of(Harmed(harm, CRYPTO_AES_CBC)) == {"AES_CBC": wrong}
    assert failures_of(Harmed(harm, *GCM)) == {"AES_GCM_16": wrong, "AES_128_GMAC": wrong}


def test_an_answer_that_says_it_failed_is_no_answer() -> None:
    """The data may look right: the driver says that they are not."""
    failed = failures_of(Harmed(fails_to_encrypt, CRYPTO_AES_CBC))
    assert failed == {"AES_CBC": "its known answer failed with EIO"}


def test_who_takes_every_mac_is_found_out() -> None:
    """A verification that never says no is worse than none: MACs, digests and tags."""
    why = "it takes a wrong MAC for a right one"
    failed = failures_of(Harmed(takes_every_mac, CRYPTO_SHA1_HMAC, CRYPTO_SHA1, *GCM))
    assert failed == dict.fromkeys(["SHA1_HMAC", "SHA1", "AES_GCM_16", "AES_128_GMAC"], why)


def test_who_takes_no_mac_is_found_out() -> None:
    """The right MAC must verify as well."""
    why = "its known answer failed with EBADMSG"
    failed = failures_of(Harmed(refuses_every_mac, CRYPTO_SHA1_HMAC, *GCM))
    assert failed == dict.fromkeys(["SHA1_HMAC", "AES_GCM_16", "AES_128_GMAC"], why)


class Refusing(Harmed):
    """A driver whose `newsession` raises what a test wants."""

    def __init__(self, error: Exception, *algs: int) -> None:
        super().__init__(nothing, *algs)
        self._error = error

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        """Raise it."""
        raise self._error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (DriverGone("the device does not answer"), "opening a session failed with ENODEV"),
        (OperationError("the device failed"), "opening a session failed with EIO"),
        (BusyError("another program has it"), "opening a session failed with EBUSY"),
        (KeyError("x"), "opening a session raised KeyError"),
    ],
)
def test_a_device_that_opens_no_session_is_not_offered(error: Exception, why: str) -> None:
    """Its error is no word about the key, and it is shown."""
    assert failures_of(Refusing(error, CRYPTO_AES_CBC)) == {"AES_CBC": why}


@pytest.mark.parametrize("error", [UsageError("no such key"), NoDriverError("no such key", {})])
def test_a_key_that_is_not_taken_is_no_failure(error: Exception) -> None:
    """The known answer's key may be one that a driver does not take: then it is not tested."""
    assert failures_of(Refusing(error, CRYPTO_AES_CBC)) == {}


def test_a_driver_is_not_asked_for_what_its_capabilities_exclude() -> None:
    """A key length that it does not claim is no reason to call it, here as anywhere."""
    driver = Refusing(KeyError("never asked"), CRYPTO_AES_CBC)
    driver.capabilities = {CRYPTO_AES_CBC: Capability(keys=frozenset({32}))}
    assert failures_of(driver) == {}


def test_it_can_be_left_out() -> None:
    """Who attaches by hand may say that the driver is not to be tested."""
    with Framework(plugins=False) as fw:
        fw.attach(Broken(), selftest=False)
        assert "AES_CBC" in fw.drivers[0].algorithms
        assert not fw.drivers[0].failed


def test_a_right_driver_passes_whole() -> None:
    """The software driver's every algorithm answers as its standard says."""
    with Framework(plugins=False) as fw:
        fw.attach(opencrypto_drivers()[0], selftest=True)
        assert not fw.drivers[0].failed
        assert len(fw.drivers[0].algorithms) == len(FACTS)


def test_every_algorithm_has_an_answer() -> None:
    """One answer for each; an authenticating half is tested with its cipher."""
    wanted = {alg for alg, facts in FACTS.items() if facts.kind is not Kind.AEAD_AUTH}
    assert set(answers()) == wanted
    assert all(answer.source for answer in answers().values())


class Slow(Harmed):
    """A driver that answers some algorithms late, or not at all, from a thread of its own."""

    flags = CRYPTOCAP_F_SOFTWARE

    def __init__(self, *algs: int, silent: Collection[int] = (), pause: float = 0.0) -> None:
        super().__init__(nothing, *algs)
        self.silent = silent
        self.pause = pause
        self.kept: list[Cryptop] = []
        self.asked: set[int] = set()
        self.opened: list[int] = []
        self.freed: list[int] = []
        self.worker = WorkerPool("opencrypto-slow", lambda: None, size=1, depth=8)

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        """Open a session, and note it."""
        lid = super().newsession(ini)
        self.opened.append(lid)
        return lid

    def freesession(self, lid: int) -> None:
        """Forget it, and note that."""
        super().freesession(lid)
        self.freed.append(lid)

    def process(self, crp: Cryptop, hint: int) -> int:
        """Keep what is not to be answered; have a thread do the rest after the pause."""
        self.asked.update(crd.alg for crd in crp.desc)
        if any(crd.alg in self.silent for crd in crp.desc):
            self.kept.append(crp)
        else:
            assert self.worker.submit(lambda: self.answer_late(crp))
        return 0

    def answer_late(self, crp: Cryptop) -> None:
        """Pause, and answer."""
        time.sleep(self.pause)
        super().process(crp, 0)

    def answer_kept(self) -> None:
        """Answer, at last, what was kept, in the way of somebody who does not look."""
        while self.kept:
            crp = self.kept.pop()
            crp.buf[:] = b"\xff" * len(crp.buf)
            self.done(crp)

    def close(self) -> None:
        """End the thread."""
        self.worker.close()
        super().close()


ORDER = (CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC, *GCM, CRYPTO_NULL_CBC)
OVER = "not tried: the time for all known answers, 0.1 s, was over at "


def test_a_driver_that_is_silent_once_is_asked_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """One budget for all answers; what was tried before is offered, the rest says why it is not."""
    driver = Slow(*ORDER, silent={CRYPTO_SHA1_HMAC})
    began = time.monotonic()
    with Framework(plugins=False) as fw:
        fw.attach(driver, selftest=True, selftest_timeout=0.1)
        assert 0.1 <= time.monotonic() - began < 5
        (info,) = fw.drivers
        assert info.algorithms == ("AES_CBC",)
        assert dict(info.failed) == {
            "SHA1_HMAC": "its known answer did not come",
            "AES_GCM_16": OVER + "SHA1_HMAC",
            "AES_128_GMAC": OVER + "SHA1_HMAC",
            "NULL_CBC": OVER + "SHA1_HMAC",
        }
        assert driver.asked == {CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC}
        assert caplog.text.count("selftest_failed") == 4


@pytest.mark.parametrize("attached", [False, True])
def test_a_late_known_answer_is_nobodys(attached: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Its session is freed then and not before; no driver is blamed, no consumer hears of it."""
    driver = Slow(CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC, silent={CRYPTO_SHA1_HMAC})
    with Framework(plugins=False) as fw:
        if attached:
            fw.attach(driver, selftest=True, selftest_timeout=0.05)
        else:
            assert CRYPTO_SHA1_HMAC in failures(driver, 0.05)
        caplog.clear()
        assert set(driver.opened) - set(driver.freed) == {driver.kept[0].sid}
        twice = driver.kept[0]
        driver.answer_kept()
        assert sorted(driver.freed) == sorted(driver.opened)
        if not attached:
            driver.close()
            return
        with Session(Cryptoini(CRYPTO_AES_CBC, bytes(16)), framework=fw, timeout=20) as session:
            sealed = session.encrypt(bytes(16), iv=bytes(16))
            assert sealed.data.hex() == "66e94bd4ef8a2c3b884cfa59ca342b2e"
        assert fw.driver_bugs.count == 0
        assert not caplog.text
        with pytest.raises(DriverBug):
            driver.done(twice)  # once is late, twice is wrong


class Doubly(Slow):
    """A driver that answers each twice, and also what nobody asked."""

    def answer_late(self, crp: Cryptop) -> None:
        """Answer, and go on answering."""
        super().answer_late(crp)
        self.done(crp)
        self.done(Cryptop(crp.sid))


class Crossed(Slow):
    """A driver that answers the question before once more when it has the next one."""

    last = Cryptop()

    def process(self, crp: Cryptop, hint: int) -> int:
        """Answer the last one, and let the thread answer this one after a moment."""
        self.done(self.last)
        self.last = crp
        return super().process(crp, hint)


@pytest.mark.parametrize("kind", [Doubly, Crossed])
def test_an_answer_is_taken_for_no_other_question(kind: type[Slow]) -> None:
    """Whoever answers what was not asked, or answers twice, has answered nothing."""
    with contextlib.closing(kind(CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC, pause=0.01)) as driver:
        assert failures(driver, 2.0) == {}
        assert driver.opened == driver.freed


def test_slow_answers_spend_the_same_budget() -> None:
    """A driver that answers each time, but slowly, has no more time than a silent one."""
    with contextlib.closing(Slow(*ORDER, pause=0.04)) as driver:
        failed = failures(driver, 0.1)
        assert failed[CRYPTO_NULL_CBC].startswith(OVER)
    assert driver.opened == driver.freed, "the last answer came later, and freed its session"


@pytest.mark.parametrize("silent", [*GCM, CRYPTO_AES_CBC])
def test_a_cipher_that_was_not_tried_takes_its_other_half_along(silent: int) -> None:
    """Nothing of a driver that never answers is offered, in whatever order it names them."""
    algs = (silent, CRYPTO_SHA1_HMAC, CRYPTO_AES_128_GMAC, CRYPTO_AES_GCM_16)
    with contextlib.closing(Slow(*algs, silent=algs)) as driver:
        assert set(failures(driver, 0.02)) == set(algs)


class Stalled(Harmed):
    """A device whose calls block, and then do what they should."""

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        """Let the caller wait."""
        time.sleep(0.06)
        return super().newsession(ini)


class Clocks:
    """The two clocks of the budget, of a thread that computes all the time, on a slow machine."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the time of day."""
        self.now += 0.05
        return self.now

    def thread_time(self) -> float:
        """Return the time that the thread has computed."""
        return self.now


def test_a_slow_machine_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers take longer than the budget has, and nobody has waited for the driver."""
    monkeypatch.setattr("opencrypto.selftest.time", clocks := Clocks())
    assert failures(Harmed(nothing, *ORDER), 0.2) == {}
    assert clocks.now > 0.2


def test_calls_that_block_spend_the_budget_too() -> None:
    """Silence is silence, wherever; only what is computed meanwhile is not counted."""
    failed = failures(Stalled(nothing, *ORDER), 0.1)
    assert set(failed) == {CRYPTO_NULL_CBC, *GCM}
    assert {*failed.values()} == {OVER + "SHA1_HMAC"}


def test_a_driver_that_frees_badly_fails_and_no_more() -> None:
    """What `freesession` raises is a failure of the algorithm, not of the attachment."""

    class Clumsy(Harmed):
        def freesession(self, lid: int) -> None:
            super().freesession(lid)
            raise ZeroDivisionError

    failed = failures_of(Clumsy(nothing, CRYPTO_AES_CBC))
    assert failed == {"AES_CBC": "its known answer raised ZeroDivisionError"}


@pytest.mark.parametrize("wrong", [0, -1, True, "2", math.nan, None])
def test_a_budget_is_a_time(wrong: Any) -> None:
    """Else nothing is attached, and no framework made."""
    with Framework(plugins=False) as fw:
        with pytest.raises(UsageError, match="selftest_timeout is"):
            fw.attach(Broken(), selftest_timeout=wrong)
        assert not fw.drivers
    with pytest.raises(UsageError, match="selftest_timeout is"):
        Framework(plugins=False, selftest_timeout=wrong)
