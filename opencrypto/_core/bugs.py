"""
What becomes of a driver's breach of its contract: it is counted, logged, and told to who listens.

There is one `DriverBugs` in a framework, so that two frameworks never blame each other's drivers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from opencrypto._log import log, where
from opencrypto._measure.counters import LockedCount
from opencrypto.driver import Rule
from opencrypto.exceptions import DriverBug

Listener = Callable[[Rule, str], object]
"""Is told which rule was broken, and the name of the driver that broke it."""


class DriverBugs:
    """All breaches of the contract by the drivers of one framework."""

    def __init__(self) -> None:
        self._count = LockedCount()
        self._listeners: dict[Listener, None] = {}  # entering, leaving, listing: one step each

    @property
    def count(self) -> int:
        """How many there were."""
        return self._count.value

    def listen(self, callback: Listener) -> Callable[[], None]:
        """
        Have a callback told of each breach from now on, in the thread in which it is found.

        One that raises is logged, and stops nothing.

        Args:
            callback: Called with the rule and the driver's name; no lock is held then.

        Returns:
            What ends it; calling that again does nothing.
        """

        def tell(rule: Rule, driver: str) -> object:
            return callback(rule, driver)

        def end() -> None:
            self._listeners.pop(tell, None)

        self._listeners[tell] = None
        return end

    def report(
        self, rule: Rule, driver: str, error: BaseException | None = None, **details: object
    ) -> None:
        """
        Count, log and tell that a driver broke a rule.

        Args:
            rule: The rule.
            driver: The driver's name.
            error: What it raised, if that was the breach: its type and place are logged.
            details: What the log has beside that.
        """
        self._count.add()
        if error is not None:
            details.update(error=type(error).__name__, where=where(error))
        log.error("driver_bug", driver=driver, rule=str(rule), **details)
        for listener in tuple(self._listeners):
            try:
                listener(rule, driver)
            except BaseException as failure:  # as of any callback: see Callbacks.failed
                log.error("observer_failed", hook="driver_bug", error=type(failure).__name__)
                if isinstance(failure, KeyboardInterrupt):
                    raise

    def done_twice(self, rule: Rule, call: str, driver: str, **details: Any) -> NoReturn:
        """
        Report that a driver completed a request which it does not hold, and tell it.

        Args:
            rule: The rule.
            call: What the driver called.
            driver: Its name; empty if nobody knows whose the request was.
            details: What the log has beside that.

        Raises:
            DriverBug: always.
        """
        self.report(rule, driver, **details)
        who = f"driver {driver}" if driver else "a driver"
        raise DriverBug(f"{who} called {call} for a request that it does not hold; call it once")

    def after_fork(self) -> None:
        """Renew, in a forked child, the lock that a thread of the parent may have held."""
        self._count.after_fork()
