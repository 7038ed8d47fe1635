"""What can be in the way of a control socket ends no program, and leaves nothing behind."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opencrypto import CryptoError, Framework, UsageError
from opencrypto.control import places


@pytest.fixture
def framework(tmp_path: Path) -> Iterator[Framework]:
    """A framework without drivers, with a control socket."""
    with Framework(plugins=False, control=tmp_path / "it.sock") as fw:
        yield fw


def cannot(what: type[Exception], *args: object) -> Callable[..., Any]:
    """Return a function that fails so."""

    def fails(*_: object, **__: object) -> None:
        raise what(*args)

    return fails


def of_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the runtime folder be somebody else's."""
    monkeypatch.setattr(Path, "mkdir", cannot(PermissionError, errno.EACCES, "Permission denied"))


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file system be read-only."""
    monkeypatch.setattr(Path, "mkdir", cannot(OSError, errno.EROFS, "Read-only file system"))


def a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a file where the folder should be."""
    (folder / "opencrypto").write_text("")


def no_descriptors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no descriptor left for the pair of sockets that wakes the thread."""
    monkeypatch.setattr(socket, "socketpair", cannot(OSError, errno.EMFILE, "Too many open files"))


def no_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no thread left for it."""
    start = threading.Thread.start

    def fails(self: threading.Thread) -> None:
        if self.name == "opencrypto-control":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", fails)


@pytest.mark.parametrize("hindered", [of_another, read_only, a_file, no_descriptors, no_threads])
def test_what_hinders_the_socket_ends_no_program(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hindered: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    """With OPENCRYPTO_CONTROL=1 it runs on, and logs why; nothing is left of the attempt."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv(places.VARIABLE, "1")
    with monkeypatch.context() as patch:
        hindered(tmp_path, patch)
        with Framework(plugins=False) as framework:
            assert framework.control_path is None
        with pytest.raises(CryptoError):
            Framework(plugins=False, control=True)
    assert "control_not_opened" in caplog.text
    assert not list(tmp_path.glob("opencrypto/*.sock"))


def test_a_framework_whose_socket_is_refused_leaves_no_thread(tmp_path: Path) -> None:
    """`control=` that cannot be met raises, and its framework has gone with it."""
    before = set(threading.enumerate())
    with pytest.raises(UsageError):
        Framework(plugins=False, control=tmp_path / "no" / "it.sock")
    assert set(threading.enumerate()) <= before


@pytest.mark.slow
def test_a_flood_of_failing_accepts_is_logged_once_a_second(
    framework: Framework, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Out of descriptors it tries again 20 times a second, which the log need not hear."""
    server = framework._control
    assert server is not None
    tries = [0]

    class Failing:
        def accept(self) -> None:
            tries[0] += 1
            raise OSError(errno.EMFILE, "Too many open files")

    real = server._listener
    monkeypatch.setattr(server, "_listener", Failing())
    for _ in range(20):
        server._accept()
    monkeypatch.setattr(server, "_listener", real)
    assert tries == [20]
    assert 1 <= caplog.text.count("control_accept_failed") <= 2
