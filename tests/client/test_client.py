"""`opencrypto.client` and `opencrypto.aio`: messages in, messages out, whatever drivers do."""

import asyncio
import contextlib
import errno
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from opencrypto import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_GCM_16,
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1_HMAC_96,
    CRYPTO_SHA2_256_HMAC,
    AuthenticationError,
    Cryptoini,
    Cryptop,
    Framework,
    NoDriverError,
    UnknownSession,
    UsageError,
)
from opencrypto.aio import AsyncSession
from opencrypto.client import Sealed, Session
from opencrypto.testing import RecordingDriver
from tests.client.late import Late

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds within which an awaited answer must have come."""

KEY = bytes(range(16))
SALTED = bytes(range(20))
CHAINS = {
    "cbc+hmac": [Cryptoini(CRYPTO_AES_CBC, KEY), Cryptoini(CRYPTO_SHA1_HMAC_96, b"k" * 20)],
    "hmac+cbc": [Cryptoini(CRYPTO_SHA2_256_HMAC, b"k" * 32), Cryptoini(CRYPTO_AES_CBC, KEY)],
    "gcm": [Cryptoini(CRYPTO_AES_GCM_16, SALTED), Cryptoini(CRYPTO_AES_128_GMAC, SALTED)],
}


@pytest.fixture(params=["at once", "late"])
def framework(request: pytest.FixtureRequest) -> Iterator[Framework]:
    """Open a framework whose drivers answer within `process`, or from a thread after a moment."""
    if request.param == "at once":
        with Framework() as fw:
            yield fw
    else:
        with Framework(plugins=False) as fw:
            fw.attach(Late("late"), selftest=False)
            fw.attach(Late("later"), selftest=False)
            yield fw


@pytest.fixture(params=sorted(CHAINS))
def session(request: pytest.FixtureRequest, framework: Framework) -> Iterator[Session]:
    with Session(CHAINS[request.param], framework=framework) as session:
        yield session


def test_what_is_encrypted_decrypts(session: Session) -> None:
    """A round trip gives the plaintext back, and the ciphertext is another."""
    sealed = session.encrypt(b"sixteen bytes ok" * 4, aad=b"header")
    assert sealed.data != b"sixteen bytes ok" * 4
    assert session.decrypt(sealed, aad=b"header") == b"sixteen bytes ok" * 4


@pytest.mark.parametrize("part", ["iv", "data", "mac", "aad"])
def test_any_change_is_found(session: Session, part: str) -> None:
    """A message with one bit changed anywhere does not decrypt."""
    sealed = session.encrypt(bytes(32), aad=b"header")
    parts = {"iv": sealed.iv, "data": sealed.data, "mac": sealed.mac, "aad": b"header"}
    parts[part] = bytes([parts[part][0] ^ 1]) + parts[part][1:]
    forged = Sealed(parts["iv"], parts["data"], parts["mac"])
    with pytest.raises(AuthenticationError):
        session.decrypt(forged, aad=parts["aad"])


def test_fresh_ivs_differ(session: Session) -> None:
    """No two messages have the same IV unless the caller gives it."""
    assert session.encrypt(bytes(16)).iv != session.encrypt(bytes(16)).iv


def test_a_mac_is_made_and_verified(framework: Framework) -> None:
    """A session of one authenticator makes MACs and verifies them (RFC 4231 case 1)."""
    with Session(Cryptoini(CRYPTO_SHA2_256_HMAC, b"\x0b" * 20), framework=framework) as session:
        mac = session.mac(b"Hi There")
        assert mac.hex() == "b0344c61d8db38535ca8afceaf0bf12b"
        session.verify(b"Hi There", mac)
        with pytest.raises(AuthenticationError):
            session.verify(b"Hi there", mac)
        with pytest.raises(AuthenticationError):
            session.verify(b"Hi There", mac[:8])


def test_a_session_follows_when_its_driver_leaves(framework: Framework) -> None:
    """Messages of before a migration decrypt after it, under another SID."""
    with Session(CHAINS["gcm"], framework=framework) as session:
        sealed = session.encrypt(b"before", aad=b"a")
        sid = session.sid
        framework.detach(framework.drivers[0].name)
        assert session.decrypt(sealed, aad=b"a") == b"before"
        assert session.sid != sid


def test_threads_share_a_session(session: Session) -> None:
    """Eight threads on one session each get their own plaintext back."""
    wrong: list[int] = []

    def work(number: int) -> None:
        text = bytes([number]) * 48
        wrong.extend(number for _ in range(50) if session.decrypt(session.encrypt(text)) != text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_operator_decides_for_user_programs(framework: Framework) -> None:
    """With `hard` None a session obeys kern.usercrypto and kern.cryptodevallowsoft."""
    framework.sysctl["kern.cryptodevallowsoft"] = 1
    with pytest.raises(NoDriverError, match="hardware was asked for"):
        Session(CHAINS["gcm"], framework=framework, hard=None)
    framework.sysctl["kern.cryptodevallowsoft"] = -1
    with Session(CHAINS["gcm"], framework=framework, hard=None):
        pass
    framework.sysctl["kern.usercrypto"] = 0
    with pytest.raises(UsageError) as refusal:
        Session(CHAINS["gcm"], framework=framework, hard=None)
    assert refusal.value.errno == errno.ENXIO


def test_coroutines_do_the_same(session: Session) -> None:
    """An `AsyncSession` gives what the session gives, many at once."""

    async def main() -> list[bytes]:
        async with AsyncSession(session) as asession:

            async def one(number: int) -> bytes:
                sealed = await asession.encrypt(bytes([number]) * 32, aad=b"x")
                return await asession.decrypt(sealed, aad=b"x")

            return await asyncio.gather(*map(one, range(100)))

    assert asyncio.run(main()) == [bytes([number]) * 32 for number in range(100)]


def awaited(session: Session, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Run what awaits an answer of a session; it must come within the patience."""

    async def main() -> T:
        async with asyncio.timeout(PATIENCE):
            return await work(AsyncSession(session))

    return asyncio.run(main())


