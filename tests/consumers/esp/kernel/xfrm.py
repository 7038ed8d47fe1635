"""
A link between us and the IPsec of the kernel we run on: a TUN device, of which we are the far end.

What we write into it the kernel receives from us; what it sends to our address we read from it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Self

from opencrypto_esp import SecurityAssociation
from opencrypto_esp.sa import Direction, Mode, Protocol
from tests.consumers.esp.packets import checksum, ipv4, ipv6

DEVICE: Final = "esptest"
KERNEL: Final = {4: "192.0.2.1", 6: "2001:db8::1"}
"""The kernel's addresses."""

OURS: Final = {4: "192.0.2.2", 6: "2001:db8::2"}
"""Our addresses."""

ENDS: Final = {
    version: {
        "tunnel_source": ip_address(OURS[version]),
        "tunnel_destination": ip_address(KERNEL[version]),
    }
    for version in (4, 6)
}
"""A tunnel from us to the kernel."""

BACK: Final = {
    version: {
        "tunnel_source": ip_address(KERNEL[version]),
        "tunnel_destination": ip_address(OURS[version]),
    }
    for version in (4, 6)
}
"""A tunnel from the kernel to us."""

ENCRYPTIONS: Final = {
    "null": "enc ecb(cipher_null)",
    "3des-cbc": "enc cbc(des3_ede)",
    "aes-cbc": "enc cbc(aes)",
    "aes-ctr": "enc rfc3686(ctr(aes))",
    **{f"aes-gcm-{icv}": "aead rfc4106(gcm(aes))" for icv in (8, 12, 16)},
    **{f"aes-ccm-{icv}": "aead rfc4309(ccm(aes))" for icv in (8, 12, 16)},
    "chacha20-poly1305": "aead rfc7539esp(chacha20,poly1305)",
    "aes-gmac": "aead rfc4543(gcm(aes))",
    "des-cbc": "enc cbc(des)",
    "blowfish-cbc": "enc cbc(blowfish)",
    "cast-cbc": "enc cbc(cast5)",
    "camellia-cbc": "enc cbc(camellia)",
}
"""The kernel's names of our encryptions."""

INTEGRITIES: Final = {
    "hmac-md5-96": "hmac(md5)",
    "hmac-sha1-96": "hmac(sha1)",
    "hmac-ripemd160-96": "hmac(rmd160)",
    "hmac-sha2-256-128": "hmac(sha256)",
    "hmac-sha2-384-192": "hmac(sha384)",
    "hmac-sha2-512-256": "hmac(sha512)",
    "hmac-sha2-256-96": "hmac(sha256)",
    "aes-xcbc-96": "xcbc(aes)",
    "aes-cmac-96": "cmac(aes)",
}
"""The kernel's names of our integrities."""

_PROTOCOLS: Final = {Protocol.ESP: "esp", Protocol.AH: "ah", Protocol.IPCOMP: "comp"}
_NUMBERS: Final = {4, 17, 41, 50, 51, 108}
"""What the kernel sends us, beside what it says about the link."""

_PORT: Final = 5000
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
_UDP_ENCAP: Final = 100
_ESP_IN_UDP: Final = 2


def udp(source: str, destination: str, data: bytes) -> bytes:
    """Return an IP packet with a UDP datagram for the port of the tests, its checksum right."""
    header = struct.pack("!HHHH", _PORT, _PORT, 8 + len(data), 0)
    pair = ip_address(source).packed + ip_address(destination).packed
    pseudo = pair + struct.pack("!II", 8 + len(data), 17) + header + data
    total = checksum(pseudo + bytes(len(pseudo) & 1))
    segment = header[:6] + (total or 0xFFFF).to_bytes(2) + data
    make = ipv4 if ":" not in source else ipv6
    return make(segment, source=source, destination=destination)


def payload_of(packet: bytes) -> bytes:
    """Return what a UDP datagram in a packet without options holds."""
    return packet[28:] if packet[0] >> 4 == 4 else packet[48:]


