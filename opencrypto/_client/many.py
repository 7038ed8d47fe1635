"""
Many messages in a row: answered in order, with no more of them in hand than is said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opencrypto._client.futures import Submits, ended
from opencrypto._core.short import NOT_TAKEN
from opencrypto._request.buffer import BytesLike
from opencrypto._rules.message import own_bytes
from opencrypto._rules.messages import UNVERIFIED
from opencrypto.exceptions import AuthenticationError, CryptoError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

DEPTH: Final = 64
"""How many messages are drawn before the first one's answer is given, at most."""

PORTION: Final = 1 << 16
"""Messages go to a driver together while they have no more **bytes** than this."""

_ALL_BYTES: Final = frozenset({bytes})

Some: TypeAlias = "Callable[[list[Any], list[bytes]], Any]"
Submit: TypeAlias = "Callable[[Any], Future[bytes]]"


class Many(Submits):
    """
    The methods of a session for many messages.

    Each draws at most `depth` messages before it gives the answer to the first of them, which it
    does in order. What goes wrong with a message is raised in its place, behind the answers to all
    before it, and ends the whole; so is what the iterable itself raises.
    """

    def seal_many(
        self, messages: Iterable[BytesLike], depth: int = DEPTH, *, aad: BytesLike = b""
    ) -> Iterator[bytes]:
        """
        Seal messages, each with the same `aad`; as `Session.seal`.

        Raises:
            UsageError: the session has no cipher or no authenticator, or `depth` is no number from
                1 on. While it is iterated: as `Session.seal`.
        """
        self._layout.require_seal()
        extra = bytes(self._layout.aad(aad))
        return _answers(
            messages,
            checked_depth(depth),
            lambda batch, tokens: self._calls.seal_some(batch, extra, tokens),
            lambda data: self.submit_seal(data, extra),
        )

    def open_many(
        self, tokens: Iterable[BytesLike], depth: int = DEPTH, *, aad: BytesLike = b""
    ) -> Iterator[bytes]:
        """
        Open tokens, each with the same `aad`; as `Session.open`.

        Raises:
            UsageError: as `seal_many`. While it is iterated: as `Session.open`.
        """
        self._layout.require_seal()
        extra = bytes(self._layout.aad(aad))
        return _answers(
            tokens,
            checked_depth(depth),
            lambda batch, messages: self._calls.open_some(batch, extra, messages),
            lambda token: self.submit_open(token, extra),
        )

    def mac_many(self, messages: Iterable[BytesLike], depth: int = DEPTH) -> Iterator[bytes]:
        """
        Make the MACs or digests of messages; as `Session.mac`.

        Raises:
            UsageError: the session has a cipher, or `depth` is no number from 1 on. While it is
                iterated: as `Session.mac`.
        """
        self._layout.require_no_cipher()
        return _answers(
            messages,
            checked_depth(depth),
            lambda batch, macs: self._calls.mac_some(batch, macs),  # noqa: PLW0108 - it may move
            self.submit_mac,
        )


def checked_depth(depth: int) -> int:
    """Return how many messages may be drawn at a time; UsageError if that is no such number."""
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise UsageError(f"depth is a number of messages, 1 or more, not {depth!r}")
    return depth


class _Source:
    """
    Where messages come from.

    Attributes:
        error: What ended it, if it did not end by itself.
    """

    def __init__(self, messages: Iterable[BytesLike]) -> None:
        self._rest = iter(messages)
        self.error: Exception | None = None

    def draw(self, count: int) -> list[bytes | memoryview]:
        """Draw so many messages, or as many as there are before the end."""
        drawn: list[Any] = []
        try:
            drawn.extend(islice(self._rest, count))  # which keeps what came before what raised
        except Exception as error:
            self.error = error
            self._rest = iter(())
        return drawn if _ALL_BYTES.issuperset(map(type, drawn)) else self._owned(drawn)

    def _owned(self, drawn: list[Any]) -> list[bytes | memoryview]:
        """Return the bytes of messages, of those before the first that is none."""
        owned: list[bytes | memoryview] = []
        try:
            owned.extend(own_bytes(data, "a message") for data in drawn)
        except Exception as error:
            self.error = error
            self._rest = iter(())
        return owned


def _answers(
    messages: Iterable[BytesLike], depth: int, some: Some, submit: Submit
) -> Iterator[bytes]:
    """Yield the answers to messages: several at once by the short way, or by futures."""
    source = _Source(messages)
    while batch := source.draw(depth):
        done = 0
        for portion in _portions(batch):
            answers: list[bytes] = []
            try:
                taken = some(portion, answers)
            except Exception:
                yield from answers
                raise
            if taken is NOT_TAKEN:
                yield from _in_flight(batch[done:], source, submit)
                break
            done += len(portion)
            yield from answers
            if taken is None:
                raise AuthenticationError(UNVERIFIED)
    if source.error is not None:
        raise source.error


def _portions(batch: list[Any]) -> Iterator[list[Any]]:
    """Divide messages, so that no driver is kept long by those before the last."""
    if sum(map(len, batch)) <= PORTION:
        yield batch
        return
    portion: list[Any] = []
    length = 0
    for data in batch:
        if portion and length + len(data) > PORTION:
            yield portion
            portion, length = [], 0
        portion.append(data)
        length += len(data)
    yield portion


def _in_flight(batch: list[Any], source: _Source, submit: Submit) -> Iterator[bytes]:
    """Yield the answers to a batch and all that follows, with as many messages under way."""
    under_way = deque(_begun(submit, data) for data in batch)
    while under_way:
        answer = under_way.popleft().result()
        under_way.extend(_begun(submit, data) for data in source.draw(1))
        yield answer


def _begun(submit: Submit, data: Any) -> Future[bytes]:
    """Begin with a message; one that is refused at once has that for its answer."""
    try:
        return submit(data)
    except CryptoError as error:
        return ended(error)
