"""Known answers at attachment: what answers wrongly is not offered, and everybody can see it."""

import logging
from collections.abc import Mapping, Sequence

import pytest

from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1_HMAC,
    Capability,
    Cryptoini,
    Framework,
    NoDriverError,
)
from opencrypto.chain import ChainDriver, Segments, TransformFactory
from opencrypto.selftest import answers
from opencrypto.xform import FACTS, Kind
from opencrypto_swcrypto import opencrypto_drivers


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
        with pytest.raises(NoDriverError, match="broken has no AES_CBC"):
            fw.newsession(Cryptoini(CRYPTO_AES_CBC, bytes(16)))
        fw.newsession(Cryptoini(CRYPTO_NULL_CBC))


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
