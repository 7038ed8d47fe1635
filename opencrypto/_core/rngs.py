"""
Which driver makes a generator, and that none outlives its driver.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

from opencrypto._core.driver_table import DriverTable
from opencrypto._core.selection import class_refusal
from opencrypto._core.slots import Slot
from opencrypto._request.buffer import BytesLike
from opencrypto._state import SlotState
from opencrypto.driver import Driver
from opencrypto.exceptions import UsageError
from opencrypto.rng import Holder, Rng, refused_without


class Rngs:
    """The random number generators of a framework's drivers."""

    def __init__(self, drivers: DriverTable) -> None:
        self._drivers = drivers
        self._open: set[weakref.ref[Rng]] = set()

    def open(
        self,
        name: str,
        seed: BytesLike,
        entropy: BytesLike | None,
        hard: int,
        driver: int | str | Driver | None,
    ) -> Rng:
        """Make a generator: of the driver that is named, or of the best that has one."""
        if not isinstance(name, str):
            raise UsageError(f"a generator's name is a text, not {type(name).__name__}")
        only = None if driver is None else self._drivers.find(driver).name

        def holders() -> Iterator[Holder]:
            found = list(self._holders(name, hard, only))
            if not found:
                raise refused_without(name, self.names())
            return iter(found)

        rng = Rng(name, seed, entropy, holders)
        self._open.add(weakref.ref(rng, self._open.discard))
        return rng

    def names(self) -> list[str]:
        """Return the names of all generators that drivers here have, sorted."""
        drivers = [slot.driver for slot in self._drivers]
        return sorted({name for driver in drivers if driver is not None for name in driver.rngs})

    def look(self) -> None:
        """Have each generator whose driver leaves let go of."""
        for reference in self._open.copy():
            rng = reference()
            if rng is not None:
                rng.look()

    def _holders(self, name: str, hard: int, only: str | None) -> Iterator[Holder]:
        """Give the drivers that have it: by class, then by id; one that is named alone."""
        for slot in sorted(self._drivers, key=lambda slot: (slot.tier, slot.hid)):
            driver = slot.driver
            if driver is None or name not in driver.rngs or slot.state is SlotState.CLEANUP:
                continue
            named = slot.name == only
            if named or (
                only is None and not driver.only_if_named and not class_refusal(slot.tier, hard)
            ):
                yield Holder(slot.name, driver.rngs[name], _presence(slot, driver))


def _presence(slot: Slot, driver: Driver) -> Callable[[], bool]:
    def is_present() -> bool:
        return slot.driver is driver and slot.state is not SlotState.CLEANUP

    return is_present
