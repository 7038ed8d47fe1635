"""
A key request's way: from kdispatch to a driver, perhaps to another one, and to its callback.

Guarantees:

* An accepted request is completed exactly once. A driver holds it while it is in that driver's
  ``inflight``; taking it out there, which is one step, completes it or moves it on.
* There are no sessions: each request goes to the best driver of the moment, and ``krp.hid`` says
  which. One whose driver leaves before answering, or hands it back with EAGAIN, goes to the next
  that has the operation and has not had the request. Nobody left: ENODEV.
* Refusing with ERESTART, requeueing and blocking are one step, as for other requests.
* No order is promised among key requests; each driver's queue is first in, first out.
* Nothing here holds a lock while driver or consumer code runs.

All of it is apart from the symmetric path: key operations take milliseconds, so that a lock and
a choice per request do not matter here, and there they would.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final, NoReturn

from opencrypto._core import selection as _select
from opencrypto._core.bugs import DriverBugs
from opencrypto._core.driver_table import DriverTable
from opencrypto._core.errands import Errands
from opencrypto._core.lane import DEEPEST, Lane
from opencrypto._core.plugins import Observers
from opencrypto._core.queues import QUEUED, SUBMITTED, RequestQueue
from opencrypto._core.returns import GONE, HANDED_BACK, Callbacks, ReturnQueue, at_once
from opencrypto._core.slots import Slot
from opencrypto._measure.counters import Counts, LocalCounts, LockedCount
from opencrypto._measure.failures import OTHER, Failures
from opencrypto._request.key import KOPS, Cryptkop, kop_name, refusal, too_many
from opencrypto._state import RequestState, SlotState
from opencrypto.constants import CRYPTO_ASYMQ, CRYPTO_F_ONRETQ, CRYPTO_F_USER, ERESTART
from opencrypto.driver import Rule
from opencrypto.exceptions import BusyError, UsageError

IDLE: Final = int(RequestState.IDLE)
RETURNING: Final = int(RequestState.RETURNING)

FORBIDDEN: Final = "user programs may do no key operations: kern.userasymcrypto"

TURN: Final = 64
"""How many requests of one driver the request interrupt hands over before the next one's turn."""


class Routing:
    """
    One dispatch of a key request.

    Attributes:
        hard: Which classes of driver may serve it, as for `newsession`.
        pinned: The one driver that may, if the consumer named one.
        tried: The drivers that had it and did not answer it.
        slot: The driver that has it, or has it queued.
        reasons: Why drivers that have the operation were passed over, by name.
        kept: A driver, its queue or the consumer has it, so that nothing is left to be done if an
            exception comes.
    """

    __slots__ = ("hard", "kept", "pinned", "reasons", "slot", "tried")

    def __init__(self, hard: int, pinned: Slot | None) -> None:
        self.hard = hard
        self.pinned = pinned
        self.kept = False
        self.reasons: dict[str, str] = {}
        self.tried: set[Slot] = set()  # a driver that comes back has another
        self.slot: Slot | None = None


