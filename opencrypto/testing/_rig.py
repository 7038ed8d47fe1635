"""
The bench a driver is tested on: a framework of its own, with sessions and requests.

Nothing a driver does can hang the bench: requests are dispatched from a thread that is left behind
if it does not come back, and every wait has an end. What goes wrong is named by its clause.
"""

from __future__ import annotations

import atexit
import errno
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from opencrypto import Cryptkop, Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.constants import CRYPTO_F_CBIMM
from opencrypto.driver import Driver, Process, Profile, Rule
from opencrypto.exceptions import CryptoError, DriverBug, UsageError
from opencrypto.testing._bounded import Caller, late, within
from opencrypto.testing._exchange import (
    KEY_REQUESTS,
    PAUSE,
    REQUESTS,
    Exchange,
    Ticket,
    describe,
)
from opencrypto.testing.clauses import ContractBroken, Hung, require

T = TypeVar("T")

OUR_THREADS: Final = ("opencrypto-requests", "opencrypto-returns", "contract-")
"""How the names begin of the framework's own threads, and of the kit's, on whatever bench."""


FULL: Final = (
    errno.EBUSY, errno.ENOSPC, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENOBUFS,
)  # fmt: skip
"""How newsession may say that there is no room for one more now."""


GRACE: Final = 0.5
"""Seconds that the framework itself may take to put things away."""


class Rig:
    """
    One driver attached to a framework of its own. A context manager.

    Args:
        driver: The driver, not yet attached.
        patience: Seconds to wait for anything, before it counts as never.
        closed: What is called when the driver has gone.
    """

    def __init__(
        self, driver: Driver, patience: float, closed: Callable[[], None] = lambda: None
    ) -> None:
        self.driver = driver
        self.patience = patience
        self._closed = closed
        self._hung = False
        self.framework = Framework(plugins=False)
        self._broken: list[Rule] = []
        self._unlisten = self.framework.driver_bugs.listen(self._note)
        self.sym = Exchange(self, REQUESTS, self.framework.dispatch)
        self.keys = Exchange(self, KEY_REQUESTS, self._give_key_request)
        self._caller = Caller()
        _benches.add(self)
        try:
            # Without the known answers that attaching may run: what fails them is ours to name.
            self.hid = self.within(
                "D1", "attaching it", lambda: self.framework.attach(driver, selftest=False)
            )
        except (CryptoError, Hung) as error:
            self.close()
            if isinstance(error, Hung):
                raise
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

    def open_some(self, chains: Iterable[Iterable[Cryptoini]]) -> list[int]:
        """
        Open a session for each chain, or for as many of them as the driver has room for.

        One that says how many it has (`max_sessions`) must have them; of one that does not, a
        refusal such as EBUSY behind the first session says that there is no room.
        """
        wanted, most = list(chains), self.driver.max_sessions or None
        sids: list[int] = []
        for chain in wanted if most is None else wanted[:most]:
            try:
                sids.append(self.newsession(chain))
            except CryptoError as error:
                refusal = error.__cause__ or error
                full = getattr(refusal, "errno", None) in FULL
                if most is None and sids and full:
                    break
                room = f" with {len(sids)} open"
                claim = f", though max_sessions is {most}" if most is not None else ""
                raise ContractBroken("D2", f"newsession refused{room}{claim}: {error}") from error
        return sids

    def newsession(self, inis: Iterable[Cryptoini], profile: Profile | None = None) -> int:
        """Open a session; a refusal is the caller's to judge, a bug is not."""
        chain = list(inis)

        def ask() -> int:
            return self.framework.newsession(chain, driver=self.hid, profile=profile)

        try:
            return self.within("D3", "newsession", ask)
        except CryptoError as error:
            self.check_bugs()
            # The framework names the refusal of a driver as cause, a driver's bug among them.
            bug = error if isinstance(error, DriverBug) else error.__cause__
            if isinstance(bug, DriverBug):
                raise ContractBroken(Rule.SESSION_NUMBER.clause, f"newsession: {bug}") from error
            raise

    def free(self, sid: int) -> None:
        """Free a session."""
        self.within("D18", "freesession", lambda: self.framework.freesession(sid))
        self.check_bugs()

    def within(self, clause: str, what: str, call: Callable[[], T]) -> T:
        """Make a call, with an end; one that does not come back breaks `clause`."""
        try:
            return within(self._caller, self.patience, clause, what, call)
        except Hung:
            self._hung = True
            raise

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
        back = self._caller.run(work, patience)
        self._hung |= not back
        return back

    def late(self, what: str) -> str:
        """Say that a call is late, and where it stands."""
        return late(self._caller, self.patience, what)

    def check_bugs(self) -> None:
        """Raise what the framework has noted as the driver's bug since the last call."""
        broken, self._broken = self._broken, []
        if broken:
            raise ContractBroken(broken[0].clause, f"the framework noted: {broken[0]}")

    # The end.

    def detach(self) -> None:
        """Have the driver leave; what it keeps longer than our patience is taken from it."""
        self._bounded_end(lambda: self.framework.detach(self.hid, timeout=self.patience))

    def _bounded_end(self, end: Callable[[], object]) -> None:
        """Make a call that ends something, by a thread that has not hung yet."""
        with Caller() as caller:
            # It may wait for requests as long as our patience, and then has its own to do. Where
            # something hangs already, that may end with close, or never will.
            patience = self.patience / 2 if self._hung else 2 * self.patience + GRACE
            if caller.run(end, patience):
                return
            self._hung = True
            freeing = any(name == "freesession" for name, _ in caller.calls())
            clause, what = ("D18", "freesession") if freeing else ("D19", "close")
            raise Hung(clause, late(caller, self.patience, what))

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
        """Put everything away, or leave behind what hangs."""
        try:
            self._bounded_end(self._end)
        except Hung:
            atexit.unregister(self.framework.close)  # it would hang again
            raise
        finally:
            self._caller.stop()
            self._unlisten()
            _benches.discard(self)
            self._closed()

    def _end(self) -> None:
        try:
            if hasattr(self, "hid"):
                self.framework.detach(self.hid, timeout=self.patience)
        except UsageError:
            pass  # the test has detached it already
        finally:
            self.framework.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        wrong = isinstance(error, ContractBroken) and not self._hung
        found = self.sym.written_late() if wrong else ""
        try:
            self.close()
        except Hung:
            if error is None:
                raise
        if found:
            raise ContractBroken("D15", f"{found} (found by: {error})") from error
        if error is None:
            self.check_bugs()


_benches: set[Rig] = set()  # those that are open


def intercept(driver: Driver, wrap: Callable[[Process], Process]) -> None:
    """Have each call of a driver's process, and of each session's own, go through what wraps it."""
    newsession, process = driver.newsession, driver.process

    def wrapped(ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        answer = newsession(ini)
        return answer if isinstance(answer, int) else (answer[0], wrap(answer[1]))

    vars(driver).update(newsession=wrapped, process=wrap(process))


def only_changed(
    before: bytes, after: bytes | bytearray, places: Iterable[tuple[int, int]], what: str
) -> None:
    """Require that nothing but these places, each a start and a length, has changed."""
    require(len(before) == len(after), "D12", f"{what}: the buffer's length changed")
    allowed = {at for start, length in places for at in range(start, start + length)}
    changed = [at for at in range(len(before)) if before[at] != after[at] and at not in allowed]
    require(not changed, "D12", f"{what}: bytes {changed[:8]} outside the regions were changed")
