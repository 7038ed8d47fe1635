"""
What an operator wants of a framework, as `Framework` has it: its state, and its control socket.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from opencrypto._core import tree as _tree
from opencrypto._core import views as _views
from opencrypto._core.key_requests import KeyOps
from opencrypto._core.plugins import Plugins
from opencrypto._core.requests import Dispatcher
from opencrypto._core.returns import ReturnQueue
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import DriverTable
from opencrypto._core.views import DriverInfo, Settings
from opencrypto._log import log
from opencrypto._measure.counters import Stats
from opencrypto._measure.trace import Trace
from opencrypto._request.key import Cryptkop
from opencrypto._request.symmetric import Cryptop
from opencrypto.driver import Driver
from opencrypto.exceptions import CryptoError, UsageError
from opencrypto.sysctl import Sysctl

if TYPE_CHECKING:
    from pathlib import Path

    from opencrypto._core.framework import Framework
    from opencrypto.control.server import Server


class OperatorCalls:
    """A part of `Framework`: what it is made of, the rest makes."""

    _dispatcher: Dispatcher
    _drivers: DriverTable
    _keyops: KeyOps
    _plugins: Plugins
    _retq: ReturnQueue[Cryptop]
    _retkq: ReturnQueue[Cryptkop]
    _sessions: Sessions
    _settings: Settings
    _control: Server | None = None

    def _add_names(self) -> Sysctl:
        tree = Sysctl()
        _tree.add_names(
            tree, self._settings, self._drivers, self._sessions, self._dispatcher, self._keyops
        )
        _tree.add_queue(tree, "crypto_ret_q", self._retq)
        _tree.add_queue(tree, "crypto_ret_kq", self._retkq)
        self._tree = tree
        return tree

    @property
    def drivers(self) -> list[DriverInfo]:
        """What is attached, by hid; then what could not be attached, and why."""
        return _views.driver_infos(self._drivers, self._plugins.failures)

    def probe(self) -> None:
        """
        Have drivers find out now what they would find out by the first session of an algorithm.

        `drivers` then tells it. May take seconds, and load modules into the kernel.
        """
        for slot in self._drivers:
            if slot.driver is not None:
                slot.driver.probe()

    @property
    def sysctl(self) -> Sysctl:
        """The tree of names, as a mapping: read all, write some."""
        return self._tree

    @property
    def stats(self) -> Stats:
        """A snapshot of the counters, in the words of ``struct cryptostats``."""
        return _views.take_stats(self._drivers, self._dispatcher, self._keyops)

    def offered(self, name: str) -> Driver:
        """
        Return a driver that an installed plugin offers, to be attached.

        Raises:
            UsageError: no plugin offers one of this name, or it cannot on this host.
        """
        offers = [driver for driver in self._plugins.drivers() if driver.name == name]
        if not offers:
            self._plugins.add([name])
            offers = [driver for driver in self._plugins.drivers() if driver.name == name]
        if not offers:
            reasons = [each.reason for each in self._plugins.failures if each.name == name]
            raise UsageError(f"no driver {name!r}: {reasons[-1] if reasons else 'not offered'}")
        return offers[0]

    def start_trace(self) -> Trace:
        """
        Record sizes, algorithms, moments and results of requests, and never their content.

        Raises:
            BusyError: a trace is being recorded.
        """
        return self._dispatcher.watcher.start_trace()

    def stop_trace(self) -> None:
        """Record no more."""
        self._dispatcher.watcher.stop_trace()

    @property
    def control_path(self) -> Path | None:
        """Where the control socket is; None if none is open."""
        return None if self._control is None else self._control.path

    def _open_control(self, control: bool | str | Path | None) -> None:
        """Open the control socket if the program, or else its environment, asks for it."""
        wanted: bool | str | Path = False if control is None else control
        if control is None and os.environ.get("OPENCRYPTO_CONTROL"):
            from opencrypto.control.places import from_environment

            wanted = from_environment()
        if wanted is False:
            return
        from opencrypto.control.server import Server

        try:
            self._control = Server(cast("Framework", self), wanted)
        except CryptoError as error:
            if control is not None:
                raise
            # The operator's wish is no reason for the program not to run.
            log.warning("control_not_opened", reason=error.strerror)

    def _close_control(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            control.close()
