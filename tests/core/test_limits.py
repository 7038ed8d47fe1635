"""What is kept of what is gone is bounded: requests in the pool, drivers that have left."""

from __future__ import annotations

import pytest

from opencrypto import Cryptop
from opencrypto._core.departed import MAX_DEPARTED, MAX_NAMES
from opencrypto._core.driver_table import DriverTable
from opencrypto._core.pool import POOL_LIMIT
from opencrypto._core.slots import Slot
from opencrypto._measure.counters import LocalCounts
from opencrypto._state import SlotEvent, SlotState
from tests.toy import stepped


@pytest.mark.parametrize("descriptors", [1, 3])
def test_no_more_freed_requests_are_kept_than_it_is_said(descriptors: int) -> None:
    """Of more, the first ones are handed out again, and the others are not."""
    with stepped() as fw:
        made: list[Cryptop] = []
        for _ in range(POOL_LIMIT + 10):
            crp = fw.getreq(descriptors)
            assert crp is not None
            made.append(crp)
        for crp in made:
            fw.freereq(crp)
        again = [fw.getreq(descriptors) for _ in made]
        assert len({id(crp) for crp in again}) == len(again)
        assert {id(crp) for crp in again} & {id(crp) for crp in made} == {
            id(crp) for crp in made[:POOL_LIMIT]
        }


def comes(table: DriverTable, name: str) -> Slot:
    """Give a driver a slot that is in use."""
    slot = table.reserve(0, name)
    slot.move(SlotEvent.REGISTER)
    return slot


def leaves(table: DriverTable, slot: Slot) -> None:
    """Take a driver out of its slot, which is free then."""
    slot.move(SlotEvent.UNREGISTER)
    table.check_drained(slot)
    assert slot.state is SlotState.FREE


def served(slot: Slot, number: int) -> None:
    """Count requests that a driver had."""
    for _ in range(number):
        slot.local.counts.count(0, 0)


def present(table: DriverTable) -> dict[str, int]:
    """Return how many requests each driver in use has had, by name."""
    return {name: counts.ops for name, (_, counts) in table.counts()[0].items()}


def gone(table: DriverTable) -> dict[str, int]:
    """Return how many requests each driver that left had had, by name."""
    return {name: counts.ops for name, counts in table.counts()[1].items()}


def test_every_driver_that_left_keeps_its_counts() -> None:
    """Those of which each has counts of its own, and those that are added up."""
    table = DriverTable()
    number = 2 * MAX_DEPARTED
    for each in range(number):
        slot = comes(table, f"driver-{each}")
        served(slot, each + 1)
        leaves(table, slot)
    assert gone(table) == {f"driver-{each}": each + 1 for each in range(number)}


def test_what_is_counted_late_is_not_lost() -> None:
    """A thread may still count a request as its driver goes: with the last ones it is seen."""
    table = DriverTable()
    late: list[LocalCounts] = []
    for each in range(MAX_DEPARTED):
        slot = comes(table, f"driver-{each}")
        late.append(slot.local)
        leaves(table, slot)
    for local in late:
        local.counts.count(0, 0)
    assert set(gone(table).values()) == {1}
    assert len(gone(table)) == MAX_DEPARTED


def test_a_driver_that_comes_and_goes_is_one_name() -> None:
    """However often, and among others."""
    table = DriverTable()
    for turn in range(3 * MAX_DEPARTED):
        for name in ("often", f"once-{turn % 2}"):
            slot = comes(table, name)
            served(slot, 1)
            leaves(table, slot)
    half = 3 * MAX_DEPARTED // 2
    assert gone(table) == {"often": 2 * half, "once-0": half, "once-1": half}
    assert len(table.departed.named()) <= MAX_DEPARTED + 3


def test_names_of_drivers_without_end_become_others() -> None:
    """No count is lost, a name that is known stays, and what is kept is bounded."""
    table = DriverTable()
    number = 2 * (MAX_NAMES + MAX_DEPARTED)
    for each in range(number):
        slot = comes(table, f"driver-{each}")
        served(slot, 1)
        leaves(table, slot)
    for _ in range(MAX_DEPARTED + 1):
        slot = comes(table, "driver-0")
        served(slot, 1)
        leaves(table, slot)
    found = gone(table)
    assert sum(found.values()) == number + MAX_DEPARTED + 1
    assert found["driver-0"] == 1 + MAX_DEPARTED + 1
    assert found["others"] == number - MAX_NAMES
    assert len(table.departed.named()) <= MAX_NAMES + 1 + MAX_DEPARTED


def test_a_driver_in_use_is_not_among_those_gone() -> None:
    """Its counts are its own, and begin anew with each driver of an id."""
    table = DriverTable()
    slot = comes(table, "one")
    served(slot, 5)
    assert present(table) == {"one": 5}
    assert not gone(table)
    leaves(table, slot)
    again = comes(table, "two")
    assert again.hid == slot.hid
    assert present(table) == {"two": 0}
    assert gone(table) == {"one": 5}
