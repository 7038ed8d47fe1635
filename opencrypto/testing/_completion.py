"""D7 to D11 and D23: every request is answered, once, in batches too; nobody waits for anybody."""

from __future__ import annotations

import statistics
import time
import unittest
from collections.abc import Callable
from errno import EBADMSG
from typing import Any

from opencrypto import Cryptop
from opencrypto.constants import (
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIFSYNC,
    CRYPTO_F_CBIMM,
    CRYPTO_HINT_MORE,
)
from opencrypto.driver import Process
from opencrypto.testing._base import ContractBase, a_few
from opencrypto.testing._chains import Work, a_few_works
from opencrypto.testing._exchange import Ticket, describe
from opencrypto.testing._rig import Rig, intercept
from opencrypto.testing._samples import Case, rounded, some_length
from opencrypto.testing.clauses import ContractBroken, Waited, clause, require

BATCH = CRYPTO_F_BATCH | CRYPTO_F_CBIMM

FLOOD = 300
"""Requests at once, more than a queue of a driver is likely to hold."""

DEPTH = 12
"""How often a callback dispatches the next request."""

SIZES = (100, 255, 256, 257, 500, 1000, 1400, 1500, 2048, 4096, 9000, 16384, 32768, 65535)
"""Bytes of payload between a few blocks and 64 KiB."""

BATCH_SIZES = (48, 0, 16, 1400, 32, 256, 64, 4096, 96)
"""Bytes of payload of the requests of one batch."""

PACED = 21
"""Requests timed in a row, of which the median is taken."""

TRIES = 3
"""How often in a row they must be too slow: a busy machine is, once or twice."""


class Completion(ContractBase):
    """done, process, ERESTART, hints, batches."""

    @clause("D7", a_few)
    def test_D7_done_exactly_once(self, case: Case) -> None:
        """Each request is called back once: direct or batched, good or bad, long after too."""
        with self.session(case) as (rig, sid, lay):
            rig.sym.once(
                rig.request(sid, case.buffer(lay), desc, flags=flags)
                for flags in (CRYPTO_F_CBIMM, CRYPTO_F_CBIFSYNC, 0, BATCH)
                for desc in (case.forward(lay), case.backward(lay), [])
            )

    @clause("D7", a_few_works)
    def test_D7_done_exactly_once_in_a_batch(self, case: Work) -> None:
        """However many come with CRYPTO_HINT_MORE, each is answered, once."""
        hints = Hints()
        with self.rig(hints.stand_before) as rig:
            (sid,) = case.open(rig, ["key"])
            length = some_length(case.case, case.longest(self))
            crps = [
                rig.request(sid, case.buffer(length, f"data {n}"), case.forward(length, "iv"))
                for n in range(2 * len(BATCH_SIZES))
            ]
            hints.before(crps[-1])
            rig.sym.once(crps)

    @clause("D8", a_few)
    def test_D8_done_may_lead_back_into_the_driver(self, case: Case) -> None:
        """The callback dispatches the next request, and opens and frees sessions, within done."""
        with self.session(case) as (rig, sid, lay):
            rig.run(sid, case.buffer(lay), case.forward(lay))
            framework = rig.framework
            room = self.claimed().max_sessions != 1

            def another_session() -> None:
                if room:
                    framework.freesession(framework.newsession(case.inis("other"), driver=rig.hid))

            requests = [rig.request(sid, case.buffer(lay), case.forward(lay)) for _ in range(DEPTH)]
            rig.sym.chained(requests, another_session)

    @clause("D8", a_few_works)
    def test_D8_done_of_a_batch_may_lead_back_into_the_driver(self, case: Work) -> None:
        """The same in the midst of a batch, whose requests come with CRYPTO_HINT_MORE."""
        hints = Hints()
        with self.rig(hints.stand_before) as rig:
            (sid,) = case.open(rig, ["key"])
            length = some_length(case.case, case.longest(self))

            def request() -> Cryptop:
                return rig.request(sid, case.buffer(length, "data"), case.forward(length, "iv"))

            hints.more = True
            answered_alone(rig, request())
            rig.sym.chained([request() for _ in range(DEPTH)])

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

    @clause("D9", a_few_works)
    def test_D9_nothing_is_raised_whatever_the_size(self, case: Work) -> None:
        """Single algorithms and chains, from 100 bytes to 64 KiB, alone and in a batch."""
        hints = Hints()
        with self.rig(hints.stand_before) as rig:
            (sid,) = case.open(rig, ["key"])
            for size in SIZES:
                length = rounded(case.case, size, case.longest(self))
                buf, batched = case.buffer(length, "data"), case.buffer(length, "data")
                for desc in (case.forward(length, "iv"), case.backward(length)):
                    rig.run(sid, buf, desc)
                    pair = [rig.request(sid, batched, desc), rig.request(sid, buf, desc)]
                    hints.before(pair[-1])
                    rig.sym.run_all(pair)
                    hints.before(None)

    @clause("D9", a_few)
    def test_D9_process_keeps_its_caller_no_longer_than_its_pace(self, case: Case) -> None:
        """Half of many calls take no more than `Driver.pace.median`, none more than `worst`."""
        times: list[float] = []
        with self.rig(lambda driver: intercept(driver, timed(times))) as rig:
            pace = rig.driver.pace
            sid = rig.open(case.inis())
            length = rounded(case, 1400, self.maxlen(case))
            lay = case.layout(length)
            for _ in range(TRIES):
                times.clear()
                for _ in range(PACED):
                    rig.run(sid, case.buffer(lay), case.forward(lay))
                median, worst = statistics.median(times), max(times)
                if median <= pace.median and worst <= pace.worst:
                    return
            kept = f"process kept its caller for {1000 * median:.0f} ms"
            remedy = "hand the work to a thread or device, or say in `pace` how long, and why"
            slow = median <= pace.median
            require(slow, "D9", f"{kept} (median of {PACED}, {length} bytes): {remedy}")
            kept = f"process kept its caller for {1000 * worst:.0f} ms"
            raise ContractBroken("D9", f"{kept} (worst of {PACED}, three times): {remedy}")

    @clause("D10", a_few)
    def test_D10_a_flood_is_served(self, case: Case) -> None:
        """Many requests at once, batched and not: each is answered, though some had to wait."""
        with self.session(case) as (rig, sid, lay):
            for flags in (BATCH, CRYPTO_F_CBIMM):
                rig.sym.flood(
                    rig.request(sid, case.buffer(lay), case.forward(lay), flags=flags)
                    for _ in range(FLOOD)
                )

    @clause("D11", a_few_works)
    def test_D11_hint_more_is_only_a_hint(self, case: Work) -> None:
        """A request that comes with CRYPTO_HINT_MORE is answered though no other follows."""
        hints = Hints()
        with self.rig(hints.stand_before) as rig:
            (sid,) = case.open(rig, ["key"])
            length = some_length(case.case, case.longest(self))

            def request() -> Cryptop:
                return rig.request(sid, case.buffer(length, "data"), case.forward(length, "iv"))

            rig.sym.run(request())
            hints.more = True
            answered_alone(rig, request())

    @clause("D23", a_few_works)
    def test_D23_batches_give_what_single_requests_give(self, case: Work) -> None:
        """Mixed sizes and sessions, one way and back, batched and with bare hints."""
        with Batches(self, case) as batches:
            for way in (CRYPTO_F_BATCH, 0):
                batches.there_and_back(way)

    @clause("D23", a_few_works)
    def test_D23_a_forgery_in_the_middle_concerns_itself_alone(self, case: Work) -> None:
        """One request of a batch does not verify; those before and behind it do."""
        with Batches(self, case) as batches:
            if not case.verifies:
                batches.skip("nothing of it is verified")
            for way in (CRYPTO_F_BATCH, 0):
                batches.with_a_forgery(way)


