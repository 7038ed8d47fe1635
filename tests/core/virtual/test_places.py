"""An algorithm that stands twice in a chain: each place keeps its own key and length."""

import errno
import importlib.util
import itertools
from collections.abc import Sequence

import pytest

import opencrypto_null
import opencrypto_openssl
import opencrypto_swcrypto
from opencrypto import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_AES_CBC,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTO_SHA1,
    CRYPTO_SHA1_HMAC,
    CRYPTO_SHA1_KPDK,
    Alg,
    Cryptodesc,
    Cryptoini,
    Cryptop,
    Driver,
    Framework,
)
from opencrypto.xform import FACTS
from tests.core.virtual.support import KEY, OTHER, perform, sessions_of
from tests.support import sample_of

OFFERED = {
    "openssl": opencrypto_openssl.opencrypto_drivers,
    "swcrypto": opencrypto_swcrypto.opencrypto_drivers,
    "null": opencrypto_null.opencrypto_drivers,
}
if importlib.util.find_spec("cryptography") is None:
    del OFFERED["openssl"]  # `make freethreaded`: there are no wheels for that Python

KEYS = {
    "the same key": (KEY, KEY),
    "two keys": (KEY, OTHER),
    "an empty second key": (KEY, b""),
    "an empty first key": (b"", KEY),
    "no key": (None, None),
}

PLACES = (48, 80)
SIZE = 112


def limited(token: str, alg: int) -> Driver:
    """Make a driver of the tree that offers one algorithm."""
    driver: Driver = OFFERED[token]()[0]
    driver.name = f"{token}.{FACTS[alg].name.lower()}"
    driver.capabilities = {alg: driver.capabilities[alg]}
    driver.keyops = ()
    return driver


def has(token: str, alg: int) -> bool:
    """Tell whether a driver of the tree has an algorithm."""
    return alg in OFFERED[token]()[0].capabilities


def keys_for(alg: int) -> list[str]:
    """Return which pairs of keys an authenticator can have."""
    return ["no key"] if not FACTS[alg].keys_text().startswith("any") else list(KEYS)[:4]


CASES = [
    pytest.param(mac_by, mac, cipher_by, cipher, keys, id=f"{mac_by}-{mac.name}-{cipher_by}-{keys}")
    for mac_by, cipher_by in itertools.product(OFFERED, repeat=2)
    for mac in (CRYPTO_SHA1_HMAC, CRYPTO_SHA1_KPDK, CRYPTO_SHA1, CRYPTO_NULL_HMAC)
    for cipher in (CRYPTO_AES_CBC, CRYPTO_NULL_CBC)
    if has(mac_by, mac) and has(cipher_by, cipher)
    for keys in keys_for(mac)
]


def test_every_pair_of_drivers_is_tried() -> None:
    """Each driver of the tree has an authenticator and a cipher in it."""
    assert {case.values[0] for case in CASES} == set(OFFERED)
    assert {case.values[2] for case in CASES} == set(OFFERED)
    assert {case.values[4] for case in CASES} == set(KEYS)


def descriptors(
    chain: Sequence[Cryptoini], *, encrypt: bool, named: bool = False
) -> list[Cryptodesc]:
    """Describe a request in the order of the chain; both MACs are of the header."""
    places = iter(PLACES)
    made = []
    for cri in chain:
        if FACTS[cri.alg].authenticates:
            crd = Cryptodesc(0, 16, next(places), 0 if encrypt else CRD_F_VERIFY, alg=cri.alg)
        else:
            flags = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT | (CRD_F_ENCRYPT if encrypt else 0)
            crd = Cryptodesc(16, 32, 0, flags, alg=cri.alg, iv=bytes(FACTS[cri.alg].iv) or None)
        if named and cri.key:
            crd.key, crd.klen = cri.key, cri.klen
        made.append(crd)
    return made


def at_once(framework: Framework, crp: Cryptop) -> Cryptop:
    """Dispatch a request that is called back by whoever completes it."""
    crp.flags = CRYPTO_F_CBIMM
    return perform(framework, crp)


