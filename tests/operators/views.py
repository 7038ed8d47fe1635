"""All views of a live process at once, each as its operator has it; they can be made to pause."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pexpect

from opencrypto.control import Client
from tests.operators.live_process import ROOT
from tests.operators.test_commands import COMMAND
from tests.operators.test_metrics import Server

LOOKS: Final = (("sysctl", "-a"), ("drivers",), ("sessions",))
"""Commands that show one look and end, called again and again."""


class Views:
    """
    The processes that watch.

    Each is the leader of a group, which is stopped and continued as a whole.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        self._groups = groups

    def pause(self) -> None:
        """Have all of them stand still."""
        self._tell(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have all of them watch again."""
        self._tell(signal.SIGCONT)

    def _tell(self, what: signal.Signals) -> None:
        for group in self._groups:
            os.killpg(group, what)


@contextlib.contextmanager
def every_view(
    socket: Path, port: int, folder: Path, again: int = 1, cpu: int | None = None
) -> Iterator[Views]:
    """
    Watch by top and stat each second, commands in a loop, a client, and a Prometheus that scrapes.

    Args:
        socket: The process's control socket.
        port: Where its metrics are.
        folder: A new folder for what the views need.
        again: Seconds from scrape to scrape, and from command to command.
        cpu: The processor that the views run on.
    """
    folder.mkdir()
    pin = [] if cpu is None else ["taskset", "-c", str(cpu)]
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/drivers:{ROOT}/consumers", "TERM": "xterm"}
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.closing(Server(folder, port, f"{again}s", pin)))
        top = _top(pin, socket, env)
        stack.callback(top.close, force=True)
        top.expect("rate/s")
        reader = threading.Thread(target=_drain, args=(top, stop))
        stat = _started([*pin, *COMMAND, "stat", "-w", "1", "--socket", str(socket)], env)
        stack.callback(_end, stat)
        loops = []
        for words in LOOKS:
            command = shlex.join([*COMMAND, *words, "--socket", str(socket)])
            line = f"while {command} >/dev/null || exit; do sleep {again}; done"
            loops.append(_started([*pin, "/bin/sh", "-c", line], env))
            stack.callback(_end, loops[-1])
        server.wait_for("up == 1")
        reader.start()
        stack.callback(reader.join)
        stack.callback(stop.set)
        assert isinstance(top.pid, int)
        views = Views([top.pid, server.pid, stat.pid, *(loop.pid for loop in loops)])
        stack.callback(views.go_on)  # what stands still does not end
        yield views
        views.go_on()
        assert top.isalive()
        assert [each.poll() for each in (stat, *loops)] == [None] * (1 + len(loops))
        assert server.wait_for("opencrypto_requests_total >= 0")


def _top(pin: Sequence[str], socket: Path, env: dict[str, str]) -> pexpect.spawn[str]:
    call = [*pin, *COMMAND, "top", "--socket", str(socket)]
    return pexpect.spawn(
        call[0], call[1:], env=env, encoding="utf-8", dimensions=(24, 80), timeout=60
    )


def _drain(top: pexpect.spawn[str], stop: threading.Event) -> None:
    """Read what top draws, as a terminal does."""
    while not stop.is_set():
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
            top.read_nonblocking(65536, timeout=0.2)
        time.sleep(0.05)


def _started(call: Sequence[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    none = subprocess.DEVNULL
    return subprocess.Popen(call, env=env, stdout=none, stderr=none, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=30)


@contextlib.contextmanager
def polled(socket: Path) -> Iterator[None]:
    """Read the whole tree twice a second, as a program with a dashboard of its own would."""
    stop = threading.Event()

    def poll() -> None:
        with Client(socket) as client:
            while not stop.wait(0.5):
                client.get()

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        yield
    finally:
        stop.set()
        poller.join()
