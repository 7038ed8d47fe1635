"""
The bench a driver is tested on: a framework of its own, with sessions and requests.

Nothing a driver does can hang the bench: requests are dispatched from a thread that is left behind
if it does not come back, and every wait has an end. What goes wrong is named by its clause.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from opencrypto import Cryptkop, Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.constants import CRYPTO_F_CBIMM
from opencrypto.driver import Driver, Rule
from opencrypto.exceptions import CryptoError, DriverBug, UsageError
from opencrypto.testing._exchange import (
    KEY_REQUESTS,
    PAUSE,
    REQUESTS,
    Exchange,
    Ticket,
    describe,
)
from opencrypto.testing.clauses import ContractBroken, require

OUR_THREADS: Final = ("opencrypto-requests", "opencrypto-returns", "contract-")
"""How the names begin of the framework's own threads, and of the kit's, on whatever bench."""


class Rig:
    """One driver attached to a framework of its own. A context manager."""

    def __init__(self, driver: Driver, patience: float) -> None:
        self.driver = driver
        self.patience = patience
        self.framework = Framework(plugins=False)
        self._broken: list[Rule] = []
        self._unlisten = self.framework.driver_bugs.listen(self._note)
        self.sym = Exchange(self, REQUESTS, self.framework.dispatch)
        self.keys = Exchange(self, KEY_REQUESTS, self._give_key_request)
        self._caller = Caller()
        _benches.add(self)
        try:
            # Without the known answers that attaching may run: what fails them is ours to name.
            self.hid = self.framework.attach(driver, selftest=False)
        except CryptoError as error:
            self.close()
            raise ContractBroken("D1", f"the driver cannot be attached: {error}") from error
        self._threads = set(threading.enumerate())

    def _note(self, rule: Rule, driver: str) -> None:
        """Note a rule that the framework has seen broken, in whatever thread that was."""
        self._broken.append(rule)

    def _give_key_request(self, krp: Cryptkop) -> None:
        self.framework.kdispatch(krp, driver=self.hid)

    # Sessions.

    def open(self, inis: Iterable[Cryptoini], clause: str = "D2") -> int:
        """Open a session; a refusal breaks `clause`."""
        chain = list(inis)
        try:
            return self.newsession(chain)
        except CryptoError as error:
            raise ContractBroken(clause, f"newsession refused {chain}: {error}") from error

    def newsession(self, inis: Iterable[Cryptoini]) -> int:
        """Open a session; a refusal is the caller's to judge, a bug is not."""
        try:
            return self.framework.newsession(list(inis), driver=self.hid)
        except CryptoError as error:
            self.check_bugs()
            # The framework names the refusal of a driver as cause, a driver's bug among them.
            bug = error if isinstance(error, DriverBug) else error.__cause__
            if isinstance(bug, DriverBug):
                raise ContractBroken(Rule.SESSION_NUMBER.clause, f"newsession: {bug}") from error
            raise

    def free(self, sid: int) -> None:
        """Free a session."""
        self.framework.freesession(sid)
        self.check_bugs()

    # Requests.

    def request(
        self,
        sid: int,
        buf: Any,
        desc: Sequence[Cryptodesc],
        *,
        flags: int = CRYPTO_F_CBIMM,
        mac: bytearray | None = None,
    ) -> Cryptop:
        """Make a request."""
        crp = Cryptop(sid, buf, desc, flags=flags, mac=mac)
        crp.ilen = len(buf) if isinstance(buf, (bytes, bytearray)) else 0
        return crp

    def submit(self, *request: Any, **options: Any) -> Ticket[Cryptop]:
        """Make a request, dispatch it, and return when `dispatch` has."""
        ticket = Ticket(self.request(*request, **options))
        self.sym.dispatch(ticket)
        return ticket

    def run(self, *request: Any, **options: Any) -> Cryptop:
        """Make a request, dispatch it and wait for its answer, whatever that is."""
        return self.sym.run(self.request(*request, **options))

    def good(self, clause: str, what: str, *request: Any, **options: Any) -> Cryptop:
        """Run a request that must succeed, or `clause` is broken."""
        crp = self.run(*request, **options)
        require(not crp.etype, clause, f"{what}: {describe(crp)}")
        return crp

    def call(self, work: Callable[[], object], patience: float) -> bool:
        """Make a call into the framework from a thread of its own; tell whether it came back."""
        return self._caller.run(work, patience)

    def check_bugs(self) -> None:
        """Raise what the framework has noted as the driver's bug since the last call."""
        broken, self._broken = self._broken, []
        if broken:
            raise ContractBroken(broken[0].clause, f"the framework noted: {broken[0]}")

    # The end.

    def detach(self) -> None:
        """Have the driver leave; what it keeps longer than our patience is taken from it."""
        self.framework.detach(self.hid, timeout=self.patience)

    def threads_left(self) -> list[str]:
        """
        Name the threads that have come since the driver did and that do not end.

        While there are other benches in the process, only those that stay all the time: of the
        rest nobody can tell whose they were.
        """
        deadline = time.monotonic() + self.patience
        left = self._new_threads()
        while left and time.monotonic() < deadline:
            time.sleep(PAUSE)
            now = self._new_threads()
            left = now if len(_benches) == 1 else left & now
        return sorted(thread.name for thread in left)

    def _new_threads(self) -> set[threading.Thread]:
        come = set(threading.enumerate()) - self._threads
        return {thread for thread in come if not thread.name.startswith(OUR_THREADS)}

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
            self._unlisten()
            _benches.discard(self)

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


_benches: set[Rig] = set()  # those that are open


def only_changed(
    before: bytes, after: bytes | bytearray, places: Iterable[tuple[int, int]], what: str
) -> None:
    """Require that nothing but these places, each a start and a length, has changed."""
    require(len(before) == len(after), "D12", f"{what}: the buffer's length changed")
    allowed = {at for start, length in places for at in range(start, start + length)}
    changed = [at for at in range(len(before)) if before[at] != after[at] and at not in allowed]
    require(not changed, "D12", f"{what}: bytes {changed[:8]} outside the regions were changed")


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
