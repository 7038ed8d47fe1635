"""Segments: cut as a network card cuts them, and put together again; scapy judges the checksums."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencrypto_esp.gateway import offload
from opencrypto_esp.gateway.checksum import complement, pseudo, total
from opencrypto_esp.gateway.offload import HEADER, BadFrame, joined, packets
from tests.support import require_module

scapy = require_module("scapy.all", "scapy")

TIMESTAMPS = ("Timestamp", (7, 9))


def tcp(version: int, payload: bytes, **fields: object) -> bytes:
    """Make a packet, its checksums right."""
    outer = (
        scapy.IP(src="10.9.0.1", dst="10.9.0.2", id=65534, flags="DF")
        if version == 4
        else scapy.IPv6(src="fd09::1", dst="fd09::2", fl=7)
    )
    options = [TIMESTAMPS, ("NOP", None), ("NOP", None)]
    fields = {"sport": 1000, "dport": 2000, "flags": "A", "ack": 5, "options": options, **fields}
    return bytes(outer / scapy.TCP(**fields) / scapy.Raw(payload))


def offloaded(version: int, payload: bytes, size: int, **fields: object) -> bytes:
    """Make what the device hands over: the sum of the pseudo-header in the checksum's place."""
    packet = bytearray(tcp(version, payload, **fields))
    head = 20 if version == 4 else 40
    pair = bytes(packet[12:20] if version == 4 else packet[8:40])
    partial = pseudo(pair, 6, len(packet) - head) % 0xFFFF
    packet[head + 16 : head + 18] = partial.to_bytes(2)
    payload_at = len(packet) - len(payload)
    kind = offload.TCP4 if version == 4 else offload.TCP6
    header = HEADER.pack(offload.NEEDS_CHECKSUM, kind, payload_at, size, head, 16)
    return header + bytes(packet)


def assert_sound(packet: bytes) -> None:
    """See that scapy computes the same checksums."""
    parsed = scapy.IP(packet) if packet[0] >> 4 == 4 else scapy.IPv6(packet)
    again = parsed.copy()
    for layer in (again, again[scapy.TCP]):
        for field in ("chksum", "len", "plen"):
            if field in layer.fields:
                delattr(layer, field)
    assert bytes(again) == packet


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("octets", [1, 999, 1000, 1001, 7777])
def test_segments_are_packets_like_any_other(version: int, octets: int) -> None:
    payload = random.Random(octets).randbytes(octets)
    made = packets(offloaded(version, payload, 1000, seq=0xFFFFFF00, flags="PAFC"))
    parsed = [scapy.IP(each) if version == 4 else scapy.IPv6(each) for each in made]
    assert b"".join(bytes(each[scapy.TCP].payload) for each in parsed) == payload
    at = 0xFFFFFF00
    for number, (each, packet) in enumerate(zip(parsed, made, strict=True)):
        assert_sound(packet)
        segment = each[scapy.TCP]
        assert segment.seq == at & 0xFFFFFFFF
        at += 1000
        first, last = number == 0, number == len(made) - 1
        assert ("C" in segment.flags, "F" in segment.flags, "P" in segment.flags) == (
            first, last, last,
        )  # fmt: skip
        if version == 4:
            assert each.id == (65534 + number) & 0xFFFF


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("payload", [b"", b"x", bytes(1000), b"\xff\xfe" * 700])
def test_a_checksum_that_was_left_open_is_finished(version: int, payload: bytes) -> None:
    frame = bytearray(offloaded(version, payload, 0))
    frame[1] = 0
    (made,) = packets(bytes(frame))
    assert_sound(made)


def test_a_udp_checksum_of_zero_is_written_as_all_ones() -> None:
    packet = bytearray(bytes(scapy.IP(src="10.0.0.1", dst="10.0.0.2") / scapy.UDP() / b"ab"))
    partial = pseudo(bytes(packet[12:20]), 17, len(packet) - 20) % 0xFFFF
    packet[26:28] = partial.to_bytes(2)
    # What makes the sum all ones.
    packet[28:30] = bytes(2)
    packet[28:30] = complement(total(packet[20:])).to_bytes(2)
    (made,) = packets(HEADER.pack(1, 0, 0, 0, 20, 6) + bytes(packet))
    assert made[26:28] == b"\xff\xff"


