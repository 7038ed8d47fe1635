"""What awaits: in every event loop, off the loop's thread where it is large, a bit at a time."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import random
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from opencrypto import (
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_CBC,
    CRYPTO_AES_CTR,
    CRYPTO_AES_GCM_16,
    CRYPTO_DEFLATE_COMP,
    CRYPTO_NULL_CBC,
    CRYPTO_SHA1,
    CRYPTO_SHA2_256_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    ERESTART,
    AuthenticationError,
    BusyError,
    CryptoError,
    Cryptoini,
    Cryptop,
    DriverTimeout,
    Framework,
    OutputTooSmall,
    UnknownSession,
    UsageError,
)
from opencrypto._client import loops
from opencrypto._client.pending import Work
from opencrypto._client.turns import this_turn
from opencrypto.aio import AsyncFramework, AsyncSession
from opencrypto.client import Sealed, Session
from tests.client.late import Late
from tests.client.loops import PATIENCE, Run, by_asyncio, every_loop, together
from tests.support import examples, require_module
from tests.toy import KEY, Toy, nothing_left

INI = Cryptoini(CRYPTO_NULL_CBC, KEY)
MAC = Cryptoini(CRYPTO_SHA2_256_HMAC, b"k" * 32)
CHAIN = (Cryptoini(CRYPTO_AES_CBC, bytes(16)), MAC)
LARGE = 64 * 1024
SOON = 0.05
"""Seconds that something gets here which does not come."""


def with_drivers(*drivers: Any) -> Framework:
    fw = Framework(plugins=False)
    for driver in drivers:
        fw.attach(driver, selftest=False)
    return fw


class Watched(Toy):
    """A driver that notes in which thread it is given what."""

    def __init__(self, name: str = "watched", **options: Any) -> None:
        super().__init__(name, **options)
        self.threads: list[int] = []

    def process(self, crp: Cryptop, hint: int) -> int:
        self.threads.append(threading.get_ident())
        return super().process(crp, hint)


def aio_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "opencrypto-aio" in thread.name]


@every_loop
def test_every_loop_gives_what_a_thread_gets(run: Run) -> None:
    """Encrypted in one way, decrypted in the other; small and large; errors as well."""
    with Framework(["swcrypto"]) as fw, fw.session(CHAIN) as session:

        async def main() -> None:
            for size in (0, 16, LARGE):
                data = bytes(range(16)) * (size // 16)
                sealed = await session.aio.encrypt(data, aad=b"header")
                assert session.decrypt(sealed, aad=b"header") == data
                mine = session.encrypt(data, aad=b"header")
                assert await session.aio.decrypt(mine, aad=b"header") == data
                forged = Sealed(mine.iv, mine.data, bytes(len(mine.mac)))
                with pytest.raises(AuthenticationError):
                    await session.aio.decrypt(forged, aad=b"header")
                with pytest.raises(UsageError):
                    await session.aio.encrypt("letters" * size)  # type: ignore[arg-type]

        run(main)


GCM = (Cryptoini(CRYPTO_AES_GCM_16, bytes(20)), Cryptoini(CRYPTO_AES_128_GMAC, bytes(20)))
CTR = Cryptoini(CRYPTO_AES_CTR, bytes(20))
DEFLATE = Cryptoini(CRYPTO_DEFLATE_COMP)


@every_loop
@pytest.mark.parametrize("driver", ["openssl", "swcrypto", "afterwards"])
@pytest.mark.parametrize(
    "chain", [GCM, CHAIN, (DEFLATE, CTR, MAC)], ids=["gcm", "etm", "compressed"]
)
def test_tokens_are_those_of_the_session(run: Run, driver: str, chain: Any) -> None:
    """By the short way, by request, late; small and large; into the caller's memory too."""
    fw = with_drivers(Late("late")) if driver == "afterwards" else Framework([driver, "swcrypto"])
    pin: dict[str, Any] = (
        {"driver": driver} if driver == "openssl" and chain[0] is not DEFLATE else {}
    )
    with fw, fw.session(chain, **pin) as session:
        messages = [bytes(range(16)) * (size // 16) for size in (0, 16, 1024, LARGE)]

        async def main() -> None:
            aio = session.aio
            for data in messages:
                token = await aio.seal(data, b"header")
                assert session.open(token, b"header") == data
                assert await aio.open(session.seal(data, b"header"), b"header") == data
                sealed = await aio.encrypt(data, aad=b"header")
                assert await aio.decrypt(sealed, aad=b"header") == data
                out = bytearray(b"x" * (len(data) + 200))
                size = await aio.seal_into(data, out, b"header")
                assert session.open(out[:size], b"header") == data
                assert out[size:] == b"x" * (len(out) - size)
                size = await aio.open_into(out[:size], out, b"header")
                assert out[:size] == data
                out[: len(data)] = data
                with memoryview(out)[: len(data)] as place:
                    if chain[0] is not DEFLATE:
                        iv, mac = await aio.encrypt_into(place, place, aad=b"header")
                        size = await aio.decrypt_into(place, place, iv=iv, mac=mac, aad=b"header")
                        assert place == data
                assert await aio.decrypt_into(sealed, out, aad=b"header") == len(data)
                forged = token[:-1] + bytes([token[-1] ^ 1])
                before = bytes(out)
                for wrong in (forged, token[:5]):
                    with pytest.raises(AuthenticationError):
                        await aio.open(wrong, b"header")
                    with pytest.raises(AuthenticationError):
                        await aio.open_into(wrong, out, b"header")
                assert out == before
                if data:
                    with pytest.raises(OutputTooSmall):
                        await aio.open_into(token, bytearray(len(data) - 1), b"header")
            tokens = [token async for token in aio.seal_many(messages, 3, aad=b"header")]
            assert [data async for data in aio.open_many(tokens, aad=b"header")] == messages
            async with await aio.clone() as other:
                assert await other.open(tokens[1], b"header") == messages[1]
            keys = tuple(bytes([7]) * len(cri.key) for cri in chain if cri.key)
            await aio.rekey(keys[0] if chain is GCM else keys)
            with pytest.raises(AuthenticationError):
                await aio.open(tokens[1], b"header")
            assert await aio.open(await aio.seal(b"x" * 16)) == b"x" * 16

        run(main)


@every_loop
def test_digests_macs_and_compression_are_awaited(run: Run) -> None:
    """Each is what another library says it is."""
    data = b"message" * 10_000
    with Framework(["swcrypto"]) as fw:

        async def main() -> None:
            async with await fw.aio.session(Cryptoini(CRYPTO_SHA2_256_HMAC, b"k" * 32)) as macs:
                mac = hmac.digest(b"k" * 32, data, "sha256")[:16]
                assert await macs.mac(data) == mac
                await macs.verify(data, mac)
                with pytest.raises(AuthenticationError):
                    await macs.verify(data, bytes(16))
                with pytest.raises(UsageError, match="has a key"):
                    await macs.digest(data)
                with pytest.raises(UsageError, match="has no cipher"):
                    await macs.seal(data)
                with pytest.raises(UsageError, match="has no cipher"):
                    macs.seal_many([data])
            async with await fw.aio.session(Cryptoini(CRYPTO_SHA1)) as digests:
                assert await digests.digest(data) == hashlib.sha1(data).digest()
            async with await fw.aio.session(DEFLATE) as compresses:
                compressed = await compresses.compress(data)
                assert zlib.decompress(compressed, -15) == data
                assert await compresses.decompress(compressed) == data

        run(main)


@every_loop
@pytest.mark.parametrize("driver", ["openssl", "swcrypto"])
def test_messages_in_pieces_are_awaited(run: Run, driver: str) -> None:
    """What comes of them is what comes of the whole; a thread works on each piece."""
    data = bytes(range(256)) * 1000
    pieces = [data[at : at + 50_000] for at in range(0, len(data), 50_000)]
    with Framework([driver]) as fw:

        async def main() -> None:
            async with await fw.aio.session("aes-128-gcm", bytes(16)) as session:
                async with await session.encryptor(aad=b"header") as encryptor:
                    iv = await encryptor.iv()
                    sealed = bytearray(len(data))
                    at = 0
                    for piece in pieces[:-1]:
                        with memoryview(sealed) as place:
                            at += await encryptor.update_into(piece, place[at:])
                    sealed[at:] = await encryptor.update(pieces[-1]) + await encryptor.finalize()
                    token = iv + bytes(sealed) + encryptor.tag
                assert await session.open(token, b"header") == data
                for tag, is_right in ((encryptor.tag, True), (bytes(16), False)):
                    async with await session.decryptor(iv, unverified=True) as decryptor:
                        decryptor.authenticate_additional_data(b"header")
                        assert await decryptor.update(bytes(sealed)) == data
                        if is_right:
                            assert await decryptor.finalize_with_tag(tag) == b""
                            continue
                        with pytest.raises(AuthenticationError):
                            await decryptor.finalize(tag)
                with pytest.raises(UsageError, match="unverified"):
                    await session.decryptor(iv)
            async with (
                await fw.aio.session("hmac-sha2-256", b"k" * 32) as session,
                await session.hasher() as hasher,
            ):
                assert hasher.digest_size == 32
                assert "sha2" in hasher.name or "sha256" in hasher.name
                for piece in pieces:
                    await hasher.update(piece)
                async with await hasher.copy() as other:
                    await other.update(b"more")
                    assert await other.digest() == hmac.digest(b"k" * 32, data + b"more", "sha256")
                mac = hmac.digest(b"k" * 32, data, "sha256")
                assert await hasher.hexdigest() == mac.hex()
                await hasher.verify(mac)

        run(main)
        assert nothing_left(fw)


@every_loop
def test_a_piece_that_is_cancelled_gives_its_message_up(run: Run) -> None:
    """Not before it is done with the caller's memory; and one piece goes on at a time."""
    anyio = require_module("anyio")
    out = bytearray(1 << 20)
    began, goes_on = threading.Event(), threading.Event()
    with Framework(["openssl"]) as fw:

        async def main() -> None:
            async with await fw.aio.session("aes-128-gcm", bytes(16)) as session:
                encryptor = await session.encryptor()
                whole = encryptor._stream.update_into

                def slow(data: Any, place: Any) -> int:
                    began.set()
                    goes_on.wait(PATIENCE)
                    return whole(data, place)

                setattr(encryptor._stream, "update_into", slow)  # noqa: B010 - shadows a method

                async def cancels(scope: Any) -> None:
                    while not began.is_set():
                        await anyio.sleep(0.001)
                    with pytest.raises(BusyError, match="a piece of this message is under way"):
                        await encryptor.update(b"x")
                    scope.cancel()
                    goes_on.set()

                async with anyio.create_task_group() as group:
                    with anyio.CancelScope() as scope:
                        group.start_soon(cancels, scope)
                        await encryptor.update_into(bytes(len(out)), out)
                    after = bytes(out)
                    assert any(after)
                with pytest.raises(UnknownSession, match="closed"):
                    await encryptor.update(b"x")
                assert bytes(out) == after

        run(main)
        assert nothing_left(fw)


def test_what_the_source_of_many_raises_comes_after_the_answers() -> None:
    """To all that it gave before."""

    def source() -> Iterator[bytes]:
        yield b"one"
        yield b"two"
        raise ValueError("of the program's own")

    with with_drivers(Late("late")) as fw, fw.session(MAC) as session:
        expected = [session.mac(b"one"), session.mac(b"two")]

        async def main() -> None:
            with pytest.raises(ValueError, match="own"):
                async for mac in session.aio.mac_many(source()):
                    assert mac == expected.pop(0)

        by_asyncio(main)
        assert not expected


@every_loop
def test_a_late_driver_is_awaited(run: Run) -> None:
    """Many at once, each with its own answer."""
    with with_drivers(Late("late")) as fw, fw.session(MAC) as session:
        messages = [bytes([number]) * 100 for number in range(100)]
        expected = [session.mac(message) for message in messages]

        async def main() -> list[bytes]:
            return await together(*map(session.aio.mac, messages))

        assert run(main) == expected


def test_the_twin_of_a_session_is_one_and_the_same() -> None:
    """It is made once, and lets its session go when that is closed or dropped."""
    with with_drivers(Toy()) as fw:
        session = fw.session(INI)
        assert session.aio is session.aio
        assert isinstance(session.aio, AsyncSession)
        assert isinstance(fw.aio, AsyncFramework)
        assert fw.aio is fw.aio
        session.close()
        session = fw.session(INI)
        assert session.aio.sid
        del session
        with pytest.warns(ResourceWarning, match="unclosed <Session"):
            gc.collect()
        assert nothing_left(fw)


def test_outside_of_a_loop_there_is_a_sentence() -> None:
    """A coroutine that nobody runs is driven by hand."""
    with with_drivers(Toy()) as fw, fw.session(INI) as session:
        coroutine = session.aio.encrypt(bytes(16))
        with pytest.raises(UsageError, match="no event loop runs here"):
            coroutine.send(None)


# Large work.


@every_loop
@pytest.mark.parametrize("size", [0, 16, 32 * 1024 - 16, 32 * 1024, LARGE])
def test_large_work_is_not_on_the_loops_thread(run: Run, size: int) -> None:
    """From the border on; below it is, where handing over would take longer."""
    driver = Watched()
    with with_drivers(driver) as fw, fw.session(INI) as session:

        async def main() -> int:
            await session.aio.encrypt(bytes(size))
            await session.aio.encrypt(memoryview(bytearray(size)).cast("H"))
            return threading.get_ident()

        here = run(main)
        assert len(driver.threads) == 2
        for thread in driver.threads:
            assert (thread != here) is (size >= 32 * 1024)
    assert not aio_threads()


def test_no_byte_of_large_work_is_copied_on_the_loops_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither is its request made there, nor is its answer read there, whoever answers."""
    from opencrypto._rules.message import Layout

    threads: list[int] = []

    def noting(name: str) -> None:
        whole = getattr(Layout, name)

        def noted(*given: Any) -> Any:
            threads.append(threading.get_ident())
            return whole(*given)

        monkeypatch.setattr(Layout, name, noted)

    noting("sealing")
    noting("sealed")
    for driver in (Toy(), Late("late")):
        with with_drivers(driver) as fw, fw.session(Cryptoini(CRYPTO_NULL_CBC)) as session:

            async def main(session: Session = session) -> int:
                await session.aio.encrypt(bytes(LARGE))
                return threading.get_ident()

            threads.clear()
            here = by_asyncio(main)
            assert len(threads) == 2
            assert here not in threads


def test_the_border_can_be_set() -> None:
    """For all sessions of a framework, before or after they are opened."""
    driver = Watched()
    with with_drivers(driver) as fw, fw.session(INI) as session:
        asession = session.aio
        fw.aio.border = 0

        async def main() -> int:
            await asession.encrypt(b"")
            return threading.get_ident()

        assert by_asyncio(main) != driver.threads[-1]
        fw.aio.border = LARGE + 1

        async def large() -> int:
            await asession.encrypt(bytes(LARGE))
            return threading.get_ident()

        assert by_asyncio(large) == driver.threads[-1]
        assert fw.aio.border == LARGE + 1


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "1", None])
def test_a_border_is_a_number_of_bytes(wrong: Any) -> None:
    with with_drivers() as fw, pytest.raises(UsageError, match="border is a number of bytes"):
        fw.aio.border = wrong


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), True, "1", None])
def test_a_budget_is_a_number_of_seconds(wrong: Any) -> None:
    with with_drivers() as fw, pytest.raises(UsageError, match="budget is"):
        fw.aio.budget = wrong


def test_threads_are_few_shared_and_joined() -> None:
    """All sessions have the same ones, made when there is work for them."""
    with with_drivers(Toy(hold=False)) as fw:
        sessions = [fw.session(INI) for _ in range(20)]
        assert not aio_threads()
        seen: list[int] = []

        async def main() -> None:
            async def one(session: Session) -> None:
                await session.aio.encrypt(bytes(LARGE))
                seen.append(len(aio_threads()))

            await together(*map(one, sessions))

        by_asyncio(main)
        assert 1 <= max(seen) <= 4
        for session in sessions:
            session.close()
    assert not aio_threads()


# Small work, and the turns of the loop.


@every_loop
@pytest.mark.parametrize(("budget", "least", "most"), [(1e-9, 90, 10_000), (PATIENCE, 0, 30)])
def test_a_turn_has_a_budget(run: Run, budget: float, least: int, most: int) -> None:
    """What is over it waits for the next turn, in which others run too."""
    anyio = require_module("anyio")
    with with_drivers(Toy()) as fw, fw.session(INI) as session:
        fw.aio.budget = budget
        assert fw.aio.budget == budget
        turns = 0

        async def main() -> None:
            async def ticks() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await anyio.sleep(0)

            async with anyio.create_task_group() as group:
                group.start_soon(ticks)
                await anyio.sleep(0)
                for number in range(100):
                    sealed = await session.aio.encrypt(bytes([number]) * 16)
                    assert sealed.data == bytes([number ^ KEY[0]]) * 16
                group.cancel_scope.cancel()

        run(main)
        assert least <= turns <= most


def test_who_waits_for_a_turn_is_served_in_order() -> None:
    """First come, first served, each once."""
    driver = Toy()
    served: list[int] = []
    driver.work = lambda crp: served.append(crp.buf[0])  # type: ignore[method-assign]
    with with_drivers(driver) as fw, fw.session(Cryptoini(CRYPTO_NULL_CBC, KEY)) as session:
        fw.aio.budget = 1e-9

        async def main() -> None:
            await asyncio.gather(*(session.aio.encrypt(bytes([n]) * 16) for n in range(200)))

        by_asyncio(main)
    assert served == list(range(200))


def test_answers_of_other_threads_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many have come before it looks."""
    rings: list[object] = []
    ring = loops.AsyncioLoop.ring

    def counted(self: loops.AsyncioLoop, run: Callable[[], object]) -> None:
        rings.append(run)
        ring(self, run)

    monkeypatch.setattr(loops.AsyncioLoop, "ring", counted)
    driver = Toy(flags=CRYPTOCAP_F_SOFTWARE, hold=True)
    with with_drivers(driver) as fw, fw.session(INI) as session:
        fw.aio.budget = PATIENCE

        async def main() -> None:
            waiting = [asyncio.ensure_future(session.aio.encrypt(bytes(16))) for _ in range(100)]
            await asyncio.sleep(0)
            assert len(driver.held) == 100
            answering = threading.Thread(target=driver.answer)
            answering.start()
            answering.join()  # the loop stands still, and so all are there when it looks
            assert not any(task.done() for task in waiting)
            await asyncio.gather(*waiting)

        by_asyncio(main)
    assert len(rings) == 1


# Many.


@every_loop
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("depth", [1, 7, 64])
def test_many_come_in_order(run: Run, late: bool, depth: int) -> None:
    """From an iterable or an asynchronous one, small ones and large ones mixed."""
    sizes = [LARGE if number % 10 == 5 else number for number in range(60)]
    with (
        with_drivers(Late("late")) if late else Framework(["swcrypto"]) as fw,
        fw.session(MAC) as session,
    ):
        expected = [session.mac(bytes(size)) for size in sizes]

        async def asynchronous() -> AsyncIterator[bytes]:
            for size in sizes:
                yield bytes(size)

        async def main() -> None:
            for source in ([bytes(size) for size in sizes], asynchronous()):
                found = [mac async for mac in session.aio.mac_many(source, depth=depth)]
                assert found == expected

        run(main)


@every_loop
def test_no_more_are_taken_than_may_be_under_way(run: Run) -> None:
    """Who does not take the answers is given no more."""
    driver = Toy(flags=CRYPTOCAP_F_SOFTWARE, hold=True, algs=[CRYPTO_NULL_CBC])
    taken = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes([taken]) * 8

    with with_drivers(driver) as fw, fw.session(Cryptoini(CRYPTO_NULL_CBC, KEY)) as session:

        async def main() -> None:
            answers = 0
            answering = threading.Timer(SOON, driver.answer)
            answering.start()
            async with aclosing(
                session.aio._many(
                    source(), lambda data: session.aio._encrypting(data, None, b""), 5
                )
            ) as many:
                async for sealed in many:
                    answers += 1
                    assert sealed.data == bytes([answers ^ KEY[0]]) * 8
                    assert taken <= answers + 5
                    if answers == 5:
                        break
            answering.join()
            driver.answer()

        run(main)
        assert taken <= 10
    assert not driver.held


@every_loop
def test_an_error_comes_at_its_turn_and_ends_it(run: Run) -> None:
    """What came before it is yielded; what comes after is dropped, and nothing is left."""
    with Framework(["swcrypto"]) as fw, fw.session(CHAIN) as session:
        sealed = [session.encrypt(bytes(16)) for _ in range(10)]
        sealed[4] = Sealed(sealed[4].iv, sealed[4].data, bytes(16))
        order: Any = lambda each: session.aio._decrypting(each, b"")

        async def main() -> int:
            found = 0
            with pytest.raises(AuthenticationError):
                async for data in session.aio._many(sealed, order, 3):  # type: ignore[arg-type]
                    assert data == bytes(16)
                    found += 1
            return found

        assert run(main) == 4
        session.close()
        assert nothing_left(fw)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, None])
