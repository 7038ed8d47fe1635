"""SA files and associations: what is refused, in which words, and that no key is among them."""

from __future__ import annotations

import logging
import shutil
import traceback
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from opencrypto import Framework, UsageError
from opencrypto_esp import Direction, Mode, SecurityAssociation, load_sas
from tests.consumers.esp.ends import Ends
from tests.consumers.esp.packets import ipv4, key, make_sa

SAMPLES = Path(__file__).parents[2] / "data" / "sa"
CANARY = "deadbeefcafef00d" * 2
AES = "00112233445566778899aabbccddeeff"
GOOD = f"""
[[sa]]
spi = 0x1001
encryption = "aes-cbc"
encryption_key = "{AES}"
integrity = "hmac-sha1-96"
integrity_key = "{"ab" * 20}"
"""


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    """Write an SA file."""
    path = folder / "sa.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", ["transport", "tunnel"])
def test_the_samples_work(tmp_path: Path, name: str) -> None:
    path = Path(shutil.copy(SAMPLES / f"{name}.toml", tmp_path))
    path.chmod(0o600)
    with Framework() as framework, Ends(framework, load_sas(path), test_keys=True) as esp:
        for destination in ("10.9.0.1", "10.9.0.2"):
            packet = ipv4(b"payload", destination=destination)
            wire = esp.protect(packet).packet
            assert wire is not None
            assert esp.unprotect(wire).packet == packet


def test_everything_said_is_taken(tmp_path: Path) -> None:
    text = (
        GOOD
        + """
name = "mine"
mode = "tunnel"
tunnel_source = "2001:db8::1"
tunnel_destination = "2001:db8::2"
esn = true
replay_window = 128
direction = "out"
sequence = 9
hop_limit = 3
dscp = 46
selectors.source = "10.0.0.0/8"
selectors.destination = ["10.1.0.0/16", "fd00::/8"]
"""
    )
    (sa,) = load_sas(write(tmp_path, text))
    assert sa.encryption_key == bytes.fromhex(AES)
    assert sa.direction is Direction.OUT
    assert (sa.mode, sa.label, sa.esn) == (Mode.TUNNEL, "mine", True)
    assert (sa.replay_window, sa.sequence, sa.hop_limit, sa.dscp) == (128, 9, 3, 46)
    assert sa.source == (ip_network("10.0.0.0/8"),)
    assert sa.destination == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))


def test_keys_may_be_spaced(tmp_path: Path) -> None:
    spaced = "0x" + ":".join(AES[n : n + 2] for n in range(0, 32, 2))
    (sa,) = load_sas(write(tmp_path, GOOD.replace(AES, spaced)))
    assert sa.encryption_key == bytes.fromhex(AES)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_others_must_not_read_it(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, GOOD, mode)
    with pytest.raises(UsageError, match="chmod 600"):
        load_sas(path)