class Link:
    """
    The link, and the kernel's associations and policies, which end with it.

    A context manager.
    """

    def __init__(self) -> None:
        for module in ("ipv6", "tun", "xfrm_user"):
            if not Path("/sys/module", module).exists():
                subprocess.run(["modprobe", module], check=True)
        node = Path("/run/esptest-tun")
        if not node.exists():
            os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(10, 200))
        self._tun = os.open(node, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self._tun, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN_NO_PI))
        self._run(
            f"addr add {KERNEL[4]}/24 dev {DEVICE}",
            f"addr add {KERNEL[6]}/64 dev {DEVICE} nodad",
            f"link set {DEVICE} up",
        )
        self._errors = self._statistics()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        os.close(self._tun)

    @staticmethod
    def _run(*commands: str) -> None:
        """Run commands of iproute2; none of them is seen in a list of processes."""
        done = subprocess.run(
            ["ip", "-batch", "-"], input="\n".join(commands), text=True, capture_output=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr}\n{commands}"

    def flush(self) -> None:
        """Take the kernel's associations and policies away."""
        self._run("xfrm state flush", "xfrm policy flush")

    def install(
        self, direction: str, version: int, inner: int, sas: Sequence[SecurityAssociation]
    ) -> None:
        """
        Give the kernel associations, applied from the innermost to the outermost.

        Args:
            direction: "in" for what we send, "out" for what we receive.
            version: Of the packets on the link.
            inner: Of the packets in a tunnel; without one it is the same.
            sas: Ours.
        """
        ends = (OURS, KERNEL) if direction == "in" else (KERNEL, OURS)
        source, destination = (end[version] for end in ends)
        mixed = inner != version
        # What would not become smaller comes without IPComp.
        optional = " level use" if direction == "in" else ""
        states = [self._state(sa, source, destination, mixed=mixed) for sa in sas]
        templates = " ".join(
            f"tmpl src {source} dst {destination} proto {_PROTOCOLS[sa.protocol]} reqid {sa.spi} "
            f"mode {sa.mode}" + optional * (sa.protocol is Protocol.IPCOMP)
            for sa in sas
        )
        # Not what else comes from there: of ESP in UDP the UDP would have to be protected, too.
        ports = f"proto udp sport {_PORT} dport {_PORT}"
        selector = f"src {ends[0][inner]} dst {ends[1][inner]} {ports}"
        self._run(*states, f"xfrm policy add {selector} dir {direction} {templates}")

    @staticmethod
    def _state(sa: SecurityAssociation, source: str, destination: str, *, mixed: bool) -> str:
        words = [
            f"xfrm state add src {source} dst {destination} proto {_PROTOCOLS[sa.protocol]}",
            f"spi {sa.spi:#x} reqid {sa.spi} mode {sa.mode}",
        ]
        if sa.numbered:
            words.append("replay-window 32")
        if sa.protocol is Protocol.IPCOMP:
            words.append("comp deflate")
        if sa.protocol is Protocol.ESP:
            name = ENCRYPTIONS[sa.encryption]
            secret = f"0x{sa.encryption_key.hex()}" if sa.encryption_key else '""'
            words.append(f"{name} {secret}" + (f" {sa.cipher.icv * 8}" if sa.cipher.icv else ""))
        if sa.integrity:
            name = INTEGRITIES[sa.integrity]
            words.append(f"auth-trunc {name} 0x{sa.integrity_key.hex()} {sa.icv * 8}")
        if sa.encap:
            ports = f"{sa.encap_source_port} {sa.encap_destination_port}"
            words.append(f"encap espinudp {ports} 0.0.0.0")
        if sa.sequence:
            way = "replay-oseq" if sa.direction is Direction.IN else "replay-seq"
            low, high = sa.sequence & 0xFFFFFFFF, sa.sequence >> 32
            words.append(f"{way} {low} {way}-hi {high}")
        flags = ["esn"] if sa.esn else []
        if mixed and sa.mode is Mode.TUNNEL:
            flags.append("af-unspec")
        if sa.protocol is Protocol.AH and ":" not in source:
            flags.append("align4")
        words += [f"flag {flag}" for flag in flags]
        return " ".join(words)

    # Packets.

    def send(self, packet: bytes) -> None:
        """Send the kernel a packet, as if from us."""
        os.write(self._tun, packet)

    def receive(self, seconds: float = 3.0) -> bytes:
        """Return the next packet that the kernel sends us."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            select.select([self._tun], [], [], left)
            try:
                packet = os.read(self._tun, 65536)
            except BlockingIOError:
                continue
            if packet[9 if packet[0] >> 4 == 4 else 6] in _NUMBERS:
                return packet
        raise AssertionError(f"nothing came; the kernel's errors: {self.errors()}")

    @contextmanager
    def udp_socket(self, version: int) -> Iterator[socket.socket]:
        """Give the kernel's side of the link a UDP socket on the port of the tests."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            made.settimeout(3)
            made.bind((KERNEL[version], _PORT))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            yield made

    @contextmanager
    def nat_t_socket(self, version: int, port: int) -> Iterator[None]:
        """Have the kernel take ESP out of UDP on a port."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            made.bind((KERNEL[version], port))
            made.setsockopt(socket.IPPROTO_UDP, _UDP_ENCAP, _ESP_IN_UDP)
            yield

    @staticmethod
    def say(made: socket.socket, version: int, data: bytes) -> None:
        """Have the kernel send us a datagram."""
        to: Any = (OURS[version], _PORT)
        for _ in range(100):
            try:
                made.sendto(data, to)
                return
            except OSError as error:
                # A larval association is being resolved; it is there in a moment.
                if error.errno != errno.EAGAIN:
                    raise
                time.sleep(0.05)
        raise AssertionError("the kernel does not send")

    # What went wrong.

    @staticmethod
    def _statistics() -> dict[str, int]:
        lines = Path("/proc/net/xfrm_stat").read_text().splitlines()
        return {name: int(number) for name, number in (line.split() for line in lines)}

    def errors(self) -> dict[str, int]:
        """Return what the kernel has counted since the link is there, of /proc/net/xfrm_stat."""
        now = self._statistics()
        return {name: n - self._errors[name] for name, n in now.items() if n != self._errors[name]}
