"""A server that is none of ours: it answers whatever a test wants."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HELLO: dict[str, Any] = {
    "protocol": 1, "version": "1", "pid": 7, "uid": 0, "program": "it", "started": 1.5,
    "drivers": ["a"], "sessions": 0, "ops": 0,
}  # fmt: skip

Say = Callable[[socket.socket, dict[str, Any]], None]
"""Answers one request."""


def saying(result: object) -> Say:
    """Answer every request with a result."""
    return lambda peer, asked: answering({"v": 1, "id": asked["id"], "result": result})(peer, asked)


def answering(message: object) -> Say:
    """Answer every request with a message."""
    text = message if isinstance(message, str) else json.dumps(message)
    return lambda peer, _: peer.sendall(text.encode() + b"\n")


def dripping(what: bytes) -> Say:
    """Send something again and again, quickly enough for whoever waits for a byte."""

    def say(peer: socket.socket, _: object) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            peer.sendall(what)
            time.sleep(0.05)

    return say


@contextlib.contextmanager
def impostor(path: Path, say: Say) -> Iterator[Path]:
    """Listen there, in a thread, for one client after the other."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError), peer.makefile() as lines:
                for line in lines:
                    say(peer, json.loads(line))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)
        listener.close()
        path.unlink()
