"""
`Framework`: the rooms tied together, and the calls of opencrypto(9) on them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from opencrypto._client.keyops import KeyOperations
from opencrypto._core import tree as _tree
from opencrypto._core import views as _views
from opencrypto._core.attach import DETACH_TIMEOUT, Attachments
from opencrypto._core.bugs import DriverBugs
from opencrypto._core.census import Listing
from opencrypto._core.driver_table import DriverTable
from opencrypto._core.key_requests import KeyRequests
from opencrypto._core.lasting import Lasting
from opencrypto._core.listing import SessionInfo, SessionPage, Wanted
from opencrypto._core.moving import Moving
from opencrypto._core.opening import Opening
from opencrypto._core.plugins import Plugins
from opencrypto._core.pool import RequestPool
from opencrypto._core.requests import Dispatcher
from opencrypto._core.returns import Callbacks
from opencrypto._core.rngs import Rngs
from opencrypto._core.sessions import Sessions
from opencrypto._core.short import ShortWay, short_way
from opencrypto._core.slots import Session
from opencrypto._core.views import DriverInfo, Settings
from opencrypto._core.virtual import Virtual
from opencrypto._core.wires import Wires
from opencrypto._log import log
from opencrypto._measure.callers import Callers
from opencrypto._measure.counters import Stats
from opencrypto._measure.trace import Trace
from opencrypto._request.buffer import BytesLike
from opencrypto._request.key import Cryptkop
from opencrypto._request.symmetric import Cryptoini, Cryptop
from opencrypto._rules.profile import Profile
from opencrypto._rules.seconds import check_seconds
from opencrypto._state import REQUEST, RequestEvent, RequestState, step
from opencrypto._threads import (
    Interrupt,
    InterruptFactory,
    ThreadInterrupt,
    check_threads,
    renew_after_fork,
    started,
)
from opencrypto.driver import Driver
from opencrypto.exceptions import BusyError, CryptoError, UsageError
from opencrypto.rng import Rng
from opencrypto.sysctl import Sysctl

if TYPE_CHECKING:
    from pathlib import Path

    from opencrypto._client.aio_framework import AsyncFramework
    from opencrypto._client.opening import Keys
    from opencrypto._client.session import Session as ClientSession
    from opencrypto.control.server import Server
    from opencrypto.options import Setting

SELFTEST_TIMEOUT = 2.0
"""Seconds that a driver may keep its attachment waiting for its known answers, all together."""


class Framework(KeyOperations):
    """
    Between those who want cryptography and the drivers that do it. A context manager.

    Args:
        plugins: True to attach the drivers of every installed plugin; False for none; or an
            iterable of plugins (names of entry points, modules, classes, instances, drivers).
            Names are a list of what may be loaded: ``openssl``, or ``openssl@distribution``. Of
            the installed plugins only what the environment's OPENCRYPTO_ALLOW names is loaded,
            if it names any.
        strict: Plugins whose failure is an error rather than a line in `drivers`; True for all.
        blocked: Names of plugins and drivers not to load, whoever allows them; the environment's
            OPENCRYPTO_BLOCK adds to them.
        interrupt: What runs the queues; tests give `opencrypto.testing.ManualInterrupt`.
        selftest_timeout: Seconds that each driver of a plugin may keep us waiting for its known
            answers, as for `attach`.
        control: Where to open a socket for the ``opencrypto`` command: a path, a folder, True for
            the default place, False for nowhere, None for what OPENCRYPTO_CONTROL says.
        trace_sessions: Note where each session is opened, for `open_sessions`: a few callers as
            ``file:line function``, no argument and no content. It costs some microseconds each.

    Raises:
        CryptoError: a plugin named in `strict` failed, the control socket cannot be opened, or
            `selftest_timeout` is no number of seconds.
    """

    _ended = True  # until there is something to end
    _aio: AsyncFramework | None = None

    def __init__(
        self,
        plugins: bool | Iterable[object] = True,
        *,
        strict: Collection[str] | bool = False,
        blocked: Collection[str] = (),
        interrupt: InterruptFactory = ThreadInterrupt,
        selftest_timeout: float = SELFTEST_TIMEOUT,
        control: bool | str | Path | None = None,
        trace_sessions: bool = False,
    ) -> None:
        if interrupt is ThreadInterrupt:
            check_threads()
        self._plugins = Plugins(strict=strict, blocked=blocked)
        self._plugins.load(plugins)
        observers = self._plugins.observers()
        callbacks = Callbacks()
        self._control: Server | None = None
        self._settings = Settings()
        self._bugs = DriverBugs()
        self._drivers = DriverTable()
        wires = Wires(self._settings, Lasting(self._drivers))
        self._errands = wires.errands
        self._sessions = Sessions(self._drivers, self._bugs, wires.errands)
        self._opening = Opening(
            self._sessions,
            self._drivers,
            self._bugs,
            observers,
            wires.done,
            wires.compose,
            wires.errands,
            Callers() if trace_sessions else None,
        )
        moving = Moving(self._sessions, self._opening, observers)
        self._dispatcher = wires.dispatcher = Dispatcher(
            self._sessions,
            moving,
            self._bugs,
            observers,
            callbacks,
            wires.errands,
            wires.leave,
            wires.blocked,
            wires.owes,
            wires.kick_requests,
            wires.kick_returns,
        )
        self._virtual = wires.virtual = Virtual(
            self._sessions,
            self._opening,
            moving,
            self._dispatcher.dispatch,
            self._dispatcher.done,
            self._dispatcher.strayed,
        )
        self._key_requests = wires.key_requests = KeyRequests(
            self._drivers,
            self._bugs,
            observers,
            callbacks,
            wires.errands,
            wires.leave,
            wires.blocked,
            wires.owes,
            wires.kick_requests,
            wires.kick_returns,
            wires.user_class,
        )
        self._rngs = Rngs(self._drivers)
        self._attachments = wires.attachments = Attachments(
            self._drivers,
            self._sessions,
            self._dispatcher,
            self._key_requests,
            self._bugs,
            observers,
            wires.errands,
            self._rngs,
        )
        self._pool = RequestPool(self._dispatcher.returns)
        self._requests = wires.requests = interrupt(
            "opencrypto-requests", wires.run_requests, wires.requests_wait
        )
        if isinstance(self._requests, ThreadInterrupt):
            self._requests.pause = wires.lasting.pause
        self._returns = wires.returns = interrupt(
            "opencrypto-returns", wires.run_returns, wires.returns_wait
        )
        self._look_around = wires.look_around
        self._listing = Listing(self._sessions, self._dispatcher.watcher, self._virtual.drivers)
        self._tree = self._names()
        self._ending = threading.Lock()  # held by whoever closes; the others wait
        self._ender = 0  # the thread that does
        self._ended = False
        self._ends_later = False
        # The straight path skips a call: these are the methods below, bound where they do the work.
        setattr(self, "dispatch", self._dispatcher.dispatch)  # noqa: B010 - shadows a method
        setattr(self, "done", self._dispatcher.done)  # noqa: B010 - shadows a method
        setattr(self, "getreq", self._pool.take)  # noqa: B010 - shadows a method
        setattr(self, "freereq", self._pool.give)  # noqa: B010 - shadows a method
        renew_after_fork(self)
        try:
            self._attach_offered(check_seconds(selftest_timeout, "selftest_timeout"))
            self._open_control(control)
        except BaseException:
            self.close()  # what was attached before a strict plugin failed
            raise

    def _attach_offered(self, timeout: float) -> None:
        """Attach the drivers that plugins offer; one that cannot be is listed with its reason."""
        for driver in self._plugins.drivers():
            try:
                self.attach(driver, selftest=driver.selftest is not False, selftest_timeout=timeout)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._plugins.note(driver, error)

    def _names(self) -> Sysctl:
        """Make the tree of names."""
        tree = Sysctl()
        _tree.add_names(
            tree,
            self._settings,
            self._drivers,
            self._sessions,
            self._dispatcher,
            self._key_requests,
        )
        _tree.add_queue(tree, "crypto_ret_q", self._dispatcher.returns)
        _tree.add_queue(tree, "crypto_ret_kq", self._key_requests.returns)
        return tree

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
            # By a weak reference, or its thread would keep alive a framework that is dropped.
            self._control = Server(weakref.proxy(self), wanted)
        except CryptoError as error:
            if control is not None:
                raise
            # The operator's wish is no reason for the program not to run.
            log.warning("control_not_opened", reason=error.strerror)

    def _close_control(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None  # only now: who was interrupted before comes here again

    # Drivers.

    def get_driverid(self, flags: int) -> int:
        """
        Reserve a driver id, to `register` algorithms under.

        Args:
            flags: ``CRYPTOCAP_F_*``; 0 for hardware.

        Returns:
            The hid, the lowest one free.

        Raises:
            UsageError: `flags` is no int, or negative.
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

    def kregister(
        self, hid: int, op: int, flags: int, kprocess: Callable[..., int] | None, arg: Any = None
    ) -> None:
        """
        Offer a key operation. The first call for a hid installs the callback, later ones only add.

        Args:
            hid: From `get_driverid`.
            op: ``CRK_*``.
            flags: ``CRYPTO_ALG_FLAG_*``.
            kprocess: ``kprocess(arg, krp, hint) -> 0 | ERESTART``; it answers by `kdone`.
            arg: Handed to the callback first.

        Raises:
            UsageError: no such hid or operation, no callback yet, or the driver is leaving.
        """
        self._attachments.kregister(hid, op, flags, kprocess, arg)

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
        Give a driver requests again, after it has answered ERESTART.

        Args:
            hid: The driver.
            what: ``CRYPTO_SYMQ``, ``CRYPTO_ASYMQ``, or both.

        Raises:
            UsageError: no such hid, or `what` is none of these.
        """
        self._attachments.unblock(hid, what)

    def attach(
        self,
        driver: Driver,
        *,
        selftest: bool | None = None,
        selftest_timeout: float = SELFTEST_TIMEOUT,
    ) -> int:
        """
        Attach a driver object and return its hid.

        Args:
            driver: A driver that is attached nowhere.
            selftest: Whether to run the known answers first; algorithms that fail are not
                offered (see `drivers`). None leaves it to ``driver.selftest``.
            selftest_timeout: Seconds that the driver may keep us waiting for all these answers
                together. After one that does not come no more are asked for, and what was not
                tried is not offered either.

        Raises:
            UsageError: its name, flags or capabilities are wrong, its name is blocked,
                `selftest_timeout` is no number of seconds, or the framework is closed.
            BusyError: it is attached already.
        """
        self._check_open()
        if isinstance(driver, Driver):
            self._plugins.refuse_blocked(driver)
        return self._attachments.attach(
            driver,
            self._plugins.origin_of(driver),
            selftest=bool(driver.selftest) if selftest is None else selftest,
            timeout=check_seconds(selftest_timeout, "selftest_timeout"),
        )

    def detach(self, which: int | str | Driver, *, timeout: float = DETACH_TIMEOUT) -> None:
        """
        Detach a driver by hid, name or object: its sessions migrate, and it is closed.

        Waits up to `timeout` seconds for the driver to answer what it has taken; what it then
        has not answered ends with EIO, since it may be half done; what it never saw, with EAGAIN.

        Raises:
            UsageError: no such driver is attached, somebody detaches it already, or `timeout` is
                no number of seconds.
        """
        self._attachments.detach(which, check_seconds(timeout, "timeout", zero=True))

    @property
    def interrupts(self) -> tuple[Interrupt, ...]:
        """What runs the queues and the callbacks: the argument `interrupt` has made them."""
        return self._requests, self._returns

    @property
    def driver_bugs(self) -> DriverBugs:
        """What drivers did against their contract: ``count``, and ``listen`` to hear of each."""
        return self._bugs

    def done(self, crp: Cryptop) -> None:
        """
        Complete a request; for drivers.

        Calls back at once with ``CRYPTO_F_CBIMM``, or with ``CRYPTO_F_CBIFSYNC`` if the driver is
        ``CRYPTOCAP_F_SYNC``; else from the return queue's thread.

        Raises:
            DriverBug: this request is not in a driver's hands; it was completed before.
        """
        self._dispatcher.done(crp)

    def kdone(self, krp: Cryptkop) -> None:
        """
        Complete a key request; for drivers.

        With ``status`` EAGAIN the request is not complete: it goes to another driver, and ends
        with ENODEV if there is none. Else it is called back, at once with ``CRYPTO_F_CBIMM`` (or
        ``CRYPTO_F_CBIFSYNC``, if the driver is ``CRYPTOCAP_F_SYNC``), or from the return queue.

        Raises:
            DriverBug: this request is not in a driver's hands; it was completed before.
        """
        self._key_requests.done(krp)

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
            driver: Take this driver, by hid, name or object, and no other. What is kept is its
                name and class: a driver attached again under that name has its sessions again.
                Both this and `hard` hold for life; requests of a session for which nobody of the
                kind is left end with ENODEV.
            profile: What the session promises of its requests, so that a driver can refuse it
                which could not serve them; nothing, if not given.

        Returns:
            The SID, never 0.

        Raises:
            UsageError: the parameters are wrong (unknown algorithm, key length, MAC length), no
                such driver is attached, or the framework is closed.
            NoDriverError: no driver takes them; ``reasons`` says why each was passed over.
        """
        self._check_open()
        return self._opening.open(ini, hard, driver, profile).sid

    def session(
        self,
        chain: str | int | Cryptoini | Iterable[Cryptoini],
        key: Keys = None,
        *,
        hard: int | None = 0,
        driver: int | str | Driver | None = None,
        profile: Profile | None = None,
        timeout: float | None = None,
    ) -> ClientSession:
        """
        Open a session with methods, answers and exceptions: `opencrypto.client.Session`.

        Args:
            chain: The name of an algorithm or of a chain of them, such as ``aes-128-gcm`` or
                ``aes-256-cbc+hmac-sha2-256`` (see `opencrypto.xform.chain`); or the number of an
                algorithm; or the parameters of one or of a chain.
            key: The key; of a chain that takes several a tuple of them, such as
                ``(cipher key, MAC key)``. Parameters have theirs in them.
            hard: As for `opencrypto.client.Session`.
            driver: As for `newsession`.
            profile: As for `newsession`.
            timeout: Seconds that a message may take; None to wait for as long as it takes.

        Raises:
            UsageError: the parameters are wrong, or the framework is closed.
            NoDriverError: no driver takes them.
        """
        from opencrypto._client.opening import as_chain
        from opencrypto._client.session import Session as Made

        return Made(
            as_chain(chain, key),
            framework=self,
            hard=hard,
            driver=driver,
            profile=profile,
            timeout=timeout,
        )

    @property
    def aio(self) -> AsyncFramework:
        """What is for coroutines: key operations, drivers and sessions, awaited."""
        if self._aio is None:
            from opencrypto._client.aio_framework import AsyncFramework

            # One step: of two threads, both get the first one's.
            made: AsyncFramework = self.__dict__.setdefault("_aio", AsyncFramework(self))
            return made
        return self._aio

    def clonesession(self, sid: int) -> int:
        """
        Open another session like one that is there: with its keys, its class of drivers, its pin.

        The two take their fresh IVs from the same sequences, so that none comes twice.

        Args:
            sid: Its SID, or one that it had before it moved.

        Returns:
            The SID of the new one, never 0.

        Raises:
            UnknownSession: there is none with this SID.
            NoDriverError: no driver takes another one.
            UsageError: the framework is closed.
        """
        self._check_open()
        return self._opening.open_like(self._sessions.find(sid).latest()).sid

    def streamsession(self, sid: int) -> int:
        """
        Open a session for a message in pieces, with the keys of one that is there.

        A session has one such message open at a time; so each of several gets its own.

        Args:
            sid: The SID of the session, or one that it had before it moved.

        Returns:
            The SID of the new one, never 0.

        Raises:
            UnknownSession: there is none with this SID.
            NoDriverError: no driver takes its chain in pieces.
            UsageError: the framework is closed.
        """
        self._check_open()
        return self._opening.open_for_pieces(self._sessions.find(sid).latest()).sid

    def copystream(self, sid: int) -> int:
        """
        Copy a message in pieces, as far as it has come, into a session of its own.

        Args:
            sid: The session in which it is open.

        Returns:
            The SID of the new one, never 0. Either message goes on by itself.

        Raises:
            UnknownSession: there is no session with this SID.
            UsageError: no message is open there, or its driver cannot copy what it keeps.
            BusyError: a piece of it is under way.
        """
        self._check_open()
        session = self._sessions.find(sid).latest()
        if not session.slot.is_driver:
            raise UsageError("a message on several drivers cannot be copied")
        twin = self._opening.open_for_pieces(session, there=True)
        try:
            self._dispatcher.streams.copy(session, twin)
        except BaseException:
            self._sessions.discard(twin)
            raise
        return twin.sid

    def short_way(self, sid: int) -> ShortWay | None:
        """
        Return how whole messages of a session reach its driver without a request.

        For `opencrypto.client.Session`; see `opencrypto.driver.Messages`.

        Returns:
            None if there is no such session, or its driver has no such way for it.
        """
        session = self._sessions.table.get(sid)
        return None if session is None else short_way(session, self._dispatcher)

    def freesession(self, sid: int) -> None:
        """
        Free a session: now, or when the last of its requests completes. 0 does nothing.

        Raises:
            UnknownSession: there is none with this SID.
        """
        self._sessions.free(sid)

    def getreq(self, n: int) -> Cryptop | None:
        """
        Take a request with `n` descriptors, all fields zero.

        Returns:
            The request; None while the return queue is over ``opencrypto.crypto_ret_q.maxlen``.

        Raises:
            UsageError: `n` is less than 1.
        """
        return self._pool.take(n)

    def freereq(self, crp: Cryptop | None) -> None:
        """
        Give a request back. None does nothing.

        Raises:
            BusyError: it is dispatched and not called back yet.
            UsageError: it has been freed already.
        """
        self._pool.give(crp)

    def driver_of(self, sid: int) -> tuple[str, ...]:
        """
        Name the driver that serves a session, or the drivers if it is a virtual one.

        Of a session that has moved it is the driver that it moved to; of one whose driver has left
        and that no request has met since, still that driver.

        Args:
            sid: Its SID, or one that it had before it moved.

        Returns:
            The names in the order of the chain, each once; one, unless the session is virtual.

        Raises:
            UnknownSession: there is none with this SID.
        """
        return tuple(dict.fromkeys(self._virtual.drivers(self._sessions.find(sid))))

    def holders_of(self, request: Cryptop | Cryptkop) -> tuple[str, ...]:
        """
        Name the driver that has a request now, or the drivers if its session is a virtual one.

        That may be another than `driver_of` the session: one that leaves, and has not answered.

        Returns:
            The names as of `driver_of`; none if the request is not dispatched, or just answered. A
            key request has one driver at a time.
        """
        if isinstance(request, Cryptkop):
            return self._key_requests.holders_of(request)
        session: Session | None = request.holder
        if session is None:
            return ()
        if session.slot is not self._virtual.slot:
            return (session.slot.name,)
        return tuple(dict.fromkeys(self._virtual.drivers(session)))

    def dispatch(self, crp: Cryptop) -> None:
        """
        Carry a request out; its callback is called exactly once, with ``etype`` set.

        The driver is called in this thread, unless ``CRYPTO_F_BATCH`` is set, the driver is
        blocked, or earlier requests of the session are queued: then from the request queue's
        thread, in order. On ``etype`` EAGAIN nothing was done: dispatch again, ``sid`` is set.

        Raises:
            UsageError: the request has no callback, has been freed, or its flags are no number.
            BusyError: it is dispatched already.
        """
        self._dispatcher.dispatch(crp)

    def kgetreq(self, n: int = 1) -> Cryptkop | None:
        """
        Take a key request, all fields zero.

        Args:
            n: How many; 1, as in the man page.

        Returns:
            The request; None while the return queue is over ``opencrypto.crypto_ret_kq.maxlen``.

        Raises:
            UsageError: `n` is not 1.
        """
        if n != 1:
            raise UsageError(f"kgetreq gives one request at a time, not {n!r}")
        returns = self._key_requests.returns
        if returns.over():
            returns.drop()
            return None
        return Cryptkop()

    def kfreereq(self, krp: Cryptkop | None) -> None:
        """
        Give a key request back. None does nothing. Its parameters stay the consumer's.

        Raises:
            BusyError: it is dispatched and not called back yet.
            UsageError: it has been freed already.
        """
        if krp is None:
            return
        if krp.state == RequestState.FREED:
            raise UsageError("the key request has been freed already; free it once")
        if krp.state:
            raise BusyError("the key request is in use; free it in its callback or after")
        krp.state = step(REQUEST, RequestState.IDLE, RequestEvent.FREEREQ)
        krp.reset()

    def kdispatch(self, krp: Cryptkop, *, driver: int | str | Driver | None = None) -> None:
        """
        Carry a key operation out; its callback is called exactly once, with ``status`` set.

        The driver is chosen here, for each request: drivers that take requests at the moment
        before blocked ones, hardware before software, then the one with the least key requests in
        flight. ``hid`` says which it was. ``status`` is EFBIG for more than 8 parameters; EINVAL
        for an unknown operation, a wrong number of parameters, or bad values; ERANGE if an output
        is too small; ENODEV if no driver has the operation, or the last that had it left.

        Args:
            krp: The request. The outputs are written when it is complete and ``status`` is 0.
            driver: Take this driver, by hid, name or object, and no other.

        Raises:
            UsageError: the request has no callback, has been freed, or no such driver.
            BusyError: it is dispatched already.
        """
        self._key_requests.dispatch(krp, None if driver is None else self._drivers.find(driver))

    def getfeat(self, hard: int = 0) -> int:
        """
        Return which key operations there are drivers for, as a mask of ``CRF_*``.

        Args:
            hard: The classes of driver asked for, as for `newsession`.

        Returns:
            The mask; 0 while ``kern.userasymcrypto`` is 0.
        """
        return self._key_requests.features(hard) if self._settings.userasymcrypto else 0

    def rng(
        self,
        name: str = "stdrng",
        seed: BytesLike = b"",
        *,
        entropy: BytesLike | None = None,
        hard: int = 0,
        driver: int | str | Driver | None = None,
    ) -> Rng:
        """
        Make a random number generator of a driver's.

        Args:
            name: Linux' name of it: ``stdrng`` for the best that a driver has, ``drbg_nopr_sha256``
                and the other names of SP 800-90A's, ``ansi_cprng``.
            seed: A DRBG's personalization string, of any number of **bytes**; it needs none. For
                ``ansi_cprng`` V, key and DT, of 16 bytes each.
            entropy: Entropy and nonce in place of the system's, for validation only.
            hard: > 0 for hardware only, < 0 for software only, 0 for the best there is.
            driver: Take this driver, by hid, name or object, and no other.

        Raises:
            UsageError: an argument is wrong, no such driver is attached, or the framework is
                closed.
            CryptoError: no driver has such a generator (ENOENT), or it takes no such seed.
        """
        self._check_open()
        return self._rngs.open(name, seed, entropy, hard, driver)

    # Operators.

    @property
    def drivers(self) -> list[DriverInfo]:
        """What is attached, by hid; then what could not be attached, and why."""
        return _views.driver_infos(self._drivers, self._plugins)

    def open_sessions(
        self, *, idle: float = 0.0, sort: str = "age", most: int | None = None
    ) -> list[SessionInfo]:
        """
        List the sessions that consumers have open, a virtual one as one.

        Args:
            idle: Only those that have been idle for so many seconds, or more.
            sort: ``age`` for the oldest first, ``idle`` for the longest idle, ``requests`` for the
                busiest. Only ages are known unless ``opencrypto.sessions.watch`` is 1.
            most: How many at most, 1 or more; None for all.

        Raises:
            UsageError: `sort` or `idle` cannot be, or is not known.
        """
        wanted = Wanted(idle, sort, sys.maxsize if most is None else most)
        *_, page = self._listing.page(wanted)
        assert page is not None
        return page.rows

    def session_page(self, wanted: Wanted) -> Iterator[SessionPage | None]:
        """
        List some of them for who must not be kept long: yield None after each step, then the page.

        Raises:
            UsageError: what is wanted cannot be, or is not known.
        """
        return self._listing.page(wanted)

    def look_around(self) -> None:
        """Note which drivers do not come back from a call: for who looks now and then anyway."""
        self._look_around()

    @property
    def options(self) -> list[Setting]:
        """What can be set of the plugins' drivers, what it is, and who says so."""
        return [setting for each in self._plugins.options.values() for setting in each]

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
        return _views.take_stats(self._drivers, self._dispatcher, self._key_requests)

    def offered(self, name: str) -> Driver:
        """
        Return a driver that an installed plugin offers, to be attached.

        A plugin that offers several makes them all; the others are closed.

        Raises:
            UsageError: no plugin offers one of this name, or it cannot on this host.
        """
        return self._plugins.driver(name)

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

    # The end.

    def _check_open(self) -> None:
        if self.closed:
            raise UsageError("the framework is closed; make a new one")

    def close(self) -> None:
        """
        Detach every driver, complete every request, wipe every key, end every thread.

        Requests still queued end with ENODEV. Drivers that hang are waited for together. Closing
        again does nothing, and waits for whoever is at it; after a close that was interrupted it
        does what is left.

        From a signal handler, a finalizer or a callback, on top of something that a driver must
        come to the end of first, it begins and returns: the rest is done by a thread.
        """
        me = threading.get_ident()
        if self._ender == me:
            return  # a signal handler in the midst of it: what lies beneath goes on
        self._sessions.closed = True
        self._key_requests.closed = True
        if not self._sessions.may_wait():
            self._end_later()
            return
        with self._ending:
            self._ender = me
            try:
                self._end()
            finally:
                self._ender = 0

    def _end(self) -> None:
        """Do what `close` says; each step may be done again, if the first try was broken off."""
        if self._ended:
            return
        self._close_control()
        self._virtual.close()
        if not self._attachments.detach_all(time.monotonic() + DETACH_TIMEOUT):
            self._end_later()
            return
        if self._aio is not None:
            self._aio.crew.close()
        self._requests.stop()
        self._returns.stop()
        self._sessions.close()
        self._ended = True
        if self._ends_later:
            import atexit

            atexit.unregister(self.close)

    def _end_later(self) -> None:
        """Have another thread close, when what this one is in the midst of does not hold it up."""
        import atexit  # which few programs need for this

        self._ends_later = True
        atexit.register(self.close)  # or the program might end first
        self._errands.add((_run_elsewhere, ("opencrypto-close", self.close)))
        self._errands.hurry()

    def __del__(self) -> None:
        if self._ended or sys.is_finalizing():
            return
        try:
            warnings.warn(f"unclosed {self!r}; use close() or a with block", ResourceWarning, 2)
        finally:
            # By a thread, since a finalizer may run on top of anything.
            self._errands.add((_run_elsewhere, ("opencrypto-close", self.close)))
            self._errands.hurry()

    def after_fork(self) -> None:
        """
        Go on in a forked child; called there by itself.

        Of the parent's threads only the one that forked goes on in the child. What the others held
        there is free again, and what they had half done is undone. Requests accepted before the
        fork are the parent's: it calls them back, once. The child begins with none, its copies of
        them are idle. Sessions and drivers are there in both; a driver with threads or devices
        sees to them itself.
        """
        self._ending = threading.Lock()
        self._ender = 0
        self._errands.after_fork()
        self._bugs.after_fork()
        self._drivers.after_fork()
        self._virtual.after_fork()
        self._dispatcher.after_fork()
        self._key_requests.after_fork()
        self._sessions.after_fork()
        self._attachments.after_fork()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called: no driver and no session comes any more."""
        return self._sessions.closed

    def __repr__(self) -> str:
        names = ", ".join(slot.name for slot in self._drivers) or "no drivers"
        return f"<Framework {names}{' closed' if self.closed else ''}>"


def _run_elsewhere(name: str, run: Callable[[], object]) -> None:
    """Run something in a thread of its own, or here if there is none to be had."""
    if started(name, run) is None:
        run()
