"""
Our gateway on one host, the kernel's own IPsec on the other.

``make gateway`` sends 20 MiB each way with every suite, and everything over both IP versions; the
everyday run less.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.consumers.esp.gateway import test_live
from tests.consumers.esp.gateway.net import MIB, Running, Table, hosts, pair, sa_file, transfer, tun
from tests.consumers.esp.gateway.xfrm import SUITES, Kernel, load_modules

pytestmark = [pytest.mark.kernel("uml"), pytest.mark.timeout(900)]

LONG: Final = bool(os.environ.get("OPENCRYPTO_GATEWAY_LONG"))
OCTETS: Final = 20 * MIB if LONG else MIB // 4
LOAD: Final = 20 * MIB if LONG else 3 * MIB
VERSIONS: Final = (4, 6) if LONG else (4,)


class Link:
    """A gateway on one host, whose SAs are replaced from test to test, and the other's kernel."""

    def __init__(self, held: ExitStack, folder: Path, *, udp: bool) -> None:
        load_modules()
        self.one, self.two = held.enter_context(hosts())
        tun(self.one)
        self.kernel = Kernel(self.two, self.one, udp=udp)
        if udp:
            held.enter_context(self.kernel.encapsulating())
        self._file = folder / "sa.toml"
        self._numbers = itertools.count(1)
        self.tables = self.agree()
        sa_file(self._file, self.tables[0])
        more = ("--udp", 4500) if udp else ("--mark", 7)
        self.ours = held.enter_context(
            Running(self.one, self._file, folder / "state", "--test-keys", *more)
        )
        self._before: dict[str, object] = {}

    def agree(self, **settings: object) -> tuple[list[Table], list[Table]]:
        """Make new SAs for each end."""
        number = next(self._numbers)
        return pair(self.one, self.two, generation=number, **settings)  # type: ignore[arg-type]

    def begin(self, **settings: object) -> None:
        """Have both ends take new SAs, and nothing of the old ones."""
        self.take(self.agree(**settings))

    def take(self, tables: tuple[list[Table], list[Table]]) -> None:
        """Have both ends take these SAs."""
        self.tables = tables
        self.kernel.flush()
        self.kernel.add(tables[1])
        self.kernel.policies(tables[1])
        sa_file(self._file, tables[0])
        self.ours.hang_up("took over")
        self.kernel_before = self.kernel.errors()
        self._before = dict(self.ours.numbers())

    def renew(self) -> None:
        """Replace all SAs as a key exchange does: whoever receives is ready before who sends."""
        old, new = self.tables, self.agree()
        self.kernel.add(new[1], "in")
        sa_file(self._file, new[0])
        self.ours.hang_up("took over")
        self.kernel.add(new[1], "out")
        self.kernel.delete(old[1], "out")
        time.sleep(0.2)
        self.kernel.delete(old[1], "in")
        self.tables = new

    def check(self) -> None:
        """See that neither end has lost anything since it began."""
        assert self.kernel.errors() == self.kernel_before
        assert not self.lost()

    def lost(self) -> dict[str, int]:
        """Return what we have lost since it began, by reason."""
        found = test_live.lost(self.ours)
        # What the kernel says on its own on a new device, to all routers say, has no SA.
        found.pop("protected.dropped.no_sa", None)
        before = self._before
        since = {name: value - int(str(before.get(name, 0))) for name, value in found.items()}
        return {name: value for name, value in since.items() if value}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Return a link whose ESP is a protocol of IP."""
    with ExitStack() as held:
        yield Link(held, tmp_path_factory.mktemp("raw"), udp=False)


@pytest.fixture(scope="module")
def nat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Return one whose ESP is in UDP."""
    with ExitStack() as held:
        yield Link(held, tmp_path_factory.mktemp("nat"), udp=True)


def both_ways(link: Link, octets: int = OCTETS, inner: int = 4) -> None:
    """Upload and download."""
    transfer(link.one, link.two, link.two.inner(inner), octets, octets, timeout=600)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("version", VERSIONS)
def test_each_suite(raw: Link, suite: str, version: int) -> None:
    raw.begin(suite=SUITES[suite], version=version)
    for inner in (4, 6):
        raw.one.ping(raw.two.inner(inner), 1)
    both_ways(raw)
    raw.check()


