"""Both faces follow a session that is handed back, as far as they say, at once and late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from opencrypto import CRYPTO_SHA2_256_HMAC, Cryptoini, Cryptop, Framework, SessionMigrated
from opencrypto.aio import AsyncSession
from opencrypto.client import MIGRATIONS, Session
from tests.client.late import HandsBackAtOnce, HandsBackLate, Unwilling

INI = Cryptoini(CRYPTO_SHA2_256_HMAC, b"\x0b" * 20)
MAC = bytes.fromhex("b0344c61d8db38535ca8afceaf0bf12b")  # RFC 4231, case 1
PATIENCE = 30.0


def within(work: Coroutine[Any, Any, bytes]) -> bytes:
    """Run a coroutine that must end by itself."""

    async def main() -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await work

    return asyncio.run(main())


def by_thread(session: Session) -> bytes:
    return session.mac(b"Hi There")


def by_coroutine(session: Session) -> bytes:
    return within(AsyncSession(session).mac(b"Hi There"))


faces = pytest.mark.parametrize("mac", [by_thread, by_coroutine])
drivers = pytest.mark.parametrize("driver", [HandsBackAtOnce, HandsBackLate])


@faces
@drivers
@pytest.mark.parametrize("times", [1, 2, MIGRATIONS])
def test_a_session_is_followed_as_often_as_it_is_said(
    mac: Callable[[Session], bytes], driver: type[HandsBackLate], times: int
) -> None:
    """Handed back so often, a request is still served, and the session knows where it is."""
    unwilling = Unwilling(times)
    with Framework(plugins=False) as fw:
        for name in ("one", "two"):
            fw.attach(driver(name, unwilling), selftest=False)
        with Session(INI, framework=fw) as session:
            sid = session.sid
            assert mac(session) == MAC
            assert unwilling.tries == times + 1
            assert session.sid != sid
            assert mac(session) == MAC
            assert unwilling.tries == times + 2, "it was not where the session said"


@faces
@drivers
def test_nobody_follows_for_ever(
    mac: Callable[[Session], bytes], driver: type[HandsBackLate]
) -> None:
    """Beyond the bound the consumer hears of it, with the last SID, and may go on from there."""
    unwilling = Unwilling(MIGRATIONS + 1)
    with Framework(plugins=False) as fw:
        for name in ("one", "two"):
            fw.attach(driver(name, unwilling), selftest=False)
        with Session(INI, framework=fw) as session:
            with pytest.raises(SessionMigrated) as moved:
                mac(session)
            assert unwilling.tries == MIGRATIONS + 1
            assert moved.value.new_sid == session.sid
            assert mac(session) == MAC


class Spoils(HandsBackLate):
    """A driver that breaks its word: it hands a request back after it has worked in its buffer."""

    def serve(self, crp: Cryptop) -> None:
        """Overwrite the buffer, if the request is then handed back."""
        if self._unwilling.times > self._unwilling.tries:
            crp.buf[:] = bytes(len(crp.buf))
        super().serve(crp)


@faces
def test_each_try_is_of_the_message_as_it_was_given(mac: Callable[[Session], bytes]) -> None:
    """What a driver that handed a request back has left in the buffer is not worked on again."""
    unwilling = Unwilling(2)
    with Framework(plugins=False) as fw:
        for name in ("one", "two"):
            fw.attach(Spoils(name, unwilling), selftest=False)
        with Session(INI, framework=fw) as session:
            assert mac(session) == MAC
            assert unwilling.tries == 3


def test_a_message_that_changes_meanwhile_is_the_one_that_was_given() -> None:
    """Each try is of a copy made at the call, also of a bytearray that is written meanwhile."""
    unwilling = Unwilling(1)
    text = bytearray(b"Hi There")
    with Framework(plugins=False) as fw:
        for name in ("one", "two"):
            fw.attach(HandsBackLate(name, unwilling), selftest=False)
        with Session(INI, framework=fw) as session:
            make = session._layout.sealing(text, None, b"")
            text[:] = b"ANOTHER!"
            assert session._layout.sealed(session._run(make)).mac == MAC
