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
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from opencrypto._core.lane import DEEPEST
from opencrypto._core.queues import SUBMITTED
from opencrypto._core.requests import Dispatcher
from opencrypto._core.slots import Session
from opencrypto._request.symmetric import Cryptop
from opencrypto._rules.messages import UNVERIFIED
from opencrypto._rules.template import compile_function, fill, indented
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


class ShortWay:
    """
    A session's short way: what its driver does with messages, and what runs that.

    Attributes:
        messages: What the driver does.
        fresh: Makes an IV.
        run: Has it done with one message: see `Run`.
    """

    __slots__ = ("_parts", "fresh", "messages", "run")

    def __init__(self, session: Session, dispatcher: Dispatcher, messages: Messages) -> None:
        # Each stands for one message while its driver works on it; taking one is one step.
        kept: list[Cryptop] = []
        slot, inflight = session.slot, session.inflight
        self._parts = (
            session, session.kind, slot, slot.local, inflight.add, inflight.remove,
            kept.pop, kept.append, dispatcher,
        )  # fmt: skip
        self.messages = messages
        ivs = (cri.ivs for cri in session.chain.inis if cri.ivs is not None)
        self.fresh: Callable[[], bytes] = next((each.fresh for each in ivs), bytes)
        self.run: Run = self.compile("run(work, size, *given)", "answer = work(*given)")

    def compile(
        self,
        head: str,
        work: str,
        names: Mapping[str, Any] = MappingProxyType({}),
        *,
        before: str = "",
        after: str = "return answer",
    ) -> Callable[..., Any]:
        """
        Return a function of one text that takes the short way, without a call more.

        Args:
            head: Its name and parameters.
            work: Sets ``answer``; done where the way is straight.
            names: What the texts name.
            before: Comes first, and sets ``size``, unless that is a parameter.
            after: What it returns; ``answer`` may be `NOT_TAKEN`, and None.
        """
        make = _maker(head, before, work, after, tuple(names))
        return make(self._parts, **names)

    def some(
        self,
        loop: Callable[[Sequence[Any], list[Any]], bool | None],
        messages: Sequence[Any],
        lengths: Sequence[int],
        extra: int,
        answers: list[Any],
    ) -> Any:
        """
        Have several messages done, one after the other, as one.

        Args:
            loop: ``loop(messages, answers)`` does them in order and appends each answer. Returns
                True; or None at the first that does not verify, without an answer to that.
            messages: One, or more.
            lengths: How many **bytes** each has.
            extra: How many **bytes** each is counted with, beside its own.
            answers: An empty list, for the answers.

        Returns:
            What `loop` does, or `NOT_TAKEN`.
        """

        def counted() -> bool | None:
            try:
                return loop(messages, answers)
            finally:  # of those begun, `run` has counted the first
                self._count(lengths[1 : len(answers) + 1], extra)

        return self.run(counted, lengths[0] + extra)

    def _count(self, lengths: Sequence[int], extra: int) -> None:
        _, kind, _, local, *_ = self._parts
        counts = local.counts
        counts.bytes += sum(lengths) + extra * len(lengths)
        for length in set(lengths):
            counts.add_requests(kind + (length + extra - 1).bit_length(), lengths.count(length))


def short_way(session: Session, dispatcher: Dispatcher) -> ShortWay | None:
    """Return the short way of a session; None if its driver has none, or not for itself alone."""
    messages = getattr(session.process, "messages", None)
    if not isinstance(messages, Messages):
        return None
    return ShortWay(session, dispatcher, messages)


_TEXT: Final = """
counts = local.counts
depth = counts.depth
if depth >= DEEPEST:
    return NOT_TAKEN
try:
    crp = take()
except IndexError:
    crp = stand_in(session)
crp.since = 0.0
crp.state = SUBMITTED
counts.depth = depth + 1
try:
    enter(crp)
    if session.straight and slot.straight:
        try:
            counts.sizes[kind + (size - 1).bit_length()] += 1
            counts.bytes += size
        except IndexError:  # the first of its kind in this thread
            counts.count(kind + (size - 1).bit_length(), size)
        # here: work
    else:
        answer = NOT_TAKEN
    leave(crp)
    if not session.straight:
        dispatcher.settle(session)
except BaseException as error:
    counts.depth = depth
    raise failure(crp, session, dispatcher, error) from None
counts.depth = depth
if answer is None:
    counts.failed(kind, EBADMSG, UNVERIFIED)
crp.state = IDLE
give(crp)
"""


@functools.cache
def _maker(
    head: str, before: str, work: str, after: str, names: tuple[str, ...]
) -> Callable[..., Callable[..., Any]]:
    """Return what makes a session's function of a text."""
    name = head.partition("(")[0]
    body = f"{before.strip()}\n{fill(_TEXT, 'work', work)}{after.strip()}"
    text = (
        "session, kind, slot, local, enter, leave, take, give, dispatcher = parts\n"
        f"def {head}:\n{indented(body, '    ')}\nreturn {name}"
    )
    parameters = ", ".join(("parts", *(f"{each}=None" for each in names)))
    made: Callable[..., Callable[..., Any]] = compile_function(
        f"maker({parameters})", text, _NAMES, f"short way of {name}"
    )
    return made


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
    if isinstance(error, CryptoError):
        answer = error
    else:
        dispatcher.bugs.report(Rule.PROCESS_RAISED, name, error)
        answer = error_from_errno(errno.EIO, f"driver {name} raised {type(error).__name__}")
    counts = session.slot.local.counts
    counts.failed(session.kind, answer.errno or errno.EINVAL, answer.strerror or "")
    return answer


_NAMES: Final = {
    "DEEPEST": DEEPEST,
    "EBADMSG": errno.EBADMSG,
    "IDLE": IDLE,
    "NOT_TAKEN": NOT_TAKEN,
    "SUBMITTED": SUBMITTED,
    "UNVERIFIED": UNVERIFIED,
    "failure": _failure,
    "stand_in": _stand_in,
}
