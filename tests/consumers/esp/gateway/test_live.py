"""Two of our gateways, between two hosts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.consumers.esp.gateway.net import (
    MIB,
    Host,
    Running,
    Table,
    hosts,
    keys,
    pair,
    python_for_all,
    routed,
    sa_file,
    transfer,
    tun,
)

pytestmark = pytest.mark.slow

TEST_KEYS = "--test-keys"
CBC = {
    "encryption": "aes-cbc", "encryption_key": 16,
    "integrity": "hmac-sha2-256-128", "integrity_key": 32,
}  # fmt: skip


@pytest.fixture
def two() -> Iterator[tuple[Host, Host]]:
    """Return two hosts, each with a TUN device."""
    with hosts() as made:
        for host in made:
            tun(host)
        yield made


class Link:
    """A gateway on each of two hosts."""

    def __init__(self, made: tuple[Host, Host], folder: Path, *more: object) -> None:
        self.one, self.two = made
        self._folder = folder
        self._more = more

    def write(self, **settings: object) -> None:
        """Write the files of SAs."""
        sides = pair(self.one, self.two, **settings)  # type: ignore[arg-type]
        for host, tables in zip((self.one, self.two), sides, strict=True):
            sa_file(self.file(host), tables)

    def file(self, host: Host) -> Path:
        """Return a host's file of SAs."""
        return self._folder / f"{host.number}.toml"

    def start(self, host: Host, *more: object) -> Running:
        """Start a host's gateway."""
        state = self._folder / f"{host.number}.state"
        return Running(host, self.file(host), state, TEST_KEYS, *self._more, *more)


def lost(running: Running) -> dict[str, int]:
    """Return what a gateway has dropped, by reason."""
    found = running.numbers()
    return {
        name: value
        for name, value in found.items()
        if value and (".dropped." in name or name in {"not_sent", "not_delivered"})
    }


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("more", [(), ("--udp", 4500)], ids=["raw", "udp"])
def test_both_ip_versions_go_through_a_tunnel(
    two: tuple[Host, Host], tmp_path: Path, version: int, more: tuple[object, ...]
) -> None:
    link = Link(two, tmp_path, *more)
    link.write(version=version)
    with link.start(two[0]) as first, link.start(two[1]) as second:
        for inner in (4, 6):
            two[0].ping(two[1].inner(inner))
            two[1].ping(two[0].inner(inner), 2, 1300)
            transfer(two[0], two[1], two[1].inner(inner), 2 * MIB, 2 * MIB)
        assert not lost(first)
        assert not lost(second)
        assert first.numbers()["protected.packets"] > 100


def test_drivers_come_and_go_under_load(two: tuple[Host, Host], tmp_path: Path) -> None:
    link = Link(two, tmp_path)
    link.write(suite=CBC)
    with link.start(two[0]) as first, link.start(two[1]) as second:
        two[0].settle(two[1].inner4)
        with first.restless(), second.restless():
            transfer(two[0], two[1], two[1].inner4, 20 * MIB)
        assert not lost(first)
        assert not lost(second)
        assert first.numbers()["protected.migrations"]


def test_new_keys_take_over_without_loss(two: tuple[Host, Host], tmp_path: Path) -> None:
    """Each end changes over when it likes; all the while bytes go, and none is lost."""
    link = Link(two, tmp_path)
    link.write()
    first, second = link.start(two[0]), link.start(two[1])
    with first, second:
        two[0].settle(two[1].inner4)
        ending = threading.Event()

        def renew() -> None:
            for generation in range(1, 100):
                both = tuple(zip((0, 1), pair(*two, generation=generation), strict=True))
                old = pair(*two, generation=generation - 1)
                # Who receives is ready before who sends: first the new inbound SAs everywhere.
                for side, tables in both:
                    ready = [*_way(old[side], "out"), *_way(tables, "in"), *_way(old[side], "in")]
                    sa_file(link.file(two[side]), ready)
                    (first, second)[side].hang_up("took over")
                for side, tables in both:
                    sa_file(link.file(two[side]), tables)
                    (first, second)[side].hang_up("took over")
                if ending.wait(0.3):
                    return

        thread = threading.Thread(target=renew)
        thread.start()
        try:
            transfer(two[0], two[1], two[1].inner4, 20 * MIB)
        finally:
            ending.set()
            thread.join()
        for running in (first, second):
            assert not lost(running)
            assert running.numbers()["renewed"] >= 2


def _way(tables: list[Table], direction: str) -> list[Table]:
    return [table for table in tables if table["direction"] == direction]