@pytest.mark.parametrize("part", ["iv", "data", "mac", "aad"])
def test_coroutines_find_any_change(session: Session, part: str) -> None:
    """What a coroutine decrypts is verified as well."""
    sealed = awaited(session, lambda it: it.encrypt(bytes(32), aad=b"header"))
    parts = {"iv": sealed.iv, "data": sealed.data, "mac": sealed.mac, "aad": b"header"}
    parts[part] = bytes([parts[part][0] ^ 1]) + parts[part][1:]
    forged = Sealed(parts["iv"], parts["data"], parts["mac"])
    with pytest.raises(AuthenticationError):
        awaited(session, lambda it: it.decrypt(forged, aad=parts["aad"]))


def test_coroutines_make_and_verify_macs(framework: Framework) -> None:
    """RFC 4231 case 1 again; a wrong MAC, a wrong message and a short MAC are refused."""
    with Session(Cryptoini(CRYPTO_SHA2_256_HMAC, b"\x0b" * 20), framework=framework) as session:
        mac = awaited(session, lambda it: it.mac(b"Hi There"))
        assert mac.hex() == "b0344c61d8db38535ca8afceaf0bf12b"
        awaited(session, lambda it: it.verify(b"Hi There", mac))
        wrong = bytes([mac[0] ^ 1]) + mac[1:]
        for data, forged in ((b"Hi there", mac), (b"Hi There", wrong), (b"Hi There", mac[:8])):
            with pytest.raises(AuthenticationError):
                awaited(session, functools.partial(_verify, data, forged))


def _verify(data: bytes, mac: bytes, session: AsyncSession) -> Awaitable[None]:
    return session.verify(data, mac)


def test_a_session_with_a_cipher_makes_no_macs(session: Session) -> None:
    """`mac` and `verify` are refused there, in either face, and so is a wrong length."""
    for refused in (
        lambda: session.mac(b""),
        lambda: session.verify(b"", b""),
        lambda: awaited(session, lambda it: it.mac(b"")),
        lambda: awaited(session, lambda it: it.verify(b"", b"")),
    ):
        with pytest.raises(UsageError, match="has a cipher"):
            refused()


def test_the_iv_that_is_given_is_the_one_that_is_used(session: Session) -> None:
    """Two messages of one IV are one ciphertext, from either face."""
    iv = session.encrypt(bytes(32)).iv
    one = session.encrypt(bytes(32), iv=iv)
    other = awaited(session, lambda it: it.encrypt(bytes(32), iv=iv))
    assert one == other
    assert one.iv == iv