def test_a_depth_is_a_number_of_messages(wrong: Any) -> None:
    with Framework(["swcrypto"]) as fw, fw.session(MAC) as session:

        async def main() -> None:
            with pytest.raises(UsageError, match="depth is a number of messages"):
                async for _ in session.aio.mac_many([b""], depth=wrong):
                    pass

        by_asyncio(main)


# Cancellation.


@every_loop
def test_who_is_cancelled_goes_at_once(run: Run) -> None:
    """His message may still be carried out; its answer is nobody's."""
    anyio = require_module("anyio")
    driver = Toy(flags=CRYPTOCAP_F_SOFTWARE, hold=True)
    with with_drivers(driver) as fw, fw.session(INI) as session:

        async def main() -> None:
            for size in (16, LARGE):
                with anyio.move_on_after(SOON) as scope:
                    await session.aio.encrypt(bytes(size))
                assert scope.cancelled_caught
            assert len(driver.held) == 2
            driver.answer()
            driver.hold = False
            assert (await session.aio.encrypt(bytes(16))).data == KEY[:1] * 16

        run(main)
        assert fw.sysctl["opencrypto.stats.callback_errors"] == 0
        session.close()
        assert nothing_left(fw)


def test_what_nobody_wants_any_more_is_not_begun() -> None:
    """Neither what waits for a turn of the loop nor what waits for a thread."""
    driver = Watched()
    blocked = threading.Event()
    with with_drivers(driver) as fw, fw.session(INI) as session:
        fw.aio.budget = 1e-9

        async def main() -> None:
            crew = fw.aio.crew
            for _ in range(8):
                crew.do(blocked.wait)
            small = [asyncio.ensure_future(session.aio.encrypt(bytes(16))) for _ in range(10)]
            large = [asyncio.ensure_future(session.aio.encrypt(bytes(LARGE))) for _ in range(10)]
            await asyncio.sleep(0)
            for task in (*small, *large):
                task.cancel()
            await asyncio.gather(*small, *large, return_exceptions=True)
            blocked.set()

        by_asyncio(main)
    assert len(driver.threads) <= 2


