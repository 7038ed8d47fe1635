"""
TCP between two hosts through a tunnel of gateways, beside wireguard-go's, in one run.

Both gateways and both ends of TCP share this machine's CPUs, as with `wireguard-go`. That always
runs at ordinary priority: its threads spin, and before everything else would stop the machine.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.benchmarks.measure import table
from tests.consumers.esp.gateway.net import (
    GCM,
    Host,
    Running,
    hosts,
    pair,
    sa_file,
    tun,
)
from tests.support import require_tool

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

SECONDS: Final = 5
ROUNDS: Final = 3
CBC: Final[Mapping[str, int | str]] = {
    "encryption": "aes-cbc", "encryption_key": 16,
    "integrity": "hmac-sha2-256-128", "integrity_key": 32,
}  # fmt: skip
WORDS: Final = ("gcm", "cbc", "gcm in UDP", "wireguard-go")


def test_tcp_through_the_gateway(tmp_path: Path) -> None:
    require_tool("iperf3", "iperf3")
    require_tool("wireguard-go", "wireguard-go")
    require_tool("wg", "wireguard-tools")
    rates: dict[str, list[float]] = {word: [] for word in WORDS}
    with ExitStack() as held:
        one, two = held.enter_context(hosts())
        for host in (one, two):
            tun(host)
        for number in range(ROUNDS):
            folder = tmp_path / str(number)
            folder.mkdir()
            for word, suite, more in (
                ("gcm", GCM, ()), ("cbc", CBC, ()), ("gcm in UDP", GCM, ("--udp", 4500)),
            ):  # fmt: skip
                place = folder / word.replace(" ", "-")
                place.mkdir()
                with gateways(one, two, place, suite, more):
                    rates[word].append(mbit(one, two, two.inner4))
            with wireguard(one, two, folder):
                rates["wireguard-go"].append(mbit(one, two, "10.8.0.2"))
    table(
        "TCP between two network namespaces of one host, MTU 1500, Mbit/s",
        ("tunnel", "best", "worst"),
        [(word, f"{max(found):.0f}", f"{min(found):.0f}") for word, found in rates.items()],
    )


@contextmanager
def gateways(
    one: Host, two: Host, folder: Path, suite: Mapping[str, int | str], more: tuple[object, ...]
) -> Iterator[None]:
    """Run a gateway on each host."""
    with ExitStack() as held:
        for host, tables in zip((one, two), pair(one, two, suite=suite), strict=True):
            file = sa_file(folder / f"{host.number}.toml", tables)
            state = folder / f"{host.number}.state"
            held.enter_context(Running(host, file, state, "--test-keys", *more))
        one.settle(two.inner4)
        yield


@contextmanager
def wireguard(one: Host, two: Host, folder: Path) -> Iterator[None]:
    """Run wireguard-go on each host."""
    secrets = {host: subprocess.check_output(["wg", "genkey"], text=True) for host in (one, two)}
    public = {
        host: subprocess.check_output(["wg", "pubkey"], input=secret, text=True).strip()
        for host, secret in secrets.items()
    }
    with ExitStack() as held:
        for host, other in ((one, two), (two, one)):
            name = f"wg{host.number}"
            process = subprocess.Popen(
                host.command("chrt", "--other", 0, "wireguard-go", "-f", name),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )  # fmt: skip
            held.callback(process.wait)
            held.callback(process.terminate)
            file = folder / name
            file.write_text(secrets[host])
            for _ in range(100):
                if name in host.ip("link"):
                    break
                time.sleep(0.05)
            host.run(
                "wg", "set", name, "listen-port", 51820, "private-key", file,
                "peer", public[other], "allowed-ips", "10.8.0.0/24",
                "endpoint", f"{other.outer4}:51820",
            )  # fmt: skip
            host.ip(f"address add 10.8.0.{host.number}/24 dev {name}")
            host.ip(f"link set {name} mtu 1420 up")
        one.settle("10.8.0.2")
        yield


def mbit(one: Host, two: Host, address: str) -> float:
    """Measure TCP from one host to an address of the other."""
    server = subprocess.Popen(two.command("iperf3", "-s", "-1"), stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        said = json.loads(one.run("iperf3", "-J", "-c", address, "-t", SECONDS, "-O", 1))
    finally:
        server.wait(30)
    rate: float = said["end"]["sum_received"]["bits_per_second"]
    return rate / 1e6
