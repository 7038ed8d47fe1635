"""
The awaitable twin of a framework: `Framework.aio`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, Self, TypeVar

from opencrypto._client.aio_session import AsyncSession, Keeper
from opencrypto._client.crew import Crew
from opencrypto._client.key_flight import Calculator, KeyFlight
from opencrypto._client.keyops import Which
from opencrypto._client.opening import Keys
from opencrypto._client.pending import Work
from opencrypto._client.turns import this_turn
from opencrypto._request import keycall
from opencrypto._request.buffer import BytesLike
from opencrypto._request.keycall import KeyCall, Number, Operand, Signature
from opencrypto._request.symmetric import Cryptoini
from opencrypto._rules.profile import Profile
from opencrypto._rules.seconds import check_seconds
from opencrypto.driver import Driver
from opencrypto.exceptions import UsageError

T = TypeVar("T")


class Host(Calculator, Protocol):
    """A `Framework`, as far as this room sees it; each word means what it means there."""

    def attach(self, driver: Driver, *, selftest: bool | None = None) -> int:
        """Attach a driver."""

    def detach(self, which: int | str | Driver, *, timeout: float = ...) -> None:
        """Detach a driver."""

    def session(
        self,
        chain: str | int | Cryptoini | Iterable[Cryptoini],
        key: Keys = None,
        *,
        hard: int | None = 0,
        driver: Which = None,
        profile: Profile | None = None,
        timeout: float | None = None,
    ) -> Keeper:
        """Open a session."""

    def close(self) -> None:
        """End it."""


class AsyncFramework:
    """
    What a `Framework` does, awaited; by ``framework.aio``.

    Each method means what it means there, and raises the same. What takes its time is done by
    threads: key operations, what is waited for when drivers come and go, and all messages of
    `border` bytes or more of all sessions of this framework.

    Attributes:
        crew: Those threads. The framework's `close` joins them.
    """

    def __init__(self, framework: Host) -> None:
        self._framework = framework
        self.crew = Crew()

    @property
    def border(self) -> int:
        """
        From how many **bytes** on a message is worked on by a thread; 0 for every message.

        To set it raises UsageError for what is no such number.
        """
        return self.crew.border

    @border.setter
    def border(self, nbytes: int) -> None:
        if isinstance(nbytes, bool) or not isinstance(nbytes, int) or nbytes < 0:
            raise UsageError(f"border is a number of bytes, 0 or more, not {nbytes!r}")
        self.crew.border = nbytes

    @property
    def budget(self) -> float:
        """
        For how many seconds small messages are worked on in one turn of the loop.

        What comes when they have passed waits for the next turn. To set it raises UsageError for
        what is no such number.
        """
        return self.crew.budget

    @budget.setter
    def budget(self, seconds: float) -> None:
        self.crew.budget = check_seconds(seconds, "budget")

    async def session(
        self,
        chain: str | int | Cryptoini | Iterable[Cryptoini],
        key: Keys = None,
        *,
        hard: int | None = 0,
        driver: Which = None,
        profile: Profile | None = None,
        timeout: float | None = None,
    ) -> AsyncSession:
        """Open a session; as `Framework.session`."""
        work: Work[Keeper] = Work(
            lambda: self._framework.session(
                chain, key, hard=hard, driver=driver, profile=profile, timeout=timeout
            ),
            undo=lambda session: session.close(),
        )
        return (await this_turn().carry(work, self.crew, large=True)).aio

    async def attach(self, driver: Driver, *, selftest: bool | None = None) -> int:
        """Attach a driver, and return its hid; as `Framework.attach`."""
        return await self._apart(lambda: self._framework.attach(driver, selftest=selftest))

    async def detach(self, which: int | str | Driver, *, timeout: float | None = None) -> None:
        """
        Detach a driver; as `Framework.detach`, which it goes on with if it is cancelled.

        Others run on, and what the driver has taken is answered meanwhile.
        """
        options = {} if timeout is None else {"timeout": timeout}
        await self._apart(lambda: self._framework.detach(which, **options))

    async def aclose(self) -> None:
        """Close the framework; as `Framework.close`."""
        await self._apart(self._framework.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def modexp(
        self,
        base: Operand,
        exp: Number,
        mod: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return ``base ** exp % mod``; as `Framework.modexp`."""
        return await self._carry(keycall.modexp(base, exp, mod), timeout, driver)

    async def rsa_private(
        self,
        message: Operand,
        p: Number,
        q: Number,
        dp: Number,
        dq: Number,
        qinv: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Apply RSA's private operation; as `Framework.rsa_private`."""
        return await self._carry(keycall.rsa_private(message, p, q, dp, dq, qinv), timeout, driver)

    async def dsa_sign(
        self,
        digest: BytesLike,
        p: Number,
        q: Number,
        g: Number,
        x: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Signature:
        """Sign a digest by DSA; as `Framework.dsa_sign`."""
        return await self._carry(keycall.dsa_sign(digest, p, q, g, x), timeout, driver)

    async def dsa_verify(
        self,
        digest: BytesLike,
        p: Number,
        q: Number,
        g: Number,
        y: Number,
        r: Number,
        s: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> None:
        """Verify a signature by DSA; as `Framework.dsa_verify`."""
        await self._carry(keycall.dsa_verify(digest, p, q, g, y, r, s), timeout, driver)

    async def dh(
        self,
        priv: Number,
        pub: Operand,
        p: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return the secret shared with a peer; as `Framework.dh`."""
        return await self._carry(keycall.dh(priv, pub, p), timeout, driver)

    async def modadd(
        self,
        a: Operand,
        b: Number,
        mod: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return ``(a + b) % mod``."""
        return await self._carry(keycall.modadd(a, b, mod), timeout, driver)

    async def modsub(
        self,
        a: Operand,
        b: Number,
        mod: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return ``(a - b) % mod``."""
        return await self._carry(keycall.modsub(a, b, mod), timeout, driver)

    async def modmult(
        self,
        a: Operand,
        b: Number,
        mod: Number,
        *,
        timeout: float | None = None,
        driver: Which = None,
    ) -> Operand:
        """Return ``a * b % mod``."""
        return await self._carry(keycall.modmult(a, b, mod), timeout, driver)

    async def modaddinv(
        self, a: Operand, mod: Number, *, timeout: float | None = None, driver: Which = None
    ) -> Operand:
        """Return ``-a % mod``."""
        return await self._carry(keycall.modaddinv(a, mod), timeout, driver)

    async def modmultinv(
        self, a: Operand, mod: Number, *, timeout: float | None = None, driver: Which = None
    ) -> Operand:
        """Return the inverse of `a` modulo `mod`; UsageError if there is none."""
        return await self._carry(keycall.modmultinv(a, mod), timeout, driver)

    async def mod(
        self, a: Operand, mod: Number, *, timeout: float | None = None, driver: Which = None
    ) -> Operand:
        """Return ``a % mod``."""
        return await self._carry(keycall.mod(a, mod), timeout, driver)

    async def _carry(self, call: KeyCall[T], timeout: float | None, driver: Which) -> T:
        """Carry a key operation out: a thread hands it to its driver, which may work at once."""
        if timeout is not None:
            timeout = check_seconds(timeout, "timeout")
        flight = KeyFlight(self._framework, call, driver, timeout)
        return await this_turn().carry(flight, self.crew, large=True)

    async def _apart(self, function: Callable[[], T]) -> T:
        """Have something done that waits for others, by a thread of its own."""
        return await this_turn().carry_apart(Work(function), self.crew)

    def __repr__(self) -> str:
        return f"<AsyncFramework of {self._framework!r}>"
