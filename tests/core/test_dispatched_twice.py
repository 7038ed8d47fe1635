"""
One request that two threads dispatch at the same moment.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter

from opencrypto import (
    CRK_MOD_EXP,
    CRYPTO_F_BATCH,
    BusyError,
    Cryptkop,
    Cryptop,
    Framework,
)
from tests.core.storms import (
    ALGS,
    FLAGS,
    MARKS,
    XORED,
    KeyToy,
    until,
)
from tests.toy import Toy, newsession, request, the_session

pytestmark = MARKS


def test_two_threads_that_dispatch_one_request_transform_it_once() -> None:
    """One of them is told that it is dispatched already; for the session nothing is changed."""
    toy = Toy(algs=ALGS)
    interval = sys.getswitchinterval()
    outcomes: Counter[str] = Counter()
    rounds = 400
    with Framework(plugins=[toy]) as fw:
        sid = newsession(fw)
        for flags in FLAGS:
            answers: list[Cryptop] = []
            crps = [request(sid, answers.append, flags=flags) for _ in range(rounds)]
            barrier = threading.Barrier(2)

            def race(crps: list[Cryptop] = crps, barrier: threading.Barrier = barrier) -> None:
                barrier.wait(10)
                for crp in crps:
                    try:
                        fw.dispatch(crp)
                        outcomes["taken"] += 1
                    except BusyError:
                        outcomes["busy"] += 1

            toy.hold = not flags & CRYPTO_F_BATCH  # so that none is idle again before the other
            threads = [threading.Thread(target=race) for _ in range(2)]
            sys.setswitchinterval(1e-6)
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(20)
            finally:
                sys.setswitchinterval(interval)
            toy.answer()
            assert until(lambda answers=answers: len(answers) >= rounds)  # type: ignore[misc]
            if toy.hold:
                assert all(crp.buf == XORED for crp in crps)
                assert len(answers) == rounds
                toy.hold = False
            session = the_session(fw, sid)
            assert until(lambda: session.straight)  # noqa: B023
            assert (session.queued, session.inflight) == (0, set())
    assert outcomes["busy"] >= 2 * rounds
    assert fw.driver_bugs.count == 0


def test_two_threads_that_dispatch_one_key_request_have_it_done_once() -> None:
    """Likewise."""
    held: list[Cryptkop] = []

    class Holds(KeyToy):
        def kprocess(self, krp: Cryptkop, hint: int) -> int:
            held.append(krp)
            return 0

    driver, interval = Holds(), sys.getswitchinterval()
    answers: list[Cryptkop] = []
    busy: list[int] = []
    krps = [Cryptkop.of(CRK_MOD_EXP, [3, 5, 7], [8], answers.append) for _ in range(300)]
    with Framework(plugins=[driver]) as fw:
        barrier = threading.Barrier(2)

        def race() -> None:
            barrier.wait(10)
            for krp in krps:
                try:
                    fw.kdispatch(krp)
                except BusyError:
                    busy.append(1)

        threads = [threading.Thread(target=race) for _ in range(2)]
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        finally:
            sys.setswitchinterval(interval)
        assert len(held) == len(krps) == len(busy)
        for krp in held:
            driver.kdone(krp)
        assert until(lambda: len(answers) == len(krps))
