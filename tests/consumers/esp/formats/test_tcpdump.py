"""tcpdump's secrets: what it decrypts by a file, we do by the same file."""

from __future__ import annotations

import os
import subprocess
from ipaddress import ip_address
from pathlib import Path

import dpkt
import pytest

from opencrypto import Framework, UsageError
from opencrypto_esp import Direction, Esp, Mode, SecurityAssociation, load_sas, one_way
from opencrypto_esp.sa import ANY_SPI
from tests.consumers.esp.conftest import MakeEsp
from tests.consumers.esp.formats.sas import write
from tests.consumers.esp.packets import ipv4, key, make_sa
from tests.support import require_tool

pytestmark = pytest.mark.shared_framework

AES = "00112233445566778899aabbccddeeff"
PAYLOAD = bytes.fromhex("c350c351001c0000") + bytes(20)


def load(folder: Path, *lines: str) -> list[SecurityAssociation]:
    """Read a file of secrets."""
    return load_sas(write(folder, "\n".join(lines) + "\n"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encryption", "name", "length"), [("aes-cbc", "aes128", 16), ("3des-cbc", "3des-cbc", 24)]
)
@pytest.mark.parametrize("default", [False, True], ids=["by SPI", "for all"])
def test_the_same_file_serves_both(
    framework: Framework, make_esp: MakeEsp, tmp_path: Path,
    encryption: str, name: str, length: int, default: bool,
) -> None:  # fmt: skip
    sa = make_sa(encryption, "hmac-sha1-96", tunnel=4, encryption_key=key(length))
    plain = [ipv4(PAYLOAD) for _ in range(3)]
    wire = [make_esp(sa).protect(packet).packet or b"" for packet in plain]
    with (tmp_path / "wire.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=101)
        for packet in wire:
            writer.writepkt(packet)
    secret = f"{name}-hmac96:0x{sa.encryption_key.hex()}"
    if not default:
        secret = f"{sa.spi:#x}@{sa.tunnel_destination} {secret}"
    path = write(tmp_path, f"# secrets\n{secret}\n")
    done = subprocess.run(
        [require_tool("tcpdump", "tcpdump"), "-r", str(tmp_path / "wire.pcap"), "-nn",
         *(["-Z", "root"] if os.geteuid() == 0 else []), "-E", f"file {path}"],
        capture_output=True, text=True, check=False, timeout=60,
        env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("10.0.0.1.50000 > 10.0.0.2.50001: UDP, length 20") == 3
    sas = one_way(load_sas(path), Direction.IN)
    with Esp(framework, sas, unverified=True) as esp:
        assert [esp.unprotect(packet).packet for packet in wire] == plain


def test_what_a_line_says(tmp_path: Path) -> None:
    lines = [
        f"0x1001@192.0.2.2 aes-cbc-hmac96:0x{AES}",
        f"4098@2001:db8::2\tAES256-cbc:0x{AES * 2}",
        "0x1003@192.0.2.2   3des-hmac96:0123456789abcdefGHIJKLMN",
    ]
    first, second, third = load(tmp_path, "# comment", "", *lines[1:], lines[0].replace(
        "aes-cbc", "aes-128-cbc"))  # fmt: skip
    assert (first.spi, first.tunnel_destination) == (4098, ip_address("2001:db8::2"))
    assert (first.encryption, first.icv_length, first.unauthenticated) == ("aes-cbc", 0, True)
    assert second.encryption_key == b"0123456789abcdefGHIJKLMN"
    assert (second.encryption, second.icv_length) == ("3des-cbc", 12)
    assert third.encryption_key == bytes.fromhex(AES)
    assert {sa.mode for sa in (first, second, third)} == {Mode.EITHER}
    assert {sa.tunnel_source for sa in (first, second, third)} == {None}


def test_a_line_may_have_several_and_be_for_all(tmp_path: Path) -> None:
    """As they stand on a command line, from which somebody has copied them."""
    one = f"aes128-hmac96:0x{AES}"
    found = load(tmp_path, f"0x1001@192.0.2.2 {one},0x1002@192.0.2.2 {one}", f"des:0x{AES[:16]}")
    assert [sa.spi for sa in found] == [0x1001, 0x1002, ANY_SPI]
    assert found[2].encryption == "des-cbc"


def test_a_file_may_name_another(tmp_path: Path) -> None:
    other = write(tmp_path, f"0x1001@192.0.2.2 aes128:0x{AES}\n", "other")
    (sa,) = load_sas(write(tmp_path, f"file {other}\n"))
    assert sa.spi == 0x1001
    other.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        load_sas(tmp_path / "sas")
    itself = write(tmp_path, f"file {tmp_path / 'sas'}\n")
    with pytest.raises(UsageError, match="files name files"):
        load_sas(itself)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"0x1001@here aes128:0x{AES}", "in no format"),
        (f"0x1001@192.0.2.2 rot13:0x{AES}", "line 1, word 2: names an algorithm"),
        (f"0x1001@192.0.2.2 aes128:0x{AES[:-1]}", "two for each byte"),
        (f"0x1001@192.0.2.2 aes128:0x{AES}00", "not 17"),
        (f"aes128:0x{AES}\n0x1001@192.0.2.2 0x{AES}", "line 2, word 2: must be an algorithm"),
        (f"aes128:0x{AES}\n0x1001@192.0.2.2", "something is missing|must be an algorithm"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        load(tmp_path, line)
    assert AES[:8] not in str(caught.value)


def test_secrets_of_ike_are_left_out_and_said(tmp_path: Path) -> None:
    ike = f"ikev2 I 0x0011223344556677 0x8899aabbccddeeff sha1:0x{AES} aes128:0x{AES}"
    remarks: list[str] = []
    (sa,) = load_sas(write(tmp_path, f"{ike}\naes128:0x{AES}\n"), remark=remarks.append)
    assert sa.spi == ANY_SPI
    assert "secrets of IKE (1)" in remarks[0]
