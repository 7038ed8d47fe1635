"""The command as a user meets it: run in a process of its own, or through a terminal."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli.commands import DATA, RUN, frames, run


@pytest.mark.slow
def test_drivers() -> None:
    shown = run("drivers").stdout
    for word in ("openssl", "swcrypto", "null", "AES_GCM_16", "accelerated", "sessions"):
        assert word in shown
    listed = json.loads(run("drivers", "--json").stdout)["drivers"]
    (openssl,) = [driver for driver in listed if driver["name"] == "openssl"]
    assert openssl["available"]
    assert openssl["class"] == "accelerated"
    assert openssl["reason"] is None
    assert "AES_CBC" in openssl["algorithms"]


@pytest.mark.slow
def test_a_driver_that_is_not_available_has_a_reason() -> None:
    listed = json.loads(run("drivers", "--json", OPENCRYPTO_BLOCK="openssl").stdout)["drivers"]
    (openssl,) = [driver for driver in listed if driver["name"] == "openssl"]
    assert not openssl["available"]
    assert openssl["reason"]
    shown = run("drivers", OPENCRYPTO_BLOCK="openssl").stdout
    assert "not available" in shown
    assert openssl["reason"] in shown


@pytest.mark.slow
@pytest.mark.parametrize("file", ["sa", "tunnel"])
def test_the_capture_comes_back(tmp_path: Path, file: str, request: Any) -> None:
    keys = request.getfixturevalue(file)
    wire, back = tmp_path / "wire.pcap", tmp_path / "back.pcap"
    shown = run("esp", "protect", DATA / "capture.pcap", wire, "--sa", keys, "--test-keys")
    assert "protected\t2383\n" in shown.stdout
    assert "served by openssl" in shown.stdout
    assert shown.stderr == "", "no progress bar where nobody looks"
    done = run("esp", "unprotect", wire, back, "--sa", keys, "--json")
    document = json.loads(done.stdout)
    assert document["unprotected"]["packets"] == 2383
    assert document["lost"] == 0
    assert frames(back) == frames(DATA / "capture.pcap"), "times and frames, in order"
    assert all(frame[23] == 50 or frame[20] == 50 for _, frame in frames(wire))


@pytest.mark.slow
def test_packets_that_are_left_out_are_status_1(tmp_path: Path, sa: Path) -> None:
    out = tmp_path / "out.pcap"
    done = run("esp", "unprotect", DATA / "capture.pcap", out, "--sa", sa, status=1)
    assert "left out" in done.stdout
    assert "left out, since not ESP: UDP 1203, TCP 939, ICMP 241" in done.stderr
    assert frames(out) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["esp", "protect"], 2, "Missing argument"),
        (["esp", "protect", "{in}", "{out}"], 2, "--sa"),
        (["nonsense"], 2, "nonsense"),
        (["drivers", "--nonsense"], 2, "nonsense"),
        (["esp", "protect", "no-such-file", "{out}", "--sa", "{sa}"], 2, "check the path"),
        (["esp", "protect", "{in}", "{out}", "--sa", "no-such-file"], 2, "check the path"),
        (["esp", "protect", "{in}", "{in}", "--sa", "{sa}"], 2, "name another file"),
        (["esp", "protect", "{in}", "no/such/folder", "--sa", "{sa}"], 2, "check the path"),
        (["esp", "protect", "{sa}", "{out}", "--sa", "{sa}"], 1, "neither pcap nor pcapng"),
        (["esp", "protect", "{in}", "{out}", "--sa", "{in}"], 2, "chmod 600"),
        (["esp", "protect", "{in}", "{out}", "--sa", "{empty}"], 2, "no [[sa]] table"),
        (["esp", "protect", "{empty}", "{out}", "--sa", "{sa}"], 1, "neither pcap nor pcapng"),
        (["esp", "protect", "{cut}", "{out}", "--sa", "{sa}"], 1, "inside its header"),
        (["esp", "protect", "{odd}", "{out}", "--sa", "{sa}"], 1, "link type 147 (RESERVED_01)"),
    ],
)
def test_failures(tmp_path: Path, sa: Path, words: list[str], status: int, says: str) -> None:
    whole = DATA.joinpath("capture.pcap").read_bytes()
    files = {"in": whole[:3000], "empty": b"", "cut": whole[:20], "odd": whole[:20]}
    files["odd"] += struct.pack("<I", 147)
    paths = {"sa": sa, "out": tmp_path / "out.pcap"}
    for name, content in files.items():
        paths[name] = tmp_path / name
        paths[name].write_bytes(content)
        paths[name].chmod(0o600 if name == "empty" else 0o644)
    done = run(*(word.format(**paths) for word in words), status=status)
    assert says in done.stderr
    assert not paths["out"].exists(), "nothing half done under the name that was asked for"
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))
    assert "000102030405" not in done.stderr


def test_a_driver_is_held_to_the_contract() -> None:
    done = run("check", "opencrypto_null", "--clause", "D1", "--clause", "K1")
    lines = done.stdout.splitlines()
    assert lines[0] == "driver null: keeps the contract"
    words = {line.split()[0]: line.split()[1] for line in lines[1:]}
    assert words["D1"] == "passed"
    assert words["K1"] == "skipped"


@pytest.mark.slow
def test_a_driver_that_breaks_the_contract_is_status_1(tmp_path: Path) -> None:
    tmp_path.joinpath("liar.py").write_text(
        "from opencrypto import hookimpl\n"
        "from opencrypto.testing.faults import NameOfTwoWords\n"
        "from opencrypto_null import NullDriver\n"
        "@hookimpl\n"
        "def opencrypto_drivers():\n"
        "    return [NameOfTwoWords.of(NullDriver)()]\n"
    )
    words = [*RUN, "check", "liar", "--clause", "D1"]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, env=env, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "breaks the contract" in done.stdout
    assert "D1  failed" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no_such_package"], "cannot be imported"),
        pytest.param(["json"], "brings no driver", marks=pytest.mark.slow),
        pytest.param(
            ["opencrypto_null", "--clause", "D99"], "no clauses D99", marks=pytest.mark.slow
        ),
    ],
)
def test_what_cannot_be_checked(words: list[str], says: str) -> None:
    assert says in run("check", *words, status=2).stderr


@pytest.mark.slow
def test_no_driver_is_said_at_once(tmp_path: Path, sa: Path) -> None:
    done = run(
        "esp", "protect", DATA / "capture.pcap", tmp_path / "out.pcap", "--sa", sa,
        status=1, OPENCRYPTO_BLOCK="openssl,swcrypto",
    )  # fmt: skip
    assert "no driver serves AES_CBC" in done.stderr


@pytest.mark.slow
def test_no_key_in_the_debug_log(tmp_path: Path, sa: Path) -> None:
    done = run("--debug", "esp", "protect", DATA / "capture.pcap", tmp_path / "o", "--sa", sa)
    assert "driver_attached" in done.stderr
    for start in ("000102030405", "101112131415"):
        assert start not in done.stdout + done.stderr


def test_version_and_help() -> None:
    assert run("--version").stdout.startswith("opencrypto ")
    assert "protect" in run("esp", "--help").stdout


@pytest.mark.slow
def test_a_terminal_gets_a_progress_bar(tmp_path: Path, sa: Path) -> None:
    words = ["esp", "protect", DATA / "capture.pcap", tmp_path / "out.pcap", "--sa", sa]
    child = pexpect.spawn(
        RUN[0],
        [*RUN[1:], *map(str, words)],
        env=os.environ | {"TERM": "xterm"},
        timeout=60,
        encoding="utf-8",
    )
    output = child.read()
    child.close()
    assert child.exitstatus == 0
    assert "\u2501" in output, "the bar"
    assert "2,383" in output


@pytest.mark.slow
def test_writing_to_a_device(sa: Path) -> None:
    run("esp", "protect", DATA / "capture.pcap", "/dev/null", "--sa", sa)
    assert not Path("/dev/null").is_file()


@pytest.mark.slow
def test_a_state_goes_from_run_to_run(tmp_path: Path, sa: Path) -> None:
    """Each way has one; a capture that comes a second time is all replays."""
    wire, out, back = tmp_path / "wire.pcap", tmp_path / "out.json", tmp_path / "in.json"
    for _ in range(2):
        run("esp", "protect", DATA / "capture.pcap", wire, "--sa", sa, "--state", out)
    numbers = [int.from_bytes(frame[38:42]) for _, frame in frames(wire)]
    assert numbers == list(range(2384, 4767))
    words = ("esp", "unprotect", wire, tmp_path / "back.pcap", "--sa", sa, "--state", back)
    run(*words)
    assert "2383 packets were dropped" in run(*words, status=1).stderr
    done = run(*words[:-1], out, status=2)
    assert "other SAs or other keys (0x1001 in, 0x1001 out)" in done.stderr


@pytest.mark.slow
def test_an_association_for_the_other_way_is_refused(tmp_path: Path, sa: Path) -> None:
    sa.write_text(sa.read_text() + 'direction = "in"\n')
    done = run("esp", "protect", DATA / "capture.pcap", tmp_path / "o", "--sa", sa, status=2)
    assert 'no SA is for sending; write direction = "out"' in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["drivers"],
        ["esp", "protect", DATA / "capture.pcap", "{out}", "--sa", "{sa}", "--test-keys"],
        ["esp", "sa", "{sa}"],
    ],
)
def test_a_table_is_plain_where_it_is_asked_for(
    tmp_path: Path, sa: Path, words: list[str | Path]
) -> None:
    """On a terminal too; the same lines as into a pipe, however long."""
    given = [str(word).format(out=tmp_path / "out.pcap", sa=sa) for word in words]
    child = pexpect.spawn(
        RUN[0],
        [*RUN[1:], *given, "--plain"],
        env=os.environ | {"TERM": "xterm", "COLUMNS": "40"},
        timeout=60,
        encoding="utf-8",
    )
    output = child.read()
    child.close()
    assert child.exitstatus == 0, output
    piped = [line for line in run(*given).stdout.splitlines() if "per second" not in line]
    assert any("\t" in line for line in piped)
    assert [line for line in piped if f"{line}\r\n" not in output] == []