def answered_alone(rig: Rig, crp: Cryptop) -> None:
    """Require an answer to a request that comes with CRYPTO_HINT_MORE, and is the last."""
    ticket = Ticket(crp)
    rig.sym.dispatch(ticket)
    answered = ticket.answered.wait(rig.patience)
    rig.check_bugs()
    if not answered:
        raise Waited(
            "D11",
            "CRYPTO_HINT_MORE, no successor: never answered; work on what you have when nothing "
            "more comes for some microseconds, or ignore the hint",
        )
    require(not crp.etype, "D11", describe(crp))


class Batches:
    """Requests of several sizes on up to two sessions, one by one and as a batch."""

    def __init__(self, contract: ContractBase, work: Work) -> None:
        self._hints = Hints()
        self._work = work
        maxlen = work.longest(contract)
        self._lengths = [rounded(work.case, size, maxlen) for size in BATCH_SIZES]
        self._contract = contract

    def __enter__(self) -> Batches:
        """Open the sessions, and find out what each request alone gives."""
        self._rig = self._contract.rig(self._hints.stand_before).__enter__()
        try:
            self._sids = self._work.open(self._rig, ["key 0", "key 1"])
            self._sealed = [self._alone(n) for n in range(len(self._lengths))]
        except BaseException as error:
            self._rig.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        """Put everything away."""
        self._rig.__exit__(*error)

    @staticmethod
    def skip(reason: str) -> None:
        """Skip the test."""
        raise unittest.SkipTest(reason)

    def _sid(self, n: int) -> int:
        return self._sids[n % len(self._sids)]

    def _plain(self, n: int) -> bytearray:
        return self._work.buffer(self._lengths[n], f"data {n}")

    def _alone(self, n: int) -> bytes:
        buf = self._plain(n)
        desc = self._work.forward(self._lengths[n], f"iv {n}")
        self._rig.good("D4" if self._lengths[n] else "D21", "alone", self._sid(n), buf, desc)
        return bytes(buf)

    def there_and_back(self, way: int) -> None:
        """Run them all, and compare each answer with what it was alone."""
        bufs = [self._plain(n) for n in range(len(self._lengths))]
        there = [self._work.forward(length, f"iv {n}") for n, length in enumerate(self._lengths)]
        for n, crp in enumerate(self._run(bufs, there, way)):
            where = f"request {n + 1} of {len(bufs)} in a batch ({_named(way)})"
            require(not crp.etype, "D23", f"{where}: {describe(crp)}")
            require(crp.buf == self._sealed[n], "D23", f"{where}: {self._difference(n, crp.buf)}")
        back = [self._work.backward(length) for length in self._lengths]
        for n, crp in enumerate(self._run(bufs, back, way)):
            where = f"request {n + 1} of {len(bufs)} in a batch ({_named(way)}), back"
            require(not crp.etype, "D23", f"{where}: {describe(crp)}")
            lay = self._work.case.layout(self._lengths[n])
            same = crp.buf[lay.region] == self._plain(n)[lay.region]
            require(same, "D23", f"{where}: not what it was")

    def with_a_forgery(self, way: int) -> None:
        """Run the way back of them all, the MAC of the one in the middle wrong."""
        bufs = [bytearray(sealed) for sealed in self._sealed]
        forged = len(bufs) // 2
        at, _ = self._work.mac_at(self._lengths[forged])
        bufs[forged][at] ^= 1
        before = bytes(bufs[forged])
        self._forgery_alone(forged, before)
        back = [self._work.backward(length) for length in self._lengths]
        for n, crp in enumerate(self._run(bufs, back, way)):
            where = f"request {n + 1} of {len(bufs)} in a batch ({_named(way)})"
            if n != forged:
                neighbour = f"{where}, number {forged + 1} forged: {describe(crp)}"
                require(not crp.etype, "D23", neighbour)
                continue
            require(crp.etype == EBADMSG, "D23", f"{where}, forged: {describe(crp)}, not EBADMSG")
            require(crp.buf == before, "D23", f"{where}, forged: the buffer was changed")

    def _forgery_alone(self, n: int, forged: bytes) -> None:
        """Require that it is found where it comes alone: else it is no matter of batches."""
        buf = bytearray(forged)
        crp = self._rig.run(self._sid(n), buf, self._work.backward(self._lengths[n]))
        require(crp.etype == EBADMSG, "D5", f"a forgery: {describe(crp)}, not EBADMSG")
        require(buf == forged, "D5", "the buffer of a forgery was changed")

    def _run(self, bufs: list[bytearray], desc: list[Any], way: int) -> list[Cryptop]:
        """Dispatch all, each but the last followed by another; wait for all."""
        rig, last = self._rig, len(bufs) - 1
        crps = [
            rig.request(self._sid(n), buf, desc[n], flags=CRYPTO_F_CBIMM | way)
            for n, buf in enumerate(bufs)
        ]
        self._hints.before(crps[last] if not way else None)
        try:
            return rig.sym.run_all(crps)
        finally:
            self._hints.more = False

    def _difference(self, n: int, answer: bytes) -> str:
        at, length = self._work.mac_at(self._lengths[n])
        right = self._sealed[n]
        if length and answer[at : at + length] != right[at : at + length]:
            return "another MAC than alone: each request of a batch has its own"
        return "other bytes than alone"


