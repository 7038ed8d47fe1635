"""AH, IPComp, ESP in UDP, and what is there to read old captures, through the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import ETHERNET, ask, record, run
from tests.consumers.esp.capture.files import seen
from tests.consumers.esp.packets import ipv4, ipv6, key
from tests.consumers.esp.test_published import CAPTURES

pytestmark = pytest.mark.slow

KEY, SECRET = key(20).hex(), key(32).hex()
TUNNEL = 'mode = "tunnel"\ntunnel_source = "192.0.2.1"\ntunnel_destination = "192.0.2.2"\n'
GCM = f'encryption = "AES_GCM_16-128"\nencryption_key = "{KEY}"\nkeys = "agreed"\n'
AUTHENTIC = f'integrity = "sha256"\nintegrity_key = "{SECRET}"\n'
FORMS = {
    "esp in udp": f'[[sa]]\nspi = 0x2001\nencap = "udp"\n{GCM}',
    "esp in udp, in a tunnel": (
        f'[[sa]]\nspi = 0x2001\nencap = "udp"\ntfc_padding = 900\n{TUNNEL}{GCM}'
    ),
    "ah": f'[[sa]]\nspi = 0x2001\nprotocol = "ah"\n{AUTHENTIC}',
    "ah, in a tunnel": f'[[sa]]\nspi = 0x2001\nprotocol = "ah"\nesn = true\n{TUNNEL}{AUTHENTIC}',
    "ipcomp": '[[sa]]\nspi = 0x2001\nprotocol = "ipcomp"\n',
    "ipcomp, in a tunnel": f'[[sa]]\nspi = 2\nprotocol = "ipcomp"\n{TUNNEL}',
}

LONG = b"to be or not to be; " * 30
PLAIN = [
    # No UDP: in transport mode through NATs its checksum is mended.
    ETHERNET + b"\x08\x00" + ipv4(b"16 bytes of data", protocol=253),
    ETHERNET + b"\x08\x00" + ipv4(LONG, protocol=253, options=b"\x94\x04\x00\x00"),
    ETHERNET + b"\x86\xdd" + ipv6(LONG, following=253),
]


def sa_file(folder: Path, text: str) -> Path:
    """Write a file of SAs that only its owner may read."""
    path = folder / "sa.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back(tmp_path: Path, form: str) -> None:
    sa = sa_file(tmp_path, FORMS[form])
    source = record(tmp_path / "in.pcap", PLAIN)
    wire, back = tmp_path / "wire.pcap", tmp_path / "back.pcap"
    for verb, before, after in (("protect", source, wire), ("unprotect", wire, back)):
        status, document, _ = ask("esp", verb, before, after, "--sa", sa)
        assert status == 0
        assert document[f"{verb}ed"]["packets"] == len(PLAIN)
    assert [frame.data for frame in seen(back)] == PLAIN
    assert [frame.data for frame in seen(wire)] != PLAIN


def test_an_order_of_associations(tmp_path: Path) -> None:
    comp = '[[sa]]\nname = "comp"\nspi = 0x4001\nprotocol = "ipcomp"\n'
    hidden = f'[[sa]]\nname = "esp"\nspi = 0x2001\n{GCM}'
    there = sa_file(tmp_path, f'{comp}then = "esp"\n{hidden}')
    source = record(tmp_path / "in.pcap", PLAIN)
    wire, back = tmp_path / "wire.pcap", tmp_path / "back.pcap"
    assert ask("esp", "protect", source, wire, "--sa", there)[0] == 0
    backwards = sa_file(tmp_path, f'{comp}{hidden}then = "comp"\n')
    assert ask("esp", "unprotect", wire, back, "--sa", backwards)[0] == 0
    assert [frame.data for frame in seen(back)] == PLAIN


def test_keep_alives_are_no_loss(tmp_path: Path) -> None:
    sa = sa_file(tmp_path, FORMS["esp in udp"])
    alive = ETHERNET + b"\x08\x00" + ipv4(b"\x11\x94\x11\x94\x00\x09\x00\x00\xff")
    source = record(tmp_path / "in.pcap", [alive])
    status, document, _ = ask("esp", "unprotect", source, tmp_path / "out.pcap", "--sa", sa)
    assert status == document["lost"] == 0
    assert document["unprotected"]["dropped"] == {"NAT keep-alive": 1}


def test_old_ciphers_are_to_be_asked_for(tmp_path: Path) -> None:
    text = (
        f'[[sa]]\nspi = 0x2001\nencryption = "des"\nencryption_key = "{key(8).hex()}"\n{AUTHENTIC}'
    )
    sa = sa_file(tmp_path, text)
    source, out = record(tmp_path / "in.pcap", []), tmp_path / "out.pcap"
    assert "--old-ciphers" in run("esp", "unprotect", source, out, "--sa", sa, status=2).stderr
    assert ask("esp", "unprotect", source, out, "--sa", sa, "--old-ciphers")[0] == 0
    done = run("esp", "protect", source, out, "--sa", sa, status=2)
    assert "read old captures" in done.stderr


def test_what_nobody_can_verify_is_to_be_asked_for(tmp_path: Path) -> None:
    (capture,) = (each for each in CAPTURES if each["id"] == "08-sunrise-sunset-aes")
    (sa,) = capture["sas"]
    text = "[[sa]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in sa.items())
    frames = [ETHERNET + b"\x08\x00" + bytes.fromhex(wire) for wire in capture["wire"]]
    source, out = record(tmp_path / "in.pcap", frames), tmp_path / "out.pcap"
    file = sa_file(tmp_path, text)
    done = run("esp", "unprotect", source, out, "--sa", file, status=2)
    assert "--unverified" in done.stderr
    assert ask("esp", "unprotect", source, out, "--sa", file, "--unverified")[0] == 0
    assert [frame.data[14:].hex() for frame in seen(out)] == capture["plain"]
