"""
Two hosts on one wire: network namespaces joined by a veth pair, each with what a gateway needs.

Whoever can make namespaces has them: root, here and inside the kernels of tests/kernels.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from opencrypto.control import Client
from tests.support import missing, require_tool

ROOT: Final = Path(__file__).parents[4]
TRANSFER: Final = Path(__file__).with_name("transfer.py")
ATTEMPTS: Final = 100
TUN: Final = "ipsec0"
MIB: Final = 1 << 20

_numbers: Final = itertools.count(1)

Table: TypeAlias = dict[str, object]

GCM: Final[Mapping[str, int | str]] = {"encryption": "aes-gcm-16", "encryption_key": 20}
"""A suite as a file of SAs has it; where a key goes, its length in bytes."""


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
    tag = f"{os.getpid() % 100000}.{next(_numbers)}."
    one, two = Host(1, tag), Host(2, tag)
    with ExitStack() as held:
        for host in (one, two):
            _ip(f"netns add {host.name}")
            held.callback(_ip, f"netns del {host.name}")
            host.ip("link set lo up")
        ends = f"wire mtu {mtu} type veth peer name wire mtu {mtu} netns {two.name}"
        _ip(f"-n {one.name} link add {ends}")
        for host in (one, two):
            host.run("sysctl", "-q", "-w", "net.ipv6.conf.all.accept_dad=0")
            host.run("sysctl", "-q", "-w", "net.ipv6.conf.default.accept_dad=0")
            host.ip(f"address add {host.outer4}/24 dev wire")
            host.ip(f"address add {host.outer6}/64 dev wire nodad")
            host.ip("link set wire up")
        yield one, two


@contextmanager
def routed(mtu: int) -> Iterator[tuple[Host, Host]]:
    """Make the two hosts with a router between them, whose link to the second takes less."""
    with hosts() as (one, two):
        router = Host(3, one.name[2:-1])
        _ip(f"netns add {router.name}")
        try:
            one.ip("link del wire")
            router.ip("link set lo up")
            for host in (one, two):
                near, number = f"w{host.number}", host.number
                _ip(f"-n {host.name} link add wire type veth peer name {near} netns {router.name}")
                router.ip(f"address add 198.51.100.{16 * number + 14}/28 dev {near}")
                router.ip(f"address add 2001:db8:{number}::fe/64 dev {near} nodad")
                router.ip(f"link set {near} up")
                host.outer4 = f"198.51.100.{16 * number + 1}"
                host.outer6 = f"2001:db8:{number}::1"
                host.ip(f"address add {host.outer4}/28 dev wire")
                host.ip(f"address add {host.outer6}/64 dev wire nodad")
                host.ip("link set wire up")
                host.ip(f"route add default via 198.51.100.{16 * number + 14}")
                host.ip(f"-6 route add default via 2001:db8:{number}::fe")
            for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
                router.run("sysctl", "-q", "-w", f"{name}=1")
            router.ip(f"link set w2 mtu {mtu}")
            two.ip(f"link set wire mtu {mtu}")
            yield one, two
        finally:
            _ip(f"netns del {router.name}")


def tun(host: Host, name: str = TUN) -> str:
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

    def __init__(
        self, host: Host, sa: Path, state: Path, *more: object, python: str = sys.executable
    ) -> None:
        self.host = host
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed where the process ends
        self.control = state.with_suffix(".sock")
        environment = {**os.environ, "OPENCRYPTO_CONTROL": str(self.control)}
        if python != sys.executable:
            environment["PYTHONPATH"] = os.pathsep.join(map(str, site_packages()))
        words = (
            "-c", "from opencrypto.cli import main; main()", "esp", "gateway",
            "--sa", sa, "--state", state, "--tun", TUN, *more,
        )  # fmt: skip
        self.process = subprocess.Popen(
            host.command(python, *words),
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
            env=environment,
        )
        try:
            self._await("are carried")
        except BaseException:
            self.kill()
            self._log.close()
            raise

    def log(self) -> str:
        """Return what it has said."""
        # The place in the file is the writer's too, who would go on from wherever we are.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode()

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
        with Client(self.control, timeout=10) as client:
            return {
                name.removeprefix("esp.gateway."): value
                for name, value in client.get("esp.gateway").items()
            }

    def call(self, op: str, **parameters: object) -> Any:
        """Ask its control socket."""
        with Client(self.control, timeout=10) as client:
            return client.call(op, **parameters)

    @contextmanager
    def restless(self, driver: str = "openssl") -> Iterator[None]:
        """Have a driver detached and attached again all the time, at least once."""
        ending = threading.Event()
        troubles: list[Exception] = []

        def change() -> None:
            name = driver
            try:
                while True:
                    self.call("detach", driver=name)
                    ending.wait(0.3)
                    name = self.call("attach", driver=driver)["driver"]
                    if ending.wait(0.7):
                        return
            except Exception as error:  # it is told to the test
                troubles.append(error)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()
        if troubles:
            raise troubles[0]

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


def site_packages() -> list[Path]:
    """Return where the project and what it needs can be imported from."""
    return [ROOT, ROOT / "drivers", ROOT / "consumers", *map(Path, site.getsitepackages())]


def python_for_all() -> str:
    """Return a Python like ours that every user can run."""
    ours = ".".join(map(str, sys.version_info[:2]))
    for found in (sys.executable, f"/usr/bin/python{ours}"):
        library = Path(found).resolve()
        if library.exists() and all(each.stat().st_mode & 1 for each in library.parents):
            break
    else:
        missing(f"a Python {ours} that every user can run", f"apt-get install python{ours}")
    return found


def sa_file(path: Path, tables: Sequence[Table]) -> Path:
    """Write a file of SAs."""
    lines = []
    for table in tables:
        lines.append("[[sa]]")
        lines += [f"{name} = {_toml(value)}" for name, value in table.items()]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def keys(label: str, size: int) -> str:
    """Make a key for tests."""
    return hashlib.shake_128(label.encode()).hexdigest(size)


def pair(
    one: Host,
    two: Host,
    *,
    version: int = 4,
    generation: int = 0,
    suite: Mapping[str, int | str] = GCM,
    **more: object,
) -> tuple[list[Table], list[Table]]:
    """Return the SAs of a tunnel between two hosts, for each of them."""
    sides: tuple[list[Table], list[Table]] = ([], [])
    for way, (source, target) in enumerate(((one, two), (two, one))):
        spi = 0x1000 + 16 * generation + way
        table: Table = {
            "spi": spi, "mode": "tunnel", "tunnel_source": source.outer(version),
            "tunnel_destination": target.outer(version), "replay_window": 4096, **more,
        }  # fmt: skip
        for name, value in suite.items():
            table[name] = keys(f"{name} {spi}", value) if isinstance(value, int) else value
        sides[way].append({**table, "direction": "out"})
        sides[1 - way].append({**table, "direction": "in"})
    return sides


def transfer(
    source: Host, target: Host, address: str, up: int, down: int = 0, timeout: float = 120
) -> float:
    """Send bytes over TCP to an address of another host, and then back; return seconds."""
    server = subprocess.Popen(
        target.python(TRANSFER, "serve", address, up, down), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        start = time.monotonic()
        ours = source.run(
            sys.executable, TRANSFER, "use", address, port, up, down, timeout=timeout
        ).strip()
        seconds = time.monotonic() - start
        theirs, _ = server.communicate(timeout=timeout)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    assert re.fullmatch("[0-9a-f]{64} [0-9a-f]{64}", ours)
    assert theirs.strip() == ours, "the hashes of what was sent and received differ"
    return seconds
