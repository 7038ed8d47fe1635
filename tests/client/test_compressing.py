"""Sessions that compress: alone, and before they encrypt."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator

import pytest

from opencrypto import (
    CRYPTO_DEFLATE_COMP,
    CRYPTO_DEFLATE_COMP_NOGROW,
    CRYPTO_GZIP_COMP,
    AuthenticationError,
    CryptoError,
    Cryptoini,
    Framework,
    UsageError,
)

KEY = bytes(range(16))


@pytest.fixture
def fw() -> Iterator[Framework]:
    with Framework(plugins=["openssl", "swcrypto"]) as framework:
        yield framework


def test_what_is_compressed_is_what_zlib_reads(fw: Framework) -> None:
    with fw.session(CRYPTO_DEFLATE_COMP) as session:
        for data in (b"", b"a", bytes(100_000), os.urandom(5000)):
            packed = session.compress(data)
            assert zlib.decompress(packed, -15) == data
            assert session.decompress(packed) == data
    with fw.session(CRYPTO_GZIP_COMP) as session:
        assert gzip.decompress(session.compress(b"text" * 100)) == b"text" * 100
        assert session.decompress(gzip.compress(b"text" * 100)) == b"text" * 100


def test_a_message_is_compressed_and_then_sealed(fw: Framework) -> None:
    with fw.session("deflate+aes-128-gcm", KEY) as session:
        token = session.seal(bytes(100_000), b"aad")
        assert len(token) < 1000
        assert session.open(token, b"aad") == bytes(100_000)
        with fw.session("aes-128-gcm", KEY) as inner:
            assert zlib.decompress(inner.open(token, b"aad"), -15) == bytes(100_000)
        with pytest.raises(AuthenticationError):
            session.open(token)
        out = bytearray(1000)
        n = session.seal_into(bytes(100_000), out)
        assert session.open(out[:n]) == bytes(100_000)
        assert session.decrypt(session.encrypt(os.urandom(99))) is not None
        messages = [bytes(n) for n in (0, 10, 1000)]
        assert list(session.open_many(session.seal_many(messages))) == messages


def test_the_limit_holds(fw: Framework) -> None:
    """What becomes too long is refused, however it was sealed."""
    chain = [Cryptoini(CRYPTO_DEFLATE_COMP, limit=1000), Cryptoini("aes-128-gcm", KEY)]
    with fw.session(chain) as session:
        assert session.open(session.seal(bytes(1000))) == bytes(1000)
        with pytest.raises(CryptoError):
            session.open(session.seal(bytes(1001)))
        session.rekey(KEY[::-1])
        with pytest.raises(CryptoError):
            session.open(session.seal(bytes(1001)))


def test_chains_that_say_nothing_clear_are_refused(fw: Framework) -> None:
    with pytest.raises(UsageError, match="does not tell whether"):
        fw.session(CRYPTO_DEFLATE_COMP_NOGROW)
    with pytest.raises(UsageError, match="compresses first"):
        fw.session([Cryptoini("aes-128-gcm", KEY), Cryptoini(CRYPTO_DEFLATE_COMP)])
    with pytest.raises(UsageError, match="one for each of the two"):
        fw.session([Cryptoini(CRYPTO_DEFLATE_COMP), Cryptoini("hmac-sha2-256", KEY)])
    with fw.session("aes-128-gcm", KEY) as session, pytest.raises(UsageError, match="not compress"):
        session.compress(b"")
    with fw.session(CRYPTO_DEFLATE_COMP) as session:
        with pytest.raises(UsageError, match="no authenticator"):
            session.mac(b"")
        with pytest.raises(UsageError, match="no cipher"):
            session.seal(b"")
