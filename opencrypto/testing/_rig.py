"""
The bench a driver is tested on: a framework of its own, and requests that are waited for.

Nothing a driver does can hang the bench: requests are dispatched from a thread that is left behind
if it does not come back, and every wait has an end. What goes wrong is named by its clause.
"""

from __future__ import annotations

import errno
import logging
import queue
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from opencrypto._core.framework import Framework
from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop
from opencrypto.constants import CRYPTO_F_CBIMM
from opencrypto.driver import Driver
from opencrypto.exceptions import CryptoError, DriverBug, UsageError
from opencrypto.testing.clauses import ContractBroken, require

# The framework logs a driver's bug with the rule it broke: by the rule's first word, the clause.
_RULES = {
    "answer": "D7",
    "close": "D19",
    "done": "D7",
    "freesession": "D18",
    "kdone": "K5",
    "kprocess": "K5",
    "newsession": "D3",
    "process": "D9",
    "refusal": "D3",
    "verification": "K4",
}
_RULE = re.compile(r"driver_bug.*?rule='?(\w+)([^=]*)")


class Ticket:
    """A request on its way: `crp`, how often it was called back, and when first."""

    def __init__(self, crp: Cryptop) -> None:
        self.crp = crp
        self.calls = 0
        self.answered = threading.Event()
        self.answered_on_return = False
        crp.callback = self

    def __call__(self, crp: Cryptop) -> None:
        self.calls += 1
        self.answered.set()


class Rig:
    """One driver attached to a framework of its own. A context manager."""

    def __init__(self, driver: Driver, patience: float) -> None:
        self.driver = driver
        self.patience = patience
        self.bugs = _Bugs()
        self._caller = Caller()
        self.framework = Framework(plugins=False)
        try:
            # Without the known answers that attaching may run: what fails them is ours to name.
            self.hid = self.framework.attach(driver, selftest=False)
        except CryptoError as error:
            self.close()
            raise ContractBroken("D1", f"the driver cannot be attached: {error}") from error

    # Sessions.

    def open(self, inis: Iterable[Cryptoini], clause: str = "D2") -> int:
        """Open a session; a refusal breaks `clause`."""
        chain = list(inis)
        try:
            return self.newsession(chain)
        except DriverBug:
            raise
        except CryptoError as error:
            raise ContractBroken(clause, f"newsession refused {chain}: {error}") from error

    def newsession(self, inis: Iterable[Cryptoini]) -> int:
        """Open a session; a refusal is the caller's to judge."""
        try:
            return self.framework.newsession(list(inis), driver=self.hid)
        except DriverBug as error:
            self.check_bugs()
            raise ContractBroken("D16", f"newsession: {error}") from error
        except CryptoError as error:
            # The framework names the refusal of a driver as cause, a driver's bug among them.
            self.check_bugs()
            if isinstance(error.__cause__, DriverBug):
                raise ContractBroken("D16", f"newsession: {error.__cause__}") from error
            raise

    def free(self, sid: int) -> None:
        """Free a session."""
        self.framework.freesession(sid)
        self.check_bugs()

    # Requests.

    def submit(
        self,
        sid: int,
        buf: Any,
        desc: Sequence[Cryptodesc],
        *,
        flags: int = CRYPTO_F_CBIMM,
        mac: bytearray | None = None,
    ) -> Ticket:
        """Dispatch a request, and return when `dispatch` has."""
        crp = Cryptop(sid, buf, desc, flags=flags, mac=mac)
        crp.ilen = len(buf) if isinstance(buf, (bytes, bytearray)) else 0
        ticket = Ticket(crp)
        self.dispatch(ticket)
        return ticket

    def dispatch(self, *tickets: Ticket) -> None:
        """Dispatch requests one after the other, and return when the last call has returned."""

        def work() -> None:
            for ticket in tickets:
                self.framework.dispatch(ticket.crp)
                ticket.answered_on_return = ticket.answered.is_set()

        # The patience is with one call; of many, each may take a little of it.
        if not self.call(work, self.patience * (1 + len(tickets) / 50)):
            raise ContractBroken("D9", f"process did not return within {self.patience} s")

    def call(self, work: Callable[[], object], patience: float) -> bool:
        """Make a call into the framework from a thread of its own; tell whether it came back."""
        return self._caller.run(work, patience)

    def wait(self, ticket: Ticket) -> Cryptop:
        """Wait until a request is called back."""
        if not ticket.answered.wait(self.patience):
            self.check_bugs()
            raise self.unanswered()
        self.check_bugs()
        return ticket.crp

    def unanswered(self) -> ContractBroken:
        """Say what kept a request from being answered."""
        if any(info.blocked for info in self.framework.drivers):
            return ContractBroken("D10", f"blocked for more than {self.patience} s")
        return ContractBroken("D7", f"a request was not answered within {self.patience} s")

    def run(
        self,
        sid: int,
        buf: Any,
        desc: Sequence[Cryptodesc],
        *,
        flags: int = CRYPTO_F_CBIMM,
        mac: bytearray | None = None,
    ) -> Cryptop:
        """Dispatch a request and wait for its answer, whatever that is."""
        return self.wait(self.submit(sid, buf, desc, flags=flags, mac=mac))

    def good(self, clause: str, what: str, *request: Any, **options: Any) -> Cryptop:
        """Run a request that must succeed, or `clause` is broken."""
        crp = self.run(*request, **options)
        require(not crp.etype, clause, f"{what}: {describe(crp)}")
        return crp

    def check_bugs(self) -> None:
        """Raise what the framework has noted as the driver's bug since the last call."""
        for word, rest in self.bugs.take():
            raise ContractBroken(_RULES.get(word, "D9"), f"the framework noted: {word}{rest}")

    # The end.

    def detach(self) -> None:
        """Have the driver leave; what it keeps longer than our patience is taken from it."""
        self.framework.detach(self.hid, timeout=self.patience)

    def close(self) -> None:
        """Put everything away."""
        try:
            if hasattr(self, "hid"):
                self.detach()
        except UsageError:
            pass  # the test has detached it already
        finally:
            self.framework.close()
            self._caller.stop()
            self.bugs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is None:
            self.check_bugs()


