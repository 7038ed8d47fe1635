"""
Drivers coming and going: the driver side of the framework.

Two ways in, one mechanism: the calls of opencrypto(9) (`get_driverid`, `register`, ...), and
`attach`, which makes those calls for a `Driver` object and gives it its ports.
"""

from __future__ import annotations

import functools
import re
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from opencrypto._core.bugs import DriverBugs
from opencrypto._core.depth import Depth
from opencrypto._core.driver_table import DriverTable
from opencrypto._core.errands import Errands
from opencrypto._core.key_requests import KeyRequests
from opencrypto._core.origins import Origin
from opencrypto._core.plugins import Observers
from opencrypto._core.requests import Dispatcher
from opencrypto._core.rngs import Rngs
from opencrypto._core.sessions import Sessions
from opencrypto._core.slots import Slot
from opencrypto._log import log
from opencrypto._request.key import KOPS, Cryptkop
from opencrypto._request.sid import lid_of
from opencrypto._request.symmetric import Cryptop
from opencrypto._state import IllegalTransition, SlotEvent, SlotState
from opencrypto._threads import started
from opencrypto.constants import CRYPTO_ALG_FLAG_SUPPORTED, CRYPTO_ASYMQ, CRYPTO_SYMQ
from opencrypto.driver import CLASS_NAMES, Capability, Driver, KeyCapability, Rule, detached
from opencrypto.exceptions import BusyError, UsageError
from opencrypto.xform import FACTS

if TYPE_CHECKING:
    from opencrypto.selftest import Trial

DETACH_TIMEOUT: Final = 10.0
"""Seconds that a driver has to answer what it has taken, when it is detached or leaves."""

MAX_ALIGNMENT: Final = 1 << 16
"""Bytes: a page of the largest kind that processors commonly have."""

GRACE: Final = 0.05
"""Seconds between two looks at a driver that another thread detaches, and may give up."""

_TOKEN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]*")


