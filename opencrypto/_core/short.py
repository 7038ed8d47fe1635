"""
The short way of whole messages: from a program's own bytes to the driver's call and back.

A driver that can work out of place says so (`opencrypto.driver.Messages`). A session then needs no
request for a message that is answered at once: no buffer, no descriptors, no callback. All that a
request means otherwise is kept: the use of the session is noted in ``inflight`` before the session
is found usable, so its driver never serves one that it was told to forget; the counters count it
alike; and whoever gives a driver up gives up what it has by this way too. Wherever the way is not
straight (somebody watches, requests wait, the driver is blocked or gone), or the driver's
``process`` is not its own alone (a profile, an alignment, a bounded depth, several drivers), it is
not taken, and a request goes the long one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from opencrypto._core.lane import DEEPEST
from opencrypto._core.queues import SUBMITTED
from opencrypto._core.requests import Dispatcher
from opencrypto._core.slots import Session
from opencrypto._request.symmetric import Cryptop
from opencrypto._state import RequestState
from opencrypto.constants import CRYPTO_F_CBIMM
from opencrypto.driver import Messages, Rule
from opencrypto.exceptions import CryptoError, error_from_errno

IDLE: Final = int(RequestState.IDLE)

NOT_TAKEN: Final = object()
"""The answer where the way is not straight: nothing was done, so send a request."""

Run = Callable[..., Any]
"""
``run(work, size, *given)``: what ``work(*given)`` returns, of the session's `Messages`.

`size` is what the request would have as its ``ilen``. The answer is `NOT_TAKEN` where the way is
not straight. None is counted as an error: a message that does not verify. Raises what a request
would end with, and what a signal handler raises.
"""


class ShortWay(NamedTuple):
    """A session's short way: what its driver does with messages, and what runs that."""

    messages: Messages
    run: Run
    fresh: Callable[[], bytes]


def short_way(session: Session, dispatcher: Dispatcher) -> ShortWay | None:
    """Return the short way of a session; None if its driver has none, or not for itself alone."""
    messages = getattr(session.process, "messages", None)
    if not isinstance(messages, Messages):
        return None
    ciphers = (cri for cri in session.chain.inis if cri.ivs is not None)
    fresh = next((cri.fresh_iv for cri in ciphers), bytes)
    return ShortWay(messages, _runner(session, dispatcher), fresh)


def _runner(session: Session, dispatcher: Dispatcher) -> Run:
    slot, kind = session.slot, session.kind
    local = slot.local
    inflight = session.inflight
    enter, leave = inflight.add, inflight.remove
    # Each stands for one message while its driver works on it; taking one is one step.
    kept: list[Cryptop] = []
    take, give = kept.pop, kept.append

    def run(work: Callable[..., Any], size: int, *given: Any) -> Any:
        counts = local.counts
        depth = counts.depth
        if depth >= DEEPEST:
            return NOT_TAKEN
        try:
            crp = take()
        except IndexError:
            crp = _stand_in(session)
        crp.since = 0.0
        crp.state = SUBMITTED
        counts.depth = depth + 1
        try:
            enter(crp)
            if session.straight and slot.straight:
                counts.sizes[kind + (size - 1).bit_length()] += 1
                counts.bytes += size
                answer = work(*given)
            else:
                answer = NOT_TAKEN
            leave(crp)
            if not session.straight:
                dispatcher.settle(session)
        except BaseException as error:
            counts.depth = depth
            raise _failure(crp, session, dispatcher, error) from None
        counts.depth = depth
        if answer is None:
            counts.failed(kind, errno.EBADMSG, "")
        crp.state = IDLE
        give(crp)
        return answer

    return run


def _stand_in(session: Session) -> Cryptop:
    """Make what stands for a message in its session: whoever looks finds a request."""
    crp = Cryptop(session.sid, callback=_given_up, flags=CRYPTO_F_CBIMM)
    crp.holder = session
    return crp


def _given_up(crp: Cryptop) -> None:
    """Hear that the driver was given up meanwhile; who is in its call finds that out by itself."""


def _failure(
    crp: Cryptop, session: Session, dispatcher: Dispatcher, error: BaseException
) -> BaseException:
    """Take a message back whose call raised, and return what its program is to hear."""
    held = crp in session.inflight
    dispatcher.let_go(crp, session)
    if not isinstance(error, Exception):
        return error
    name = session.slot.name
    if not held:
        return error_from_errno(
            errno.EIO, f"driver {name} was given up while it worked on this message"
        )
    if not isinstance(error, CryptoError):
        dispatcher.bugs.report(Rule.PROCESS_RAISED, name, error)
        error = error_from_errno(errno.EIO, f"driver {name} raised {type(error).__name__}")
    assert isinstance(error, CryptoError)
    session.slot.local.counts.failed(session.kind, error.errno, error.strerror or "")
    return error
