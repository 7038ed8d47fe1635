"""
Two hosts on one wire: network namespaces joined by a veth pair, each with what a gateway needs.

Whoever can make namespaces has them: root, here and inside the kernels of tests/kernels.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support import missing, require_tool

ROOT: Final = Path(__file__).parents[4]
TRANSFER: Final = Path(__file__).with_name("transfer.py")
ATTEMPTS: Final = 100


class Host:
    """
    One of the two.

    Attributes:
        number: 1 or 2, which is also the end of each of its addresses.
        outer4, outer6: Its addresses on the wire.
        inner4, inner6: Those of its TUN device, or of what stands in for it.
    """

    def __init__(self, number: int, tag: str) -> None:
        self.number = number
        self.name = f"oc{tag}{number}"
        self.outer4, self.outer6 = f"192.0.2.{number}", f"2001:db8::{number}"
        self.inner4, self.inner6 = f"10.9.0.{number}", f"fd09::{number}"

    def outer(self, version: int) -> str:
        """Return the address on the wire."""
        return self.outer4 if version == 4 else self.outer6

    def inner(self, version: int) -> str:
        """Return the address inside."""
        return self.inner4 if version == 4 else self.inner6

    def command(self, *words: object) -> list[str]:
        """Return a command that runs on this host."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words: object, timeout: float = 60) -> str:
        """Run a command on this host, and return what it prints."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            shown = " ".join(map(str, words))
            raise AssertionError(
                f"{self.name}: {shown}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def ip(self, line: str) -> str:
        """Run an ip(8) command on this host."""
        return self.run("ip", *line.split())

    def python(self, *words: object) -> list[str]:
        """Return a command that runs Python on this host."""
        return self.command(sys.executable, *words)

    def ping(self, address: str, count: int = 3, size: int = 56, *more: object) -> str:
        """Send echo requests, and see that each is answered."""
        return self.run("ping", "-c", count, "-i", "0.05", "-W", "5", "-s", size, *more, address)

    def settle(self, address: str) -> None:
        """Wait until the first answer comes."""
        for _ in range(ATTEMPTS):
            found = subprocess.run(
                self.command("ping", "-c", 1, "-W", "0.2", address),
                capture_output=True,
                check=False,
            )
            if not found.returncode:
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.name} cannot reach {address}")


@contextmanager
def hosts(mtu: int = 1500) -> Iterator[tuple[Host, Host]]:
    """Make the two hosts, with a TUN device each; both are gone afterwards."""
    require_tool("ip", "iproute2")
    require_tool("ping", "iputils-ping")
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        missing("root, with /dev/net/tun", "run the tests as root where namespaces may be made")
    tag = f"{os.getpid() % 100000}"
    one, two = Host(1, tag), Host(2, tag)
    with ExitStack() as held:
        for host in (one, two):
            _ip(f"netns add {host.name}")
            held.callback(_ip, f"netns del {host.name}")
            host.ip("link set lo up")
        _ip(
            f"-n {one.name} link add wire mtu {mtu} type veth peer name wire mtu {mtu} netns {two.name}"
        )
        for host in (one, two):
            host.run("sysctl", "-q", "-w", "net.ipv6.conf.all.accept_dad=0")
            host.run("sysctl", "-q", "-w", "net.ipv6.conf.default.accept_dad=0")
            host.ip(f"address add {host.outer4}/24 dev wire")
            host.ip(f"address add {host.outer6}/64 dev wire nodad")
            host.ip("link set wire up")
        yield one, two


def tun(host: Host, name: str = "ipsec0") -> str:
    """Give a host a TUN device that stays while gateways come and go."""
    host.ip(f"tuntap add mode tun name {name}")
    host.ip(f"address add {host.inner4}/24 dev {name}")
    host.ip(f"address add {host.inner6}/64 dev {name} nodad")
    host.ip(f"link set {name} up")
    return name


def _ip(line: str) -> None:
    done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        missing("a kernel with namespaces", f"ip {line}: {done.stderr.strip()}")


class Running:
    """A gateway process on a host. A context manager, which ends it, and looks how it ended."""

    def __init__(self, host: Host, sa: Path, state: Path, *more: object) -> None:
        self.host = host
        self._log = tempfile.TemporaryFile("w+")
        environment = {**os.environ, "OPENCRYPTO_CONTROL": str(state.with_suffix(".sock"))}
        self.control = state.with_suffix(".sock")
        words = ("-c", "from opencrypto.cli import main; main()", "esp", "gateway", "--sa", sa, "--state", state,
                 "--tun", "ipsec0", *more)  # fmt: skip
        self.process = subprocess.Popen(
            host.python(*words), cwd=ROOT, stdout=self._log, stderr=self._log, env=environment
        )
        self._await("are carried")

    def log(self) -> str:
        """Return what it has said."""
        self._log.seek(0)
        return self._log.read()

    def _await(self, words: str) -> None:
        for _ in range(600):
            if words in self.log():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the gateway does not say {words!r}: {self.log()}")

    def hang_up(self, answer: str) -> None:
        """Have it read its SAs again, and wait for what it says."""
        seen = self.log().count(answer)
        self.process.send_signal(signal.SIGHUP)
        for _ in range(200):
            if self.log().count(answer) > seen:
                return
            time.sleep(0.05)
        raise AssertionError(f"it does not say {answer!r}: {self.log()}")

    def numbers(self) -> dict[str, Any]:
        """Return what it counts."""
        from opencrypto.control import Client

        with Client(self.control, timeout=10) as client:
            return {
                name.removeprefix("esp.gateway."): value
                for name, value in client.get("esp.gateway").items()
            }

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self.process.poll() is None:
                self.process.terminate()
                status = self.process.wait(20)
                if error is None:
                    assert status == 0, self.log()
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()


def sa_file(path: Path, tables: Sequence[dict[str, object]]) -> Path:
    """Write a file of SAs."""
    lines = []
    for table in tables:
        lines.append("[[sa]]")
        for name, value in table.items():
            shown = str(value).lower() if isinstance(value, bool) else value
            quoted = f'"{value}"' if isinstance(value, str) else shown
            lines.append(f"{name} = {quoted}")
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def keys(label: str, size: int) -> str:
    """Make a key for tests."""
    return hashlib.shake_128(label.encode()).hexdigest(size)


def pair(
    one: Host, two: Host, *, version: int = 4, generation: int = 0, suite: dict[str, int | str] | None = None,
    **more: object,
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:  # fmt: skip
    """Return the SAs of a tunnel between two hosts, for each of them."""
    suite = suite or {"encryption": "aes-gcm-16", "encryption_key": 20}
    sides: tuple[list[dict[str, object]], list[dict[str, object]]] = ([], [])
    for way, (source, target) in enumerate(((one, two), (two, one))):
        spi = 0x1000 + 16 * generation + way
        table: dict[str, object] = {
            "spi": spi, "mode": "tunnel", "tunnel_source": source.outer(version),
            "tunnel_destination": target.outer(version), "replay_window": 4096, **more,
        }  # fmt: skip
        for name, value in suite.items():
            table[name] = keys(f"{name} {spi}", value) if isinstance(value, int) else value
        sides[way].append({**table, "direction": "out"})
        sides[1 - way].append({**table, "direction": "in"})
    return sides


def transfer(source: Host, target: Host, address: str, octets: int, timeout: float = 120) -> float:
    """Send bytes over TCP from one host to an address of the other; return seconds."""
    server = subprocess.Popen(
        target.python(TRANSFER, "receive", address), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        start = time.monotonic()
        sent = source.run(
            sys.executable, TRANSFER, "send", address, port, octets, timeout=timeout
        ).strip()
        received, _ = server.communicate(timeout=timeout)
    finally:
        server.kill()
        server.wait()
    assert re.fullmatch("[0-9a-f]{64}", sent)
    assert received.strip() == sent, "the hashes of what was sent and received differ"
    return time.monotonic() - start
