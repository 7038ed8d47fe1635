"""What a request costs with one of each, and with a hundred drivers, 100 000 sessions, requests."""

from __future__ import annotations

import errno
import itertools
import random
import time
from collections.abc import Callable, Sequence

import pytest

import opencrypto_openssl
from opencrypto import Capability, Cryptodesc, Cryptoini, Cryptop, Driver, Framework
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRYPTO_AES_128_GMAC,
    CRYPTO_AES_GCM_16,
    CRYPTO_F_BATCH,
    CRYPTO_F_CBIMM,
    CRYPTO_NULL_CBC,
)
from opencrypto.testing import ManualInterrupt
from tests.benchmarks.measure import Case, compare, table

pytestmark = pytest.mark.bench

DRIVERS = 100
SESSIONS = 100_000
QUEUED = 100_000

INI = Cryptoini(CRYPTO_NULL_CBC)


class Idle(Driver):
    """Completes each request and does nothing else: what is left is the framework."""

    def __init__(self, number: int = 0) -> None:
        self.capabilities = {CRYPTO_NULL_CBC: Capability()}
        self.name = f"idle{number}"

    def newsession(self, ini: Sequence[Cryptoini]) -> tuple[int, Callable[[Cryptop, int], int]]:
        return self.newlid(), self.process

    def process(self, crp: Cryptop, hint: int) -> int:
        self.done(crp)
        return 0


def callback(crp: Cryptop) -> None:
    if crp.etype:
        raise AssertionError(errno.errorcode[crp.etype])


def request(flags: int = CRYPTO_F_CBIMM) -> Cryptop:
    desc = [Cryptodesc(alg=CRYPTO_NULL_CBC)]
    return Cryptop(0, bytearray(8), desc, callback, flags)


def in_turn(framework: Framework, sids: Sequence[int]) -> Case:
    """Dispatch one request to session after session."""
    crp, dispatch = request(), framework.dispatch
    turn = itertools.cycle(sids)

    def case() -> None:
        crp.sid = next(turn)
        dispatch(crp)

    return case


def per_request_batched(count: int) -> float:
    """Queue so many requests, then drain; return seconds a request, of the best of three."""
    best = float("inf")
    with Framework(plugins=[Idle()], interrupt=ManualInterrupt) as framework:
        sid = framework.newsession(INI)
        requests = [request(CRYPTO_F_CBIMM | CRYPTO_F_BATCH) for _ in range(count)]
        for crp in requests:
            crp.sid = sid
        repeats = max(3, 20_000 // count)
        for _ in range(repeats):
            start = time.perf_counter()
            for crp in requests:
                framework.dispatch(crp)
            framework._dispatcher.run_requests()
            best = min(best, (time.perf_counter() - start) / count)
            assert not any(crp.state for crp in requests)
    return best


def sealing(framework: Framework, sids: Sequence[int]) -> Case:
    """Seal 64 bytes with AES-128-GCM in session after session."""
    cipher = Cryptodesc(16, 64, 8, CRD_F_ENCRYPT, alg=CRYPTO_AES_GCM_16)
    desc = [cipher, Cryptodesc(0, 8, 80, alg=CRYPTO_AES_128_GMAC)]
    crp = Cryptop(0, bytearray(96), desc, callback, CRYPTO_F_CBIMM)
    dispatch, turn = framework.dispatch, itertools.cycle(sids)

    def case() -> None:
        crp.sid = next(turn)
        dispatch(crp)

    return case


def test_scale() -> None:
    rows = []
    many = [Idle(number) for number in range(DRIVERS)]
    one, hundred = Framework(plugins=[Idle()]), Framework(plugins=many)
    crowded = Framework(plugins=[Idle()])
    with one, hundred, crowded:
        single = [one.newsession(INI)]
        spread = [hundred.newsession(INI, driver=driver) for driver in many]
        start = time.perf_counter()
        sids = [crowded.newsession(INI) for _ in range(SESSIONS)]
        opening = (time.perf_counter() - start) / SESSIONS * 1e6
        random.Random(1).shuffle(sids)
        result = compare(
            {
                "one of each": in_turn(one, single),
                f"{DRIVERS} drivers, one in use": in_turn(hundred, spread[50:51]),
                f"{DRIVERS} drivers in turn": in_turn(hundred, spread),
                f"{SESSIONS} sessions, one in use": in_turn(crowded, sids[:1]),
                f"{SESSIONS} sessions, 1000 in turn": in_turn(crowded, sids[:1000]),
                f"{SESSIONS} sessions, all in turn": in_turn(crowded, sids),
            }
        )
        for name in result.times:
            dearer = 1 / result.ratio(name, "one of each")
            rows.append([name, f"{result.us(name):.2f}", f"{dearer:.2f}"])
        rows += sealed(one, crowded)
        start = time.perf_counter()
        for sid in sids:
            crowded.freesession(sid)
        freeing = (time.perf_counter() - start) / SESSIONS * 1e6
    alone, full = per_request_batched(1) * 1e6, per_request_batched(QUEUED) * 1e6
    rows.append(["one request queued, drained", f"{alone:.2f}", "1.00"])
    rows.append([f"{QUEUED} requests queued, drained", f"{full:.2f}", f"{full / alone:.2f}"])
    table("Scale: drivers that do nothing, unless said", ["", "µs", "times one of each"], rows)
    print(f"\nOpening a session: {opening:.1f} µs, freeing it: {freeing:.1f} µs.")


def sealed(one: Framework, crowded: Framework) -> list[list[str]]:
    """Compare real requests, among few sessions and among many."""
    (driver,) = opencrypto_openssl.opencrypto_drivers()
    (other,) = opencrypto_openssl.opencrypto_drivers()
    one.attach(driver)
    crowded.attach(other)
    inis = [Cryptoini(CRYPTO_AES_GCM_16, bytes(20)), Cryptoini(CRYPTO_AES_128_GMAC, bytes(20))]
    sids = [crowded.newsession(inis) for _ in range(1000)]
    cases = {
        "AES-GCM of 64 B, one of each": sealing(one, [one.newsession(inis)]),
        f"the same, {SESSIONS} sessions, one in use": sealing(crowded, sids[:1]),
        f"the same, {SESSIONS} sessions, 1000 in turn": sealing(crowded, sids),
    }
    result = compare(cases)
    base = next(iter(cases))
    return [
        [name, f"{result.us(name):.2f}", f"{1 / result.ratio(name, base):.2f}"] for name in cases
    ]