class Attachments:
    """What drivers and those who attach them call."""

    def __init__(
        self,
        drivers: DriverTable,
        sessions: Sessions,
        dispatcher: Dispatcher,
        keyops: KeyRequests,
        bugs: DriverBugs,
        observers: Observers,
        errands: Errands,
        rngs: Rngs,
    ) -> None:
        self._drivers = drivers
        self._rngs = rngs
        self._key_requests = keyops
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._bugs = bugs
        self._observers = observers
        self._errands = errands

    # opencrypto(9).

    def get_driverid(self, flags: int) -> int:
        """Reserve a slot."""
        return self._drivers.reserve(_check_flags(flags)).hid

    def register(
        self,
        hid: int,
        alg: int,
        maxoplen: int,
        flags: int,
        newsession: Callable[..., Any] | None,
        freesession: Callable[..., Any] | None,
        process: Callable[..., int] | None,
        arg: Any,
    ) -> None:
        """Add an algorithm; the first one installs the callbacks."""
        slot = self._drivers.get(hid)
        if alg not in FACTS:
            raise UsageError(f"there is no algorithm {alg!r}; use a CRYPTO_* constant")
        with slot.lock:
            if slot.sym.process is None:
                if newsession is None or process is None:
                    raise UsageError("the first register() of a driver needs its callbacks")
                slot.sym.newsession = functools.partial(newsession, arg)
                slot.sym.process = functools.partial(process, arg)
                slot.sym.freesession = freesession and functools.partial(freesession, arg)
            self._add(slot, alg, maxoplen, flags)

    def kregister(
        self, hid: int, op: int, flags: int, kprocess: Callable[..., int] | None, arg: Any
    ) -> None:
        """Add a key operation; the first one installs the callback."""
        slot = self._drivers.get(hid)
        if op not in KOPS:
            raise UsageError(f"there is no key operation {op!r}; use a CRK_* constant")
        with slot.lock:
            if slot.keys.process is None:
                if kprocess is None:
                    raise UsageError("the first kregister() of a driver needs its callback")
                slot.keys.process = functools.partial(kprocess, arg)
            self._add_key(slot, op, flags)

    def _add_key(self, slot: Slot, op: int, flags: int) -> None:
        self._offer(slot)
        slot.keys.ops[int(op)] = flags | CRYPTO_ALG_FLAG_SUPPORTED

    def _add(self, slot: Slot, alg: int, maxoplen: int, flags: int) -> None:
        self._offer(slot)
        slot.sym.algs[int(alg)] = (maxoplen, flags | CRYPTO_ALG_FLAG_SUPPORTED)
        self._drivers.changes += 1

    def _offer(self, slot: Slot) -> None:
        """Note that a driver offers something; it may be leaving, by a signal handler just now."""
        try:
            slot.move(SlotEvent.REGISTER)
        except IllegalTransition:
            raise UsageError(
                f"driver {slot.name} is leaving; take a new id from get_driverid()"
            ) from None

    def unregister(self, hid: int, alg: int) -> None:
        """Withdraw an algorithm; with the last one the driver leaves."""
        slot = self._drivers.get(hid)
        with slot.lock:
            if alg not in slot.sym.algs:
                raise UsageError(f"driver {slot.name} has not registered algorithm {alg!r}")
            del slot.sym.algs[alg]
            last = not slot.sym.algs and not slot.keys.ops
        if last:
            self._leave(slot)

    def unregister_all(self, hid: int) -> None:
        """Withdraw every algorithm: the driver leaves."""
        self._leave(self._drivers.get(hid))

    def unblock(self, hid: int, what: int) -> None:
        """Give a driver requests again, of the kinds that `what` names."""
        if what & ~(CRYPTO_SYMQ | CRYPTO_ASYMQ) or not what:
            raise UsageError("unblock takes CRYPTO_SYMQ, CRYPTO_ASYMQ, or both")
        self._unblock(self._drivers.get(hid), what)

    def _unblock(self, slot: Slot, what: int) -> None:
        if what & CRYPTO_SYMQ:
            self._dispatcher.lane.unblock(slot)
        if what & CRYPTO_ASYMQ:
            self._key_requests.lane.unblock(slot)

    # Driver objects.

    def attach(self, driver: Driver, origin: Origin, *, selftest: bool, timeout: float) -> int:
        """Give a driver a slot, register what it can do, and give it its ports."""
        _check_driver(driver)
        self._await_namesake(driver)
        if any(slot.driver is driver for slot in self._drivers):
            raise BusyError(f"driver {driver.name} is attached already; detach it first")
        _own(driver)
        try:
            return self._attach(driver, origin, selftest=selftest, timeout=timeout)
        except BaseException:
            if all(slot.driver is not driver for slot in self._drivers):
                _disown(driver)
            raise

    def _attach(self, driver: Driver, origin: Origin, *, selftest: bool, timeout: float) -> int:
        done: Callable[[Cryptop], None] = self._dispatcher.done
        failed: dict[int, str] = {}
        if selftest:
            trial = _trial(driver, timeout)
            failed = trial.failures()
            done = trial.port(done)
        slot = self._drivers.reserve(driver.flags, driver.name)
        slot.driver = driver
        slot.origin = origin
        slot.sym.failed = failed
        self._drivers.departed.reasons.pop(slot.name, None)
        self._connect(driver, slot, done)
        with slot.lock:
            for alg, capability in driver.capabilities.items():
                if alg not in failed:
                    self._add(slot, alg, min(capability.maxlen * 8, 0xFFFF), 0)
            for op in driver.keyops:
                self._add_key(slot, op, 0)
            if not slot.sym.algs and not slot.keys.ops:
                self._offer(slot)
        for alg, reason in failed.items():
            log.error("selftest_failed", driver=slot.name, alg=FACTS[alg].name, reason=reason)
        words = origin.words
        tier = CLASS_NAMES[slot.tier]
        self._observers.attached(slot.hid, slot.name, *words.values())
        log.info("driver_attached", driver=slot.name, hid=slot.hid, tier=tier, **words)
        if self._sessions.closed:  # meanwhile, by somebody who may not have seen this driver
            self._detach(slot, 0.0)
            raise UsageError("the framework is closed; make a new one")
        return slot.hid

    def _connect(self, driver: Driver, slot: Slot, done: Callable[[Cryptop], None]) -> None:
        """Give a driver its ports, and its slot the driver's methods."""
        kdone: Callable[[Cryptkop], None]
        kdone = functools.partial(self._key_requests.done, by=slot.keys.inflight)
        slot.sym.newsession = driver.newsession
        slot.sym.freesession = driver.freesession
        slot.sym.newstream = driver.newstream
        slot.sym.number_of = lid_of
        slot.sym.process = driver.process
        slot.keys.process = driver.kprocess
        if driver.max_inflight:
            depth = Depth(driver.max_inflight, functools.partial(self._unblock, slot))
            done, kdone = depth.port(done), depth.port(kdone)
            slot.keys.process = depth.of_key_requests(driver.kprocess)
            slot.depth = depth
        setattr(driver, "done", done)  # noqa: B010 - shadows a method
        driver.kdone = kdone
        driver.unblock = functools.partial(self.unblock, slot.hid)
        report = functools.partial(self._bugs.report, Rule.PROCESS_RAISED, slot.name)
        setattr(driver, "raised", report)  # noqa: B010 - shadows a method
        setattr(driver, "leave", functools.partial(self.leave, slot))  # noqa: B010 - likewise

    def leave(self, slot: Slot, reason: str) -> None:
        """
        Have a driver leave by its own word: see `Driver.leave`.

        Nothing of the driver's is called from here, and no lock is waited for.
        """
        if not isinstance(reason, str):
            raise UsageError(f"a reason is a text, not {type(reason).__name__}")
        before = slot.state
        try:
            slot.move(SlotEvent.UNREGISTER)
            slot.reason = reason or "it gave no reason"
            self._drivers.departed.note(slot)
            slot.sym.algs.clear()
            slot.keys.ops.clear()
        except IllegalTransition:
            return  # it leaves already
        finally:
            if slot.state is not before:  # then somebody must see it off, whatever interrupts us
                try:
                    self._errands.add((self._go, (slot,)))
                    self._errands.hurry()
                except BaseException:  # of a signal handler
                    self._errands.hurry()
                    raise
        log.warning("driver_left", driver=slot.name, hid=slot.hid, reason=slot.reason)

    def _go(self, slot: Slot) -> None:
        """Do the rest of `leave`, by a thread: the driver may take its time."""
        if slot.driver is None:  # it came by `get_driverid`, and there is nothing to close
            self._withdraw(slot)
            return

        def run() -> None:
            try:
                self._detach(slot, DETACH_TIMEOUT)
            except UsageError:
                pass  # somebody detaches it

        if started("opencrypto-leave", run) is None:
            run()

    def _await_namesake(self, driver: Driver) -> None:
        """Wait for the end of one that leaves, whose name the new one will have."""
        for slot in self._drivers:
            leaves = slot.reason or slot.state is SlotState.CLEANUP
            if leaves and slot.name == driver.name and self._sessions.may_wait():
                slot.seen_off.wait(0 if _is_held_up(slot) else DETACH_TIMEOUT)

    def detach(self, which: int | str | Driver, timeout: float) -> None:
        """Withdraw a driver, wait until it has answered what it has taken, and close it."""
        self._detach(self._drivers.find(which), timeout)

    def detach_all(self, deadline: float) -> bool:
        """
        Withdraw all drivers, and then see each off, until a moment of `time.monotonic`.

        Returns:
            False if that cannot be waited for here: what this thread is in the midst of must come
            to its end first.
        """
        slots = list(self._drivers)
        for slot in slots:
            self._begin_to_leave(slot)
        if any(map(_is_held_up, slots)) or any(map(_is_detached_beneath, slots)):
            return False
        for slot in slots:
            while not slot.seen_off.is_set() and slot.state is not SlotState.FREE:
                left = max(0.0, deadline - time.monotonic())
                try:
                    self._detach(slot, left)
                except UsageError:  # somebody else detaches it, in a time that may be longer
                    if not slot.seen_off.wait(GRACE) and not left:
                        self._reclaim(slot)
        return True

    def _detach(self, slot: Slot, timeout: float) -> None:
        mine = False
        try:
            if slot.closing:
                raise UsageError(f"driver {slot.name} is being detached already")
            slot.closing = threading.get_ident()  # no other thread's, as another look tells
            mine = True
            self._begin_to_leave(slot, streams=True)
            if not self._sessions.may_wait() or _is_held_up(slot):
                self._errands.add((self._see_off_elsewhere, (slot, timeout)))
                self._errands.hurry()
                return
            self._see_off(slot, timeout)
        except BaseException:
            if mine:
                slot.closing = 0  # whoever detaches it next goes on from here
            raise

    def _see_off_elsewhere(self, slot: Slot, timeout: float) -> None:
        """See a driver off by a thread, since who detached it holds that up."""

        def run() -> None:
            try:
                self._see_off(slot, timeout)
            except BaseException:
                slot.closing = 0
                raise

        if started("opencrypto-detach", run) is None:
            run()

    def _begin_to_leave(self, slot: Slot, *, streams: bool = False) -> None:
        """Begin to detach a driver; with `streams`, messages in pieces may come to their end."""
        try:
            self._leave(slot, streams=streams)
        except UsageError:  # it has begun already: do what is left of that
            if slot.state is SlotState.CLEANUP:
                self._withdraw(slot, streams=streams)

    def _see_off(self, slot: Slot, timeout: float) -> None:
        """Do the rest of `detach`; each step may be done again."""
        name = slot.name
        if not slot.drained.wait(timeout):
            self._sessions.end_streams(slot)
            if not slot.drained.is_set():
                self._reclaim(slot)
        self._rngs.look()
        if slot.driver is not None:
            if not slot.closed:
                self._close(slot.driver, slot)
            _disconnect(slot.driver)
        # After close(), which may still answer key requests or hand them back.
        self._reclaim_keys(slot)
        if slot.driver is not None:
            _disown(slot.driver)
        slot.driver = None  # only now: from here on its id may be another's
        seen_off = slot.seen_off
        self._drivers.release(slot)
        seen_off.set()
        self._observers.detached(slot.hid, name)
        log.info("driver_detached", driver=name, hid=slot.hid)

    def _leave(self, slot: Slot, *, streams: bool = False) -> None:
        try:
            slot.move(SlotEvent.UNREGISTER)
        except IllegalTransition:
            raise UsageError(f"driver {slot.name} has unregistered already") from None
        try:
            slot.sym.algs.clear()
            slot.keys.ops.clear()
        finally:
            self._withdraw(slot, streams=streams)

    def after_fork(self) -> None:
        """
        Have the drivers that belong to one process leave in a forked child.

        Nothing of theirs is called: the device is the parent's, which goes on with it.
        """
        for slot in list(self._drivers):
            driver = slot.driver
            if driver is None or not driver.exclusive:
                continue
            _disconnect(driver)
            _disown(driver)
            _inherited.add(driver)
            slot.sym.freesession = None
            slot.closed = True
            slot.reason = slot.reason or "it belongs to the process that forked this one"
            self._drivers.departed.note(slot)
            self._begin_to_leave(slot)
            slot.driver = None
            self._drivers.check_drained(slot)
            slot.seen_off.set()

    def _withdraw(self, slot: Slot, *, streams: bool = False) -> None:
        """
        Take from a driver that leaves its sessions, and what is queued for it.

        With `streams`, those are left in which a message in pieces is open.
        """
        self._sessions.orphan_all(slot, streams=streams and not slot.reason)
        self._dispatcher.flush(slot)
        self._key_requests.flush(slot)

    def _reclaim(self, slot: Slot) -> None:
        """Complete what a driver that leaves has never answered, so that nothing is lost."""
        sessions = list(slot.sym.sessions.values())
        if not sessions:
            return
        if slot.driver is not None:
            slot.driver.done = _too_late
        lost = sum(self._dispatcher.reclaim(session) for session in sessions)
        self._bugs.report(Rule.ANSWER_ALL, slot.name, requests=lost)

    def _reclaim_keys(self, slot: Slot) -> None:
        """Give others the key requests that a driver took and has never answered."""
        if slot.keys.inflight:
            lost = self._key_requests.reclaim(slot)
            self._bugs.report(Rule.ANSWER_ALL, slot.name, kops=lost)

    def _close(self, driver: Driver, slot: Slot) -> None:
        try:
            driver.close()
            slot.closed = True
        except KeyboardInterrupt:
            raise  # it is closed again, by whoever detaches it again
        except BaseException as error:
            slot.closed = True
            self._bugs.report(Rule.CLOSE, slot.name, error)


