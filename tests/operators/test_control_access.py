"""Who may use the control socket, and where it lies."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from opencrypto import (
    BusyError,
    Framework,
    UsageError,
)
from opencrypto.control import Client, find_sockets, places
from tests.operators.over_socket import client, framework

__all__ = ["client", "framework"]


def test_the_socket_is_its_owners(framework: Framework) -> None:
    """Mode 0600 from its first moment, and gone after close."""
    path = framework.control_path
    assert path is not None
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    framework.close()
    assert not path.exists()
    with pytest.raises(UsageError, match="no socket there"):
        Client(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused(framework: Framework, tmp_path: Path) -> None:
    """Even where the file's mode would let him in, another user gets a sentence and no answer."""
    path = framework.control_path
    assert path is not None
    for folder in [path, *path.parents][:-2]:
        folder.chmod(0o777 if folder == path else 0o755)
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])\n"
        'try: s.sendall(b\'{"v":1,"id":1,"op":"hello"}\\n\')\n'
        "except OSError: pass\n"
        "data = b''\n"
        "try:\n"
        "    while chunk := s.recv(4096): data += chunk\n"
        "except ConnectionResetError: pass\n"
        "print(data.decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["error"]["errno"] == "EPERM"
    assert "result" not in answer


def test_a_stale_socket_is_taken_over(tmp_path: Path) -> None:
    """What a killed process left behind is no obstacle; what a live one has is."""
    path = tmp_path / "it.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Framework(plugins=False, control=path):
        with Client(path) as client:
            assert client.call("hello")["pid"] == os.getpid()
        with pytest.raises(BusyError, match="answers there already"):
            Framework(plugins=False, control=path)
    assert not path.exists()


@pytest.mark.parametrize("what", ["link", "dangling", "file", "folder"])
def test_nothing_but_a_socket_is_taken_over(tmp_path: Path, what: str) -> None:
    """A symbolic link or a file in the socket's place is refused, and left as it is."""
    path, target = tmp_path / "it.sock", tmp_path / "target"
    if what == "folder":
        path.mkdir()
        path.chmod(0o777)
    elif what == "file":
        path.write_text("precious")
    else:
        if what == "link":
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(target))
        path.symlink_to(target)
    with pytest.raises(UsageError):
        Framework(plugins=False, control=path)
    assert path.is_dir() if what == "folder" else path.lstat()
    if what == "file":
        assert path.read_text() == "precious"
    if what == "link":
        assert target.is_socket()


def test_a_folder_of_anybody_is_refused(tmp_path: Path) -> None:
    """Where others could replace the socket, none is opened."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="can be changed by others"):
        Framework(plugins=False, control=folder / "it.sock")


def test_the_environment_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENCRYPTO_CONTROL=1 opens a socket in the user's runtime folder, and ps finds it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv(places.VARIABLE, "1")
    with Framework(plugins=False) as first, Framework(plugins=False) as second:
        assert first.control_path == tmp_path / "opencrypto" / f"{os.getpid()}.sock"
        assert second.control_path == tmp_path / "opencrypto" / f"{os.getpid()}-2.sock"
        assert {first.control_path, second.control_path} <= set(find_sockets())
        assert stat.S_IMODE((tmp_path / "opencrypto").stat().st_mode) == 0o700


def test_the_environments_wish_stops_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the variable names an impossible place, the framework runs without a socket."""
    monkeypatch.setenv(places.VARIABLE, str(tmp_path / "no" / "such" / "folder" / "x.sock"))
    with Framework(plugins=False) as framework:
        assert framework.control_path is None


def test_no_thread_and_no_socket_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A framework opens nothing by itself."""
    monkeypatch.delenv(places.VARIABLE, raising=False)
    with Framework(plugins=False) as framework:
        assert framework.control_path is None
        assert "opencrypto-control" not in {thread.name for thread in threading.enumerate()}


def test_a_forked_child_leaves_it_to_its_parent(framework: Framework, client: Client) -> None:
    """The child has no thread and no socket of it, and its end does not remove the parent's."""
    pid = os.fork()
    if pid == 0:
        framework.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert framework.control_path is not None
    assert framework.control_path.exists()
    assert client.call("hello")["pid"] == os.getpid()
