"""D7 to D11: every request is answered, once, and nobody waits for anybody else."""

from __future__ import annotations

import threading
import time

from opencrypto._request.symmetric import Cryptop
from opencrypto.constants import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_HINT_MORE,
)
from opencrypto.exceptions import DriverBug
from opencrypto.testing._base import ContractBase, a_few
from opencrypto.testing._rig import Rig, Ticket, describe
from opencrypto.testing._samples import Case, some_length
from opencrypto.testing.clauses import ContractBroken, clause, require

FLOOD = 300
"""Requests at once, more than a queue of a driver is likely to hold."""

DEPTH = 12
"""How often a callback dispatches the next request."""


class Completion(ContractBase):
    """done, process, ERESTART, hints."""

    @clause("D7", a_few)
    def test_D7_done_exactly_once(self, case: Case) -> None:
        """Each request is called back once: direct or batched, good or bad, long after too."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            lay = case.layout(some_length(case, self.maxlen(case)))
            tickets = [
                rig.submit(sid, case.buffer(lay), desc, flags=flags)
                for flags in (CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC, 0, CRYPTO_F_BATCH | CRYPTO_F_CBIMM)
                for desc in (case.forward(lay), case.backward(lay), [])
            ]
            for ticket in tickets:
                rig.wait(ticket)
            time.sleep(0.01)
            rig.check_bugs()
            calls = [ticket.calls for ticket in tickets]
            require(set(calls) == {1}, "D7", f"called back {calls} times")

    @clause("D8", a_few)
    def test_D8_done_may_lead_back_into_the_driver(self, case: Case) -> None:
        """The callback dispatches the next request, and opens and frees sessions, within done."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            lay = case.layout(some_length(case, self.maxlen(case)))
            rig.run(sid, case.buffer(lay), case.forward(lay))
            chain = _Chained(rig, case, sid)
            for _ in range(DEPTH):
                crp = Cryptop(sid, case.buffer(lay), case.forward(lay), flags=CRYPTO_F_CBIMM)
                chain.waiting.append(crp)
            try:
                rig.dispatch(chain.ticket())
            except ContractBroken as error:
                if error.clause == "D9":
                    raise ContractBroken("D8", "a request made within done hangs") from None
                raise
            require(chain.end.wait(rig.patience), "D8", "a request made within done hangs")
            rig.check_bugs()
            require(not chain.wrong, "D8", "; ".join(chain.wrong))

    @clause("D9", a_few)
    def test_D9_process_returns_and_raises_nothing(self, case: Case) -> None:
        """Whatever is asked of it, right or wrong, process returns 0 or ERESTART, at once."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            for length in (0, some_length(case, self.maxlen(case))):
                lay = case.layout(length)
                for desc in (case.forward(lay), case.backward(lay), case.forward(lay)[::-1], []):
                    for buf in (case.buffer(lay), None, bytes(lay.size), [b""], "text"):
                        rig.run(sid, buf, desc)

    @clause("D10", a_few)
    def test_D10_a_flood_is_served(self, case: Case) -> None:
        """Many requests at once, batched and not: each is answered, though some had to wait."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            lay = case.layout(some_length(case, self.maxlen(case)))
            for flags in (CRYPTO_F_BATCH | CRYPTO_F_CBIMM, CRYPTO_F_CBIMM):
                tickets = [
                    Ticket(Cryptop(sid, case.buffer(lay), case.forward(lay), flags=flags))
                    for _ in range(FLOOD)
                ]
                rig.dispatch(*tickets)
                for ticket in tickets:
                    crp = rig.wait(ticket)
                    require(not crp.etype, "D10", f"in a flood: {describe(crp)}")

    @clause("D11", a_few)
    def test_D11_hint_more_is_only_a_hint(self, case: Case) -> None:
        """A request that comes with CRYPTO_HINT_MORE is answered though no other follows."""
        with self.rig() as rig:
            sid = rig.open(case.inis())
            lay = case.layout(some_length(case, self.maxlen(case)))
            rig.run(sid, case.buffer(lay), case.forward(lay))
            session = rig.framework._sessions.table[sid]
            process = session.process
            session.process = lambda crp, hint: process(crp, CRYPTO_HINT_MORE)
            ticket = rig.submit(sid, case.buffer(lay), case.forward(lay))
            answered = ticket.answered.wait(rig.patience)
            rig.check_bugs()
            require(answered, "D11", "CRYPTO_HINT_MORE, no successor: never answered")
            require(not ticket.crp.etype, "D11", describe(ticket.crp))


class _Chained:
    """Requests of which each is dispatched in the callback of the one before."""

    def __init__(self, rig: Rig, case: Case, sid: int) -> None:
        self.rig = rig
        self.case = case
        self.sid = sid
        self.waiting: list[Cryptop] = []
        self.wrong: list[str] = []
        self.end = threading.Event()

    def ticket(self) -> Ticket:
        """Prepare the first request."""
        crp = self.waiting.pop()
        ticket = Ticket(crp)
        crp.callback = self.answered
        return ticket

    def answered(self, crp: Cryptop) -> None:
        """Go on with the next request, a session opened and freed in between."""
        if crp.etype:
            self.wrong.append(describe(crp))
        try:
            framework = self.rig.framework
            framework.freesession(
                framework.newsession(self.case.inis("other"), driver=self.rig.hid)
            )
            if self.waiting:
                following = self.waiting.pop()
                following.callback = self.answered
                framework.dispatch(following)
                return
        except DriverBug as error:
            self.wrong.append(str(error))
        self.end.set()