class KeyRequests:
    """The request and return sides of key operations. See the module for its guarantees."""

    def __init__(
        self,
        drivers: DriverTable,
        bugs: DriverBugs,
        observers: Observers,
        callbacks: Callbacks,
        errands: Errands,
        leave: Callable[[Slot, str], None],
        blocked: Callable[[], None],
        owes: Callable[[Slot], None],
        kick_requests: Callable[[], None],
        kick_returns: Callable[[], None],
        user_class: Callable[[], int | None],
    ) -> None:
        self._drivers = drivers
        self._errands = errands
        self._let_leave = leave
        self._owes = owes
        self.returns: ReturnQueue[Cryptkop] = ReturnQueue(kick_returns)
        self._return = self.returns.append
        self._user_class = user_class  # `hard` for user programs; None if they may do nothing
        self.lane: Lane[Cryptkop] = Lane(
            CRYPTO_ASYMQ, TURN, _queue_of, self._run_queued, kick_requests, observers, blocked
        )
        self._counts = Counts()
        self._local = LocalCounts(self._counts)
        self.closed = False
        self.migrated = LockedCount()
        self.callbacks = callbacks
        self.bugs = bugs

    # The way in.

    def dispatch(self, krp: Cryptkop, pinned: Slot | None = None) -> None:
        """Hand a key request to a driver. See `Framework.kdispatch`."""
        if not callable(krp.callback):
            _refuse(krp)
        routing = Routing(0, pinned)
        if krp.state:
            _refuse(krp)
        krp.state = QUEUED  # the claim, in one step with the look: see `Dispatcher.dispatch`
        try:
            _forget_answer(krp)
            self._local.counts.kops += 1
            hard = self._user_class() if krp.flags & CRYPTO_F_USER else 0
            reason = refusal(krp)
            if reason:
                krp.fail(errno.EFBIG if too_many(krp) else errno.EINVAL, reason)
            elif hard is None:
                krp.fail(errno.ENODEV, FORBIDDEN)
            if krp.status:
                self._complete(krp, routing, sync=False)
                return
            routing.hard = hard or 0
            krp.holder = routing
            self._route(krp, routing)
        except BaseException:
            # Of a signal handler. Where nobody has the request, it was not dispatched.
            if not routing.kept:
                krp.holder = None
                krp.state = IDLE
            raise

    def _route(self, krp: Cryptkop, routing: Routing) -> None:
        """Give a request to the best driver that has not had it."""
        slot = self._choose(krp, routing)
        while slot is not None and not self._enter(krp, routing, slot):
            slot = self._choose(krp, routing)
        if slot is None:
            why = "the driver that had it left" if routing.tried else "none is attached"
            why = "; ".join(f"{name} {said}" for name, said in routing.reasons.items()) or why
            krp.fail(errno.ENODEV, f"no driver for {kop_name(krp.op)}: {why}; attach one")
            self._complete(krp, routing, sync=False)

    def _choose(self, krp: Cryptkop, routing: Routing) -> Slot | None:
        if self.closed:
            return None
        slots = [
            slot
            for slot in (self._drivers if routing.pinned is None else (routing.pinned,))
            if krp.op in slot.keys.ops
            and slot not in routing.tried
            and slot.state is SlotState.ACTIVE
            and not self._passed_over(slot, krp, routing)
        ]
        chosen = min(slots, key=_rank, default=None)
        if chosen is not None and routing.pinned is None:
            chosen.announce(kop_name(krp.op))
        return chosen

    def _passed_over(self, slot: Slot, krp: Cryptkop, routing: Routing) -> bool:
        """Tell whether a driver that has the operation may not serve a request, and note why."""
        reason = _select.class_refusal(slot.tier, routing.hard)
        driver = slot.driver  # once: it may be leaving meanwhile
        if not reason and driver is not None:
            if driver.only_if_named and routing.pinned is None:
                reason = "is used only if it is named"
            elif isinstance(driver.keyops, Mapping):
                reason = driver.keyops[krp.op].refusal(krp)
        if reason:
            routing.reasons[slot.name] = reason
        return bool(reason)

    def _enter(self, krp: Cryptkop, routing: Routing, slot: Slot) -> bool:
        """Hand a request to a driver, or queue it there; False if that driver has just left."""
        keys = slot.keys
        queue = keys.queue
        items = queue.items
        counts = slot.local.counts
        depth = counts.depth
        inflight = keys.inflight
        straight = queued = False
        routing.slot = slot
        krp.hid = slot.hid
        counts.depth = depth + 1
        try:
            krp.since = monotonic()
            with slot.lock:
                inflight.add(krp)
                unblocks = queue.unblocks
                # One step, with nothing called but the last: it is there altogether, or not.
                if slot.state is SlotState.ACTIVE and krp.op in keys.ops:
                    counts.kops += 1
                    if not queue.blocked and not items and depth < DEEPEST:
                        krp.state = SUBMITTED
                        straight = True
                    else:
                        krp.state = QUEUED
                        routing.kept = queued = True
                        items.append(krp)
                else:
                    routing.slot = None
            if routing.slot is None:
                inflight.discard(krp)
                return False
            if straight:
                self._call_driver(krp, routing, slot, 0, unblocks, [])
            else:
                self.lane.see_to(slot)
        except BaseException:  # of a signal handler
            if queued:
                self.lane.surely_see_to(slot)
            elif not routing.kept:
                inflight.discard(krp)
            raise
        finally:
            counts.depth = depth
        return True

    # The driver's answers.

    def _call_driver(
        self,
        krp: Cryptkop,
        routing: Routing,
        slot: Slot,
        hint: int,
        unblocks: int,
        due: list[Cryptkop],
    ) -> None:
        kprocess = slot.keys.process
        if kprocess is None:
            return  # the driver left with its time run out, and its requests went elsewhere
        try:
            del due[:]
            routing.kept = True
            answer = kprocess(krp, hint)
        except BaseException as error:
            self._break(krp, routing, slot, f"raised {type(error).__name__}")
            if not isinstance(error, Exception):
                raise  # it is meant for the program
            self.bugs.report(Rule.KPROCESS_RAISED, slot.name, error)
            return
        if not answer:
            if not slot.owes and _holds(slot, krp, routing):
                self._owes(slot)
            return
        if answer == ERESTART:
            routing.kept = False  # until it is in the queue again
        if not _holds(slot, krp, routing):
            self.bugs.report(Rule.KPROCESS_DONE, slot.name)
        elif answer != ERESTART:
            self.bugs.report(Rule.KPROCESS_ANSWER, slot.name)
            self._break(krp, routing, slot, "returned neither 0 nor ERESTART")
        else:
            self._requeue(krp, routing, slot, unblocks)

    def _break(self, krp: Cryptkop, routing: Routing, slot: Slot, what: str) -> None:
        """Complete a request that its driver broke off, unless it was answered before that."""
        if _holds(slot, krp, routing):
            krp.fail(errno.EIO, f"driver {slot.name} {what}")
            self.done(krp)

    def _requeue(self, krp: Cryptkop, routing: Routing, slot: Slot, unblocks: int) -> None:
        counts = slot.local.counts
        queue = slot.keys.queue
        items = queue.items
        inflight = slot.keys.inflight
        now = monotonic()
        held = False
        stays = False
        try:
            with slot.lock:
                # One step, as in `_enter`.
                counts.kblocks += 1
                held = krp in inflight
                stays = held and slot.state is SlotState.ACTIVE
                if stays:
                    krp.state = QUEUED
                    routing.kept = True
                    if unblocks == queue.unblocks and not queue.blocked:
                        queue.blocked = True
                        queue.blocked_at = now
                    items.appendleft(krp)
            if held and not stays:
                inflight.discard(krp)
                self._move_on(krp, routing, slot)
                return
            self.lane.refused(slot)
        except BaseException:  # of a signal handler
            if stays:
                self.lane.surely_see_to(slot)
            raise

    def done(self, krp: Cryptkop, by: set[Cryptkop] | None = None) -> None:
        """
        Complete a key request. See `Framework.kdone`.

        Args:
            krp: The request.
            by: The requests in flight of the driver that calls, where it is known: a driver that
                answers late does not complete what another has in hand meanwhile.
        """
        routing = krp.holder
        slot = routing.slot if routing is not None else None
        if routing is None or slot is None:
            self._done_twice(krp, slot)
        inflight = slot.keys.inflight
        if krp.state != SUBMITTED or (by is not None and by is not inflight):
            self._done_twice(krp, slot)
        go_on = self._hand_on if krp.status in HANDED_BACK else self._finish
        try:
            inflight.remove(krp)  # whoever fails at that was second
        except KeyError:
            self._done_twice(krp, slot)
        except BaseException:  # of a signal handler
            self._put_off(go_on, krp, routing, slot)
            raise
        routing.kept = False
        try:
            go_on(krp, routing, slot)
        except BaseException:
            if not routing.kept:
                self._put_off(go_on, krp, routing, slot)
            raise

    def _put_off(
        self,
        go_on: Callable[[Cryptkop, Routing, Slot], None],
        krp: Cryptkop,
        routing: Routing,
        slot: Slot,
    ) -> None:
        routing.kept = True
        self._errands.add((self._go_on, (go_on, krp, routing, slot, [krp])))
        self._errands.hurry()

    def _go_on(
        self,
        go_on: Callable[[Cryptkop, Routing, Slot], None],
        krp: Cryptkop,
        routing: Routing,
        slot: Slot,
        due: list[Cryptkop],
    ) -> None:
        """Finish a request that was put off, or put it off once more."""
        if not due:
            return
        try:
            del due[:]
            routing.kept = False
            go_on(krp, routing, slot)
        except BaseException:  # of a signal handler
            if not routing.kept:
                self._put_off(go_on, krp, routing, slot)
            raise

    def _finish(self, krp: Cryptkop, routing: Routing, slot: Slot) -> None:
        """Give an answered request back."""
        if not krp.status and krp.verdict is None and KOPS[krp.op].verdict:
            self.bugs.report(Rule.VERDICT, slot.name)
            krp.fail(errno.EIO, f"driver {slot.name} gave no verdict")
        if krp.status:
            krp.verdict = None
            slot.local.counts.kfailures.count(_row(krp), krp.status, krp.error)
        self._complete(krp, routing, sync=slot.sync)
        self._drivers.check_drained(slot)

    def _hand_on(self, krp: Cryptkop, routing: Routing, slot: Slot) -> None:
        """Give another driver a request that was handed back; this one leaves if it is gone."""
        if krp.status != errno.EAGAIN:
            self._let_leave(slot, krp.error or GONE)
        self._move_on(krp, routing, slot)

    def _move_on(self, krp: Cryptkop, routing: Routing, slot: Slot) -> None:
        """Give another driver a request that this one did not answer."""
        routing.tried.add(slot)
        self.migrated.add()
        krp.state = QUEUED
        _forget_answer(krp)
        self._route(krp, routing)
        self._drivers.check_drained(slot)

    def _done_twice(self, krp: Cryptkop, slot: Slot | None) -> NoReturn:
        name = slot.name if slot is not None else ""
        self.bugs.done_twice(Rule.KDONE_ONCE, "kdone", name, op=krp.op)

    # The request interrupt.

    def _run_queued(
        self, slot: Slot, krp: Cryptkop, hint: int, unblocks: int, due: list[Cryptkop]
    ) -> None:
        """Give a driver a request that was queued."""
        self._call_driver(krp, krp.holder, slot, hint, unblocks, due)

    # A driver leaves.

    def flush(self, slot: Slot) -> None:
        """Give others what is queued for a driver that leaves."""
        items = slot.keys.queue.items
        while items:
            self._pass_on(items[0], slot)

    def reclaim(self, slot: Slot) -> int:
        """Give others what a driver took and will never answer; return how many that is."""
        taken = sum(self._pass_on(krp, slot) for krp in list(slot.keys.inflight))
        self._drivers.check_drained(slot)
        return taken

    def _pass_on(self, krp: Cryptkop, slot: Slot) -> bool:
        """Take a request from a driver, and give it to another; False if it was answered first."""
        items, inflight = slot.keys.queue.items, slot.keys.inflight
        drop = inflight.discard
        routing: Routing = krp.holder
        taken = False
        try:
            with slot.lock:
                # One step, with nothing called but the last.
                if items and items[0] is krp:
                    del items[0]
                if krp in inflight:
                    routing = krp.holder
                    routing.kept = False
                    taken = True
                    drop(krp)
            if taken:
                self._move_on(krp, routing, slot)
        except BaseException:  # of a signal handler
            if taken and not routing.kept:
                self._put_off(self._move_on, krp, routing, slot)
            raise
        return taken

    # The way out.

    def _complete(self, krp: Cryptkop, routing: Routing, *, sync: bool) -> None:
        if krp.status:
            self._local.counts.kfailures.count(_row(krp), krp.status, krp.error)
        flags = krp.flags
        if at_once(krp, sync=sync):
            routing.kept = True
            krp.holder = None
            krp.state = IDLE
            try:
                krp.callback(krp)  # type: ignore[misc]  # dispatch has looked
            except BaseException as error:
                self.callbacks.failed(error)
            return
        krp.state = RETURNING
        krp.flags = flags | CRYPTO_F_ONRETQ
        routing.kept = True
        try:
            self._return(krp)
            self.returns.kick()
        except BaseException:
            self.returns.surely_kick()
            raise

    def run_returns(self) -> int:
        """Call back what waits on the return queue now, and tell how many there were."""
        return self.returns.run(self.callbacks.call)

    def after_fork(self) -> None:
        """Go on in a forked child, with nothing queued and no lock of the parent's threads."""
        self.lane.after_fork()
        self.returns.after_fork()
        for count in (self._counts, self.migrated):
            count.after_fork()

    def holders_of(self, krp: Cryptkop) -> tuple[str, ...]:
        """Name the driver that has a request, or has it queued; nobody if none does."""
        routing: Routing | None = krp.holder
        slot = routing.slot if routing is not None else None
        return () if slot is None else (slot.name,)

    def features(self, hard: int) -> int:
        """Return the mask of the operations that drivers of the classes asked for have."""
        mask = 0
        for slot in self._drivers:
            named = slot.driver is not None and slot.driver.only_if_named
            if named or slot.state is not SlotState.ACTIVE:
                continue
            if not _select.class_refusal(slot.tier, hard):
                for op in slot.keys.ops:
                    mask |= KOPS[op].feature
        return mask

    def failures(self) -> Failures:
        """Return the key requests that ended with an error, each once."""
        return self._counts.total().kfailures

    def counts(self) -> tuple[int, int]:
        """Return how many key requests were dispatched, and how many ended with an error."""
        total = self._counts.total()
        return total.kops, total.kerrs


def _row(krp: Cryptkop) -> int:
    """Return the row in which a request's failure is counted: its operation, if it is one."""
    return int(krp.op) if krp.op in KOPS else OTHER


def _refuse(krp: Cryptkop) -> NoReturn:
    if krp.state == RequestState.FREED:
        raise UsageError("the key request has been freed; take a new one from kgetreq()")
    if krp.state:
        raise BusyError("the key request is dispatched already; wait for its callback")
    raise UsageError("the key request has no callback; set one, or nobody hears of its end")


def _queue_of(slot: Slot) -> RequestQueue[Cryptkop]:
    return slot.keys.queue


def _forget_answer(krp: Cryptkop) -> None:
    krp.fail(0)
    krp.verdict = None
    krp.hid = -1


def _rank(slot: Slot) -> tuple[bool, int, int, int]:
    keys = slot.keys
    return _select.key_rank(slot.hid, slot.tier, len(keys.inflight), blocked=keys.queue.blocked)


def _holds(slot: Slot, krp: Cryptkop, routing: Routing) -> bool:
    return krp in slot.keys.inflight and krp.holder is routing
