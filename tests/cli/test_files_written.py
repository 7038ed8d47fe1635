"""Files that commands write: for their owner alone, and gone if the command is ended half way."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.commands import DATA, RUN, run
from tests.other_users import NOBODY, only_root

pytestmark = pytest.mark.slow


def test_captures_are_for_their_owner_alone(tmp_path: Path, sa: Path) -> None:
    wire, back = tmp_path / "wire.pcap", tmp_path / "back.pcap"
    run("esp", "protect", DATA / "capture.pcap", wire, "--sa", sa)
    run("esp", "unprotect", wire, back, "--sa", sa)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (wire, back)} == {0o600}


@only_root
def test_keys_of_another_user_are_refused(tmp_path: Path, sa: Path) -> None:
    """As root: whoever owns the file would choose the keys."""
    os.chown(sa, NOBODY, NOBODY)
    words = ("esp", "protect", DATA / "capture.pcap", tmp_path / "out.pcap", "--sa", sa)
    assert f"belongs to user {NOBODY}" in run(*words, status=2).stderr
    os.chown(sa, 0, 0)
    run(*words)


def test_standard_output_may_be_named(tmp_path: Path, sa: Path) -> None:
    """As root it was replaced by a file."""
    words = [*RUN, "esp", "protect", DATA / "capture.pcap", "/dev/stdout", "--sa", sa, "--json"]
    done = subprocess.run([*map(str, words)], capture_output=True, check=True, timeout=60)
    assert done.stdout[:4] in {b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4"}
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_is_ended_half_way_leaves_nothing_behind(
    tmp_path: Path, sa: Path, number: signal.Signals
) -> None:
    """SIGTERM left the packets in the clear in a hidden file; Ctrl-C ended without a word."""
    whole = (DATA / "capture.pcap").read_bytes()
    source = tmp_path / "long.pcap"
    source.write_bytes(whole[:24] + whole[24:] * 200)
    out = tmp_path / "out" / "out.pcap"
    out.parent.mkdir()
    words = [*RUN, "esp", "protect", source, out, "--sa", sa]
    # Where these tests run in the background, Ctrl-C is ignored, and a child inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE, text=True) as process:
        signal.signal(signal.SIGINT, before)
        end = time.monotonic() + 30
        while not list(out.parent.iterdir()):
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert list(out.parent.iterdir()) == []
    assert "Traceback" not in said
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said == "opencrypto: interrupted; nothing was written\n"
    else:
        assert process.returncode == -number


@pytest.mark.parametrize("words", [["esp", "protect", "{}"], ["esp", "{}"], ["{}"]])
def test_a_file_name_reaches_no_terminal_as_it_is(words: list[str]) -> None:
    """A shell's ``*`` hands on whatever somebody called a file."""
    evil = "\x1b]0;owned\x07\x1b[2J\r"
    done = run(*(word.format(evil) for word in words), status=2)
    assert "\x1b" not in done.stderr
    assert "\x07" not in done.stderr


def test_a_file_name_in_an_error_reaches_no_terminal_as_it_is(tmp_path: Path, sa: Path) -> None:
    evil = tmp_path / "\x1b[2J\nopencrypto: all is well"
    done = run("esp", "protect", evil, tmp_path / "out.pcap", "--sa", sa, status=2)
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_interrupt_while_the_command_is_loaded_is_a_sentence() -> None:
    code = """
import sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from opencrypto.cli import main
main()
"""
    done = subprocess.run([RUN[0], "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        130, "opencrypto: interrupted; nothing was written\n"
    )  # fmt: skip


def test_the_log_is_cleaned_too(tmp_path: Path) -> None:
    """Names in it are from outside."""
    tmp_path.joinpath("liar.py").write_text(
        "from opencrypto import hookimpl\n"
        "import logging\n"
        "@hookimpl\n"
        "def opencrypto_drivers():\n"
        "    logging.getLogger('opencrypto').error('\\x1b[2J')\n"
        "    return []\n"
    )
    done = run("--debug", "check", "liar", status=1, PYTHONPATH=str(tmp_path))
    assert "\N{REPLACEMENT CHARACTER}[2J" in done.stderr
    assert "\x1b" not in done.stderr