def by_one_alone(chain: Sequence[Cryptoini], desc: list[Cryptodesc]) -> bytearray:
    """Have a request done by the driver that has all of every chain."""
    with Framework(plugins=False) as framework:
        framework.attach(OFFERED["swcrypto"]()[0])
        crp = perform(
            framework, Cryptop(framework.newsession(chain), bytearray(b"\xaa" * SIZE), desc)
        )
        crp.check()
        buf: bytearray = crp.buf
        return buf


@pytest.mark.parametrize(("mac_by", "mac", "cipher_by", "cipher", "keys"), sample_of(CASES))
@pytest.mark.parametrize("longer", ["first", "second"])
def test_the_second_place_has_its_own_length(
    mac_by: str, mac: Alg, cipher_by: str, cipher: Alg, keys: str, longer: str
) -> None:
    """Each place writes as many bytes as it was asked for, and verifies all of them."""
    whole = FACTS[mac].digest
    lengths = (whole, 8) if longer == "first" else (8, whole)
    key = KEY if FACTS[cipher].iv else b""
    for order in ((0, 1, 2), (0, 2, 1)):
        inis = [Cryptoini(mac, k, mlen=n) for k, n in zip(KEYS[keys], lengths, strict=True)]
        chain = [[*inis, Cryptoini(cipher, key)][n] for n in sorted(range(3), key=order.index)]
        with Framework(plugins=False) as framework:
            framework.attach(limited(mac_by, mac))
            framework.attach(limited(cipher_by, cipher))
            sid = framework.newsession(chain)
            assert sum(sessions_of(framework).values()) > 1, "it is no virtual session"
            for named in (True, False):
                desc = descriptors(chain, encrypt=True, named=named)
                want = by_one_alone(chain, desc)
                sealed = at_once(framework, Cryptop(sid, bytearray(b"\xaa" * SIZE), desc))
                sealed.check()
                assert sealed.buf == want
            for at, length in zip(PLACES, lengths, strict=True):
                assert sealed.buf[at + length : at + 24] == b"\xaa" * (24 - length)
            back = descriptors(chain, encrypt=False)
            assert at_once(framework, Cryptop(sid, bytearray(sealed.buf), back)).etype == 0
            for at, length in zip(PLACES, lengths, strict=True):
                forged = bytearray(sealed.buf)
                forged[at + length - 1] ^= 1
                assert at_once(framework, Cryptop(sid, forged, back)).etype == errno.EBADMSG
            beyond = bytearray(sealed.buf)
            for at, length in zip(PLACES, lengths, strict=True):
                beyond[at + length] ^= 1  # no place reaches further than it was asked to
            assert at_once(framework, Cryptop(sid, beyond, back)).etype == 0
            framework.freesession(sid)


def test_a_mac_in_a_field_of_its_own_has_each_places_length() -> None:
    """``crp.mac`` takes them one after the other, 20 bytes and then 8."""
    chain = [
        Cryptoini(CRYPTO_SHA1_HMAC, KEY, mlen=20),
        Cryptoini(CRYPTO_SHA1_HMAC, KEY, mlen=8),
        Cryptoini(CRYPTO_AES_CBC, KEY),
    ]
    with Framework(plugins=False) as framework:
        framework.attach(limited("swcrypto", CRYPTO_SHA1_HMAC))
        framework.attach(limited("swcrypto", CRYPTO_AES_CBC))
        sid = framework.newsession(chain)
        out = bytearray(28)
        desc = descriptors(chain, encrypt=True)
        at_once(framework, Cryptop(sid, bytearray(SIZE), desc, mac=out)).check()
        assert out[:8] == out[20:]
        back = descriptors(chain, encrypt=False)
        for last in (19, 27):
            forged = bytearray(out)
            forged[last] ^= 1
            crp = at_once(framework, Cryptop(sid, bytearray(SIZE), back, mac=forged))
            assert crp.etype == errno.EBADMSG