@every_loop
def test_memory_is_left_alone_after_a_cancellation(run: Run) -> None:
    """Who was cancelled while a thread wrote into his memory is held until that is over."""
    anyio = require_module("anyio")
    began = threading.Event()
    memory = bytearray(8)

    def write(_: bytes) -> None:
        began.set()
        time.sleep(SOON)
        memory[:] = b"x" * 8

    with with_drivers() as fw:

        async def main() -> None:
            async def cancelled_when_it_has_begun(scope: Any) -> None:
                while not began.is_set():
                    await anyio.sleep(0.001)
                scope.cancel()

            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(cancelled_when_it_has_begun, scope)
                    await this_turn().carry(Work(bytes, write), fw.aio.crew, large=True)
                assert scope.cancelled_caught
                assert bytes(memory) == b"x" * 8, "it was still being written"

        run(main)


@every_loop
@pytest.mark.parametrize("kind", ["late", "prompt"])
def test_a_storm_of_cancellations_leaves_everything_whole(run: Run, kind: str) -> None:
    """Who is not cancelled has his own answer; nothing is left in the framework."""
    anyio = require_module("anyio")
    chance = random.Random(20)
    many = examples(600)
    with with_drivers(Late("late")) if kind == "late" else Framework(["swcrypto"]) as fw:
        with fw.session(MAC) as session:
            sizes = [chance.choice((1, 100, LARGE)) for _ in range(many)]
            expected = {size: session.mac(bytes(size)) for size in set(sizes)}
            answered = 0

            async def main() -> None:
                async def one(size: int, patience: float) -> None:
                    nonlocal answered
                    with anyio.move_on_after(patience):
                        assert await session.aio.mac(bytes(size)) == expected[size]
                        answered += 1

                async with anyio.create_task_group() as group:
                    for size in sizes:
                        group.start_soon(one, size, chance.choice((0.0, 0.001, 0.01, PATIENCE)))

            run(main)
            assert many // 8 <= answered
            assert fw.sysctl["opencrypto.stats.callback_errors"] == 0
            assert fw.driver_bugs.count == 0
        fw.close()
        assert nothing_left(fw)