def test_what_was_replaced_is_received_on_for_a_while(
    two: tuple[Host, Host], tmp_path: Path
) -> None:
    link = Link(two, tmp_path)
    link.write()
    with link.start(two[0]) as first, link.start(two[1], "--grace", "1") as second:
        two[0].settle(two[1].inner4)
        sa_file(link.file(two[1]), [*pair(*two, generation=1)[1], *_way(pair(*two)[1], "out")])
        # Both of its SAs to send by match; the first is taken, which the other end does not know.
        sa_file(
            link.file(two[0]),
            [*_way(pair(*two)[0], "out"), *_way(pair(*two, generation=1)[0], "in")],
        )
        first.hang_up("took over")
        second.hang_up("took over")
        assert second.numbers()["passing"] == 1
        two[0].ping(two[1].inner4, 1)  # by the old SA, there and not back
        for _ in range(100):
            if not second.numbers()["passing"]:
                break
            time.sleep(0.1)
        with pytest.raises(AssertionError):
            two[0].ping(two[1].inner4, 1, 56, "-W", "1")
        assert second.numbers()["unprotected.dropped.unknown_spi"]


def test_a_bad_file_changes_nothing(two: tuple[Host, Host], tmp_path: Path) -> None:
    link = Link(two, tmp_path)
    link.write()
    with link.start(two[0]) as first, link.start(two[1]):
        two[0].settle(two[1].inner4)
        bad = pair(*two)[0]
        other = [{**table, "encryption_key": keys("another", 20)} for table in bad]
        for content in ([{"spi": 1}], other, [{**bad[0], "direction": "up"}]):
            sa_file(link.file(two[0]), content)  # type: ignore[arg-type]
            first.hang_up("stay as they are")
        link.file(two[0]).unlink()
        first.hang_up("stay as they are")
        two[0].ping(two[1].inner4)
        assert first.numbers()["refused_files"] == 4
        assert first.numbers()["renewed"] == 0
        assert keys("another", 20)[:12] not in first.log()


def test_after_a_crash_no_number_comes_twice_and_the_link_works_at_once(
    two: tuple[Host, Host], tmp_path: Path
) -> None:
    """The other end's window would drop what comes twice; and ours, what was reserved for it."""
    link = Link(two, tmp_path)
    link.write()
    with link.start(two[1]) as second:
        for _ in range(3):
            first = link.start(two[0])
            with first:
                two[0].settle(two[1].inner4)
                stop = threading.Event()

                def load(stop: threading.Event = stop) -> None:
                    while not stop.is_set():
                        subprocess.run(
                            two[0].command("ping", "-q", "-f", "-w", 1, two[1].inner4),
                            capture_output=True, check=False, timeout=20,
                        )  # fmt: skip

                thread = threading.Thread(target=load)
                thread.start()
                time.sleep(0.5)
                first.kill()
                stop.set()
                thread.join()
        with link.start(two[0]) as first:
            two[0].ping(two[1].inner4)
            two[1].ping(two[0].inner4)
            assert not lost(first)
        assert not lost(second)
        assert second.numbers()["unprotected.packets"] > 500


