"""D15, D18 and D24 in the long run: thousands of requests and sessions, and nothing is left."""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from opencrypto import Cryptoini
from opencrypto.exceptions import CryptoError
from opencrypto.testing._base import ContractBase, a_few
from opencrypto.testing._chains import Work, a_few_works
from opencrypto.testing._exchange import describe
from opencrypto.testing._growth import Growth
from opencrypto.testing._rig import Rig
from opencrypto.testing._samples import Case, sample, some_length
from opencrypto.testing.clauses import ContractBroken, clause, require

REQUESTS = 2000
SESSIONS = 500

LONG_RUN = 5100
"""Answers in a row, each compared."""

QUICK_RUN = 1100
"""The same if it must be quick."""

CHUNK = 50
"""Requests, or sessions, between two looks at the clock, the descriptors and the threads."""

BUDGET = 10.0
"""Seconds after which a long run is given up, on a device that is slow."""

TOO_LONG = 1024
"""Bytes of a key that no algorithm with keys of fixed lengths has."""

DATA = 7
"""Messages that take turns in a long run."""


class Endurance(ContractBase):
    """Long runs."""

    @clause("D24", a_few_works)
    def test_D24_the_last_answer_is_as_right_as_the_first(self, case: Work) -> None:
        """Thousands of requests on one session, each answer compared with the first of its data."""
        with self.rig() as rig:
            (sid,) = case.open(rig, ["key"])
            length = some_length(case.case, case.longest(self))
            expected: dict[int, bytes] = {}

            def ask(first: int) -> None:
                turns = [n % DATA for n in range(first, first + CHUNK)]
                answers = rig.sym.run_all(
                    [
                        rig.request(sid, case.buffer(length, f"{n}"), case.forward(length, f"{n}"))
                        for n in turns
                    ]
                )
                for n, (turn, crp) in enumerate(zip(turns, answers, strict=True), first + 1):
                    require(not crp.etype, "D24", f"request {n} in a row: {describe(crp)}")
                    right = crp.buf == expected.setdefault(turn, bytes(crp.buf))
                    same = f"not what the same gave before: {case.id}, {length} bytes"
                    require(right, "D24", f"request {n} in a row: {same}")

            self._go_on(ask, QUICK_RUN if self.quick else LONG_RUN, "answers")

    @clause("D15", a_few)
    def test_D15_nothing_grows_with_requests(self, case: Case) -> None:
        """Two thousand requests leave tables, memory, descriptors and threads as they were."""
        with self.session(case) as (rig, sid, lay):

            def ask(first: int) -> None:
                bufs = [case.buffer(lay) for _ in range(CHUNK)]
                rig.sym.run_all([rig.request(sid, buf, case.forward(lay)) for buf in bufs])

            self._grows(rig, ask, REQUESTS, "D15", "requests")

    @clause("D18", a_few)
    def test_D18_nothing_grows_with_sessions(self, case: Case) -> None:
        """Five hundred sessions opened, used and freed leave everything as it was."""
        with self.rig() as rig:
            lay = self.layout(case)

            def ask(first: int) -> None:
                sid = rig.open(case.inis())
                for _ in range(CHUNK):
                    rig.run(sid, case.buffer(lay), case.forward(lay))
                rig.free(sid)

            def cycle(first: int) -> None:
                for n in range(CHUNK):
                    sid = rig.open(case.inis(), "D18" if first or n else "D2")
                    rig.run(sid, case.buffer(lay), case.forward(lay))
                    rig.free(sid)

            try:
                self._grows(rig, cycle, SESSIONS, "D18", "sessions")
            except ContractBroken:
                # Each session had a request: it may be these that leave something behind.
                self._grows(rig, ask, SESSIONS, "D15", "requests")
                raise

    @clause("D18", a_few)
    def test_D18_nothing_grows_with_refused_sessions(self, case: Case) -> None:
        """Five hundred sessions that newsession refuses leave everything as it was."""
        with self.rig() as rig:
            key = sample(TOO_LONG, "too long")
            chains = [
                Case(case.alg, TOO_LONG, case.partner).inis_with(key),
                [*case.inis("one"), *case.inis("other")],
            ]

            def refused(first: int) -> None:
                for n in range(CHUNK):
                    _refused(rig, chains[n % len(chains)])

            self._grows(rig, refused, SESSIONS, "D18", "refused sessions")

    @clause("D18", a_few)
    def test_D18_a_freed_session_makes_room(self, case: Case) -> None:
        """As many as there is room for, freed, and as many again."""
        most = self.claimed().max_sessions
        if most is None:
            raise unittest.SkipTest("the driver does not say that it has few sessions")
        with self.rig() as rig:
            for again in range(2):
                chains = [case.inis(f"key {n}") for n in range(min(most, SESSIONS))]
                try:
                    sids = [rig.newsession(chain) for chain in chains]
                except CryptoError as error:
                    freed = "after as many were freed: give their room back" if again else "at once"
                    require(
                        False, "D18" if again else "D2", f"not {most} sessions {freed}: {error}"
                    )
                for sid in sids:
                    rig.free(sid)

    def _grows(
        self, rig: Rig, use: Callable[[int], None], count: int, ident: str, what: str
    ) -> None:
        """Require that nothing has grown after `count` uses, in chunks."""
        if self.quick:
            count //= 4
        step = count // 2
        use(0)  # what is made once is made now
        growth = Growth(rig.driver)
        growth.look()
        for _ in range(2):
            done = self._go_on(
                lambda first: self._chunk(use, first, growth, ident, what), step, what
            )
            growth.look()
        grown = growth.elements(done) or growth.memory(done)
        require(not grown, ident, f"{done} {what}: {grown}")

    @staticmethod
    def _chunk(
        use: Callable[[int], None], first: int, growth: Growth, ident: str, what: str
    ) -> None:
        use(first)
        grown = growth.handles()
        require(not grown, ident, f"{first + CHUNK} {what}: {grown}")

    def _go_on(self, work: Callable[[int], None], count: int, what: str) -> int:
        """
        Do work in chunks, `count` times in all, or for as long as `soak` says.

        Raises:
            SkipTest: the device is so slow that it would take too long.
        """
        began, done = time.monotonic(), 0
        budget = max(BUDGET, self.soak)
        while done < count or time.monotonic() - began < self.soak:
            work(done)
            done += CHUNK
            if time.monotonic() - began > budget and done < count:
                raise unittest.SkipTest(
                    f"only {done} of {count} {what} in {budget:.0f} s, all of them right; "
                    "--soak SECONDS gives it more time"
                )
        return done


def _refused(rig: Rig, inis: list[Cryptoini]) -> None:
    """Ask the driver for a session that it may not open, and free it if it does."""
    opened: list[int] = []

    def ask() -> None:
        with suppress(Exception):  # how it refuses what the framework never asks is not judged
            answer = rig.driver.newsession(inis)
            opened.append(answer if isinstance(answer, int) else answer[0])

    rig.within("D3", "newsession", ask)
    for lid in opened:
        rig.within("D18", "freesession", partial(rig.driver.freesession, lid))