def test_coroutines_follow_when_their_driver_leaves(framework: Framework) -> None:
    """Half of a hundred messages are under way as the driver is detached: none is lost."""
    with Session(CHAINS["gcm"], framework=framework) as session:
        sid = session.sid

        async def many(it: AsyncSession) -> list[bytes]:
            async def one(number: int) -> bytes:
                return await it.decrypt(await it.encrypt(bytes([number]) * 32))

            first = [asyncio.ensure_future(one(number)) for number in range(50)]
            await asyncio.sleep(0)
            leaves = asyncio.to_thread(framework.detach, framework.drivers[0].name)
            _, *texts = await asyncio.gather(leaves, *first, *map(one, range(50, 100)))
            return [bytes(text) for text in texts if text is not None]

        assert awaited(session, many) == [bytes([number]) * 32 for number in range(100)]
        awaited(session, lambda it: it.encrypt(b""))
        assert session.sid != sid


def test_a_wait_that_is_cancelled_leaves_the_session_whole(session: Session) -> None:
    """The answer to a request whose coroutine was cancelled disturbs nobody."""
    errors: list[dict[str, object]] = []

    async def cancels(it: AsyncSession) -> bytes:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: errors.append(what))
        for _ in range(10):
            task = asyncio.ensure_future(it.encrypt(bytes(32)))
            await asyncio.sleep(0)
            task.cancel()
        sealed = await it.encrypt(b"sixteen bytes ok")
        await asyncio.sleep(0.05)
        return await it.decrypt(sealed)

    assert awaited(session, cancels) == b"sixteen bytes ok"
    assert not errors


class Held(RecordingDriver):
    """A driver that takes requests and keeps them until told."""

    selftest = False

    def __init__(self) -> None:
        super().__init__("held", algs=[CRYPTO_NULL_CBC])
        self.kept: list[Cryptop] = []

    def process(self, crp: Cryptop, hint: int) -> int:
        """Keep it."""
        self.kept.append(crp)
        return 0

    def answer_all(self) -> None:
        """Answer what is kept."""
        while self.kept:
            self.done(self.kept.pop())


def test_an_answer_after_the_loop_closed_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    """It is dropped: no error of a callback, nothing in the log."""
    driver = Held()
    with Framework(plugins=[driver]) as framework:
        session = Session(Cryptoini(CRYPTO_NULL_CBC), framework=framework)

        async def main() -> None:
            asession = AsyncSession(session)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asession.encrypt(bytes(8)), 0.02)

        asyncio.run(main())
        assert len(driver.kept) == 1
        driver.answer_all()
        assert framework.sysctl["opencrypto.stats.callback_errors"] == 0
        session.close()
    assert not caplog.text


@pytest.mark.parametrize("asked", ["encrypt", "decrypt", "mac", "verify"])
@pytest.mark.parametrize("closed", ["session", "framework"])
def test_a_message_after_close_is_told_so(asked: str, closed: str) -> None:
    """The error names what is closed, and no number of a session; coroutines hear the same."""
    with Framework(plugins=["swcrypto"]) as framework:
        alg = CRYPTO_AES_CBC if asked in ("encrypt", "decrypt") else CRYPTO_SHA2_256_HMAC
        session = Session(Cryptoini(alg, KEY), framework=framework)
        data: Any = Sealed(bytes(16), bytes(16), b"") if asked == "decrypt" else bytes(16)
        words = (data, bytes(16)) if asked == "verify" else (data,)
        (session if closed == "session" else framework).close()
        with pytest.raises(UnknownSession, match=f"the {closed} is closed") as caught:
            getattr(session, asked)(*words)
        assert "0x" not in str(caught.value)

        async def main() -> None:
            with pytest.raises(UnknownSession, match=f"the {closed} is closed"):
                await getattr(AsyncSession(session), asked)(*words)

        asyncio.run(main())
        session.close()


def test_an_async_session_closes_and_tells_its_sid(framework: Framework) -> None:
    """close and aclose free the session, as often as one likes; sid is the session's."""
    with Session(CHAINS["gcm"], framework=framework) as first:
        asession = AsyncSession(first)
        assert asession.sid == first.sid != 0
        asession.close()
        asession.close()
        assert asession.sid == 0

    async def main() -> None:
        second = Session(CHAINS["gcm"], framework=framework)
        async with contextlib.aclosing(AsyncSession(second)) as asession:
            assert (await asession.encrypt(bytes(16))).data
        assert second.sid == 0

    asyncio.run(main())
    assert framework.sysctl["opencrypto.sessions.active"] == 0


@pytest.mark.parametrize("wrong", [None, 5, Cryptoini(CRYPTO_NULL_CBC)])
def test_an_async_session_is_made_of_a_session(wrong: Any) -> None:
    """Anything else is refused where it is given."""
    with pytest.raises(UsageError, match="is made of a Session"):
        AsyncSession(wrong)