@pytest.mark.parametrize("more", [(), ("--udp", 4500)], ids=["raw", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_path_that_takes_less(
    two: tuple[Host, Host], tmp_path: Path, version: int, more: tuple[object, ...]
) -> None:
    """The senders inside hear of it; what may be cut comes in fragments."""
    one, other = two
    link = Link(two, tmp_path, *more)
    link.write(version=version)
    with link.start(one) as first, link.start(other) as second:
        one.settle(other.inner4)
        for host in two:
            host.ip("link set wire mtu 1300")
        time.sleep(0.6)  # so long the old size is believed
        found = subprocess.run(
            one.command("ping", "-M", "do", "-c", 1, "-W", 1, "-s", 1300, other.inner4),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode
        assert first.numbers()["answered"] >= 1
        one.ping(other.inner4, 2, 1350, "-M", "dont")
        one.ping(other.inner6, 2, 1200)
        transfer(one, other, other.inner4, 2 * MIB)
        transfer(one, other, other.inner6, 2 * MIB)
        # Nothing was too long for the socket: the sizes were known before.
        assert first.numbers()["too_big"] >= 1
        assert not lost(second)


@pytest.mark.parametrize("more", [(), ("--udp", 4500)], ids=["raw", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_router_on_the_way_that_takes_less(
    tmp_path: Path, version: int, more: tuple[object, ...]
) -> None:
    """It tells the gateway's kernel, which the gateway asks, and that tells who sends inside."""
    with routed(1400) as made:
        for host in made:
            tun(host)
        # Both believe in more than the path takes, so that TCP begins with segments too long.
        link = Link(made, tmp_path, "--mtu", 1420, *more)
        link.write(version=version)
        one, two = made
        with link.start(one) as first, link.start(two) as second:
            one.settle(two.inner4)
            for inner in (4, 6):
                transfer(one, two, two.inner(inner), MIB, MIB)
            found = first.numbers()
            assert found["too_big"]
            assert found["answered"]
            assert found["not_sent"] < 100
            assert not lost(second)


def test_it_becomes_somebody_who_may_nothing(two: tuple[Host, Host], tmp_path: Path) -> None:
    link = Link(two, tmp_path)
    link.write()
    home = Path(tempfile.mkdtemp(prefix="opencrypto-", dir="/var/tmp"))
    try:
        mine = sa_file(home / "sa.toml", pair(*two)[0])
        for path in (home, mine):
            shutil.chown(path, "nobody")
        with (
            Running(
                two[0], mine, home / "state", TEST_KEYS, "--user", "nobody", python=python_for_all()
            ) as first,
            link.start(two[1]),
        ):
            two[0].settle(two[1].inner4)
            status = Path(f"/proc/{first.process.pid}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert set(fields["Uid"].split()) != {"0"}
            assert "0" not in fields["Uid"].split() + fields["Gid"].split()
            for which in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
                assert int(fields[which], 16) == 0
            assert fields["NoNewPrivs"] == "1"
            sa_file(mine, pair(*two, generation=1)[0])
            shutil.chown(mine, "nobody")
            first.hang_up("took over")
            # Numbers can still be kept, and drivers changed.
            first.call("detach", driver="openssl")
            assert first.numbers()["passing"] == 1
        assert (home / "state").stat().st_uid == home.stat().st_uid
    finally:
        shutil.rmtree(home)


def test_transport_between_the_hosts_themselves(two: tuple[Host, Host], tmp_path: Path) -> None:
    """Packets to the peer go into the device, but for those that carry the mark."""
    link = Link(two, tmp_path, "--mark", 7)
    for host, tables in zip(two, pair(*two), strict=True):
        for table in tables:
            out = table["direction"] == "out"
            peer = two[2 - host.number]
            ends = (host.outer4, peer.outer4) if out else (peer.outer4, host.outer4)
            del table["tunnel_source"], table["tunnel_destination"]
            table["mode"] = "transport"
            table["selectors"] = {"source": ends[0] + "/32", "destination": ends[1] + "/32"}
        sa_file(link.file(host), tables)
        host.ip("rule add not fwmark 7 lookup 77 priority 100")
        peer = two[2 - host.number]
        host.ip(f"route add {peer.outer4} dev ipsec0 src {host.outer4} table 77")
        host.run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=0")
        host.run("sysctl", "-q", "-w", "net.ipv4.conf.ipsec0.rp_filter=0")
    with link.start(two[0]) as first, link.start(two[1]) as second:
        two[0].settle(two[1].outer4)
        transfer(two[0], two[1], two[1].outer4, 2 * MIB, 2 * MIB)
        assert first.numbers()["protected.packets"] > 100
        # What the kernel itself says on a device, to all routers say, is for no SA.
        assert not set(lost(second)) - {"protected.dropped.no_sa"}


def test_udp_by_the_file_and_from_behind_a_translator(
    two: tuple[Host, Host], tmp_path: Path
) -> None:
    """The other end finds out where packets come from that have verified."""
    link = Link(two, tmp_path)
    first, second = pair(*two)
    for table in (*first, *second):
        table["encap"] = "udp"
    for table in first:
        # Behind a translator: the port is not the one that the other end has been told.
        if table["direction"] == "out":
            table["encap_source_port"] = 4501
    sa_file(link.file(two[0]), first)
    sa_file(link.file(two[1]), second)
    with link.start(two[0]) as one, link.start(two[1]) as other:
        two[0].settle(two[1].inner4)
        two[1].ping(two[0].inner4)
        for stray in (b"", b"\xff", bytes(40), b"\1" * 7, b"\1" * 40):
            two[1].run(
                sys.executable, "-c",
                "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
                f".sendto({stray!r}, ({two[0].outer4!r}, 4501))",
            )  # fmt: skip
        two[1].ping(two[0].inner4)
        found = one.numbers()
        assert (found["keepalives"], found["ike"]) == (1, 1)
        assert found["unprotected.dropped.truncated"] == 1
        assert found["unprotected.dropped.unknown_spi"] == 1
        assert not lost(other)


def test_bad_calls_are_refused_before_anything_is_begun(tmp_path: Path) -> None:
    with hosts() as (one, two):
        tables = pair(one, two)[0]
        file = sa_file(tmp_path / "sa.toml", tables)
        for words, said in (
            ((), "keys"),  # a counter mode with keys that a file has again
            (("--test-keys", "--user", "root"), "root"),
            (("--test-keys", "--user", "no-such-user"), "no user"),
            (("--test-keys", "--tun", "a-name-that-is-too-long"), "name of a device"),
        ):
            done = subprocess.run(
                one.python(
                    "-c", "from opencrypto.cli import main; main()", "esp", "gateway",
                    "--sa", file, "--state", tmp_path / "state", "--tun", "ipsec0", *words,
                ),
                capture_output=True, text=True, check=False, timeout=30,
            )  # fmt: skip
            assert done.returncode == 2, done.stderr
            assert said in done.stderr
            assert not any(key in done.stderr for key in str(tables) if len(key) > 20)
        assert "ipsec0" not in one.ip("link")