def test_a_task_that_is_cancelled_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio's own cancellation, in each state of a message, before and after its answer."""
    driver = Late("late")
    with with_drivers(driver) as fw, fw.session(Cryptoini(CRYPTO_NULL_CBC)) as session:

        async def main() -> None:
            for turns in range(examples(96)):
                task = asyncio.ensure_future(session.aio.encrypt(bytes(8)))
                for _ in range(turns % 12):
                    await asyncio.sleep(0.0003)
                task.cancel()
                task.cancel()
                answer = await asyncio.gather(task, return_exceptions=True)
                assert isinstance(answer[0], asyncio.CancelledError | Sealed)

        by_asyncio(main)
    assert not caplog.text


# Drivers that come and go.


class Hasty(Late):
    """A driver that answers from threads, as soon as it can."""

    def process(self, crp: Cryptop, hint: int) -> int:
        return 0 if self._workers.submit(lambda: self.serve(crp)) else ERESTART


@pytest.mark.slow
@every_loop
def test_ten_thousand_wait_while_drivers_come_and_go(run: Run) -> None:
    """Each is answered, and by its own answer."""
    anyio = require_module("anyio")
    many = 10_000
    messages = [number.to_bytes(8) for number in range(many)]
    expected = [hmac.digest(b"k" * 32, message, "sha256")[:16] for message in messages]
    with with_drivers(Hasty("late-0")) as fw, fw.session(MAC) as session:
        found: dict[int, bytes] = {}

        async def main() -> None:
            async def one(number: int) -> None:
                while number not in found:
                    try:
                        found[number] = await session.aio.mac(messages[number])
                    except BlockingIOError:  # more moves in a row than one message follows
                        await anyio.sleep(0.001)

            async def come_and_go() -> None:
                for number in range(1, 9):
                    await fw.aio.attach(Hasty(f"late-{number}"), selftest=False)
                    await fw.aio.detach(f"late-{number - 1}")

            async with anyio.create_task_group() as group:
                for number in range(many):
                    group.start_soon(one, number)
                group.start_soon(come_and_go)

        run(main)
        assert [found[number] for number in range(many)] == expected
        assert fw.driver_bugs.count == 0
        session.close()
        assert nothing_left(fw)


