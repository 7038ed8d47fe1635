"""`seal` and `open`: one piece of bytes, of one layout, by whatever driver and whatever way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from opencrypto import AuthenticationError, Framework, OutputTooSmall, UsageError
from opencrypto.client import Sealed, Session
from tests.client.late import Late

KEY = bytes(range(32))
AEADS: dict[str, Any] = {
    "aes-128-gcm": AESGCM(KEY[:16]),
    "aes-256-gcm": AESGCM(KEY),
    "aes-128-ccm": AESCCM(KEY[:16]),
    "chacha20-poly1305": ChaCha20Poly1305(KEY),
}
CHAINS: dict[str, bytes | tuple[bytes, bytes]] = {
    "aes-128-gcm": KEY[:16],
    "chacha20-poly1305": KEY,
    "aes-256-cbc+hmac-sha2-256": (KEY, KEY[::-1]),
    "deflate+aes-256-gcm": KEY,
}
SIZES = (0, 1, 15, 64, 4067, 4068, 4096, 32739, 32740, 32768, 100_000)
"""On both sides of where tokens are viewed, and where they are written in place."""


@pytest.fixture(params=["openssl", "swcrypto", "late"])
def fw(request: pytest.FixtureRequest) -> Iterator[Framework]:
    if request.param == "late":
        with Framework(plugins=False) as framework:
            framework.attach(Late("late"), selftest=False)
            yield framework
    else:
        with Framework(plugins=[request.param]) as framework:
            yield framework


@pytest.fixture(params=sorted(CHAINS))
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    plugins = ["openssl", "swcrypto"]
    with Framework(plugins=plugins) as fw, fw.session(request.param, CHAINS[request.param]) as made:
        yield made


@pytest.mark.parametrize("name", AEADS)
def test_a_token_is_iv_ciphertext_and_tag(fw: Framework, name: str) -> None:
    """As another implementation takes it and makes it."""
    other = AEADS[name]
    key = KEY if "256" in name or "20" in name else KEY[:16]
    with fw.session(name, key) as session:
        for size in SIZES:
            data, iv = os.urandom(size), os.urandom(12)
            token = session.seal(data, b"header")
            assert len(token) == session.ivlen + size + session.maclen
            assert other.decrypt(token[:12], token[12:], b"header") == data
            theirs = iv + other.encrypt(iv, data, b"header")
            assert session.seal(data, b"header", iv) == theirs
            assert session.open(theirs, b"header") == data


def test_what_is_sealed_opens(session: Session) -> None:
    for size in (0, 16, 4096, 65536):
        data = os.urandom(size) if size < 5000 else bytes(size)
        if size or session.ivlen != 16:  # CBC takes no empty message
            assert session.open(session.seal(data)) == data
            assert session.open(session.seal(data, b"aad"), b"aad") == data


def test_a_sealed_message_is_the_token_in_three_parts(session: Session) -> None:
    sealed = session.encrypt(bytes(64), aad=b"x")
    token = sealed.to_bytes()
    assert session.open(token, b"x") == bytes(64)
    assert Sealed.from_bytes(token, session.ivlen, session.maclen) == sealed
    assert session.decrypt(sealed, aad=b"x") == bytes(64)


def test_fresh_ivs_never_come_twice(session: Session) -> None:
    ivs = {session.seal(bytes(16))[: session.ivlen] for _ in range(200)}
    assert len(ivs) == 200


def test_any_change_is_found(session: Session) -> None:
    """Of one bit, anywhere; of the additional data; and of the length."""
    token = session.seal(bytes(32), b"aad")
    for at in range(len(token)):
        changed = bytearray(token)
        changed[at] ^= 1
        with pytest.raises(AuthenticationError):
            session.open(changed, b"aad")
    for wrong in (token[:-1], token[1:], token + b"x", token[:20], b""):
        with pytest.raises(AuthenticationError):
            session.open(wrong, b"aad")
    with pytest.raises(AuthenticationError):
        session.open(token, b"AAD")
    with pytest.raises(AuthenticationError):
        session.open(token)


def test_to_seal_takes_a_cipher_and_an_authenticator() -> None:
    with Framework(plugins=["swcrypto"]) as fw:
        with fw.session("aes-256-cbc", KEY) as session:
            with pytest.raises(UsageError, match="no authenticator"):
                session.seal(bytes(16))
            with pytest.raises(UsageError, match="no authenticator"):
                session.open(bytes(64))
            with pytest.raises(UsageError, match="no authenticator"):
                session.seal_many([])
            with pytest.raises(UsageError, match="no authenticator"):
                session.submit_seal(bytes(16))
        with fw.session("hmac-sha2-256", KEY) as session, pytest.raises(UsageError):
            session.seal(b"")


def test_arguments_are_checked_on_either_way(fw: Framework) -> None:
    with fw.session("aes-128-gcm", KEY[:16]) as session:
        with pytest.raises(UsageError, match="iv of 3 bytes"):
            session.seal(b"", iv=b"123")
        with pytest.raises(UsageError, match="bytes-like"):
            session.seal("text")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="bytes-like"):
            session.open(None)  # type: ignore[arg-type]


# Into buffers of one's own.


def test_tokens_go_into_a_buffer(session: Session) -> None:
    out = bytearray(b"\xee" * 300)
    data = os.urandom(64)
    n = session.seal_into(data, out, b"aad")
    assert session.open(out[:n], b"aad") == data
    assert out[n:] == b"\xee" * (300 - n)
    back = memoryview(bytearray(100))
    assert session.open_into(memoryview(out)[:n], back, b"aad") == 64
    assert back[:64] == data
    assert not any(back[64:])


@pytest.mark.parametrize("shift", [0, 1, 12, 16, 40])
def test_a_message_may_lie_in_the_buffer_that_its_token_goes_to(
    session: Session, shift: int
) -> None:
    data = os.urandom(64)
    buf = bytearray(300)
    buf[shift : shift + 64] = data
    n = session.seal_into(memoryview(buf)[shift : shift + 64], buf)
    assert session.open(buf[:n]) == data
    assert session.open_into(memoryview(buf)[:n], memoryview(buf)[shift:]) == 64
    assert buf[shift : shift + 64] == data


def test_a_buffer_that_is_too_short_is_left_as_it_was(session: Session) -> None:
    token = session.seal(os.urandom(64))
    short = bytearray(63)
    for call in (
        lambda: session.seal_into(os.urandom(64), short),
        lambda: session.open_into(token, short),
        lambda: session.encrypt_into(os.urandom(64), short),
    ):
        with pytest.raises(OutputTooSmall):
            call()
        assert short == bytes(63)
    with pytest.raises(UsageError, match="read-only"):
        session.seal_into(b"", bytes(100))  # type: ignore[arg-type]


def test_nothing_unverified_comes_into_a_buffer(session: Session) -> None:
    token = bytearray(session.seal(b"secret text 1234" * 4))
    token[-1] ^= 1
    out = bytearray(200)
    with pytest.raises(AuthenticationError):
        session.open_into(token, out)
    assert not any(out)


def test_messages_are_encrypted_in_place(fw: Framework) -> None:
    """By ciphers with a MAC and without, as sectors of a disk are."""
    for name, key in (("aes-256-cbc", KEY), ("aes-128-gcm", KEY[:16])):
        with fw.session(name, key) as session:
            buf = bytearray(bytes(range(64)))
            iv, mac = session.encrypt_into(buf, buf)
            assert buf != bytes(range(64))
            assert session.decrypt(Sealed(iv, bytes(buf), mac)) == bytes(range(64))
            again = bytearray(64)
            assert session.decrypt_into(Sealed(iv, bytes(buf), mac), again) == 64
            assert session.decrypt_into(buf, buf, iv=iv, mac=mac) == 64
            assert buf == again == bytes(range(64))
