"""The kernel's own IPsec as the other end: ip-xfrm(8), by the same tables as our files of SAs."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from tests.consumers.esp.gateway.net import Host, Table
from tests.support import missing

ENCRYPTIONS: Final = {
    "aes-gcm-16": "aead rfc4106(gcm(aes)) {key} 128",
    **{f"aes-gcm-{n}": f"aead rfc4106(gcm(aes)) {{key}} {8 * n}" for n in (8, 12)},
    **{f"aes-ccm-{n}": f"aead rfc4309(ccm(aes)) {{key}} {8 * n}" for n in (8, 12, 16)},
    "chacha20-poly1305": "aead rfc7539esp(chacha20,poly1305) {key} 128",
    "aes-gmac": "aead rfc4543(gcm(aes)) {key} 128",
    "aes-cbc": "enc cbc(aes) {key}",
    "aes-ctr": "enc rfc3686(ctr(aes)) {key}",
    "3des-cbc": "enc cbc(des3_ede) {key}",
    "null": "enc ecb(cipher_null) {key}",
}
INTEGRITIES: Final = {
    "hmac-md5-96": "auth-trunc hmac(md5) {key} 96",
    "hmac-sha1-96": "auth-trunc hmac(sha1) {key} 96",
    "hmac-ripemd160-96": "auth-trunc hmac(rmd160) {key} 96",
    "hmac-sha2-256-96": "auth-trunc hmac(sha256) {key} 96",
    "aes-xcbc-96": "auth-trunc xcbc(aes) {key} 96",
    "aes-cmac-96": "auth-trunc cmac(aes) {key} 96",
    "hmac-sha2-256-128": "auth-trunc hmac(sha256) {key} 128",
    "hmac-sha2-384-192": "auth-trunc hmac(sha384) {key} 192",
    "hmac-sha2-512-256": "auth-trunc hmac(sha512) {key} 256",
}
ANYBODY: Final = "0.0.0.0"  # noqa: S104 - any address
MODULES: Final = "tun veth xfrm_user esp4 esp6"

SUITES: Final[Mapping[str, Mapping[str, int | str]]] = {
    "gcm-128": {"encryption": "aes-gcm-16", "encryption_key": 20},
    "gcm-256": {"encryption": "aes-gcm-16", "encryption_key": 36},
    **{
        name: {"encryption": f"aes-{name}", "encryption_key": size}
        for name, size in (
            ("gcm-8", 20), ("gcm-12", 28), ("ccm-8", 19), ("ccm-12", 27), ("ccm-16", 35),
        )
    },
    "chacha20": {"encryption": "chacha20-poly1305", "encryption_key": 36},
    "gmac": {"encryption": "aes-gmac", "encryption_key": 20},
    **{
        f"cbc-{name}": {
            "encryption": "aes-cbc", "encryption_key": 16, "integrity": name, "integrity_key": size
        }
        for name, size in (
            ("hmac-md5-96", 16), ("hmac-sha1-96", 20), ("hmac-sha2-256-128", 32),
            ("hmac-sha2-384-192", 48), ("hmac-sha2-512-256", 64), ("hmac-ripemd160-96", 20),
            ("hmac-sha2-256-96", 32), ("aes-xcbc-96", 16), ("aes-cmac-96", 16),
        )
    },
    "ctr": {
        "encryption": "aes-ctr", "encryption_key": 20,
        "integrity": "hmac-sha2-256-128", "integrity_key": 32,
    },
    "3des": {
        "encryption": "3des-cbc", "encryption_key": 24,
        "integrity": "hmac-sha1-96", "integrity_key": 20,
    },
    "null": {"encryption": "null", "integrity": "hmac-sha2-256-128", "integrity_key": 32},
}  # fmt: skip
"""The suites that both have."""


def load_modules() -> None:
    """Have the kernel know what is needed."""
    for module in MODULES.split():
        done = subprocess.run(["modprobe", module], capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"the kernel module {module}", done.stderr.strip())


class Kernel:
    """
    A host whose kernel is the other end.

    Args:
        host: It, of the two of `net.hosts`.
        peer: The host with our gateway.
        udp: Whether ESP goes in UDP.
    """

    def __init__(self, host: Host, peer: Host, *, udp: bool = False) -> None:
        self.host, self.peer = host, peer
        self._udp = udp
        host.ip(f"address add {host.inner4}/32 dev lo")
        host.ip(f"address add {host.inner6}/128 dev lo")
        host.ip(f"route add {peer.inner4}/32 dev wire src {host.inner4}")
        host.ip(f"-6 route add {peer.inner6}/128 dev wire src {host.inner6}")
        # So that nobody asks on the wire who has an address that is inside.
        mac = peer.run("cat", "/sys/class/net/wire/address").strip()
        for address in (peer.inner4, peer.inner6):
            host.ip(f"neigh replace {address} lladdr {mac} dev wire nud permanent")

    def add(self, tables: Sequence[Table], direction: str = "") -> None:
        """Add the states of a file of SAs: all, or those of one direction, `out` or `in`."""
        for table in tables:
            if direction in {"", table["direction"]}:
                self.host.run("ip", "xfrm", "state", "add", *self._words(table))

    def delete(self, tables: Sequence[Table], direction: str = "") -> None:
        """Delete states."""
        for table in tables:
            if direction in {"", table["direction"]}:
                self.host.ip(f"xfrm state delete {self._name(table)}")

    def _ends(self, table: Table) -> tuple[str, str]:
        if "tunnel_source" in table:
            return str(table["tunnel_source"]), str(table["tunnel_destination"])
        selectors = table["selectors"]
        assert isinstance(selectors, dict)
        return selectors["source"].partition("/")[0], selectors["destination"].partition("/")[0]

    def _name(self, table: Table) -> str:
        source, destination = self._ends(table)
        return f"src {source} dst {destination} proto esp spi {table['spi']:#x}"

    def _words(self, table: Table) -> list[str]:
        words = [*self._name(table).split(), "mode", str(table["mode"])]
        words += ["replay-window", "128"]
        # Without the one flag a tunnel's inner packets are of its outer IP version alone.
        flags = ["esn"] * bool(table.get("esn")) + ["af-unspec"] * (table["mode"] == "tunnel")
        for flag in flags:
            words += ["flag", flag]
        for kind, names in (("encryption", ENCRYPTIONS), ("integrity", INTEGRITIES)):
            if kind in table:
                key = str(table.get(f"{kind}_key", ""))
                words += [
                    part.format(key=f"0x{key}" if key else "")
                    for part in names[str(table[kind])].split(" ")
                ]
        if self._udp:
            words += ["encap", "espinudp", "4500", "4500", ANYBODY]
        return words

    def policies(self, tables: Sequence[Table]) -> None:
        """Have what goes to the peer and comes from it be protected, and nothing else be taken."""
        self.host.ip("xfrm policy flush")
        for table in tables:
            source, destination = self._ends(table)
            out = table["direction"] == "out"
            near, far = (self.host, self.peer) if out else (self.peer, self.host)
            pairs = [(near.inner4, far.inner4), (near.inner6, far.inner6)]
            if table["mode"] == "transport":
                pairs = [(source, destination)]
            for begin, end in pairs:
                self.host.ip(
                    f"xfrm policy add src {begin} dst {end} dir {table['direction']} "
                    f"tmpl src {source} dst {destination} proto esp mode {table['mode']}"
                )

    def flush(self) -> None:
        """Forget all states and policies."""
        self.host.ip("xfrm state flush")
        self.host.ip("xfrm policy flush")

    def errors(self) -> dict[str, int]:
        """Return what the kernel counts as errors of IPsec."""
        text = self.host.run("cat", "/proc/net/xfrm_stat")
        found = {name: int(value) for name, value in map(str.split, text.splitlines())}
        return {name: value for name, value in found.items() if value}

    @contextmanager
    def encapsulating(self) -> Iterator[None]:
        """Have the kernel take ESP in UDP, for which it wants a socket."""
        program = (
            "import socket, sys\n"
            "made = []\n"
            f"for family, address in ((2, {ANYBODY!r}), ({socket.AF_INET6:d}, '::')):\n"
            "    each = socket.socket(family, socket.SOCK_DGRAM)\n"
            "    if address == '::': each.setsockopt(41, 26, 1)\n"
            "    each.setsockopt(17, 100, 2)\n"
            "    each.bind((address, 4500))\n"
            "    made.append(each)\n"
            "print('ready', flush=True)\n"
            "sys.stdin.read()\n"
        )
        process = subprocess.Popen(
            self.host.python("-c", program), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.communicate(b"")
