"""Known answers at attachment: what answers wrongly is not offered, and everybody can see it."""

import errno
import logging
from collections.abc import Callable, Mapping, Sequence

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
    Alg,
    BusyError,
    Capability,
    Cryptoini,
    Cryptop,
    Driver,
    DriverGone,
    Framework,
    NoDriverError,
    OperationError,
    UsageError,
)
from opencrypto.chain import ChainDriver, Segments, TransformFactory
from opencrypto.selftest import answers
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
        with pytest.raises(NoDriverError, match="broken: has no AES_CBC"):
            fw.newsession(Cryptoini(CRYPTO_AES_CBC, bytes(16)))
        fw.newsession(Cryptoini(CRYPTO_NULL_CBC))


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
