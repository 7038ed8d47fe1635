"""`rekey` and `clone`: another key, and another session of the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from opencrypto import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_GCM_16,
    AuthenticationError,
    CryptoError,
    Cryptoini,
    Framework,
    UsageError,
)
from opencrypto.driver import Profile

KEY, OTHER = bytes(range(16)), bytes(range(16, 32))
SALT = bytes(4)


@pytest.fixture
def fw() -> Iterator[Framework]:
    with Framework(plugins=["openssl", "swcrypto"]) as framework:
        yield framework


def sessions(fw: Framework) -> int:
    return sum(len(slot.sym.sessions) for slot in fw._drivers)


def test_what_follows_has_the_other_key(fw: Framework) -> None:
    with fw.session("aes-128-gcm", KEY) as session, fw.session("aes-128-gcm", OTHER) as other:
        before = session.seal(b"text")
        session.rekey(OTHER)
        with pytest.raises(AuthenticationError):
            session.open(before)
        assert other.open(session.seal(b"text")) == b"text"
        assert sessions(fw) == 2, "the former one is freed"


def test_a_chain_takes_one_for_each(fw: Framework) -> None:
    name, key = "aes-128-cbc+hmac-sha2-256", (KEY, OTHER)
    with fw.session(name, key) as session, fw.session(name, (OTHER, KEY)) as other:
        session.rekey((OTHER, KEY))
        assert other.open(session.seal(bytes(32))) == bytes(32)
        for wrong in (KEY, (KEY,), (KEY, KEY, KEY), (KEY, None)):
            with pytest.raises(UsageError):
                session.rekey(wrong)
        assert other.open(session.seal(bytes(32))) == bytes(32), "it goes on as before"


def test_the_halves_of_an_authenticated_cipher_share_one(fw: Framework) -> None:
    both = [
        Cryptoini(CRYPTO_AES_GCM_16, KEY + SALT),
        Cryptoini(CRYPTO_AES_128_GMAC, KEY + SALT, mlen=12),
    ]
    profile = Profile(iv_prefix=b"\1")
    with fw.session(both, profile=profile) as session:
        session.rekey(OTHER + SALT)
        token = session.seal(b"text")
        assert session.maclen == 12
        assert token[:1] == b"\1"
        assert session.open(token) == b"text"


def test_a_session_keeps_its_driver(fw: Framework) -> None:
    with fw.session("aes-128-gcm", KEY, driver="swcrypto") as session:
        session.rekey(OTHER)
        assert fw.driver_of(session.sid) == ("swcrypto",)
        with session.clone() as clone:
            assert fw.driver_of(clone.sid) == ("swcrypto",)


def test_messages_of_other_threads_go_on(fw: Framework) -> None:
    """Each is sealed with the key of before or of after, and none is lost."""
    keys = [KEY, OTHER]
    readers = [fw.session("aes-128-gcm", key) for key in keys]
    tokens: list[bytes] = []
    errors: list[CryptoError] = []
    stop = threading.Event()
    with fw.session("aes-128-gcm", KEY) as session:

        def work() -> None:
            while not stop.is_set():
                try:
                    tokens.append(session.seal(b"text"))
                    tokens.append(session._encrypted(b"text", b"", None).to_bytes())
                except CryptoError as error:
                    errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for n in range(100):
            session.rekey(keys[n % 2])
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors
    for token in tokens[:200]:
        opened = []
        for reader in readers:
            try:
                opened.append(reader.open(token))
            except AuthenticationError:
                pass
        assert opened == [b"text"]
    for reader in readers:
        reader.close()


def test_a_clone_outlives_its_session(fw: Framework) -> None:
    session = fw.session("aes-128-gcm", KEY)
    token = session.seal(b"text")
    with session.clone() as clone:
        assert clone.sid != session.sid
        session.close()
        assert clone.open(token) == b"text"
        ivs = {clone.seal(b"")[:12] for _ in range(10)}
        assert len(ivs) == 10
    assert sessions(fw) == 0
    for call in (session.clone, lambda: session.rekey(OTHER)):
        with pytest.raises(CryptoError, match="closed"):
            call()


def test_clones_never_use_an_iv_twice(fw: Framework) -> None:
    with fw.session("aes-128-gcm", KEY) as session, session.clone() as clone:
        ivs = [each.seal(b"")[:12] for _ in range(100) for each in (session, clone)]
        assert len(set(ivs)) == 200
        session.rekey(OTHER)
        assert clone.open(clone.seal(b"text")) == b"text"


def test_a_clone_of_a_freed_session_is_refused(fw: Framework) -> None:
    """Its keys are wiped: nobody encrypts with zeros."""
    sid = fw.newsession(Cryptoini("aes-128-gcm", KEY))
    fw.freesession(sid)
    with pytest.raises(CryptoError):
        fw.clonesession(sid)
