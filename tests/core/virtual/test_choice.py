"""Which sessions become virtual, and of which drivers."""

import os
from collections.abc import Sequence

import pytest

from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_SHA1_HMAC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
    NoDriverError,
    Profile,
    UnknownSession,
)
from tests.core.virtual.support import (
    ETM,
    driver,
    perform,
    reference,
    sealing,
    sessions_of,
    split_framework,
)


@pytest.mark.parametrize("flags", [0, CRYPTO_F_CBIMM, CRYPTO_F_BATCH])
def test_two_drivers_do_what_one_would(flags: int) -> None:
    """A chain split over two drivers gives the bytes of the unsplit one, whatever the flags."""
    data = os.urandom(64) + bytes(20)

    def desc() -> list[Cryptodesc]:
        return sealing(64)

    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        crp = perform(framework, Cryptop(sid, bytearray(data), desc(), flags=flags))
        assert crp.etype == 0, crp.error
        assert crp.buf == reference(ETM, desc(), data)
        assert sessions_of(framework) == {"part0": 1, "part1": 1}
        framework.freesession(sid)
        assert sessions_of(framework) == {"part0": 0, "part1": 0}
        with pytest.raises(UnknownSession):
            framework.freesession(sid)


def test_a_driver_with_all_of_it_is_taken_alone() -> None:
    """Nothing is split that one driver takes, even one of a slower class."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        framework.attach(driver("both", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        sid = framework.newsession(ETM)
        assert (sid >> 32) - 1 == 2
        assert sessions_of(framework) == {"part0": 0, "part1": 0, "both": 1}


def test_what_nobody_has_is_still_refused() -> None:
    """The reasons of the drivers stay, and nothing stays open."""
    with split_framework([CRYPTO_AES_CBC]) as framework:
        with pytest.raises(NoDriverError) as caught:
            framework.newsession(ETM)
        assert "SHA1_HMAC" in caught.value.reasons["part0"]
        assert sessions_of(framework) == {"part0": 0}


def test_a_pinned_session_is_never_split() -> None:
    """Asked for one driver, the framework takes that one or none."""
    with (
        split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework,
        pytest.raises(NoDriverError),
    ):
        framework.newsession(ETM, driver="part0")


def test_the_class_asked_for_holds_for_the_parts() -> None:
    """hard > 0 finds no hardware among software drivers."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        with pytest.raises(NoDriverError):
            framework.newsession(ETM, hard=1)
        assert framework.newsession(ETM, hard=-1)


def test_a_driver_refuses_what_it_cannot_chain() -> None:
    """A device that encrypts and then authenticates takes only sessions that promise that order."""

    with Framework(plugins=False) as framework:
        picky = driver("picky", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC)
        picky.flags = 0  # hardware: it would be chosen first

        def refusal(ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
            ciphers_first = ini[0].alg == CRYPTO_AES_CBC
            return "" if profile.ordered and ciphers_first else "encrypts first, in that order only"

        picky.refusal = refusal  # type: ignore[method-assign]  # a stand-in
        framework.attach(picky)
        with pytest.raises(NoDriverError, match="in that order only"):
            framework.newsession(ETM)
        assert framework.newsession(ETM, profile=Profile(ordered=True))
        framework.attach(driver("plain", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        sid = framework.newsession(tuple(reversed(ETM)), profile=Profile(ordered=True))
        assert (sid >> 32) - 1 == 1
