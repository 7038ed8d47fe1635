"""The capture is what tests/data/README.md says: its other readers rely on that."""

import hashlib
import io
import re
import socket
from collections import Counter
from pathlib import Path

import dpkt
import pytest

DATA = Path(__file__).parents[1] / "data"
CAPTURE = (DATA / "capture.pcap").read_bytes()
README = (DATA / "README.md").read_text()
HOSTS = {socket.inet_aton("10.9.0.1"), socket.inet_aton("10.9.0.2")}


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """Read every frame, by the library that the command uses."""
    reader = dpkt.pcap.UniversalReader(io.BytesIO(CAPTURE))
    assert reader.datalink() == dpkt.pcap.DLT_EN10MB
    return [frame for _, frame in reader]


def test_the_readme_describes_this_file(frames: list[bytes]) -> None:
    assert hashlib.sha256(CAPTURE).hexdigest() in README
    assert f"**{len(frames)}**" in README
    kinds = Counter(dpkt.ethernet.Ethernet(frame).data.p for frame in frames)
    assert set(kinds) == {dpkt.ip.IP_PROTO_TCP, dpkt.ip.IP_PROTO_UDP, dpkt.ip.IP_PROTO_ICMP}
    table = {int(number) for number in re.findall(r"\| (\d+) \|$", README, re.MULTILINE)}
    assert table == set(kinds.values())


def test_it_is_real_traffic_of_two_hosts(frames: list[bytes]) -> None:
    assert len(frames) >= 2000
    assert len(CAPTURE) < 3_000_000
    assert max(map(len, frames)) == 14 + 1500, "full packets, and none that no wire could carry"
    for frame in frames:
        packet = dpkt.ethernet.Ethernet(frame).data
        assert isinstance(packet, dpkt.ip.IP)
        assert {packet.src, packet.dst} == HOSTS
        assert len(frame) == 14 + packet.len, "cut short, or padded"
        assert dpkt.in_cksum(frame[14:34]) == 0, "the checksum of an offload"