@every_loop
def test_a_detach_that_is_awaited_silences_nobody(run: Run) -> None:
    """The loop runs on, and what the driver has taken is answered meanwhile."""
    driver = Toy("slow", flags=CRYPTOCAP_F_SOFTWARE, hold=True)
    with with_drivers(driver) as fw, fw.session(INI) as session:
        anyio = require_module("anyio")

        async def main() -> None:
            async def answer() -> None:
                while not driver.held or (
                    fw.drivers[0].name == "slow" and not fw.drivers[0].leaving
                ):
                    await anyio.sleep(0.001)
                driver.answer()

            async with anyio.create_task_group() as group:
                group.start_soon(session.aio.encrypt, bytes(16))
                group.start_soon(answer)
                while not driver.held:
                    await anyio.sleep(0)
                await fw.aio.detach("slow", timeout=PATIENCE)
            assert driver.closed == 1
            assert await fw.aio.attach(Toy("next"), selftest=False) == fw.drivers[0].hid
            with pytest.raises(UsageError):
                await fw.aio.detach("slow")

        run(main)


@every_loop
def test_a_framework_can_be_closed_by_who_awaits_it(run: Run) -> None:
    """``async with fw.aio`` is for those who open theirs in a coroutine."""

    async def main() -> Framework:
        fw = with_drivers(Toy())
        async with fw.aio as aio:
            async with await aio.session(INI) as session:
                assert (await session.encrypt(bytes(LARGE))).data == KEY[:1] * LARGE
                assert session.sid
            assert session.sid == 0
        return fw

    fw = run(main)
    assert fw.closed
    assert nothing_left(fw)
    assert not aio_threads()


