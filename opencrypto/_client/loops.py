"""
Event loops: what is asked of the one that a coroutine runs in, asyncio's (uvloop's too) or trio's.

A `Waiter` is one coroutine that waits. Only the loop's own thread may wake it; `Loop.ring` has
something run there, from any thread.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from opencrypto.exceptions import UsageError


class Waiter(Protocol):
    """One coroutine that waits, once."""

    def wake(self) -> None:
        """Have it go on; to do it again does nothing. In the loop's thread."""

    async def wait(self, seconds: float) -> bool:
        """Wait to be woken, for so many seconds (below 0: for ever); tell whether that was it."""

    async def wait_shielded(self) -> None:
        """Wait to be woken, whoever cancels; who did hears of it afterwards."""


class Loop(Protocol):
    """An event loop."""

    def soon(self, run: Callable[[], object]) -> None:
        """Have something run in the loop's next turn. From its own thread."""

    def ring(self, run: Callable[[], object]) -> None:
        """Have something run in the loop's thread, unless it has ended. From any thread."""

    def waiter(self) -> Waiter:
        """Make what the calling coroutine can wait by."""


class AsyncioLoop:
    """A loop of asyncio, or of what stands in for it. It does not keep the loop alive."""

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)

    def soon(self, run: Callable[[], object]) -> None:
        """Have something run in the next turn."""
        loop = self._loop()
        if loop is not None:
            loop.call_soon(run)

    def ring(self, run: Callable[[], object]) -> None:
        """Have something run there."""
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(run)
        except RuntimeError:
            pass  # it is closed: whoever waited there is gone

    def waiter(self) -> Waiter:
        """Make what a task can wait by."""
        return _Task(asyncio.get_running_loop())


class _Task:
    """A task of asyncio that waits."""

    __slots__ = ("_future", "_is_woken", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_woken = False
        self._future: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Have it go on."""
        self._is_woken = True
        self._stir()

    def _stir(self) -> None:
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Wait to be woken, or for so many seconds."""
        if self._is_woken:
            return True
        self._future = self._loop.create_future()
        if seconds < 0:
            await self._future
            return True
        alarm = self._loop.call_later(seconds, self._stir)
        try:
            await self._future
        finally:
            alarm.cancel()
        return self._is_woken

    async def wait_shielded(self) -> None:
        """Wait to be woken; a cancellation is kept until then."""
        cancelled: asyncio.CancelledError | None = None
        while not self._is_woken:
            self._future = self._loop.create_future()
            try:
                await self._future
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


class TrioLoop:
    """A run of trio."""

    __slots__ = ("_token", "_trio")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._token = weakref.ref(trio.lowlevel.current_trio_token())

    def soon(self, run: Callable[[], object]) -> None:
        """Have something run in the next turn."""
        self.ring(run)

    def ring(self, run: Callable[[], object]) -> None:
        """Have something run there."""
        token = self._token()
        try:
            if token is not None:
                token.run_sync_soon(run)
        except RuntimeError:
            pass  # the run has ended: whoever waited there is gone

    def waiter(self) -> Waiter:
        """Make what a task can wait by."""
        return _TrioTask(self._trio)


class _TrioTask:
    """A task of trio that waits."""

    __slots__ = ("_event", "_trio")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._event = trio.Event()

    def wake(self) -> None:
        """Have it go on."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait to be woken, or for so many seconds."""
        with self._trio.move_on_after(float("inf") if seconds < 0 else seconds):
            await self._event.wait()
        return bool(self._event.is_set())

    async def wait_shielded(self) -> None:
        """Wait to be woken; trio tells of a cancellation at the next checkpoint."""
        with self._trio.CancelScope(shield=True):
            await self._event.wait()


def in_trio() -> bool:
    """Tell whether trio runs in this thread, by itself or as the guest of another loop."""
    trio: Any = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def running() -> tuple[object, Callable[[], Loop]]:
    """
    Return what the running loop is known by, and what makes a `Loop` of it.

    Raises:
        UsageError: none is running here.
    """
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_trio_token(), lambda: TrioLoop(trio)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "no event loop runs here; await this in a coroutine of asyncio, anyio or trio"
        ) from None
    return loop, lambda: AsyncioLoop(loop)
