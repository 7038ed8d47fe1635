"""The numbers that drivers give their sessions, which begin again after 2**32 of them."""

from __future__ import annotations

import itertools

import pytest

from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_AES_CBC,
    CRYPTO_NULL_HMAC,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Framework,
)
from tests.core.virtual.support import perform
from tests.drivers.rig import BOTH, NAMES, make_driver


@pytest.mark.parametrize("name", NAMES)
def test_a_number_in_use_is_not_given_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session lives while 2**32 others were opened: the next one gets another number."""
    alg = CRYPTO_NULL_HMAC if name == "null" else CRYPTO_AES_CBC
    with Framework(plugins=False) as fw:
        fw.attach(make_driver(name), selftest=False)
        monkeypatch.setattr("opencrypto.driver._lids", itertools.count(2**32 - 1))
        first, second = (fw.newsession(Cryptoini(alg, bytes(16))) for _ in range(2))
        assert [sid & 0xFFFFFFFF for sid in (first, second)] == [2**32 - 1, 0]
        monkeypatch.setattr("opencrypto.driver._lids", itertools.count(2**32 - 1))
        third = fw.newsession(Cryptoini(alg, bytes(16)))
        assert third & 0xFFFFFFFF == 1
        assert fw.stats.driver_bugs == 0
        for sid in (first, second, third):
            fw.freesession(sid)


@pytest.mark.parametrize("name", BOTH)
def test_each_session_keeps_its_key_when_they_begin_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What two sessions encrypt is not the same, and the first one's is what it was."""

    def encrypted(sid: int) -> bytes:
        flags = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
        crd = Cryptodesc(0, 32, 0, flags, alg=CRYPTO_AES_CBC, iv=bytes(16))
        crp = perform(fw, Cryptop(sid, bytearray(32), [crd]))
        crp.check()
        return bytes(crp.buf)

    with Framework(plugins=False) as fw:
        fw.attach(make_driver(name), selftest=False)
        monkeypatch.setattr("opencrypto.driver._lids", itertools.count(7))
        first = fw.newsession(Cryptoini(CRYPTO_AES_CBC, bytes(16)))
        before = encrypted(first)
        monkeypatch.setattr("opencrypto.driver._lids", itertools.count(2**32 + 7))
        second = fw.newsession(Cryptoini(CRYPTO_AES_CBC, bytes([1]) * 16))
        assert encrypted(second) != before
        assert encrypted(first) == before
        fw.freesession(second)
        assert encrypted(first) == before


def test_the_null_driver_makes_two_macs_in_two_sessions() -> None:
    """A descriptor that names the second place by its key gets the second place's length."""
    inis = [
        Cryptoini(CRYPTO_NULL_HMAC, b"one", mlen=4),
        Cryptoini(CRYPTO_NULL_HMAC, b"two", mlen=9),
    ]
    with Framework(plugins=False) as fw:
        fw.attach(make_driver("null"), selftest=False)
        sid = fw.newsession(inis)
        for key, length in ((b"two", 9), (b"one", 4)):
            crd = Cryptodesc(0, 4, 4, alg=CRYPTO_NULL_HMAC)
            crd.key, crd.klen = key, 24
            crp = perform(fw, Cryptop(sid, bytearray(b"\xaa" * 20), [crd]))
            crp.check()
            assert crp.buf == b"\xaa" * 4 + bytes(length) + b"\xaa" * (16 - length)
        fw.freesession(sid)
