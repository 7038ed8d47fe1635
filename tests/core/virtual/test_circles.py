"""Drivers that hand a part back, each to the other: the request ends, and says how."""

import errno

from opencrypto import CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC, Cryptop, Framework
from tests.core.unruly_drivers import Moody
from tests.core.virtual.support import (
    ETM,
    driver,
    perform,
    sealing,
)


def test_a_part_that_everybody_hands_back_ends_the_request() -> None:
    """After some moves it is ENODEV and not EAGAIN, since the first part has been done."""
    with Framework(plugins=False) as framework:
        framework.attach(driver("cbc", CRYPTO_AES_CBC))
        moody = [Moody(f"d{n}", [CRYPTO_SHA1_HMAC], [], hard=False) for n in range(2)]
        for each in moody:
            each.way = "hand back"
            framework.attach(each, selftest=False)
        sid = framework.newsession(ETM)
        desc = sealing(32)
        crp = perform(framework, Cryptop(sid, bytearray(52), desc))
        assert crp.etype == errno.ENODEV
        assert "in circles" in crp.error
        assert any(crp.buf[:32])
        assert not any(crp.buf[32:])
        assert all(each.opened for each in moody)
        framework.freesession(sid)
        assert not framework._sessions.table
