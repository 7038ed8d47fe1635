"""The numbers of virtual sessions, which begin again after 2**32 of them."""

import errno
import itertools

from opencrypto import CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC, Cryptoini, Cryptop
from tests.core.virtual.support import (
    ETM,
    driver,
    perform,
    sealing,
    split_framework,
)


def with_key(byte: int) -> list[Cryptoini]:
    """Return a chain with keys of one byte."""
    return [Cryptoini(cri.alg, bytes([byte]) * 16) for cri in ETM]


def test_no_living_session_loses_its_number_when_they_begin_again() -> None:
    """What a session encrypts it encrypts with its own key, although 2**32 were opened since."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        virtual = framework._virtual
        old = [framework.newsession(with_key(n)) for n in range(3)]
        assert [sid & 0xFFFFFFFF for sid in old] == [1, 2, 3]
        want = [
            bytes(perform(framework, Cryptop(sid, bytearray(52), sealing(32))).buf) for sid in old
        ]
        framework.freesession(old.pop(1))
        virtual.lids = itertools.count(2**32 - 1)
        new = [framework.newsession(with_key(n)) for n in range(10, 13)]
        assert [sid & 0xFFFFFFFF for sid in new] == [2**32 - 1, 2, 4]
        assert len({*old, *new}) == 5
        for sid, expected in zip(old, (want[0], want[2]), strict=True):
            assert perform(framework, Cryptop(sid, bytearray(52), sealing(32))).buf == expected
        for sid in (*old, *new):
            framework.freesession(sid)
        assert not framework._sessions.table
        assert not virtual._parts


def test_no_former_number_of_a_living_session_is_given_again() -> None:
    """A session has moved away to one driver; under its old number it is still told so."""
    with split_framework([CRYPTO_AES_CBC], [CRYPTO_SHA1_HMAC]) as framework:
        sid = framework.newsession(with_key(1))
        framework.attach(driver("both", CRYPTO_AES_CBC, CRYPTO_SHA1_HMAC))
        moved = perform(framework, Cryptop(sid, bytearray(52), sealing(32)))
        assert moved.etype == errno.EAGAIN
        framework.detach("both")
        framework._virtual.lids = itertools.count(2**32 + 1)
        other = framework.newsession(with_key(2))
        assert other & 0xFFFFFFFF == 2
        late = perform(framework, Cryptop(sid, bytearray(52), sealing(32)))
        assert late.etype == errno.EAGAIN
        assert late.sid not in (sid, other)
