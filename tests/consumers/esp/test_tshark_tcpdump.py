"""tshark and tcpdump decrypt what we protect: they know ESP, and have never seen this code."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import dpkt
import pytest

from opencrypto_esp import SecurityAssociation
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.packets import ipv4, ipv6, key, make_sa
from tests.support import require_tool

pytestmark = [pytest.mark.shared_framework, pytest.mark.slow]

TSHARK_ENCRYPTION = {
    "null": "NULL",
    "3des-cbc": "TripleDES-CBC [RFC2451]",
    "aes-cbc": "AES-CBC [RFC3602]",
    "aes-ctr": "AES-CTR [RFC3686]",
    "aes-gcm-16": "AES-GCM with 16 octet ICV [RFC4106]",
    "aes-gcm-12": "AES-GCM with 12 octet ICV [RFC4106]",
    "aes-gcm-8": "AES-GCM with 8 octet ICV [RFC4106]",
}
TSHARK_INTEGRITY = {
    "": "NULL",
    "hmac-md5-96": "HMAC-MD5-96 [RFC2403]",
    "hmac-sha1-96": "HMAC-SHA-1-96 [RFC2404]",
    "hmac-sha2-256-128": "HMAC-SHA-256-128 [RFC4868]",
    "hmac-sha2-384-192": "HMAC-SHA-384-192 [RFC4868]",
    "hmac-sha2-512-256": "HMAC-SHA-512-256 [RFC4868]",
    "hmac-sha2-256-96": "HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]",
}

# A UDP header without checksum, to ports that no dissector claims.
PAYLOADS = [
    bytes.fromhex("c350c351") + (8 + n).to_bytes(2) + bytes(2) + bytes(range(n))
    for n in (0, 1, 2, 3, 15, 16, 100, 255)
]


def record(path: Path, packets: list[bytes]) -> None:
    """Write packets as a capture of raw IP."""
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=101)
        for n, packet in enumerate(packets):
            writer.writepkt(packet, ts=float(n))


def protect_all(make_esp: MakeEsp, sa: SecurityAssociation, packets: list[bytes]) -> list[bytes]:
    """Return the packets with ESP."""
    made = [result.packet for result in make_esp(sa).protect_many(packets)]
    assert None not in made
    return [packet for packet in made if packet is not None]


def run(home: Path, *call: str) -> str:
    """Run a tool with nothing of the user's configuration."""
    env = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "TZ": "UTC"}
    done = subprocess.run(call, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tshark(home: Path, capture: Path, sa: SecurityAssociation, version: int) -> list[list[str]]:
    """Return, for each packet, what tshark finds: content, next header, whether the ICV is good."""
    keys = [f"0x{key.hex()}" if key else "" for key in (sa.encryption_key, sa.integrity_key)]
    row = (
        f"IPv{version}", "*", "*", f"{sa.spi:#010x}",
        TSHARK_ENCRYPTION[sa.encryption], keys[0], TSHARK_INTEGRITY[sa.integrity], keys[1],
    )  # fmt: skip
    out = run(
        home,
        require_tool("tshark", "tshark"), "-r", str(capture), "-n", "-T", "fields",
        "-o", "esp.enable_encryption_decode:TRUE",
        "-o", "esp.enable_authentication_check:TRUE",
        "-o", "uat:esp_sa:" + ",".join(f'"{word}"' for word in row),
        "-e", "esp.contained_data", "-e", "esp.protocol", "-e", "esp.icv_good",
    )  # fmt: skip
    return [line.split("\t") for line in out.splitlines()]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tunnel", [False, True], ids=["transport", "tunnel"])
@pytest.mark.parametrize(
    ("encryption", "integrity"),
    [(name, "") for name in ("aes-gcm-16", "aes-gcm-12", "aes-gcm-8")]
    + [("aes-cbc", integrity) for integrity in TSHARK_INTEGRITY if integrity]
    + [(encryption, "hmac-sha1-96") for encryption in ("null", "3des-cbc", "aes-ctr")],
)
def test_tshark_shows_the_original(
    make_esp: MakeEsp, tmp_path: Path, encryption: str, integrity: str, tunnel: bool, version: int
) -> None:
    sa = make_sa(encryption, integrity, tunnel=version if tunnel else 0)
    plain = [ipv4(p) if version == 4 else ipv6(p) for p in PAYLOADS]
    record(tmp_path / "esp.pcap", protect_all(make_esp, sa, plain))
    rows = tshark(tmp_path, tmp_path / "esp.pcap", sa, version)
    assert len(rows) == len(plain)
    inner = plain if tunnel else PAYLOADS
    protocol = {4: "0x04", 6: "0x29"}[version] if tunnel else "0x11"
    for (content, following, good), expected in zip(rows, inner, strict=True):
        assert bytes.fromhex(content) == expected
        assert following == protocol
        if integrity:
            assert good in {"1", "True"}


@pytest.mark.parametrize("version", [4, 6])
def test_tshark_finds_it_in_udp(make_esp: MakeEsp, tmp_path: Path, version: int) -> None:
    sa = make_sa("aes-gcm-16", tunnel=version, encap="udp")
    plain = [ipv4(p) if version == 4 else ipv6(p) for p in PAYLOADS]
    record(tmp_path / "esp.pcap", protect_all(make_esp, sa, plain))
    rows = tshark(tmp_path, tmp_path / "esp.pcap", sa, version)
    assert [bytes.fromhex(content) for content, *_ in rows] == plain
    # Over IPv6 the checksum of UDP is looked at too.
    sums = run(
        tmp_path, require_tool("tshark", "tshark"), "-r", str(tmp_path / "esp.pcap"), "-T",
        "fields", "-o", "udp.check_checksum:TRUE", "-e", "udp.checksum.status",
    )  # fmt: skip
    assert {line.split(",")[0] for line in sums.split()} == {"3" if version == 4 else "1"}


@pytest.mark.parametrize(
    ("encryption", "name", "length"), [("aes-cbc", "aes128", 16), ("3des-cbc", "3des-cbc", 24)]
)
def test_tcpdump_shows_the_original(
    make_esp: MakeEsp, tmp_path: Path, encryption: str, name: str, length: int
) -> None:
    """`tcpdump -E` prints the inner packet; with -vv its checksum and length too."""
    sa = make_sa(encryption, "hmac-sha1-96", tunnel=4, encryption_key=key(length))
    plain = [ipv4(payload) for payload in PAYLOADS]
    record(tmp_path / "esp.pcap", protect_all(make_esp, sa, plain))
    record(tmp_path / "plain.pcap", plain)
    tool = require_tool("tcpdump", "tcpdump")
    secret = f"{sa.spi:#x}@192.0.2.2 {name}-hmac96:0x{sa.encryption_key.hex()}"
    shown = run(tmp_path, tool, "-r", str(tmp_path / "esp.pcap"), "-nnvv", "-E", secret)
    expected = run(tmp_path, tool, "-r", str(tmp_path / "plain.pcap"), "-nnvv")
    # Of an inner packet tcpdump prints the same words, on the same line as the outer's.
    inner = [re.sub(r"\s+", " ", words).strip() for words in _after(shown, r"length \d+: IP ")]
    assert inner == [re.sub(r"\s+", " ", words).strip() for words in _after(expected, r"IP ")]
    assert len(inner) == len(plain)


def _after(text: str, mark: str) -> list[str]:
    """Return what follows the mark in each packet's lines."""
    packets = re.split(r"^\d\d:\d\d:\d\d\.\d+ ", text, flags=re.MULTILINE)[1:]
    return [re.split(mark, packet, maxsplit=1)[1] for packet in packets]