@given(
    st.sampled_from([4, 6]),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3000)), min_size=1, max_size=6),
    st.integers(200, 1400),
    st.booleans(),
)
def test_what_is_put_together_is_what_was_there(
    version: int, pieces: list[tuple[int, int]], size: int, interrupted: bool
) -> None:
    """Two streams, in turns; cut again, each has its packets in their order and nothing else."""
    at = [1, 1]
    sent: list[bytes] = []
    for stream, octets in pieces:
        payload = random.Random(octets).randbytes(octets)
        if payload:
            frame = offloaded(version, payload, size, seq=at[stream], sport=1000 + stream)
            sent += packets(frame)
        at[stream] += octets + (interrupted and stream)
    sent += [tcp(version, b"", seq=at[0]), bytes(scapy.IP() / scapy.UDP() / b"x"), b"", b"\x45"]
    frames = [b"".join(parts) for parts in joined(sent)]
    found: list[bytes] = []
    for frame in frames:
        found += packets(frame)
    for which in (1000, 1001, 0):
        theirs = [_known(each) for each in sent if _stream(each) == which]
        assert [_known(each) for each in found if _stream(each) == which] == theirs
    assert len(frames) <= len(sent)


def _stream(packet: bytes) -> int:
    at = {4: 20, 6: 40}.get(packet[0] >> 4 if packet else 0, 0)
    port = int.from_bytes(packet[at : at + 2]) if at and len(packet) > at + 20 else 0
    return port if port in {1000, 1001} else 0


def _known(packet: bytes) -> bytes:
    """Leave out what the one who cuts chooses: the identification, and checksums with it."""
    return packet[:4] + packet[6:10] + packet[12:] if packet[:1] == b"\x45" else packet


@pytest.mark.parametrize("version", [4, 6])
def test_long_streams_become_few_frames(version: int) -> None:
    sent = packets(offloaded(version, bytes(60000), 1400))
    (parts,) = joined(sent)
    assert len(sent) == 43
    assert b"".join(parts)[HEADER.size :][:8] == offloaded(version, bytes(60000), 1400)[10:18]


@pytest.mark.parametrize("version", [4, 6])
def test_damaged_packets_are_handed_on_as_they_are(version: int) -> None:
    """The kernel believes a frame that was put together; so nothing damaged goes into one."""
    sent = packets(offloaded(version, bytes(4000), 1000))
    for place in range(0, len(sent[1]), 7):
        damaged = bytearray(sent[1])
        damaged[place] ^= 0x10
        frames = [b"".join(parts) for parts in joined([sent[0], bytes(damaged), sent[2]])]
        assert offload.PLAIN + bytes(damaged) in frames


@given(st.binary(max_size=200), st.integers(0, 255), st.sampled_from([0, 1, 4, 5, 0x81]),
       st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))  # fmt: skip
def test_noise_is_refused_and_nothing_worse(
    noise: bytes, flags: int, kind: int, size: int, start: int, at: int
) -> None:
    try:
        made = packets(HEADER.pack(flags, kind, 0, size, start, at) + noise)
    except BadFrame:
        return
    list(joined(made))


@given(st.lists(st.binary(max_size=120).map(lambda tail: b"\x45" + tail), max_size=5),
       st.lists(st.binary(max_size=120).map(lambda tail: b"\x60" + tail), max_size=5))  # fmt: skip
def test_noise_that_was_authenticated_is_handed_on(four: list[bytes], six: list[bytes]) -> None:
    noise = four + six
    assert [b"".join(parts) for parts in joined(noise)] == [offload.PLAIN + each for each in noise]


@given(st.binary(max_size=3000))
def test_the_checksum_is_the_sum_of_words(data: bytes) -> None:
    padded = data + b"\0" * (len(data) & 1)
    words = sum(int.from_bytes(padded[n : n + 2]) for n in range(0, len(padded), 2))
    # 0 and all ones are the same sum; the one of the two that is no remainder is never given.
    assert total(data) == words % 0xFFFF
    assert (words + complement(total(data))) % 0xFFFF == 0
