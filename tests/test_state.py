"""The tables of states: every pair, legal or not."""

import itertools
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from opencrypto._state import (
    REQUEST,
    SESSION,
    SLOT,
    IllegalTransition,
    RequestEvent,
    RequestState,
    SessionEvent,
    SessionState,
    SlotEvent,
    SlotState,
    step,
)

R, RE = RequestState, RequestEvent
S, SE = SessionState, SessionEvent
D, DE = SlotState, SlotEvent

LEGAL: dict[str, tuple[Any, type[IntEnum] | type[StrEnum], type[StrEnum], dict[Any, Any]]] = {
    "request": (
        REQUEST,
        R,
        RE,
        {
            (R.IDLE, RE.QUEUE): R.QUEUED,
            (R.IDLE, RE.SUBMIT): R.SUBMITTED,
            (R.IDLE, RE.DONE): R.RETURNING,
            (R.IDLE, RE.FREEREQ): R.FREED,
            (R.QUEUED, RE.SUBMIT): R.SUBMITTED,
            (R.QUEUED, RE.DONE): R.RETURNING,
            (R.SUBMITTED, RE.RESTART): R.QUEUED,
            (R.SUBMITTED, RE.DONE): R.RETURNING,
            (R.RETURNING, RE.CALLBACK): R.IDLE,
            (R.FREED, RE.GETREQ): R.IDLE,
        },
    ),
    "session": (
        SESSION,
        S,
        SE,
        {
            (S.LIVE, SE.DRIVER_LEFT): S.ORPHANED,
            (S.LIVE, SE.FREE): S.DRAINING,
            (S.ORPHANED, SE.MIGRATE): S.MIGRATED,
            (S.ORPHANED, SE.FREE): S.DRAINING,
            (S.DRAINING, SE.DRAINED): S.FREED,
            (S.MIGRATED, SE.FREE): S.FREED,
        },
    ),
    "slot": (
        SLOT,
        D,
        DE,
        {
            (D.FREE, DE.GET_DRIVERID): D.RESERVED,
            (D.RESERVED, DE.REGISTER): D.ACTIVE,
            (D.RESERVED, DE.UNREGISTER): D.CLEANUP,
            (D.ACTIVE, DE.REGISTER): D.ACTIVE,
            (D.ACTIVE, DE.UNREGISTER): D.CLEANUP,
            (D.CLEANUP, DE.EMPTY): D.FREE,
        },
    ),
}
PAIRS = [
    pytest.param(table, state, event, legal.get((state, event)), id=f"{what}-{state}-{event}")
    for what, (table, states, events, legal) in LEGAL.items()
    for state, event in itertools.product(states, events)
]


@pytest.mark.parametrize(("table", "state", "event", "after"), PAIRS)
def test_every_pair_is_legal_or_has_a_name(table: Any, state: Any, event: Any, after: Any) -> None:
    """Each pair of state and event leads where this list says, or is refused by its names."""
    if after is not None:
        assert step(table, state, event) is after
    else:
        with pytest.raises(IllegalTransition, match=f"{state.name} .* {event.name}"):
            step(table, state, event)


def test_an_idle_request_is_false() -> None:
    """Dispatch tests a request's state by truth: IDLE alone is false."""
    assert [state for state in RequestState if not state] == [RequestState.IDLE]


def test_every_state_can_be_reached_and_only_a_freed_session_is_an_end() -> None:
    """No state of a table is unreachable, and none but FREED of a session has no way out."""
    for table, states, _, legal in LEGAL.values():
        reached = set(legal.values())
        assert reached | {next(iter(states))} == set(states)
        ends = {state for state in states if not table[state]}
        assert ends <= {SessionState.FREED}