@pytest.mark.parametrize("suite", ["gcm-128", "cbc-hmac-sha2-256-128"])
@pytest.mark.parametrize("version", [4, 6])
def test_extended_sequence_numbers(raw: Link, suite: str, version: int) -> None:
    raw.begin(suite=SUITES[suite], version=version, esn=True)
    raw.two.ping(raw.one.inner6, 2, 1300)
    both_ways(raw, inner=6)
    raw.check()


@pytest.mark.parametrize("suite", SUITES if LONG else ["gcm-128", "cbc-hmac-sha1-96"])
@pytest.mark.parametrize("version", [4, 6])
def test_in_udp(nat: Link, suite: str, version: int) -> None:
    nat.begin(suite=SUITES[suite], version=version)
    for inner in (4, 6):
        nat.one.ping(nat.two.inner(inner), 1)
    both_ways(nat)
    nat.check()


def test_drivers_come_and_go_under_load(raw: Link) -> None:
    raw.begin()
    with raw.ours.restless():
        both_ways(raw, LOAD)
    raw.check()
    assert int(str(raw.ours.numbers()["protected.migrations"]))


def test_new_keys_take_over_under_load(raw: Link) -> None:
    raw.begin()
    ending = threading.Event()
    troubles: list[BaseException] = []

    def renew() -> None:
        try:
            while not ending.is_set():
                raw.renew()
        except BaseException as error:  # it is told to the test
            troubles.append(error)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        both_ways(raw, LOAD)
    finally:
        ending.set()
        thread.join()
    assert not troubles, troubles
    raw.check()


def test_each_end_sees_what_is_sent_again(raw: Link) -> None:
    raw.begin()
    caught = raw.one.run("timeout", "20", *catch(raw, "out"))
    raw.one.run(*throw(caught))
    seen = raw.kernel.errors()
    assert seen.get("XfrmInStateSeqError", 0) > raw.kernel_before.get("XfrmInStateSeqError", 0)
    assert not raw.lost()
    caught = raw.two.run("timeout", "20", *catch(raw, "in"))
    raw.two.run(*throw(caught))
    for _ in range(50):
        if raw.lost():
            break
        time.sleep(0.1)
    assert raw.lost() == {"unprotected.dropped.replayed": 1}


def catch(link: Link, way: str) -> list[object]:
    """Return a command that sends one echo request, and prints the ESP packet that it becomes."""
    target = link.two.inner4 if way == "out" else link.one.inner4
    program = (
        "import socket, subprocess, sys\n"
        "heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3 << 8)\n"
        "heard.bind(('wire', 3))\n"
        f"subprocess.run(['ping', '-c', '1', {target!r}], stdout=subprocess.DEVNULL, check=True)\n"
        "while True:\n"
        "    frame, (_, _, kind, *_) = heard.recvfrom(4096)\n"
        "    if kind == 4 and frame[12:14] == b'\\x08\\0' and frame[23] == 50:\n"
        "        print(frame.hex())\n"
        "        break\n"
    )
    return [sys.executable, "-c", program]


def throw(frame: str) -> list[object]:
    """Return a command that sends a frame once more."""
    program = (
        "import socket\n"
        "out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
        "out.bind(('wire', 0))\n"
        f"out.send(bytes.fromhex({frame.strip()!r}))\n"
    )
    return [sys.executable, "-c", program]


@pytest.mark.parametrize("suite", SUITES if LONG else ["gcm-128", "cbc-hmac-sha2-256-128"])
def test_transport(raw: Link, suite: str) -> None:
    """The hosts' own addresses; what the gateway sends has a mark, and goes past the device."""
    one, two = raw.one, raw.two
    one.ip("rule add not fwmark 7 lookup 77 priority 100")
    one.ip(f"route add {two.outer4} dev ipsec0 src {one.outer4} table 77")
    try:
        for name in ("all", "ipsec0"):
            one.run("sysctl", "-q", "-w", f"net.ipv4.conf.{name}.rp_filter=0")
        tables = raw.agree(suite=SUITES[suite])
        for side in tables:
            for table in side:
                ends = table.pop("tunnel_source"), table.pop("tunnel_destination")
                table["mode"] = "transport"
                table["selectors"] = {"source": f"{ends[0]}/32", "destination": f"{ends[1]}/32"}
        raw.take(tables)
        one.ping(two.outer4, 2)
        transfer(one, two, two.outer4, OCTETS, OCTETS, timeout=600)
        raw.check()
    finally:
        one.ip("rule del priority 100")
        one.ip("route flush table 77")
        raw.kernel.flush()
