"""A cipher and its MAC in one call of the kernel: when, by which names, MACs of every length."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator

import pytest

from opencrypto import Alg, Cryptodesc, Cryptoini, Framework
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_PRESENT, CRD_F_VERIFY
from opencrypto.xform import FACTS
from opencrypto_afalg import AfalgDriver
from opencrypto_afalg.names import NAMES, authenc_name
from tests.drivers.afalg.support import attached, run
from tests.drivers.rig import crd

pytestmark = pytest.mark.kernel

CIPHERS = [alg for alg in NAMES if authenc_name(alg, Alg.SHA1_HMAC) is not None]
MACS = [alg for alg in NAMES if authenc_name(Alg.AES_CBC, alg) is not None]
HEAD, LENGTH = 8, 96


@pytest.fixture
def driver() -> AfalgDriver:
    return AfalgDriver()


@pytest.fixture
def framework(driver: AfalgDriver) -> Iterator[Framework]:
    with attached(driver, fallback=True) as framework:
        yield framework


def esp(cipher: int, mac: int, encrypt: bool) -> list[Cryptodesc]:
    """Header, IV, data, MAC: the MAC covers the ciphertext to its end, and what is before it."""
    ivlen = FACTS[cipher].iv
    start, end = HEAD + ivlen, HEAD + ivlen + LENGTH
    if encrypt:
        return [
            crd(cipher, start, LENGTH, HEAD, CRD_F_ENCRYPT | CRD_F_IV_PRESENT),
            crd(mac, 0, end, end),
        ]
    return [crd(mac, 0, end, end, CRD_F_VERIFY), crd(cipher, start, LENGTH, HEAD)]


def chain_of(rng: random.Random, cipher: Alg, mac: Alg, mlen: int = 0) -> list[Cryptoini]:
    legal = FACTS[mac].keys
    keylen = FACTS[mac].digest if legal is None else min(legal)
    key = rng.randbytes(max(FACTS[cipher].keys or ()))
    return [Cryptoini(cipher, key), Cryptoini(mac, rng.randbytes(keylen), mlen=mlen)]


def sockets_of(driver: AfalgDriver) -> int:
    return len(driver.descriptors.sockets)


@pytest.mark.parametrize("mac", MACS, ids=lambda a: a.name)
@pytest.mark.parametrize("cipher", CIPHERS, ids=lambda a: a.name)
def test_one_call(framework: Framework, driver: AfalgDriver, cipher: Alg, mac: Alg) -> None:
    """Each pair: swcrypto's answer, by one transform and one operation socket and no others."""
    rng = random.Random(cipher * 1000 + mac)
    chain = chain_of(rng, cipher, mac)
    ours = framework.newsession(chain, driver="afalg")
    theirs = framework.newsession(chain, driver="swcrypto")
    assert sockets_of(driver) == 0
    mlen = FACTS[mac].mac
    data = rng.randbytes(HEAD + FACTS[cipher].iv + LENGTH + mlen)
    sealed = [bytearray(data), bytearray(data)]
    for sid, buf in zip((ours, theirs), sealed, strict=True):
        assert run(framework, sid, buf, *esp(cipher, mac, True)).etype == 0
    assert sealed[0] == sealed[1]
    wrong = bytearray(sealed[0])
    wrong[-1] ^= 1
    forged = bytes(wrong)
    assert run(framework, ours, wrong, *esp(cipher, mac, False)).etype == errno.EBADMSG
    assert wrong == forged
    assert run(framework, ours, sealed[0], *esp(cipher, mac, False)).etype == 0
    assert sealed[0][:-mlen] == data[:-mlen]
    assert sockets_of(driver) == 2, "not those of a cipher and of a MAC"


@pytest.mark.parametrize("mac", [Alg.SHA1_HMAC, Alg.SHA2_256_HMAC], ids=lambda a: a.name)
def test_every_length_of_mac(framework: Framework, driver: AfalgDriver, mac: Alg) -> None:
    """From one byte to the whole digest."""
    rng = random.Random(mac)
    for mlen in range(1, FACTS[mac].digest + 1):
        chain = chain_of(rng, Alg.AES_CBC, mac, mlen)
        ours = framework.newsession(chain, driver="afalg")
        theirs = framework.newsession(chain, driver="swcrypto")
        data = rng.randbytes(HEAD + 16 + LENGTH + mlen)
        sealed = [bytearray(data), bytearray(data)]
        for sid, buf in zip((ours, theirs), sealed, strict=True):
            assert run(framework, sid, buf, *esp(Alg.AES_CBC, mac, True)).etype == 0
        assert sealed[0] == sealed[1]
        assert run(framework, ours, sealed[0], *esp(Alg.AES_CBC, mac, False)).etype == 0
        assert sockets_of(driver) == 2
        framework.freesession(ours)
        framework.freesession(theirs)


@pytest.mark.parametrize("shift", [1, -1])
def test_two_calls_where_the_regions_do_not_fit(
    framework: Framework, driver: AfalgDriver, shift: int
) -> None:
    """A MAC that ends elsewhere than the ciphertext: the two passes, with swcrypto's answer."""
    rng = random.Random(3)
    chain = chain_of(rng, Alg.AES_CBC, Alg.SHA1_HMAC)
    data = rng.randbytes(HEAD + 16 + LENGTH + 1 + 20)
    answers = []
    for name in ("afalg", "swcrypto"):
        sid = framework.newsession(chain, driver=name)
        buf = bytearray(data)
        cipher, mac = esp(Alg.AES_CBC, Alg.SHA1_HMAC, True)
        mac.len += shift
        mac.inject += 1
        assert run(framework, sid, buf, cipher, mac).etype == 0
        answers.append(buf)
    assert answers[0] == answers[1]
    assert sockets_of(driver) == 4
