"""Many messages in a row: in order, drawn no further ahead than is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from opencrypto import AuthenticationError, Cryptoini, Framework, UsageError
from opencrypto.client import Session
from tests.client.late import Late

KEY = bytes(range(16))


@pytest.fixture(params=["openssl", "swcrypto", "late"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """By the short way, by requests that are answered at once, and late."""
    late = request.param == "late"
    with Framework(plugins=False if late else [request.param]) as fw:
        if late:
            fw.attach(Late("late"), selftest=False)
        with fw.session("aes-128-gcm", KEY) as made:
            yield made


MESSAGES = [bytes([n % 251]) * (n * 7 % 200) for n in range(300)]


@pytest.mark.parametrize("depth", [1, 7, 64, 1000])
def test_answers_come_in_order(session: Session, depth: int) -> None:
    tokens = list(session.seal_many(MESSAGES, depth, aad=b"x"))
    assert [session.open(token, b"x") for token in tokens] == MESSAGES
    assert list(session.open_many(iter(tokens), depth, aad=b"x")) == MESSAGES
    assert list(session.seal_many([])) == []


def test_large_ones_go_in_portions(session: Session) -> None:
    messages = [bytes(n) for n in (40_000, 1, 70_000, 33_000, 0, 64)]
    assert list(session.open_many(session.seal_many(messages))) == messages


def test_no_more_are_drawn_than_is_said(session: Session) -> None:
    drawn = 0

    def source() -> Iterator[bytes]:
        nonlocal drawn
        for _ in range(100):
            drawn += 1
            yield b"message"

    for given, _ in enumerate(session.seal_many(source(), 8)):
        assert given < drawn <= given + 9


def test_one_that_does_not_verify_is_raised_in_its_place(session: Session) -> None:
    tokens = [session.seal(each) for each in MESSAGES[:20]]
    for bad in (tokens[9][:-1] + bytes([tokens[9][-1] ^ 1]), b"short", b""):
        got: list[bytes] = []
        with pytest.raises(AuthenticationError):
            got.extend(session.open_many([*tokens[:9], bad, *tokens[10:]]))
        assert got == MESSAGES[:9]


def test_what_the_iterable_raises_comes_behind_the_answers(session: Session) -> None:
    def source() -> Iterator[bytes]:
        yield b"one"
        yield b"two"
        raise ZeroDivisionError

    got: list[bytes] = []
    with pytest.raises(ZeroDivisionError):
        got.extend(map(session.open, session.seal_many(source())))
    assert got == [b"one", b"two"]


def test_what_is_no_message_is_refused_in_its_place(session: Session) -> None:
    messages: Iterable[bytes] = [b"one", b"two", "three", b"four"]  # type: ignore[list-item]
    got: list[bytes] = []
    with pytest.raises(UsageError, match="bytes-like"):
        got.extend(map(session.open, session.seal_many(messages)))
    assert got == [b"one", b"two"]


def test_one_may_stop_in_the_midst(session: Session) -> None:
    for token in session.seal_many(MESSAGES, 16):
        assert session.open(token) == MESSAGES[0]
        break


@pytest.mark.parametrize("depth", [0, -1, True, 1.5, "9"])
def test_a_depth_is_a_number(session: Session, depth: int) -> None:
    with pytest.raises(UsageError, match="depth"):
        session.seal_many([], depth)


def test_macs_of_many(session: Session) -> None:
    framework = session._framework
    with Session(Cryptoini("hmac-sha2-256", KEY), framework=framework) as macs:
        assert list(macs.mac_many(MESSAGES)) == [macs.mac(each) for each in MESSAGES]


def test_a_session_that_moves_goes_on() -> None:
    """In the midst of many, and each answer comes once."""
    with (
        Framework(plugins=["openssl", "swcrypto"]) as fw,
        fw.session("aes-128-gcm", KEY) as session,
    ):
        tokens = []
        for n, token in enumerate(session.seal_many(MESSAGES, 16)):
            tokens.append(token)
            if n == 50:
                fw.detach("openssl")
        assert [session.open(token) for token in tokens] == MESSAGES
        assert fw.driver_of(session.sid) == ("swcrypto",)