_owned: Final[dict[str, weakref.ref[Driver]]] = {}
"""The drivers of this process that are exclusive and attached, by name."""

_inherited: Final[weakref.WeakSet[Driver]] = weakref.WeakSet()
"""Those that were attached before this process was forked, and are its parent's."""


def _own(driver: Driver) -> None:
    """Note that an exclusive driver is attached, unless one of its name is."""
    if not driver.exclusive:
        return
    if driver in _inherited:
        raise BusyError(
            f"driver {driver.name} was attached before a fork and is the parent's; make another"
        )
    mine = weakref.ref(driver)
    holder = _owned.setdefault(driver.name, mine)()  # one step: only one of two comes first
    if holder is None:  # it was dropped while it was attached, with its framework
        _owned[driver.name] = mine
    elif holder is not driver:
        raise BusyError(
            f"driver {driver.name} has one owner, and is attached to another framework of this "
            "process; detach it there"
        )


def _disown(driver: Driver) -> None:
    """Note that an exclusive driver is attached no more."""
    owner = _owned.get(driver.name)
    if driver.exclusive and owner is not None and owner() is driver:
        _owned.pop(driver.name, None)


def _disconnect(driver: Driver) -> None:
    """Take a driver's ports away."""
    for port in Driver.ports:
        setattr(driver, port, detached)
    for method in ("leave", "raised"):
        vars(driver).pop(method, None)


