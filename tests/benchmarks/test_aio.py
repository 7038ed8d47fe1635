"""
What awaiting costs, and for how long a loop is silent while much is sealed in it.

Costs are processor time of the loop's thread, where all of it happens. A beat in each turn of the
loop tells how long that turn has kept everybody else waiting: by the clock, which also runs while
others have the processor, and by the time that the loop's thread itself was at work.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from opencrypto import Framework
from opencrypto.client import Session
from tests.benchmarks.measure import size_name, table

pytestmark = [pytest.mark.bench, pytest.mark.shared_framework]

ROUNDS = 41
CALLS = 3000
GATHERED = 1000
TOTAL = int(os.environ.get("OPENCRYPTO_BENCH_SILENCE", str(1 << 30)))
"""How many **bytes** are sealed while the silence is measured: 1 GiB."""
BESIDE = 64
"""How many coroutines seal at a time."""

Seal = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Framework(["openssl"], strict=True) as fw, fw.session("aes-128-gcm", bytes(16)) as made:
        yield made


def in_turns(main: Callable[[], Coroutine[Any, Any, tuple[float, ...]]]) -> list[list[float]]:
    """Run a round many times in one loop without collections, and return its columns."""

    async def rounds_of() -> list[tuple[float, ...]]:
        return [await main() for _ in range(ROUNDS)]

    gc.collect()
    gc.disable()
    try:
        rounds = asyncio.run(rounds_of())
    finally:
        gc.enable()
    return [list(column) for column in zip(*rounds, strict=True)]


@pytest.fixture
def unhurried(session: Session) -> Iterator[None]:
    """Give each turn of the loop all the time that it wants, however busy the machine is."""
    aio: Any = session._framework.aio
    before, aio.budget = aio.budget, 60.0
    yield
    aio.budget = before


@pytest.mark.usefixtures("unhurried")
def test_an_await_beside_a_call(session: Session) -> None:
    """64 bytes, inline: the same message by `seal` and by `await aio.seal`."""
    data = bytes(64)

    async def main() -> tuple[float, ...]:
        began = time.thread_time()
        for _ in range(CALLS):
            session.seal(data)
        called = time.thread_time()
        for _ in range(CALLS):
            await session.aio.seal(data)
        return called - began, time.thread_time() - called

    called, awaited = in_turns(main)
    more = statistics.median(b - a for a, b in zip(called, awaited, strict=True))
    row = [
        f"{seconds / CALLS * 1e6:.2f}"
        for seconds in (*map(statistics.median, (called, awaited)), more)
    ]
    table("Coroutines: one message of 64 B", ["seal, µs", "await aio.seal, µs", "more, µs"], [row])


def test_a_thousand_gathered(session: Session) -> None:
    """As it is: on a busy machine some wait for the next turn of the loop."""
    compare_gathered(session, "1000 messages of 4 KiB")


@pytest.mark.usefixtures("unhurried")
def test_a_thousand_gathered_in_one_turn(session: Session) -> None:
    """As it is on a machine that has time."""
    compare_gathered(session, "1000 messages of 4 KiB in one turn of the loop")


def compare_gathered(session: Session, what: str) -> None:
    """
    4 KiB each, all answers kept; what a gather of empty coroutines takes is taken off.

    *Of bare calls* is the rate of coroutines that do nothing but call `session.seal`.
    """
    data = bytes(4096)

    async def empty() -> None:
        pass

    async def bare() -> bytes:
        return session.seal(data)

    async def main() -> tuple[float, ...]:
        moments = [time.thread_time()]
        kept: list[Any] = [session.seal(data) for _ in range(GATHERED)]
        moments.append(time.thread_time())
        kept = await asyncio.gather(*(empty() for _ in range(GATHERED)))
        moments.append(time.thread_time())
        kept = await asyncio.gather(*(session.aio.seal(data) for _ in range(GATHERED)))
        moments.append(time.thread_time())
        kept = await asyncio.gather(*(bare() for _ in range(GATHERED)))
        moments.append(time.thread_time())
        assert len(kept) == GATHERED
        return tuple(b - a for a, b in itertools.pairwise(moments))

    called, nothing, gathered, calling = in_turns(main)
    rates = [
        statistics.median(a / (c - b) for a, b, c in zip(called, nothing, each, strict=True))
        for each in (gathered, calling)
    ]
    row = [f"{statistics.median(each) * 1e3:.2f}" for each in (called, nothing, gathered)]
    heads = ["in a row, ms", "a gather of nothing, ms", "gathered, ms", "rate", "of bare calls"]
    table(f"Coroutines: {what}", heads, [[*row, *(f"{rate:.2f}" for rate in rates)]])


async def silence(seal: Seal, size: int, total: int) -> tuple[list[float], list[float], float]:
    """Seal so much in such pieces; return how long each turn of the loop took, and all of it."""
    data = bytes(size)
    left = total // size
    beats: list[float] = []
    own: list[float] = []
    over = False

    async def beat() -> None:
        before, worked = time.perf_counter(), time.thread_time()
        while not over:
            await asyncio.sleep(0)
            now, work = time.perf_counter(), time.thread_time()
            beats.append(now - before)
            own.append(work - worked)
            before, worked = now, work

    async def seals() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await seal(data)

    began = time.perf_counter()
    beating = asyncio.ensure_future(beat())
    await asyncio.gather(*(seals() for _ in range(min(BESIDE, left))))
    over = True
    await beating
    return beats, own, time.perf_counter() - began


@pytest.mark.parametrize("size", [4 << 20, 1 << 10], ids=size_name)
def test_silence(session: Session, size: int) -> None:
    """Beside `asyncio.to_thread`, which gets a part where it takes a minute for the whole."""

    def by_thread(data: bytes) -> Awaitable[bytes]:
        return asyncio.to_thread(session.seal, data)

    ways: dict[str, tuple[Seal, int]] = {
        "await aio.seal": (session.aio.seal, TOTAL),
        "asyncio.to_thread": (by_thread, TOTAL if size > 1 << 16 else TOTAL // 16),
    }
    rows = []
    for name, (seal, total) in ways.items():
        beats, own, took = asyncio.run(silence(seal, size, total))
        times = (nearly_all(beats), max(beats), nearly_all(own), max(own))
        rows.append([name, *(f"{each * 1e3:.2f}" for each in times), f"{total / took / 1e6:.0f}"])
    heads = [
        f"pieces of {size_name(size)}", "99.9 % below, ms", "longest, ms",
        "at work: 99.9 % below, ms", "longest, ms", "MB/s",
    ]  # fmt: skip
    table("Coroutines: the silence of the loop", heads, rows)


def nearly_all(times: list[float]) -> float:
    """Return the time that 999 of a thousand are below."""
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.999))]