def only_changed(
    before: bytes, after: bytes | bytearray, places: Iterable[tuple[int, int]], what: str
) -> None:
    """Require that nothing but these places, each a start and a length, has changed."""
    require(len(before) == len(after), "D12", f"{what}: the buffer's length changed")
    allowed = {at for start, length in places for at in range(start, start + length)}
    changed = [at for at in range(len(before)) if before[at] != after[at] and at not in allowed]
    require(not changed, "D12", f"{what}: bytes {changed[:8]} outside the regions were changed")


def describe(crp: Cryptop) -> str:
    """Say how a request ended."""
    return f"{error_name(crp.etype)} {crp.error}".rstrip()


def error_name(number: int) -> str:
    """Name an errno."""
    return errno.errorcode.get(number, str(number)) if number else "success"


class _Bugs(logging.Handler):
    """Collects the rules that the framework logs as broken by a driver."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._rules: list[tuple[str, str]] = []
        logging.getLogger("opencrypto").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        found = _RULE.search(record.getMessage())
        if found:
            self._rules.append((found[1], found[2]))

    def take(self) -> list[tuple[str, str]]:
        rules, self._rules = self._rules, []
        return rules

    def close(self) -> None:
        logging.getLogger("opencrypto").removeHandler(self)
        super().close()


class Caller:
    """A thread that makes calls for us, so that one which never returns does not stop the test."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._returned = threading.Semaphore(0)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._loop, name="contract-caller", daemon=True)
        self._thread.start()
        self._stuck = False

    def run(self, call: Callable[[], object], patience: float) -> bool:
        """Make a call; tell whether it returned in time. What it raises is raised here."""
        if self._stuck:
            return False
        self._calls.put(call)
        self._stuck = not self._returned.acquire(timeout=patience)
        if self._stuck:
            return False
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def _loop(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException as error:
                self._error = error
            call = None  # what it closes over must not live until the next call
            self._returned.release()

    def stop(self) -> None:
        """End the thread; one that is stuck ends with its call, or never."""
        self._calls.put(None)
        if not self._stuck:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
