"""What the tests of the command share: running it, and captures."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dpkt

from opencrypto.cli.app import app

DATA = Path(__file__).parents[1] / "data"
RUN = [sys.executable, "-c", "from opencrypto.cli import main; main()"]
ETHERNET = bytes(range(12))


def run(*words: str | Path, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command; no failure may show a traceback, and every one says what is wrong."""
    done = subprocess.run(
        [*RUN, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb"} | env,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not status or done.stderr.strip()
    return done


def call(*words: str | Path) -> None:
    """Run the command in this process, where many runs are wanted and none is to fail."""
    assert not app([*map(str, words)], standalone_mode=False)


def ask(*words: str | Path) -> tuple[int, Any, str]:
    """Run a command in this process; return its status, what it prints as JSON, and its stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = app([*map(str, words), "--json"], standalone_mode=False)
    return status or 0, json.loads(out.getvalue()), err.getvalue()


def frames(path: Path) -> list[tuple[float, bytes]]:
    """Return the times and frames of a pcap file."""
    with path.open("rb") as file:
        return list(dpkt.pcap.Reader(file))


def record(path: Path, content: Sequence[bytes], linktype: int = 1, *, ng: bool = False) -> Path:
    """Write a capture, a frame each second."""
    with path.open("wb") as file:
        if ng:
            # dpkt's writer takes the link type from a block of ours.
            idb = dpkt.pcapng.InterfaceDescriptionBlockLE(linktype=linktype)
            writer: Any = dpkt.pcapng.Writer(file, idb=idb)
        else:
            writer = dpkt.pcap.Writer(file, linktype=linktype)
        for n, frame in enumerate(content):
            writer.writepkt(frame, ts=float(1000 + n))
        return path


def some_packets() -> list[bytes]:
    """Return the first IP packets of the real capture."""
    return [frame[14:] for _, frame in frames(DATA / "capture.pcap")[:20]]
