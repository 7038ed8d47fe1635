"""
`Framework`: the rooms tied together, and the calls of opencrypto(9) on them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from opencrypto._core import fork as _fork
from opencrypto._core import views as _views
from opencrypto._core.attach import Attachments
from opencrypto._core.key_requests import KeyOps
from opencrypto._core.keycalls import KeyCalls
from opencrypto._core.opercalls import OperatorCalls
from opencrypto._core.plugins import Plugins
from opencrypto._core.reqcalls import RequestCalls
from opencrypto._core.requests import Dispatcher
from opencrypto._core.returns import ReturnQueue
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import DriverTable
from opencrypto._core.virtual import Virtual
from opencrypto._request.key import Cryptkop
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.profile import Profile
from opencrypto._threads import InterruptFactory, ThreadInterrupt, check_threads
from opencrypto.driver import Driver
from opencrypto.exceptions import UsageError

DETACH_TIMEOUT = 10.0
"""Seconds that a driver has to answer what it has taken, when it is detached."""


class Framework(RequestCalls, KeyCalls, OperatorCalls):
    """
    Between those who want cryptography and the drivers that do it. A context manager.

    Args:
        plugins: True to attach the drivers of every installed plugin; False for none; or an
            iterable of plugins (names of entry points, modules, classes, instances, drivers).
        strict: Plugins whose failure is an error rather than a line in `drivers`; True for all.
        blocked: Names of plugins not to load; the environment's OPENCRYPTO_BLOCK adds to them.
        interrupt: What runs the queues; tests give `opencrypto.testing.ManualInterrupt`.
        control: Where to open a socket for the ``opencrypto`` command: a path, a folder, True for
            the default place, False for nowhere, None for what OPENCRYPTO_CONTROL says.

    Raises:
        CryptoError: a plugin named in `strict` failed, or the control socket cannot be opened.
    """

    def __init__(
        self,
        plugins: bool | Iterable[object] = True,
        *,
        strict: Collection[str] | bool = False,
        blocked: Collection[str] = (),
        interrupt: InterruptFactory = ThreadInterrupt,
        control: bool | str | Path | None = None,
    ) -> None:
        if interrupt is ThreadInterrupt:
            check_threads()
        self._drivers = DriverTable()
        self._sessions = Sessions(self._drivers)
        self._retq: ReturnQueue[Cryptop] = ReturnQueue(self._kick_returns)
        self._retkq: ReturnQueue[Cryptkop] = ReturnQueue(self._kick_returns)
        self._dispatcher = Dispatcher(
            self._drivers, self._sessions, self._kick_requests, self._retq
        )
        self._sessions.done = self._dispatcher.done
        self._virtual = Virtual(self._sessions, self._dispatcher.dispatch, self._dispatcher.done)
        self._sessions.compose = self._virtual.compose
        self._keyops = KeyOps(self._drivers, self._kick_requests, self._retkq, self._user_class)
        self._attachments = Attachments(
            self._drivers,
            self._sessions,
            self._dispatcher,
            self._keyops,
            {"done": self._dispatcher.done},
        )
        self._requests = interrupt(
            "opencrypto-requests",
            lambda: self._dispatcher.run_requests(self._keyops.run_turn),
            lambda: self._dispatcher.pending() or self._keyops.pending(),
        )
        self._returns = interrupt(
            "opencrypto-returns",
            lambda: self._dispatcher.run_returns(self._run_key_returns),
            lambda: bool(len(self._retq) or len(self._retkq)),
        )
        self._pools = {}
        self._settings = _views.Settings()
        self._add_names()
        # The straight path skips a call: these are the methods below, bound where they do the work.
        setattr(self, "dispatch", self._dispatcher.dispatch)  # noqa: B010 - shadows a method
        setattr(self, "done", self._dispatcher.done)  # noqa: B010 - shadows a method
        self._plugins = Plugins(strict=strict, blocked=blocked)
        _fork.watch(self)
        try:
            self._load(plugins)
            self._open_control(control)
        except BaseException:
            self.close()  # what was attached before a strict plugin failed
            raise

    def _kick_requests(self) -> None:
        self._requests.kick()

    def _kick_returns(self) -> None:
        self._returns.kick()

    def _run_key_returns(self) -> int:
        return self._retkq.run(self._keyops.call_back)

    def _user_class(self) -> int | None:
        """Return `hard` for user programs' key operations, or None if they may do none."""
        settings = self._settings
        return settings.cryptodevallowsoft if settings.userasymcrypto else None

    def _load(self, plugins: bool | Iterable[object]) -> None:
        if plugins is True:
            self._plugins.discover()
        elif plugins is not False:
            self._plugins.add(plugins)
        self._observe()
        for driver in self._plugins.drivers():
            try:
                self.attach(driver, selftest=driver.selftest is not False)
            except Exception as error:
                self._plugins.note(driver.name, error)

    def _observe(self) -> None:
        observers = self._plugins.observers()
        self._dispatcher.observers = observers
        self._keyops.observers = observers
        self._sessions.observers = observers
        self._attachments.observers = observers

    # Drivers.

    def get_driverid(self, flags: int) -> int:
        """
        Reserve a driver id, to `register` algorithms under.

        Args:
            flags: ``CRYPTOCAP_F_*``; 0 for hardware.

        Returns:
            The hid, the lowest one free.
        """
        return self._attachments.get_driverid(flags)

    def register(
        self,
        hid: int,
        alg: int,
        maxoplen: int,
        flags: int,
        newsession: Callable[..., Any] | None,
        freesession: Callable[..., Any] | None,
        process: Callable[..., int] | None,
        arg: Any = None,
    ) -> None:
        """
        Offer an algorithm. The first call for a hid installs the callbacks, later ones only add.

        Args:
            hid: From `get_driverid`.
            alg: ``CRYPTO_*``.
            maxoplen: The longest operand in **bits**, 0 if unlimited; informational.
            flags: ``CRYPTO_ALG_FLAG_*``.
            newsession: ``newsession(arg, ini) -> lid``, or ``(lid, process)``.
            freesession: ``freesession(arg, sid)``.
            process: ``process(arg, crp, hint) -> 0 | ERESTART``.
            arg: Handed to each callback first.

        Raises:
            UsageError: no such hid or algorithm, no callbacks yet, or the driver is leaving.
        """
        self._attachments.register(hid, alg, maxoplen, flags, newsession, freesession, process, arg)

    def unregister(self, hid: int, alg: int) -> None:
        """
        Withdraw an algorithm. With the last one the driver leaves and its sessions migrate.

        Raises:
            UsageError: no such hid, or the algorithm is not registered.
        """
        self._attachments.unregister(hid, alg)

    def unregister_all(self, hid: int) -> None:
        """
        Withdraw a driver: no new sessions, queued requests and sessions migrate.

        Does not wait: the driver still answers what it has taken, and its freesession is called
        for each session when the last request of that is answered.

        Raises:
            UsageError: no such hid, or it has unregistered already.
        """
        self._attachments.unregister_all(hid)

    def unblock(self, hid: int, what: int) -> None:
        """
        Have a driver get requests again that answered ERESTART.

        Args:
            hid: The driver.
            what: ``CRYPTO_SYMQ``, ``CRYPTO_ASYMQ``, or both.
        """
        self._attachments.unblock(hid, what)

    def attach(self, driver: Driver, *, selftest: bool | None = None) -> int:
        """
        Attach a driver object and return its hid.

        Args:
            driver: A driver that is attached nowhere.
            selftest: Whether to run the known answers first; algorithms that fail are not
                offered (see `drivers`). None leaves it to ``driver.selftest``.

        Raises:
            UsageError: its name, flags or capabilities are wrong.
            BusyError: it is attached already.
        """
        self._check_open()
        return self._attachments.attach(
            driver, selftest=bool(driver.selftest) if selftest is None else selftest
        )

    def detach(self, which: int | str | Driver, *, timeout: float = DETACH_TIMEOUT) -> None:
        """
        Detach a driver by hid, name or object: its sessions migrate, and it is closed.

        Waits up to `timeout` seconds for the driver to answer what it has taken; what it then
        has not answered is handed back to the consumers with EAGAIN.

        Raises:
            UsageError: no such driver is attached.
        """
        self._attachments.detach(which, timeout)

    def done(self, crp: Cryptop) -> None:
        """
        Complete a request; for drivers.

        Calls back at once with ``CRYPTO_F_CBIMM``, or with ``CRYPTO_F_CBIFSYNC`` if the driver is
        ``CRYPTOCAP_F_SYNC``; else from the return queue's thread.

        Raises:
            DriverBug: this request is not in a driver's hands; it was completed before.
        """
        self._dispatcher.done(crp)

    # Consumers.

    def newsession(
        self,
        ini: Cryptoini | Iterable[Cryptoini],
        hard: int = 0,
        *,
        driver: int | str | Driver | None = None,
        profile: Profile | None = None,
    ) -> int:
        """
        Open a session.

        On one driver if there is one that takes the whole chain. Else on several, each of which
        takes some of it: a *virtual session*, which behaves as any other.

        Args:
            ini: One algorithm's parameters, or those of a chain in order. They are copied.
            hard: > 0 for hardware only, < 0 for software only, 0 for the best there is.
            driver: Take this driver, by hid, name or object, and no other.
            profile: What the session promises of its requests, so that a driver can refuse it
                which could not serve them; nothing, if not given.

        Returns:
            The SID, never 0.

        Raises:
            UsageError: the parameters are wrong (unknown algorithm, key length, MAC length).
            NoDriverError: no driver takes them; ``reasons`` says why each was passed over.
        """
        self._check_open()
        session = self._sessions.open(ini, hard, driver, profile)
        if self._sessions.observers is not None:
            self._sessions.observers.newsession(session.sid, session.slot.name)
        return session.sid

    def freesession(self, sid: int) -> None:
        """
        Free a session: now, or when the last of its requests completes. 0 does nothing.

        Raises:
            UnknownSession: there is none with this SID.
        """
        self._sessions.free(sid)

    def dispatch(self, crp: Cryptop) -> None:
        """
        Carry a request out; its callback is called exactly once, with ``etype`` set.

        The driver is called in this thread, unless ``CRYPTO_F_BATCH`` is set, the driver is
        blocked, or earlier requests of the session are queued: then from the request queue's
        thread, in order. On ``etype`` EAGAIN nothing was done: dispatch again, ``sid`` is set.

        Raises:
            UsageError: the request has no callback, or has been freed.
            BusyError: it is dispatched already.
        """
        self._dispatcher.dispatch(crp)

    # The end.

    def _check_open(self) -> None:
        if self._sessions.closed:
            raise UsageError("the framework is closed; make a new one")

    def close(self) -> None:
        """
        Detach every driver, complete every request, wipe every key, end every thread.

        Requests still queued end with ENODEV. Closing again does nothing.
        """
        if self._sessions.closed:
            return
        self._close_control()
        self._sessions.closed = True
        self._keyops.closed = True
        self._virtual.close()
        for slot in self._drivers:
            try:
                self._attachments.detach(slot.hid, DETACH_TIMEOUT)
            except UsageError:
                pass  # it has left, or another thread is detaching it
        self._requests.stop()
        self._returns.stop()
        self._sessions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        names = ", ".join(slot.name for slot in self._drivers if not slot.gone) or "no drivers"
        return f"<Framework {names}{' closed' if self._sessions.closed else ''}>"


_default_lock = threading.Lock()
_default: Framework | None = None


def default_framework() -> Framework:
    """Return the framework of `opencrypto.bsd`, made with every installed plugin on first use."""
    global _default  # noqa: PLW0603 - one default, made late, is what the man page's calls need
    with _default_lock:
        if _default is None or _default._sessions.closed:
            _default = Framework()
        return _default
