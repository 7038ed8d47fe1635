"""Where a control socket may be: only where nobody else could put one of his in its place."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opencrypto import BusyError, CryptoError, Framework, UsageError
from opencrypto._log import log
from opencrypto.control import Client, places

NOBODY, ANOTHER = 65534, 65533

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

Strange = Callable[[Path], None]


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch) -> Strange:
    """Return what makes a file somebody else's: by its owner, or else by who we are."""

    def make(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        else:
            other = path.lstat().st_uid + 1
            monkeypatch.setattr(os, "geteuid", lambda: other)

    return make


def opened(path: Path) -> None:
    """Open a socket and close it."""
    server, _ = places.listen(path)
    server.close()


def folder(path: Path, mode: int) -> Path:
    """Make a folder of exactly this mode."""
    path.mkdir()
    path.chmod(mode)
    return path


# The default folder.


def test_the_default_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It is made with mode 0700 whatever the umask, and taken as it is the next time."""
    old = os.umask(0)
    try:
        places.make_folder(tmp_path / "run" / "opencrypto")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "run" / "opencrypto").stat().st_mode) == 0o700
    places.make_folder(tmp_path / "run" / "opencrypto")


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o707, 0o702, 0o1777])
def test_a_default_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Even with the sticky bit, which is for folders that are everybody's."""
    with pytest.raises(UsageError, match="only this user can write") as refused:
        places.make_folder(folder(tmp_path / "it", mode))
    assert refused.value.errno == errno.EPERM


def test_a_default_folder_of_somebody_else_is_refused(tmp_path: Path, strange: Strange) -> None:
    """He could replace whatever is in it."""
    strange(folder(tmp_path / "it", 0o700))
    with pytest.raises(UsageError, match="only this user can write"):
        places.make_folder(tmp_path / "it")


def test_a_link_in_place_of_the_default_folder_is_refused(tmp_path: Path) -> None:
    """Whoever made the link says where it leads, also to a folder of ours."""
    (tmp_path / "it").symlink_to(folder(tmp_path / "ours", 0o700))
    with pytest.raises(UsageError, match="only this user can write"):
        places.make_folder(tmp_path / "it")


# Any other folder.


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o707, 0o702])
def test_a_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """The group's right to write is as bad as everybody's."""
    with pytest.raises(UsageError, match="can be changed by others") as refused:
        places.listen(folder(tmp_path / "it", mode) / "it.sock")
    assert refused.value.errno == errno.EPERM
    assert not list((tmp_path / "it").iterdir())


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, strange: Strange) -> None:
    """Its mode does not matter: its owner can change it. Root's folders are everybody's."""
    if tmp_path.stat().st_uid == 0 and os.geteuid() != 0:
        pytest.fail("the folder of temporary files is root's, and so are those in it")
    strange(folder(tmp_path / "it", 0o755))
    with pytest.raises(UsageError, match="can be changed by others"):
        places.listen(tmp_path / "it" / "it.sock")


def test_a_folder_where_nobody_can_replace_anothers_file_will_do(tmp_path: Path) -> None:
    """As /tmp is: everybody writes, and the sticky bit leaves each his own."""
    opened(folder(tmp_path / "it", 0o1777) / "it.sock")


# What is in the socket's place.


def test_a_socket_of_somebody_else_is_left_alone(tmp_path: Path, strange: Strange) -> None:
    """It is not removed, though its process is gone."""
    path = tmp_path / "it.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    strange(path)
    with pytest.raises(UsageError, match="belongs to another user"):
        places._clear(path)
    assert path.is_socket()


def test_another_socket_by_the_same_name_is_not_removed(tmp_path: Path) -> None:
    """At the end a framework removes its own socket, and no other that has come into its place."""
    path = tmp_path / "it.sock"
    with Framework(plugins=False, control=path), socket.socket(socket.AF_UNIX) as other:
        path.rename(tmp_path / "away")
        other.bind(str(path))
    assert path.is_socket()


