"""D7 to D11: every request is answered, once, and nobody waits for anybody else."""

from __future__ import annotations

from collections.abc import Sequence

from opencrypto import Cryptoini
from opencrypto.constants import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_HINT_MORE,
)
from opencrypto.driver import Driver, Process
from opencrypto.testing._base import ContractBase, a_few
from opencrypto.testing._exchange import describe
from opencrypto.testing._samples import Case, some_length
from opencrypto.testing.clauses import clause, require

BATCH = CRYPTO_F_BATCH | CRYPTO_F_CBIMM

FLOOD = 300
"""Requests at once, more than a queue of a driver is likely to hold."""

DEPTH = 12
"""How often a callback dispatches the next request."""


class Completion(ContractBase):
    """done, process, ERESTART, hints."""

    @clause("D7", a_few)
    def test_D7_done_exactly_once(self, case: Case) -> None:
        """Each request is called back once: direct or batched, good or bad, long after too."""
        with self.session(case) as (rig, sid, lay):
            rig.sym.once(
                rig.request(sid, case.buffer(lay), desc, flags=flags)
                for flags in (CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC, 0, BATCH)
                for desc in (case.forward(lay), case.backward(lay), [])
            )

    @clause("D8", a_few)
    def test_D8_done_may_lead_back_into_the_driver(self, case: Case) -> None:
        """The callback dispatches the next request, and opens and frees sessions, within done."""
        with self.session(case) as (rig, sid, lay):
            rig.run(sid, case.buffer(lay), case.forward(lay))
            framework = rig.framework

            def another_session() -> None:
                framework.freesession(framework.newsession(case.inis("other"), driver=rig.hid))

            requests = [rig.request(sid, case.buffer(lay), case.forward(lay)) for _ in range(DEPTH)]
            rig.sym.chained(requests, another_session)

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
        with self.session(case) as (rig, sid, lay):
            for flags in (BATCH, CRYPTO_F_CBIMM):
                rig.sym.flood(
                    rig.request(sid, case.buffer(lay), case.forward(lay), flags=flags)
                    for _ in range(FLOOD)
                )

    @clause("D11", a_few)
    def test_D11_hint_more_is_only_a_hint(self, case: Case) -> None:
        """A request that comes with CRYPTO_HINT_MORE is answered though no other follows."""
        driver = self.make_driver()
        hints = _Hints(driver)
        with self.rig(driver) as rig:
            sid = rig.open(case.inis())
            lay = self.layout(case)
            rig.run(sid, case.buffer(lay), case.forward(lay))
            hints.more = True
            ticket = rig.submit(sid, case.buffer(lay), case.forward(lay))
            answered = ticket.answered.wait(rig.patience)
            rig.check_bugs()
            require(answered, "D11", "CRYPTO_HINT_MORE, no successor: never answered")
            require(not ticket.request.etype, "D11", describe(ticket.request))


class _Hints:
    """
    Stands between the framework and a driver not yet attached, and changes the hints.

    Attributes:
        more: Whether each request is said to be followed by another one.
    """

    def __init__(self, driver: Driver) -> None:
        self.more = False
        self._newsession = driver.newsession
        vars(driver).update(newsession=self.newsession, process=self._hinted(driver.process))

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Open a session of the driver."""
        answer = self._newsession(ini)
        return answer if isinstance(answer, int) else (answer[0], self._hinted(answer[1]))

    def _hinted(self, process: Process) -> Process:
        return lambda crp, hint: process(crp, CRYPTO_HINT_MORE if self.more else hint)
