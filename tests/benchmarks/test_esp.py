"""Packets per second, against scapy's, in one run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from opencrypto import Framework
from opencrypto_esp.capture import FORMATS, Passage, read_capture
from tests.consumers.esp.capture.files import ETHERNET, interface, packet, pcap, section
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import ipv4, key, make_sa
from tests.consumers.esp.test_scapy import EXPERIMENT, parse, theirs

pytestmark = pytest.mark.bench

ROUNDS = 7


def rate(
    work: Callable[[], object],
    packets: int,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return packets per second, of the best of several rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = clock()
        work()
        best = min(best, clock() - start)
    return packets / best


@pytest.mark.parametrize("size", [64, 1400])
@pytest.mark.parametrize(("encryption", "length"), [("aes-cbc", 16), ("aes-gcm-16", 20)])
def test_protect_against_scapy(encryption: str, length: int, size: int) -> None:
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


@pytest.mark.parametrize("kind", FORMATS)
def test_from_capture_to_capture(tmp_path: Path, kind: str) -> None:
    """File to file: reading, ESP, writing; in processor time, whatever else the machine does."""
    many = 2000
    frame = ETHERNET + b"\x08\x00" + ipv4(bytes(1400 - 28))
    if kind == "pcap":
        content = pcap(*[frame] * many)
    else:
        content = section() + interface() + packet(frame) * many
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(content)
    sa = make_sa("aes-gcm-16", encryption_key=key(20))
    with Framework() as framework, Ends(framework, [sa]) as esp:

        def whole() -> None:
            with source.open("rb", buffering=0) as file, target.open("wb") as out:
                reader = read_capture(file, "in")
                writer = FORMATS[kind](out, "out")
                passage = Passage(writer, esp.protect, inbound=False, pass_others=False)
                passage.run(reader.batches())
                writer.finish()
                assert passage.frames == many

        packets = [frame[14:]] * many
        captures = rate(whole, many, 40, time.process_time)
        alone = rate(lambda: [esp.protect(each) for each in packets], many, 40, time.process_time)
        assert set(esp.counters().protected.drivers) == {"openssl"}
    print(f"\n{kind:<7} {captures:>8,.0f}/s from capture to capture, {alone:>8,.0f}/s of ESP alone")