def test_the_socket_is_its_owners_before_it_can_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mode is set before the name is given, and no umask widens it."""
    modes = []

    class Watched(socket.socket):
        def bind(self, address: Any) -> None:
            modes.append(stat.S_IMODE(os.fstat(self.fileno()).st_mode))
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Watched)
    old = os.umask(0)
    try:
        opened(tmp_path / "it.sock")
    finally:
        os.umask(old)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "it.sock").stat().st_mode) == 0o600


def test_two_who_find_the_same_stale_socket_come_one_after_the_other(tmp_path: Path) -> None:
    """Who comes second waits, and finds the first one's socket alive."""
    ends: list[object] = []

    def second() -> None:
        try:
            opened(tmp_path / "it.sock")
        except BusyError as error:
            ends.append(error)

    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        waits = threading.Thread(target=second)
        waits.start()
        waits.join(0.1)
        assert waits.is_alive(), "it did not wait for who is at it"
        with socket.socket(socket.AF_UNIX) as first:
            first.bind(str(tmp_path / "it.sock"))
            first.listen()
            fcntl.flock(handle, fcntl.LOCK_UN)
            waits.join(30)
    finally:
        os.close(handle)
    assert len(ends) == 1


# As somebody who is not root.


@pytest.fixture
def public() -> Iterator[Path]:
    """Make a folder in which everybody may have folders; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="opencrypto-places-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def as_user(uid: int, work: Callable[[], object]) -> str:
    """Do something in a child of another user; return what came of it, or the error's number."""
    ear, mouth = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "nothing"
        try:
            os.setgid(uid)
            os.setuid(uid)
            answer = str(work())
        except CryptoError as error:
            answer = errno.errorcode[error.errno or 0]
        except BaseException as error:
            answer = repr(error)
        finally:
            os.write(mouth, answer.encode())
            os._exit(0)
    os.close(mouth)
    with os.fdopen(ear, encoding="utf-8") as answers:
        said = answers.read()
    os.waitpid(child, 0)
    return said


@only_root
@pytest.mark.parametrize(
    ("owner", "mode", "answer"),
    [
        (NOBODY, 0o755, "(65534, 384)"),  # 0600
        (0, 0o1777, "(65534, 384)"),
        (ANOTHER, 0o755, "EPERM"),
        (ANOTHER, 0o1777, "EPERM"),
        (0, 0o777, "EPERM"),
    ],
)
def test_where_a_user_may_have_a_socket(public: Path, owner: int, mode: int, answer: str) -> None:
    """In his own folder, and in root's where the sticky bit is; it is his, and his alone."""
    place = folder(public / "it", mode)
    os.chown(place, owner, owner)

    def listens() -> tuple[int, int]:
        opened(place / "it.sock")
        found = (place / "it.sock").lstat()
        return found.st_uid, stat.S_IMODE(found.st_mode)

    assert as_user(NOBODY, listens) == answer


@only_root
@pytest.mark.parametrize(("owner", "answer"), [(NOBODY, "None"), (0, "EPERM"), (ANOTHER, "EPERM")])
def test_a_users_default_folder_is_his_own(public: Path, owner: int, answer: str) -> None:
    """Root's own in its place is refused as well: what root left there is not his."""
    place = folder(public / "it", 0o755)
    os.chown(place, owner, owner)
    assert as_user(NOBODY, lambda: places.make_folder(place)) == answer


@only_root
def test_a_users_process_answers_him_and_root(public: Path) -> None:
    """And nobody else, though the mode of his socket would let everybody in."""
    place = folder(public / "it", 0o755)
    os.chown(place, NOBODY, NOBODY)
    path = place / "it.sock"

    def asks() -> object:
        with Client(path) as client:
            return client.call("hello")["pid"] > 0

    def serves() -> list[str]:
        with Framework(plugins=False, control=path):
            path.chmod(0o777)
            os.write(ready, b"!")
            os.read(over, 1)
        return []

    with Framework(plugins=False, control=public / "root.sock") as framework:
        # What is imported as it is first wanted: another user may not be let at the files.
        assert framework.control_path is not None
        with Client(framework.control_path) as client:
            client.call("hello")
        log.warning("control_refused", uid=ANOTHER, pid=0)
    waits, ready = os.pipe()
    over, end = os.pipe()
    ends: list[str] = []
    server = threading.Thread(target=lambda: ends.append(as_user(NOBODY, serves)))
    server.start()
    try:
        os.read(waits, 1)
        answers = [as_user(uid, asks) for uid in (0, NOBODY, ANOTHER)]
    finally:
        os.write(end, b"!")
        server.join()
        for each in (waits, ready, over, end):
            os.close(each)
    assert ends == ["[]"]
    assert answers == ["True", "True", "EPERM"]