BAD_FILES = {
    "not toml": ("[[sa]\n", "is not TOML: look at line 1"),
    "nothing": ("", r"no \[\[sa\]\] table"),
    "table": ("[sa]\nspi = 1\n", r"no \[\[sa\]\] table"),
    "unknown table": (GOOD + "[other]\n", "unknown 'other'"),
    "unknown key": (GOOD + "colour = 'red'\n", "unknown 'colour'"),
    "missing": ("[[sa]]\nname = 'x'\n", "'spi', 'encryption' is missing"),
    "text spi": (GOOD.replace("0x1001", "'a'"), "spi must be a number"),
    "not hex": (GOOD.replace(AES, CANARY[:-1] + "x"), "encryption_key must be hexadecimal"),
    "key as number": (GOOD.replace(f'"{AES}"', "12"), "encryption_key must be hexadecimal"),
    "key length": (GOOD.replace(AES, CANARY + "00"), "16 or 24 or 32 bytes, not 17"),
    "mode": (GOOD + "mode = 'tunel'\n", "'transport' or 'tunnel'"),
    "address": (GOOD + "tunnel_source = 'here'\n", "no IPv4 or IPv6 address"),
    "direction": (GOOD + "direction = 'both'\n", "direction is 'out' or 'in'"),
    "replay_seq_hi": (
        GOOD + "direction = 'out'\nesn = true\nreplay_seq_hi = 1\n",
        "replay_seq_hi is for receiving",
    ),
    "sequence": (GOOD + "direction = 'in'\nsequence = 9\n", "sequence is for sending"),
    "esn": (GOOD + "esn = 1\n", "true or false"),
    "selectors": (GOOD + "selectors.from = '10.0.0.0/8'\n", "'source' and 'destination'"),
    "network": (GOOD + "selectors.source = '10.0.0.1/8'\n", "host bits set"),
    "network number": (GOOD + "selectors.source = 7\n", "write networks such as"),
    "selector outside": (GOOD + "source = '10.0.0.0/8'\n", "unknown 'source'"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(tmp_path: Path, case: str) -> None:
    text, words = BAD_FILES[case]
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=words) as caught:
        load_sas(path)
    assert "sa.toml" in str(caught.value), "it says which file"
    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY[:8] not in shown
    assert AES[:8] not in shown
    assert caught.value.__cause__ is None


def test_not_text(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_sas(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spi": 2**32}, "1 to"),
        ({"spi": 255, "direction": Direction.OUT}, "256 to"),
        ({"encryption": "rot13"}, "unknown encryption 'rot13'"),
        ({"integrity": "crc32"}, "unknown integrity 'crc32'"),
        ({"integrity": "", "integrity_key": b""}, "needs an integrity"),
        ({"integrity": ""}, "no integrity that takes it"),
        ({"integrity_key": b"short"}, "20 bytes, not 5"),
        ({"encryption": "aes-gcm-16", "encryption_key": key(20)}, "authenticates by itself"),
        ({"encryption": "aes-ctr", "encryption_key": key(16)}, "the last 4 being the salt"),
        ({"encryption": "3des-cbc", "encryption_key": key(8) * 3}, "plain DES"),
        (
            {
                "encryption": "null", "encryption_key": b"", "integrity": "",
                "integrity_key": b"", "unauthenticated": True,
            },
            "needs an integrity",
        ),
        ({"replay_window": -1}, "replay_window"),
        ({"replay_window": 0, "esn": True}, "extended sequence numbers need"),
        ({"sequence": 1 << 32}, "sequence must be"),
        ({"hop_limit": 0}, "hop_limit"),
        ({"dscp": 64}, "dscp"),
        ({"mode": Mode.TUNNEL, "direction": Direction.OUT}, "tunnel mode needs"),
        ({"tunnel": 4, "mode": Mode.TRANSPORT}, "the mode is transport"),
        ({"tunnel": 4, "tunnel_source": make_sa(tunnel=6).tunnel_source}, "both be IPv4 or both"),
    ],
)  # fmt: skip
def test_associations_that_cannot_work(changes: dict[str, Any], words: str) -> None:
    good = make_sa(tunnel=changes.get("tunnel", 0))
    with pytest.raises(UsageError, match=words):
        replace(good, **{name: value for name, value in changes.items() if name != "tunnel"})


def test_no_key_is_ever_shown(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    canary = bytes.fromhex(CANARY)
    sa = SecurityAssociation(
        spi=0x1001,
        encryption="aes-cbc",
        encryption_key=canary,
        integrity="hmac-sha1-96",
        integrity_key=canary + canary[:4],
    )
    with Framework() as framework, Ends(framework, [sa]) as esp:
        result = esp.protect(ipv4(b"x"))
        esp.unprotect(b"bad")
        framework.detach("openssl")
        esp.protect(ipv4(b"x"))
        texts = [repr(thing) for thing in (sa, esp, result, esp.counters(), esp.__dict__)]
    captured = capsys.readouterr()
    everything = "".join([*texts, caplog.text, captured.out, captured.err])
    for form in (CANARY, str(canary)[2:-1], str(list(canary))[1:-1]):
        assert form not in everything
