"""A program is not let have an authenticator that authenticates nothing, unless it says so."""

from collections.abc import Iterator
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CCM_16,
    CRYPTO_AES_CCM_MAC,
    CRYPTO_AES_CMAC,
    CRYPTO_AES_GCM_16,
    CRYPTO_AES_XCBC_MAC_96,
    CRYPTO_AES_XTS,
    CRYPTO_CHACHA20_POLY1305,
    CRYPTO_CHACHA20_POLY1305_MAC,
    CRYPTO_NULL_HMAC,
    CRYPTO_SHA2_256,
    CRYPTO_SHA2_256_HMAC,
    Cryptoini,
    Framework,
    Profile,
    UsageError,
)
from opencrypto.client import Session

KEY, OTHER, SALTED, LONG = bytes(range(16)), b"another key, 16 ", bytes(range(20)), bytes(range(36))
CBC = Cryptoini(CRYPTO_AES_CBC, KEY)


def aead(cipher: int, auth: int, key: bytes, mlen: int) -> list[Cryptoini]:
    """Describe both halves of an authenticated cipher with a tag of some length."""
    return [Cryptoini(cipher, key), Cryptoini(auth, key, mlen=mlen)]


def gcm(mlen: int) -> list[Cryptoini]:
    return aead(CRYPTO_AES_GCM_16, CRYPTO_AES_128_GMAC, SALTED, mlen)


def ccm(mlen: int) -> list[Cryptoini]:
    return aead(CRYPTO_AES_CCM_16, CRYPTO_AES_CCM_MAC, bytes(range(19)), mlen)


WEAK = {
    "digest of a cipher": [CBC, Cryptoini(CRYPTO_SHA2_256)],
    "null mac of a cipher": [CBC, Cryptoini(CRYPTO_NULL_HMAC)],
    "mac of 1": [CBC, Cryptoini(CRYPTO_SHA2_256_HMAC, OTHER, mlen=1)],
    "mac of 7": [CBC, Cryptoini(CRYPTO_SHA2_256_HMAC, OTHER, mlen=7)],
    "mac of 4 alone": [Cryptoini(CRYPTO_SHA2_256_HMAC, OTHER, mlen=4)],
    "tag of 4": gcm(4),
    "tag of 8": gcm(8),
    "ccm of 4": ccm(4),
    "xcbc of the same key": [CBC, Cryptoini(CRYPTO_AES_XCBC_MAC_96, KEY)],
    "cmac of the same key": [Cryptoini(CRYPTO_AES_CMAC, KEY), CBC],
}
STRONG = {
    "mac of 8": [CBC, Cryptoini(CRYPTO_SHA2_256_HMAC, OTHER, mlen=8)],
    "tag of 12": gcm(12),
    "ccm of 8": ccm(8),
    "poly1305": aead(CRYPTO_CHACHA20_POLY1305, CRYPTO_CHACHA20_POLY1305_MAC, LONG, 0),
    "xcbc of another key": [CBC, Cryptoini(CRYPTO_AES_XCBC_MAC_96, OTHER)],
    "hmac of the same key": [CBC, Cryptoini(CRYPTO_SHA2_256_HMAC, KEY)],
    "digest alone": [Cryptoini(CRYPTO_SHA2_256)],
    "cipher alone": [CBC],
}


@pytest.fixture(scope="module")
def framework() -> Iterator[Framework]:
    with Framework() as made:
        yield made


@pytest.mark.parametrize("chain", WEAK)
def test_what_can_be_forged_is_refused(framework: Framework, chain: str) -> None:
    """In a sentence that says what to take instead; and no session is left."""
    with pytest.raises(UsageError, match=r"weak_auth=True"):
        Session(WEAK[chain], framework=framework)
    assert not framework.sysctl.integer("opencrypto.sessions.active")


@pytest.mark.parametrize("chain", WEAK)
def test_what_can_be_forged_is_had_by_who_asks_for_it(framework: Framework, chain: str) -> None:
    """By a profile, and in requests of a program's own."""
    Session(WEAK[chain], framework=framework, profile=Profile(weak_auth=True)).close()
    framework.freesession(framework.newsession(WEAK[chain]))


@pytest.mark.parametrize("chain", STRONG)
def test_what_holds_is_taken(framework: Framework, chain: str) -> None:
    Session(STRONG[chain], framework=framework).close()


def test_a_refusal_tells_nothing_of_keys(framework: Framework) -> None:
    with pytest.raises(UsageError) as caught:
        Session(WEAK["xcbc of the same key"], framework=framework)
    text = repr(caught.value) + str(caught.value)
    assert KEY.hex() not in text
    assert repr(KEY) not in text


def test_a_sessions_profile_reaches_its_layout(framework: Framework) -> None:
    """A weak key that the profile allows is allowed by all that look at the chain."""
    inis: Any = Cryptoini(CRYPTO_AES_XTS, bytes(32))
    with pytest.raises(UsageError, match="halves"):
        Session(inis, framework=framework)
    Session(inis, framework=framework, profile=Profile(weak_keys=True)).close()