def _is_held_up(slot: Slot) -> bool:
    """Tell whether a driver cannot leave before what the calling thread is in the midst of ends."""
    if slot.drained.is_set():
        return False
    me = threading.get_ident()
    return slot.local.counts.depth > 0 or any(call.thread == me for call in slot.calls.copy())


def _is_detached_beneath(slot: Slot) -> bool:
    """Tell whether the calling thread is in the midst of detaching a driver."""
    return not slot.seen_off.is_set() and slot.closing == threading.get_ident()


def _trial(driver: Driver, timeout: float) -> Trial:
    from opencrypto.selftest import Trial  # with its answers, which the first driver wants

    return Trial(driver, timeout)


def _too_late(crp: Cryptop) -> None:
    """Stand in for ``done`` once a leaving driver's requests have been taken from it."""
    log.warning("late_answer", rule="answer every request before the driver is detached")


def _check_flags(flags: int) -> int:
    if isinstance(flags, bool) or not isinstance(flags, int) or flags < 0:
        raise UsageError(f"driver flags are CRYPTOCAP_F_* or 0, not {flags!r}")
    return flags


def _check_driver(driver: Driver) -> None:
    if not isinstance(driver, Driver):
        raise UsageError(f"a driver is an opencrypto.Driver object, not {type(driver).__name__}")
    name: object = driver.name
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise UsageError(f"a driver's name is one token such as 'swcrypto', not {name!r}")
    _check_flags(driver.flags)
    unknown = [alg for alg in driver.capabilities if alg not in FACTS]
    if unknown:
        raise UsageError(f"driver {name} claims unknown algorithms: {unknown}")
    for alg, capability in driver.capabilities.items():
        if not isinstance(capability, Capability):
            raise UsageError(f"driver {name}: {FACTS[alg].name} needs a Capability()")
        if capability.direction not in ("", "encrypt", "decrypt"):
            raise UsageError(f"driver {name}: no direction: {capability.direction!r}")
    for fact in ("max_sessions", "max_inflight"):
        most = getattr(driver, fact)
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise UsageError(f"driver {name}: {fact} is a number, 0 or more, not {most!r}")
    lines: object = driver.alignment
    if type(lines) is not int or lines < 1 or lines & (lines - 1) or lines > MAX_ALIGNMENT:
        raise UsageError(
            f"driver {name}: alignment is a power of two up to {MAX_ALIGNMENT}, not {lines!r}"
        )
    for fact in ("exclusive", "only_if_named"):
        if not isinstance(getattr(driver, fact), bool):
            raise UsageError(f"driver {name}: {fact} is True or False")
    for rng, make in driver.rngs.items():
        if not isinstance(rng, str) or not callable(make):
            raise UsageError(f"driver {name}: rngs has a name and what makes one, not {rng!r}")
    unknown = [op for op in driver.keyops if op not in KOPS]
    if unknown:
        raise UsageError(f"driver {name} claims unknown key operations: {unknown}")
    if isinstance(driver.keyops, Mapping):
        for op, each in driver.keyops.items():
            if not isinstance(each, KeyCapability):
                raise UsageError(f"driver {name}: {KOPS[op].name} needs a KeyCapability()")
