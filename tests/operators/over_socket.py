"""A framework with a control socket, and connections to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencrypto import (
    Framework,
)
from opencrypto.control import Client
from tests.operators.load import Hardware, Instant

ROOT = Path(__file__).parents[2]


@pytest.fixture
def framework(tmp_path: Path) -> Iterator[Framework]:
    """A framework with two drivers and a control socket."""
    with Framework(plugins=[Hardware("hw"), Instant("sw")], control=tmp_path / "it.sock") as it:
        yield it


@pytest.fixture
def client(framework: Framework) -> Iterator[Client]:
    """A client of it."""
    assert framework.control_path is not None
    with Client(framework.control_path) as client:
        yield client


def raw(framework: Framework) -> socket.socket:
    """Connect without our client."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10)
    connection.connect(str(framework.control_path))
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the other end hangs up."""
    received = b""
    while True:
        try:
            chunk = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not chunk:
            return received
        received += chunk
