"""
A key operation on its way; no thread of the program waits for it.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from opencrypto._client.keyops import Which
from opencrypto._client.pending import Pending
from opencrypto._request.key import Cryptkop
from opencrypto._request.keycall import KeyCall

T = TypeVar("T")


class Calculator(Protocol):
    """A `Framework`, as far as key operations see it; each word means what it means there."""

    def kdispatch(self, krp: Cryptkop, *, driver: Which = None) -> None:
        """Carry a key request out."""

    def holders_of(self, request: Cryptkop) -> tuple[str, ...]:
        """Name who has a key request now."""


class KeyFlight(Pending[T]):
    """One key operation of a framework."""

    __slots__ = ("_call", "_framework", "_which")

    def __init__(
        self, framework: Calculator, call: KeyCall[T], which: Which, timeout: float | None
    ) -> None:
        super().__init__(timeout, lambda _: call.answer())
        self._framework = framework
        self._call = call
        self._which = which

    def _begin(self) -> None:
        self._call.krp.callback = self._hear
        try:
            self._framework.kdispatch(self._call.krp, driver=self._which)
        except BaseException:
            self._dropped()
            raise

    def _dropped(self) -> None:
        self._call.abandon()

    def late(self) -> BaseException:
        """Make the error of an answer that did not come in time; it names who has the work."""
        return self.deadline.passed(self._framework.holders_of(self._call.krp))

    def _hear(self, _: Cryptkop) -> None:
        self._call.over()
        try:
            self.deliver(None)
        except Exception as error:
            self.fail(error)

    def _undo(self, found: object) -> None:
        self._call.abandon()
