"""A virtual session whose drivers leave: the part moves, or else the whole."""

import errno

import pytest

from opencrypto import (
    CRYPTO_AES_CBC,
    CRYPTO_SHA1_HMAC,
    Cryptop,
    UsageError,
)
from tests.core.virtual.support import (
    ETM,
    cipher,
    driver,
    mac,
    perform,
    sessions_of,
    split_framework,
)


def test_a_part_moves_when_its_driver_leaves() -> None:
    """The consumer's SID stays good, and it never hears of it."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        framework.attach(driver("spare", CRYPTO_SHA1_HMAC))
        sid = framework.newsession(ETM)
        first = "part1" if sessions_of(framework)["part1"] else "spare"

        def go() -> Cryptop:
            desc = [
                cipher(CRYPTO_AES_CBC, 32, encrypt=True),
                mac(CRYPTO_SHA1_HMAC, 32, 32, verify=False),
            ]
            return perform(framework, Cryptop(sid, bytearray(52), desc))

        before = go()
        framework.detach(first)
        after = go()
        assert (before.etype, after.etype) == (0, 0)
        assert after.buf == before.buf
        assert after.sid == sid
        framework.freesession(sid)
        assert set(sessions_of(framework).values()) == {0}


def test_the_whole_moves_when_a_part_cannot() -> None:
    """If a driver comes that has all of it, a stranded session moves there, with EAGAIN."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        framework.detach("part0")
        framework.detach("part1")
        framework.attach(driver("both", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        buf = bytearray(52)
        # A part alone could move to that driver too; here both do, and it stays a virtual session.
        desc = [
            cipher(CRYPTO_AES_CBC, 32, encrypt=True),
            mac(CRYPTO_SHA1_HMAC, 32, 32, verify=False),
        ]
        crp = perform(framework, Cryptop(sid, buf, desc))
        assert crp.etype == 0, crp.error
        assert sessions_of(framework) == {"both": 2}


def test_nobody_left_is_enodev_and_touches_nothing() -> None:
    """A part that cannot be moved is found out before the other part has begun."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        framework.detach("part1")
        buf = bytearray(52)
        desc = [
            cipher(CRYPTO_AES_CBC, 32, encrypt=True),
            mac(CRYPTO_SHA1_HMAC, 32, 32, verify=False),
        ]
        crp = perform(framework, Cryptop(sid, buf, desc))
        assert crp.etype == errno.ENODEV
        assert buf == bytes(52)
        framework.freesession(sid)
        assert sessions_of(framework) == {"part0": 0}


def test_closing_ends_virtual_sessions() -> None:
    """A request that comes after close is completed, with ENOENT."""
    framework = split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC])
    sid = framework.newsession(ETM)
    framework.close()
    desc = [cipher(CRYPTO_AES_CBC, 32, encrypt=True)]
    assert perform(framework, Cryptop(sid, bytearray(32), desc)).etype == errno.ENOENT
    with pytest.raises(UsageError):
        framework.newsession(ETM)


def test_the_whole_moves_where_no_part_can() -> None:
    """A driver that takes only the whole chain takes over, by EAGAIN and a new SID."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(ETM)
        framework.detach("part0")
        whole = driver("whole", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC)
        whole.refusal = (  # type: ignore[method-assign]
            lambda ini, profile: "" if len(ini) == 2 else "takes the whole or nothing"
        )
        framework.attach(whole)
        buf = bytearray(52)
        desc = [
            cipher(CRYPTO_AES_CBC, 32, encrypt=True),
            mac(CRYPTO_SHA1_HMAC, 32, 32, verify=False),
        ]
        crp = perform(framework, Cryptop(sid, buf, desc))
        assert crp.etype == errno.EAGAIN
        assert crp.sid != sid
        assert buf == bytes(52)
        perform(framework, crp).check()
        assert sessions_of(framework) == {"part1": 0, "whole": 1}
        framework.freesession(sid)
        assert set(sessions_of(framework).values()) == {0}
