"""Packets per second, against scapy's, in one run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import pytest

from opencrypto import Framework
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import ipv4, key, make_sa
from tests.consumers.esp.test_scapy import EXPERIMENT, parse, theirs

pytestmark = pytest.mark.bench

ROUNDS = 7


def rate(work: Callable[[], object], packets: int) -> float:
    """Return packets per second, of the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return packets / best


@pytest.mark.parametrize("size", [64, 1400])
@pytest.mark.parametrize(("encryption", "length"), [("aes-cbc", 16), ("aes-gcm-16", 20)])
def test_protect_is_20_times_scapys(encryption: str, length: int, size: int) -> None:
    packets = [ipv4(bytes(size), protocol=EXPERIMENT) for _ in range(1000)]
    sa = make_sa(encryption, encryption_key=key(length))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = theirs(sa, 0)
        # Taking the packets apart is not counted against scapy.
        parsed = [parse(packet) for packet in packets[:200]]
        scapys = rate(lambda: [peer.encrypt(packet) for packet in parsed], len(parsed))
    with Framework() as framework, Ends(framework, [sa]) as esp:
        ours = rate(lambda: [esp.protect(packet) for packet in packets], len(packets))
        many = rate(lambda: list(esp.protect_many(packets)), len(packets))
        wires = [esp.protect(packet).packet or b"" for packet in packets * (ROUNDS + 1)]
        supply = iter(wires)
        back = rate(lambda: [esp.unprotect(next(supply)) for _ in packets], len(packets))
        assert esp.counters().unprotected.lost == 0
    print(
        f"\n{encryption:<11} {size:>5} B  scapy {scapys:>7,.0f}/s  protect {ours:>8,.0f}/s "
        f"({ours / scapys:.0f} x)  protect_many {many:>8,.0f}/s  unprotect {back:>8,.0f}/s"
    )
    assert ours >= 20 * scapys
