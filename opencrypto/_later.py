"""
What a `ChainDriver` answers later: by threads of its own, or when a device has finished.

The work of one session may go on for several requests at once, and end in any order. They are
answered in the order in which they came (`Line`): a consumer that counts on it, as one that numbers
its packets does, need not sort them. A request that takes long holds back the answers to those that
its session got after it, and nobody else's.

A step that waits for a device is a generator that stands still (`Passage`): whoever has the
device's answer has it go on, in his thread. So no thread waits for a device.
"""

from __future__ import annotations

import errno
import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeAlias

from opencrypto._threads import renew_after_fork
from opencrypto.exceptions import CryptoError, UsageError, error_from_errno

if TYPE_CHECKING:
    from opencrypto._request.symmetric import Cryptop
    from opencrypto.driver import Driver


class Later:
    """
    The answer of a transform that has not come yet.

    A transform makes one, gives its device the work, and returns it; or it is a coroutine, and
    awaits one or several. What the device has said goes to `finish`, from any thread, even before
    the transform returns. There the request goes on with the next step of its chain, or is answered
    and called back: so hold no lock that a dispatch of the next request would wait for.
    """

    __slots__ = ("_answers", "_arrivals", "_error", "_resume", "_value")

    def __init__(self) -> None:
        self._answers = itertools.count()  # to take a number is one step: only one has the first
        self._arrivals = itertools.count()  # of the answer, and of who waits for it
        self._value: object = None
        self._error: CryptoError | None = None
        self._resume: Callable[[Later], object] | None = None

    def finish(self, value: object = None) -> None:
        """
        Say that the work is done.

        Args:
            value: What the transform's method would have returned at once.

        Raises:
            UsageError: it has been answered already.
        """
        self._answer(value, None)

    def fail(self, etype: int, error: str = "") -> None:
        """
        Say that the work failed: the request ends with it, its buffer as it was before.

        Args:
            etype: The errno. EAGAIN hands the request back, and the session with it. ENODEV and
                ENXIO do, and have the driver leave: see `Driver.leave`.
            error: One sentence about it.

        Raises:
            UsageError: it has been answered already, or `etype` is 0.
        """
        if not etype:
            raise UsageError("a failure has an errno that is not 0; or call finish()")
        self._answer(None, error_from_errno(etype, error))

    def _answer(self, value: object, error: CryptoError | None) -> None:
        if next(self._answers):
            raise UsageError("this has been answered already; answer it once")
        self._value, self._error = value, error
        if next(self._arrivals) and self._resume is not None:
            self._resume(self)

    def is_here(self, resume: Callable[[Later], object]) -> bool:
        """Tell whether the answer has come; if not, `resume` is called with this when it does."""
        self._resume = resume
        return next(self._arrivals) > 0

    def hand_to(self, waiting: Generator[Any, Any, None]) -> object:
        """Have the generator that waits for the answer go on; return what it waits for next."""
        if self._error is not None:
            return waiting.throw(self._error)
        return waiting.send(self._value)

    def __await__(self) -> Generator[Later, Any, Any]:
        return (yield self)


Way: TypeAlias = Generator[Any, Any, None]
"""Carries a request out; it yields each `Later` that it must wait for."""


class Place:
    """A request's place in its session's line. Without a request it is nobody's any more."""

    __slots__ = ("crp", "is_ready")

    def __init__(self, crp: Cryptop) -> None:
        self.crp: Cryptop | None = crp
        self.is_ready = False


class Line:
    """
    The requests of one session that are not answered yet, in the order in which they came.

    No lock is waited for. Whoever finds the first of the line ready takes the turn, and answers all
    that are; who comes meanwhile leaves his to him.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin, in a forked child, with no request: those that came are the parent's."""
        self._places: deque[Place] = deque()
        self._turn = threading.Lock()

    def is_empty(self) -> bool:
        """Tell whether all that came is answered."""
        return not self._places

    def hand_over(self, crp: Cryptop, give: Callable[[Place], bool]) -> bool:
        """
        Take a request in, if somebody takes its place to work on.

        Args:
            crp: The request.
            give: Has the work begun, and returns whether it was. When it is done, `answer` is
                called with the place.

        Returns:
            False if it was not: the request is not in line then, nor if this raises.
        """
        place = Place(crp)
        taken = False
        try:
            self._places.append(place)
            taken = give(place)
        finally:
            if not taken:
                place.crp, place.is_ready = None, True
                self._surely_call_up()
        return taken

    def answer(self, place: Place) -> None:
        """Answer a request that is finished, when it is the first; and those that waited for it."""
        place.is_ready = True
        self._call_up()

    def _surely_call_up(self) -> None:
        """Do that in a thread in which a signal handler may break it off."""
        try:
            self._call_up()
        except BaseException:
            self._call_up()
            raise

    def _call_up(self) -> None:
        places, turn = self._places, self._turn  # in a child that a callback forks they are others
        if not places or not places[0].is_ready or not turn.acquire(blocking=False):
            return
        try:
            while places and places[0].is_ready:
                try:
                    self._give(places[0])
                finally:
                    places.popleft()  # only now: until it is answered, nobody may go past it
        finally:
            turn.release()
            self._call_up()  # for who came meanwhile, or waits behind a callback that raised

    def _give(self, place: Place) -> None:
        crp, place.crp = place.crp, None
        if crp is None:
            return
        try:
            self._driver.done(crp)  # no copy of it: see Driver.done
        except CryptoError:
            pass  # it was taken from the driver, which has been told so
        except BaseException:
            if _is_held(crp):
                self._driver.done(crp)  # a signal handler came before it had begun
            raise


def _is_held(crp: Cryptop) -> bool:
    """Tell whether the framework still waits for a request's answer."""
    holder = crp.holder
    return holder is not None and crp in holder.inflight


class Passage:
    """
    One request on its way through a chain whose steps may be answered later.

    Args:
        crp: The request.
        way: What carries it out. It records the outcome; what it raises is the driver's bug.
        driver: The driver.
        end: Called when there is nothing left to do.
    """

    __slots__ = ("_crp", "_driver", "_end", "_way")

    def __init__(self, crp: Cryptop, way: Way, driver: Driver, end: Callable[[], object]) -> None:
        self._crp = crp
        self._way = way
        self._driver = driver
        self._end = end

    def go_on(self, later: Later | None = None) -> None:
        """Go on, with an answer if there was one to wait for, until the next one or the end."""
        way = self._way
        try:
            while True:
                wanted = next(way) if later is None else later.hand_to(way)
                if not isinstance(wanted, Later):
                    way.throw(TypeError("a transform awaits opencrypto.chain.Later, no other"))
                    continue
                later = wanted
                if not later.is_here(self.go_on):
                    return
        except StopIteration:
            pass
        except BaseException as error:
            broke(self._driver, self._crp, error)
            if not isinstance(error, Exception):
                self._end()
                raise
        self._end()


def broke(driver: Driver, crp: Cryptop, error: BaseException) -> None:
    """Fail a request whose carrying out raised what is no outcome, and report it."""
    crp.fail(errno.EIO, f"driver {driver.name} raised {type(error).__name__}")
    driver.raised(error)
