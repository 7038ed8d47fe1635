"""How long a client of the control socket may be silent, or leave its answers unread."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from opencrypto import Framework
from opencrypto.control import Client, server
from tests.operators.load import Instant

PATIENCE = 20.0


class Clock:
    """The server's time, which a test puts forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


class Lingering(Instant):
    """A driver that takes its time to close."""

    def __init__(self) -> None:
        super().__init__("lingering")
        self.may_close = threading.Event()

    def close(self) -> None:
        """Wait until a test allows it."""
        self.may_close.wait(PATIENCE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the server another clock."""
    clock = Clock()
    monkeypatch.setattr(
        server, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=time.sleep)
    )
    return clock


@pytest.fixture
def framework(tmp_path: Path, clock: Clock) -> Iterator[Framework]:
    with Framework(plugins=[Instant("sw")], control=tmp_path / "it.sock") as it:
        yield it


class Guest:
    """A client that is watched."""

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(framework.control_path))

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def hears_nothing(self) -> bool:
        """Tell whether it is still let in: nothing to read, not even an end."""
        return not select.select([self.socket], [], [], 0)[0]

    def hears(self) -> bytes:
        """Read until the server hangs up."""
        heard = b""
        while chunk := self.socket.recv(65536):
            heard += chunk
        return heard

    def asks(self) -> None:
        """Ask something, and read the answer."""
        self.socket.sendall(b'{"v":1,"id":1,"op":"hello"}\n')
        assert self.socket.recv(65536).endswith(b"\n")


def all_are_looked_at(framework: Framework) -> None:
    """Return after the server has looked at all who came before: who comes last is served last."""
    assert framework.control_path is not None
    with Client(framework.control_path) as last:
        assert last.call("hello")
        assert last.call("hello")


def test_who_asks_for_nothing_is_cut_off_after_five_minutes(
    framework: Framework, clock: Clock
) -> None:
    """With a sentence; and not a moment before, counted from the last request."""
    with Guest(framework) as guest:
        guest.asks()
        clock.ahead += 200
        guest.asks()
        clock.ahead += server.IDLE - 1
        all_are_looked_at(framework)
        assert guest.hears_nothing()
        clock.ahead += 2
        all_are_looked_at(framework)
        assert b"nothing asked for 300 seconds" in guest.hears()
    assert server.IDLE == 300


def test_who_has_never_asked_is_cut_off_after_five_seconds(
    framework: Framework, clock: Clock
) -> None:
    """Half a request is none."""
    with Guest(framework) as guest:
        guest.socket.sendall(b'{"v":1')
        all_are_looked_at(framework)
        clock.ahead += server.SILENT - 1
        all_are_looked_at(framework)
        assert guest.hears_nothing()
        clock.ahead += 2
        all_are_looked_at(framework)
        assert b"nothing asked within 5 seconds" in guest.hears()


def test_who_reads_nothing_is_cut_off_after_ten_seconds(framework: Framework, clock: Clock) -> None:
    """Counted from when it last read; what it is owed until then is kept for it."""
    assert framework._control is not None
    peers = framework._control._peers
    with Guest(framework) as guest:
        guest.asks()
        (peer,) = peers.values()
        guest.socket.sendall(b'{"v":1,"id":1,"op":"nodes"}\n' * 100)
        end, before = time.monotonic() + PATIENCE, b""
        while not before or peer.unsent is not before:
            assert time.monotonic() < end, "all that was answered fits"
            before = peer.unsent
            all_are_looked_at(framework)
        clock.ahead += server.STALLED - 1
        all_are_looked_at(framework)
        assert not peer.closed
        clock.ahead += 2
        all_are_looked_at(framework)
        assert peer.closed
        assert guest.hears()
    assert server.STALLED == 10


def test_who_waits_for_the_server_is_not_silent(framework: Framework, clock: Clock) -> None:
    """A driver may take longer to leave than a client may be silent."""
    driver = Lingering()
    framework.attach(driver)
    with Guest(framework) as guest:
        guest.socket.sendall(b'{"v":1,"id":7,"op":"detach","driver":"lingering"}\n')
        all_are_looked_at(framework)
        clock.ahead += 2 * server.IDLE
        all_are_looked_at(framework)
        assert guest.hears_nothing()
        driver.may_close.set()
        assert b'"id":7' in guest.socket.recv(65536).replace(b" ", b"")