def _named(way: int) -> str:
    return "CRYPTO_F_BATCH" if way else "CRYPTO_HINT_MORE"


class Hints:
    """
    Stands between the framework and a driver not yet attached, and changes the hints.

    Attributes:
        more: Whether each request is said to be followed by another one.
    """

    def __init__(self) -> None:
        self.more = False
        self._last: Cryptop | None = None

    def stand_before(self, driver: Any) -> None:
        """Have the calls of the driver's process come through here."""
        intercept(driver, self._hinted)

    def before(self, last: Cryptop | None) -> None:
        """Say that another request follows each, up to this one; None: say nothing."""
        self._last, self.more = last, last is not None

    def _hinted(self, process: Process) -> Process:
        def hinted(crp: Cryptop, hint: int) -> int:
            if self.more:
                hint = 0 if crp is self._last else CRYPTO_HINT_MORE
                if crp is self._last:
                    self._last = None
            return process(crp, hint)

        return hinted


def timed(times: list[float]) -> Callable[[Process], Process]:
    """Return what has each call of a process timed, in seconds."""

    def wrap(process: Process) -> Process:
        def call(crp: Cryptop, hint: int) -> int:
            began = time.perf_counter()
            try:
                return process(crp, hint)
            finally:
                times.append(time.perf_counter() - began)

        return call

    return wrap
