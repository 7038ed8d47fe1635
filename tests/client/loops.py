"""The event loops that coroutines may run in; each test of what awaits is run in all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from importlib.util import find_spec
from typing import Any, TypeAlias, TypeVar

import pytest

from tests.support import require_module, sample_of

T = TypeVar("T")

Main: TypeAlias = Callable[[], Coroutine[Any, Any, T]]

PATIENCE = 30.0
"""Seconds after which a test that still waits has failed."""


async def _patient(main: Main[T]) -> T:
    async with asyncio.timeout(PATIENCE):
        return await main()


def by_asyncio(main: Main[T]) -> T:
    return asyncio.run(_patient(main))


def by_uvloop(main: Main[T]) -> T:
    uvloop = require_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_patient(main))


def by_trio(main: Main[T]) -> T:
    trio = require_module("trio")

    async def patient() -> T:
        with trio.fail_after(PATIENCE):
            return await main()

    result: T = trio.run(patient)
    return result


def _open_what_libuv_keeps() -> None:
    """Have it open the pipe for signals that a process has from then on, or a test seems to."""
    if find_spec("uvloop"):
        require_module("uvloop").new_event_loop().close()


_open_what_libuv_keeps()

Run: TypeAlias = Callable[[Main[Any]], Any]

every_loop = pytest.mark.parametrize("run", sample_of([by_asyncio, by_uvloop, by_trio]))


async def together(*awaitables: Awaitable[T]) -> list[T]:
    """Await several side by side, in whichever loop; return their answers in order."""
    anyio = require_module("anyio")
    answers: dict[int, T] = {}

    async def one(number: int, awaitable: Awaitable[T]) -> None:
        answers[number] = await awaitable

    async with anyio.create_task_group() as group:
        for number, awaitable in enumerate(awaitables):
            group.start_soon(one, number, awaitable)
    return [answers[number] for number in range(len(awaitables))]
