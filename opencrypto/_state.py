"""
Every state and every transition, as tables of data. Nothing acts here.

Three things have a life: a request, a session, a driver's slot. What is not in a table is a bug,
and `step` gives it a name. The hot path writes request states directly, since a look-up in a
table would cost as much as the rest of it; a test replays its traces against these tables.

Rules that the tables encode:

1. A request is the framework's from ``dispatch`` to its callback, and the consumer's otherwise.
2. An accepted request reaches RETURNING exactly once, whatever its driver does.
3. A session refuses new requests from the moment it is asked to be freed (DRAINING).
4. A session whose driver left is ORPHANED; the next request moves it (MIGRATED) or finds nobody.
5. A slot is not reused (FREE) while any session, orphan or alias still names it.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final, TypeVar

S = TypeVar("S", bound=IntEnum | StrEnum)
E = TypeVar("E", bound=StrEnum)


class RequestState(IntEnum):
    """Where a request is. IDLE is 0, so that the hot path tests it by truth."""

    IDLE = 0
    QUEUED = 1
    SUBMITTED = 2
    RETURNING = 3
    FREED = 4


class RequestEvent(StrEnum):
    """What happens to a request."""

    GETREQ = "getreq"
    QUEUE = "queue"
    SUBMIT = "submit"
    RESTART = "restart"
    DONE = "done"
    CALLBACK = "callback"
    FREEREQ = "freereq"


class SessionState(StrEnum):
    """Where a session is."""

    LIVE = "live"
    ORPHANED = "orphaned"
    DRAINING = "draining"
    MIGRATED = "migrated"
    FREED = "freed"


class SessionEvent(StrEnum):
    """What happens to a session."""

    DRIVER_LEFT = "driver left"
    MIGRATE = "migrate"
    FREE = "free"
    DRAINED = "drained"


class SlotState(StrEnum):
    """Where a slot of the driver table is."""

    FREE = "free"
    RESERVED = "reserved"
    ACTIVE = "active"
    CLEANUP = "cleanup"


class SlotEvent(StrEnum):
    """What happens to a slot of the driver table."""

    GET_DRIVERID = "get_driverid"
    REGISTER = "register"
    UNREGISTER = "unregister"
    EMPTY = "empty"


Table = Mapping[S, Mapping[E, S]]

REQUEST: Final[Table[RequestState, RequestEvent]] = {
    RequestState.IDLE: {
        RequestEvent.QUEUE: RequestState.QUEUED,
        RequestEvent.SUBMIT: RequestState.SUBMITTED,
        RequestEvent.DONE: RequestState.RETURNING,  # refused before any driver saw it
        RequestEvent.FREEREQ: RequestState.FREED,
    },
    RequestState.QUEUED: {
        RequestEvent.SUBMIT: RequestState.SUBMITTED,
        RequestEvent.DONE: RequestState.RETURNING,  # its driver left first
    },
    RequestState.SUBMITTED: {
        RequestEvent.RESTART: RequestState.QUEUED,
        RequestEvent.DONE: RequestState.RETURNING,
    },
    RequestState.RETURNING: {RequestEvent.CALLBACK: RequestState.IDLE},
    RequestState.FREED: {RequestEvent.GETREQ: RequestState.IDLE},
}

SESSION: Final[Table[SessionState, SessionEvent]] = {
    SessionState.LIVE: {
        SessionEvent.DRIVER_LEFT: SessionState.ORPHANED,
        SessionEvent.FREE: SessionState.DRAINING,
    },
    SessionState.ORPHANED: {
        SessionEvent.MIGRATE: SessionState.MIGRATED,
        SessionEvent.FREE: SessionState.DRAINING,
    },
    SessionState.DRAINING: {SessionEvent.DRAINED: SessionState.FREED},
    SessionState.MIGRATED: {SessionEvent.FREE: SessionState.FREED},
    SessionState.FREED: {},
}

SLOT: Final[Table[SlotState, SlotEvent]] = {
    SlotState.FREE: {SlotEvent.GET_DRIVERID: SlotState.RESERVED},
    SlotState.RESERVED: {
        SlotEvent.REGISTER: SlotState.ACTIVE,
        SlotEvent.UNREGISTER: SlotState.CLEANUP,
    },
    SlotState.ACTIVE: {
        SlotEvent.REGISTER: SlotState.ACTIVE,
        SlotEvent.UNREGISTER: SlotState.CLEANUP,
    },
    SlotState.CLEANUP: {SlotEvent.EMPTY: SlotState.FREE},
}


class IllegalTransition(AssertionError):
    """The framework itself broke its rules; please report it with the traceback."""


def step(table: Table[S, E], state: S, event: E) -> S:
    """
    Return the state that `event` leads to.

    Raises:
        IllegalTransition: the table has no such pair.
    """
    try:
        return table[state][event]
    except KeyError:
        raise IllegalTransition(
            f"{type(state).__name__} {state.name} has no transition {event.name}"
        ) from None