@every_loop
def test_a_framework_that_is_closed_in_the_midst_answers_everybody(run: Run) -> None:
    """Those under way with a driver, in a thread, or waiting for a turn; an answer or an error."""
    anyio = require_module("anyio")
    fw = with_drivers(Hasty("hasty"))
    fw.aio.budget = 1e-9
    ends: list[object] = []

    async def main() -> None:
        with fw.session(MAC) as session:

            async def one(size: int) -> None:
                try:
                    ends.append(await session.aio.mac(bytes(size)))
                except CryptoError as error:
                    ends.append(error)

            async with anyio.create_task_group() as group:
                for number in range(300):
                    group.start_soon(one, LARGE if number % 3 == 0 else number)
                await anyio.sleep(0)
                group.start_soon(fw.aio.aclose)

    run(main)
    assert len(ends) == 300
    assert fw.closed
    assert not aio_threads()


def test_a_session_that_was_opened_for_nobody_is_freed() -> None:
    """Whoever wanted it was cancelled meanwhile."""
    began, goes_on = threading.Event(), threading.Event()

    class Slow(Toy):
        def newsession(self, ini: Sequence[Cryptoini]) -> Any:
            began.set()
            goes_on.wait(PATIENCE)
            return super().newsession(ini)

    driver = Slow()
    with with_drivers(driver) as fw:

        async def main() -> None:
            task = asyncio.ensure_future(fw.aio.session(INI))
            while not began.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            goes_on.set()

        by_asyncio(main)
        fw.aio.crew.close()
        assert driver.freed == driver.opened == [1] or driver.freed == driver.opened
        assert driver.freed
        gc.collect()  # no session is left to warn of


