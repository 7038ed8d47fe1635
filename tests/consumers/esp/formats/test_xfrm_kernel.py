"""The kernel's own tool takes what we write, and we take what it prints: the same SAs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from opencrypto_esp import Direction, SecurityAssociation, load_sas, write_sas
from opencrypto_esp.sa import Protocol
from tests.consumers.esp.formats.sas import NETWORKS, placed, suites, write
from tests.support import require_tool

pytestmark = pytest.mark.kernel("uml")

SPACE = "formats"


@pytest.fixture(scope="module", autouse=True)
def space() -> Iterator[None]:
    """Make a network namespace, in which nothing but our SAs is."""
    require_tool("ip", "iproute2")
    for module in ("xfrm_user", "esp4", "esp6", "ah4", "ah6", "ipcomp"):
        subprocess.run(["modprobe", module], check=True)
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    yield
    subprocess.run(["ip", "netns", "delete", SPACE], check=True)


def ip(*words: str) -> str:
    """Run the tool in the namespace."""
    call = ["ip", "-n", SPACE, *words]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make() -> list[SecurityAssociation]:
    """Return SAs of each suite, in modes, directions and IP versions by turns."""
    found = []
    for n, suite in enumerate(suites()):
        tunnel, version = n % 3 != 0, 4 if n % 2 else 6
        changes: dict[str, Any] = placed(version, tunnel=tunnel)
        if tunnel:
            changes["direction"] = (None, Direction.OUT, Direction.IN)[n % 3]
            # The kernel has one policy for the same packets.
            source = ip_network(f"10.{n}.0.0/16" if n % 5 else f"fd00:{n}::/32")
            other = NETWORKS[source.version][1]
            changes |= {"source": (source,), "destination": (other,)}
        if n % 4 == 0:
            changes |= {"esn": True, "replay_window": 64 + n}
            high = (5 << 32) + n
            changes |= {"replay_seq_hi": 7} if n % 3 == 2 else {"sequence": high}
        elif n % 4 == 1:
            changes |= {"replay_window": 32, "dscp": 0}
        elif n % 3 != 2:
            changes |= {"sequence": n}
        if version == 4 and n % 7 == 1:
            changes |= {"encap": "udp", "encap_source_port": 4500, "encap_destination_port": 1 + n}
        if tunnel and n % 3 == 1 and n % 8 == 2:
            changes["tfc_padding"] = 100 + n
        if "integrity" in suite and n % 2 == 0:
            suite = {name: value for name, value in suite.items() if name.startswith("integ")}
            suite["protocol"] = Protocol.AH
            changes.pop("tfc_padding", None)
        found.append(SecurityAssociation(spi=0x1000 + n, keys="written", **suite, **changes))
    return found


@pytest.mark.parametrize("options", [(), ("-s",), ("-o",), ("-s", "-o")], ids=" ".join)
def test_it_goes_into_the_kernel_and_comes_out(tmp_path: Path, options: tuple[str, ...]) -> None:
    sas = make()
    if "-s" not in options:
        # Without it the tool says nothing of the flag by which the DSCP is 0.
        sas = [replace(sa, dscp=None) for sa in sas]
    try:
        ip("-batch", str(write(tmp_path, write_sas(sas, "xfrm"), "batch")))
        states = ip(*options, "xfrm", "state")
        policies = ip(*options, "xfrm", "policy")
    finally:
        ip("xfrm", "state", "flush")
        ip("xfrm", "policy", "flush")
    apart = [write(tmp_path, states, "states"), write(tmp_path, policies, "policies")]
    together = write(tmp_path, states + policies)
    assert by_spi(load_sas(*apart)) == by_spi(load_sas(together)) == by_spi(sas)


def by_spi(sas: list[SecurityAssociation]) -> dict[int, SecurityAssociation]:
    """Return SAs by what tells these apart; the kernel has an order of its own."""
    return {sa.spi: sa for sa in sas}


def test_compression_inside_of_esp_is_a_row_of_sas(tmp_path: Path) -> None:
    """Policies of both ways name both, the inner one first; SAs follow as packets go."""
    here, there = "192.0.2.1", "192.0.2.2"
    keys = "enc cbc(aes) 0x000102030405060708090a0b0c0d0e0f auth hmac(sha1) 0x" + "ab" * 20
    lines = []
    for n, (one, other) in enumerate(((here, there), (there, here)), 1):
        ends = f"src {one} dst {other}"
        nets = f"src 10.{n}.0.0/16 dst 10.{3 - n}.0.0/16"
        lines += [
            f"xfrm state add {ends} proto comp spi 0x100{n} reqid 1 mode tunnel comp deflate",
            f"xfrm state add {ends} proto esp spi 0x200{n} reqid 1 mode transport {keys}",
            *(
                f"xfrm policy add {nets} dir {way} tmpl {ends} proto comp reqid 1 mode tunnel"
                " tmpl proto esp reqid 1 mode transport"
                for way in (("out",), ("in", "fwd"))[n - 1]
            ),
        ]
    try:
        ip("-batch", str(write(tmp_path, "\n".join(lines), "batch")))
        listed = ip("xfrm", "state") + ip("xfrm", "policy")
    finally:
        ip("xfrm", "state", "flush")
        ip("xfrm", "policy", "flush")
    for text in (listed, "\n".join(lines)):
        sas = by_spi(load_sas(write(tmp_path, text)))
        assert {sa.spi: (sa.protocol, sa.then) for sa in sas.values()} == {
            0x1001: (Protocol.IPCOMP, "0x00002001"),
            0x2001: (Protocol.ESP, ""),
            0x2002: (Protocol.ESP, "0x00001002"),
            0x1002: (Protocol.IPCOMP, ""),
        }
        assert sas[0x1001].source == (ip_network("10.1.0.0/16"),)


def test_what_is_not_taken_is_said(tmp_path: Path) -> None:
    """All that the tool prints is known, be it taken or not."""
    keys = "enc cbc(aes) 0x000102030405060708090a0b0c0d0e0f auth hmac(sha1) 0x" + "ab" * 20
    ends = "src 192.0.2.1 dst 192.0.2.2"
    lines = [
        f"xfrm state add {ends} proto esp spi 0x1001 reqid 4 mode tunnel mark 5 mask 0xff"
        " flag noecn nopmtudisc decap-dscp extra-flag oseq-may-wrap if_id 7 output-mark 0x9"
        f" tfcpad 100 limit byte-hard 1000000 {keys}",
        f"xfrm state add {ends} proto esp spi 0x1003 mode beet {keys}",
        f"xfrm state allocspi {ends} proto esp mode tunnel min 0x2000 max 0x2000",
        "xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 proto tcp dport 80 dir out"
        f" tmpl {ends} proto esp reqid 4 mode tunnel",
        "xfrm policy add src 10.0.0.0/8 dst 10.2.0.0/16 dir out action block",
    ]
    try:
        ip("-batch", str(write(tmp_path, "\n".join(lines), "batch")))
        listed = ip("-s", "xfrm", "state") + ip("-s", "xfrm", "policy")
    finally:
        ip("xfrm", "state", "flush")
        ip("xfrm", "policy", "flush")
    remarks: list[str] = []
    (sa,) = load_sas(write(tmp_path, listed), remark=remarks.append)
    assert (sa.spi, sa.direction, sa.encryption) == (0x1001, Direction.OUT, "aes-cbc")
    assert sa.integrity == "hmac-sha1-96"
    assert sa.source == tuple(NETWORKS[4][:1])
    said = " ".join(remarks)
    for word in ("noecn", "nopmtudisc", "decap-dscp", "oseq-may-wrap", "marks", "output marks",
                 "if_id", "mode beet", "no keys yet", "selectors by",
                 "policies that block"):  # fmt: skip
        assert word in said, word
    assert "not known" not in said
