"""The command takes SAs in any format, lists them without keys, and writes them in others."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pexpect
import pytest

from opencrypto import UsageError
from opencrypto.cli.app import app
from tests.cli.commands import DATA, RUN, ask, call, run, some_packets
from tests.cli.commands import record as record_frames
from tests.consumers.esp.capture.files import seen

pytestmark = pytest.mark.slow

KINDS = ("toml", "xfrm", "esp_sa")
KEYS = ("202122232425262728292a2b", "00112233445566778899aabb")


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """Return SAs in TOML that each format has a place for."""
    path = tmp_path / "link.toml"
    path.write_text(
        f"""
        [[sa]]
        name = "link"
        spi = 0x2001
        mode = "tunnel"
        tunnel_source = "192.0.2.1"
        tunnel_destination = "192.0.2.2"
        encryption = "AES_CBC-128"
        encryption_key = "{KEYS[1]}00112233"
        integrity = "sha256"
        integrity_key = "{KEYS[0] * 2}2021222324252627"
        """
    )
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_packets_go_there_and_back_by_files_of_two_formats(
    tmp_path: Path, link: Path, kind: str
) -> None:
    other = tmp_path / "other"
    call("esp", "sa", link, "--to", kind, "--out", other)
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    source = record_frames(tmp_path / "in.pcap", some_packets(), 101)
    wire, back = tmp_path / "wire", tmp_path / "back"
    call("esp", "protect", source, wire, "--sa", link)
    call("esp", "unprotect", wire, back, "--sa", other)
    assert [frame.data for frame in seen(back)] == some_packets()


def test_a_list_has_no_keys(link: Path) -> None:
    out = run("esp", "sa", link).stdout
    assert "link" in out
    assert "aes-cbc-128+hmac-sha2-256-128" in out
    for text in (out, run("esp", "sa", link, "--json").stdout):
        assert not any(key[:8] in text for key in KEYS)
    status, document, _ = ask("esp", "sa", link)
    assert status == 0
    assert document[0] | {"spi": "0x00002001", "to": "192.0.2.2"} == document[0]


def test_a_pipe_brings_them_and_takes_them(tmp_path: Path, link: Path) -> None:
    """As in: ip xfrm state | opencrypto esp sa - --to toml | ..."""

    def piped(text: bytes, *words: str) -> bytes:
        done = subprocess.run(
            [*RUN, "esp", "sa", "-", *words],
            input=text,
            capture_output=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    xfrm = piped(link.read_bytes(), "--to", "xfrm")
    assert b"xfrm state add src 192.0.2.1" in xfrm
    assert b"[[sa]]" in piped(xfrm, "--to", "toml")
    assert json.loads(piped(xfrm, "--json"))[0]["spi"] == "0x00002001"


def test_keys_are_not_shown_nor_left_for_others(tmp_path: Path, link: Path) -> None:
    child = pexpect.spawn(
        RUN[0], [*RUN[1:], "esp", "sa", str(link), "--to", "toml"], timeout=60, encoding="utf-8"
    )
    output = child.read()
    child.close()
    assert child.exitstatus == 2
    assert "not shown on a terminal" in output
    public = tmp_path / "public"
    public.touch(0o644)
    with public.open("wb") as file:
        words = [*RUN, "esp", "sa", str(link), "--to", "toml"]
        done = subprocess.run(words, stdout=file, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 2
    assert b"--out FILE" in done.stderr
    assert not public.read_bytes()


def test_what_is_left_out_is_said(link: Path, tmp_path: Path) -> None:
    text = link.read_text() + "esn = true\n"
    link.write_text(text)
    done = run("esp", "sa", link, "--to", "esp_sa", "--out", tmp_path / "out")
    assert "no place for mode, esn" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--json", "--to", "toml"], "choose one"),
        (["--out", "somewhere"], "in which format"),
    ],
)
def test_what_does_not_go_together_is_refused(link: Path, words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        app(["esp", "sa", str(link), *words], standalone_mode=False)


def test_a_key_on_the_command_line_is_refused(tmp_path: Path) -> None:
    secret = "0x2001@192.0.2.2 aes128:0x00112233445566778899aabbccddeeff"
    source = DATA / "capture.pcap"
    done = run("esp", "unprotect", source, tmp_path / "out", "--sa", secret, status=2)
    assert "chmod 600" in done.stderr
    assert "00112233" not in done.stderr


def test_standard_input_is_one_of_both(tmp_path: Path) -> None:
    done = run("esp", "unprotect", "-", tmp_path / "out", "--sa", "-", status=2)
    assert "not both" in done.stderr
