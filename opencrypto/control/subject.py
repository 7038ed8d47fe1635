"""
Whom a control server speaks for: a framework, as far as it is asked from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from opencrypto._core.listing import SessionPage, Wanted
from opencrypto._core.views import DriverInfo
from opencrypto._measure.trace import Trace
from opencrypto.driver import Driver
from opencrypto.options import Setting
from opencrypto.sysctl import Sysctl


class Subject(Protocol):
    """The calls of a `Framework` that operations make."""

    @property
    def drivers(self) -> list[DriverInfo]:
        """What is attached, and what could not be."""

    @property
    def options(self) -> list[Setting]:
        """What can be set of the drivers, and what is."""

    @property
    def sysctl(self) -> Sysctl:
        """The tree of names."""

    def offered(self, name: str) -> Driver:
        """Return a driver that an installed plugin offers."""

    def attach(self, driver: Driver) -> int:
        """Attach a driver and return its hid."""

    def detach(self, which: str, *, timeout: float) -> None:
        """Detach a driver by name."""

    def look_around(self) -> None:
        """Note which drivers do not come back from a call."""

    def session_page(self, wanted: Wanted) -> Iterator[SessionPage | None]:
        """List some of the open sessions, step by step."""

    def start_trace(self) -> Trace:
        """Record requests from now on."""

    def stop_trace(self) -> None:
        """Record no more."""
