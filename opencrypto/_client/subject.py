"""
What a session needs of the framework that it is opened in, and which one that is if none is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from opencrypto._client.crew import Crew
from opencrypto._core.short import ShortWay
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.profile import Profile
from opencrypto.driver import Driver
from opencrypto.exceptions import UsageError
from opencrypto.sysctl import Sysctl


class Aio(Protocol):
    """What the sessions of coroutines share."""

    @property
    def crew(self) -> Crew:
        """The threads for large work."""


class Subject(Protocol):
    """A `Framework`, as far as its sessions see it; each word means what it means there."""

    def newsession(
        self,
        ini: Cryptoini | Iterable[Cryptoini],
        hard: int = 0,
        *,
        driver: int | str | Driver | None = None,
        profile: Profile | None = None,
    ) -> int:
        """Open a session, and return its SID."""

    def clonesession(self, sid: int) -> int:
        """Open another session like one that is there, and return its SID."""

    def short_way(self, sid: int) -> ShortWay | None:
        """Return how whole messages of a session reach its driver without a request."""

    def streamsession(self, sid: int) -> int:
        """Open a session for a message in pieces, with the keys of another, and return its SID."""

    def copystream(self, sid: int) -> int:
        """Copy such a message, as far as it has come, into a session of its own."""

    def freesession(self, sid: int) -> None:
        """Free a session."""

    def dispatch(self, crp: Cryptop) -> None:
        """Carry a request out."""

    def driver_of(self, sid: int) -> tuple[str, ...]:
        """Name who serves a session."""

    def holders_of(self, request: Cryptop) -> tuple[str, ...]:
        """Name who has a request now."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    @property
    def aio(self) -> Aio:
        """What is for coroutines."""

    @property
    def sysctl(self) -> Sysctl:
        """What its operator has set."""


def _nobody() -> Subject:
    raise UsageError("name the framework of the session, or import opencrypto.client first")


class Home:
    """
    Where a session is opened that names no framework.

    Attributes:
        find: Returns that framework; `opencrypto.client` says which it is.
    """

    def __init__(self) -> None:
        self.find: Callable[[], Subject] = _nobody


HOME = Home()