@every_loop
def test_a_time_that_is_over_is_an_error_in_every_loop(run: Run) -> None:
    """Small or large, it names who had the message, and the loop goes on."""
    driver = Toy("held", flags=CRYPTOCAP_F_SOFTWARE, hold=True)
    with with_drivers(driver) as fw, fw.session(INI, timeout=SOON) as session:

        async def main() -> None:
            for size in (16, LARGE):
                with pytest.raises(DriverTimeout, match="driver held within") as caught:
                    await session.aio.encrypt(bytes(size))
                assert caught.value.drivers == ("held",)
            driver.answer()
            driver.hold = False
            assert (await session.aio.encrypt(bytes(16))).data == KEY[:1] * 16

        run(main)


def test_two_loops_in_two_threads_share_a_session() -> None:
    """Each is woken for its own."""
    with with_drivers(Late("late")) as fw, fw.session(MAC) as session:
        expected = session.mac(b"message")
        found: list[bytes] = []

        async def main() -> None:
            found.extend(await asyncio.gather(*(session.aio.mac(b"message") for _ in range(50))))

        threads = [threading.Thread(target=by_asyncio, args=(main,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert found == [expected] * 200
        by_asyncio(main)
        assert found == [expected] * 250


def test_a_loop_that_has_ended_is_not_kept_alive() -> None:
    """Nor by the session that was used in it."""
    import weakref

    with with_drivers(Toy()) as fw, fw.session(INI) as session:
        gone: list[Any] = []

        async def main() -> None:
            gone.append(weakref.ref(asyncio.get_running_loop()))
            await session.aio.encrypt(bytes(16))

        by_asyncio(main)
        gc.collect()
        assert gone[0]() is None


def test_an_interrupt_in_a_drivers_work_comes_through() -> None:
    """KeyboardInterrupt is for the program; the session is whole afterwards."""

    class Interrupted(Toy):
        once = True

        def work(self, crp: Cryptop) -> None:
            if self.once:
                self.once = False
                raise KeyboardInterrupt
            super().work(crp)

    with with_drivers(Interrupted()) as fw, fw.session(INI) as session:

        async def main() -> None:
            await session.aio.encrypt(bytes(16))

        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
        by_asyncio(main)
        assert fw.driver_bugs.count == 0


@pytest.mark.parametrize("short", [False, True])
def test_an_interrupt_in_a_turn_loses_none_of_those_who_wait_for_it(short: bool) -> None:
    """It comes through to the program; the loop, run again, goes on with the rest."""

    class Interrupted(Toy):
        count = 0

        def work(self, crp: Cryptop) -> None:
            self.count += 1
            if self.count == 5:
                raise KeyboardInterrupt
            super().work(crp)

    driver = Interrupted()
    with with_drivers(driver) as fw, fw.session(INI) as session:
        fw.aio.budget = 1e-9
        loop = asyncio.new_event_loop()

        async def one(number: int) -> int:
            if short:
                this_turn().has_time(1e-9)  # as whoever parks something has asked before
                return int(await this_turn().later(lambda: number if tick() else -1))
            return (await session.aio.encrypt(bytes([number]) * 16)).data[0] ^ KEY[0]

        def tick() -> bool:
            driver.count += 1
            if driver.count == 5:
                raise KeyboardInterrupt
            return True

        tasks = [loop.create_task(one(number)) for number in range(20)]
        interrupts = 0
        while not all(task.done() for task in tasks):
            try:
                loop.run_until_complete(asyncio.wait(tasks))
            except KeyboardInterrupt:
                interrupts += 1
        loop.close()
        assert 1 <= interrupts <= 3
        ends = [task.exception() or task.result() for task in tasks]
        assert sum(isinstance(end, KeyboardInterrupt) for end in ends) == 1
        assert [end for end in ends if isinstance(end, int)] == [
            number for number, end in enumerate(ends) if isinstance(end, int)
        ]


def test_busy_is_a_typed_error_too() -> None:
    """What an awaited call raises is what the call raises."""
    driver = Toy()
    with with_drivers(driver) as fw:

        async def main() -> None:
            with pytest.raises(BusyError):
                await fw.aio.attach(driver)

        by_asyncio(main)
