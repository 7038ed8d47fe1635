"""
What `opencrypto speed` says, against a loop written by hand: kept requests, dispatched anew.

In turns, in short rounds: the median of their ratios is shown. 1.00 is as fast as by hand; what the
command takes more is the way in which it hears that a request is answered.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence

import pytest

from opencrypto import Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.cli.rates import Way, chain_of, consumers, measure
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_F_CBIMM,
)
from opencrypto.xform import FACTS, Kind
from tests.benchmarks.measure import size_name, table

pytestmark = pytest.mark.bench

SIZES = (64, 1024, 16384, 1 << 20)
SECONDS = 0.02
ROUNDS = 25
GIVEN = CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT


def test_the_command_measures_what_a_loop_does() -> None:
    with Framework(control=False) as framework:
        rows = [
            [f"{word}, {driver}", *_row(framework, word, driver)]
            for word in ("aes-128-cbc", "aes-128-gcm", "sha2-256")
            for driver in ("openssl", "swcrypto")
        ]
    heads = ["rate by the command, by hand being 1.00", *map(size_name, SIZES)]
    table("opencrypto speed against a loop by hand", heads, rows)


def _row(framework: Framework, word: str, driver: str) -> list[str]:
    chain = chain_of(word).inis
    cells = []
    for size in SIZES:
        sid = framework.newsession(chain, driver=driver)
        by_hand = _by_hand(framework, sid, chain, size)
        with consumers(framework, chain, driver, size, Way(SECONDS)) as them:
            ratios = [by_hand() ** -1 * measure(them, SECONDS).per_second for _ in range(ROUNDS)]
        framework.freesession(sid)
        cells.append(f"{statistics.median(ratios):.2f}")
    return cells


def _by_hand(
    framework: Framework, sid: int, chain: Sequence[Cryptoini], size: int
) -> Callable[[], float]:
    """Return a loop that tells how many requests it has done in a second."""
    buf = bytearray(os.urandom(16 + size + 64))
    crp = Cryptop(sid, buf, callback=lambda crp: None, flags=CRYPTO_F_CBIMM)
    first, *rest = chain
    if FACTS[first.alg].kind is Kind.HASH:
        crp.desc = [Cryptodesc(16, size, 16 + size, alg=first.alg)]
    else:
        iv = bytes(12 if rest else 16)
        crp.desc = [Cryptodesc(16, size, 0, GIVEN, alg=first.alg, iv=iv)]
        crp.desc += [Cryptodesc(0, 0, 16 + size, alg=each.alg) for each in rest]
    crp.ilen = size
    dispatch = framework.dispatch

    def loop() -> float:
        count, begun = 0, time.perf_counter()
        end = begun + SECONDS
        while (now := time.perf_counter()) < end:
            for _ in range(1 if size > 100_000 else 50):
                dispatch(crp)
                count += 1
        crp.check()
        return count / (now - begun)

    return loop
