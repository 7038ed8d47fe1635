"""
Where control sockets are, and how one is opened safely.

The default folder is ``$XDG_RUNTIME_DIR/opencrypto``, else ``/run/user/UID/opencrypto``, else
``/tmp/opencrypto-UID``; a process's socket there is ``PID.sock``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from opencrypto.exceptions import BusyError, UsageError

VARIABLE: Final = "OPENCRYPTO_CONTROL"
"""Environment variable: 1 for the default place, or a path; a folder gets ``PID.sock``."""

MODE: Final = 0o600
BACKLOG: Final = 64
UNITS: Final = 100
"""How many frameworks of one process may have sockets in one folder."""


def default_folder() -> Path:
    """Return the folder of this user's sockets, whether or not it is there."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_absolute():
        return Path(runtime) / "opencrypto"
    uid = os.geteuid()
    if Path(f"/run/user/{uid}").is_dir():
        return Path(f"/run/user/{uid}/opencrypto")
    return Path(f"/tmp/opencrypto-{uid}")  # noqa: S108 - made with mode 0700, its owner checked


def check_folder(folder: Path) -> None:
    """
    See that a usual folder is that of the user whom its name says, or, by its place, ours.

    Anybody can make one of our name in ``/tmp`` before we do, and sockets in it.

    Raises:
        UsageError: it is somebody else's, or others can write it.
        OSError: it is not there.
    """
    found = folder.lstat()
    owner = _owner_of(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o022:
        raise UsageError(
            f"{folder} is not a folder that only user {owner} can write; sockets in it are not "
            "believed: remove it",
            errno=errno.EPERM,
        )


def _owner_of(folder: Path) -> int:
    """Return whose a usual folder should be; root's is any user's, who is in its name."""
    named = re.fullmatch(r"/run/user/(\d{1,10})/opencrypto|/tmp/opencrypto-(\d{1,10})", str(folder))
    return int(named[1] or named[2]) if named is not None and os.geteuid() == 0 else os.geteuid()


def from_environment() -> Path | bool:
    """Return what the environment asks for: a path, True for the default place, or False."""
    value = os.environ.get(VARIABLE, "").strip()
    if value.lower() in {"", "0", "no", "off", "false"}:
        return False
    return True if value.lower() in {"1", "yes", "on", "true"} else Path(value)


def make_folder(folder: Path) -> None:
    """
    Make the default folder, for its owner only.

    Raises:
        UsageError: something else, or somebody else's, is in its place, or it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}", errno=error.errno) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise UsageError(
            f"{folder} must be a folder that only this user can write; move it away",
            errno=errno.EPERM,
        )


def candidates(wanted: Path | bool) -> Iterator[Path]:
    """Yield the paths to try for what was asked for, in order."""
    if isinstance(wanted, Path) and not wanted.is_dir():
        yield wanted
        return
    if isinstance(wanted, Path):
        folder = wanted
    else:
        folder = default_folder()
        make_folder(folder)
    for unit in range(1, UNITS):
        suffix = "" if unit == 1 else f"-{unit}"
        yield folder / f"{os.getpid()}{suffix}.sock"


def listen(wanted: str | Path | bool) -> tuple[socket.socket, Path]:
    """
    Open a listening socket that only this user can reach.

    Args:
        wanted: A path; a folder, for ``PID.sock`` in it; or True for the default folder.

    Raises:
        UsageError: something other than our own socket is in its place, or the folder is unsafe.
        BusyError: another framework answers there.
    """
    busy: BusyError | None = None
    for path in candidates(Path(wanted) if isinstance(wanted, str) else wanted):
        try:
            return _listen(path), path
        except BusyError as error:
            busy = error
    raise busy or BusyError("no free name for a control socket")


def _listen(path: Path) -> socket.socket:
    folder = path.absolute().parent
    _check_folder(folder)
    with _alone(folder):
        _clear(path)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Linux gives the file the mode that the socket has before bind: there is no moment in
            # which others could open it, and no umask, which all threads share, is touched.
            os.fchmod(server.fileno(), MODE)
            server.bind(str(path))
            server.listen(BACKLOG)
            server.setblocking(False)
        except OSError as error:
            server.close()
            if error.errno == errno.EADDRINUSE:
                raise BusyError(f"{path}: another process has just taken it") from None
            reason = error.strerror or str(error)
            raise UsageError(f"{path}: no socket can be made there: {reason}") from None
    return server


def _check_folder(folder: Path) -> None:
    try:
        found = folder.stat()
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}; make the folder first") from None
    open_to_others = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if open_to_others or found.st_uid not in {0, os.geteuid()}:
        raise UsageError(
            f"{folder} can be changed by others, who could put a socket of theirs in the place "
            "of ours; choose another folder",
            errno=errno.EPERM,
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep another process of ours from taking over the same stale socket at the same time."""
    if folder.stat().st_uid != os.geteuid():
        yield  # a lock in a shared folder is one that anybody could hold for ever
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _clear(path: Path) -> None:
    """Remove the socket of a process that is gone. Nothing else is ever removed."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no socket"
        raise UsageError(f"{path} is {what}; it is left alone: choose another path")
    if found.st_uid != os.geteuid():
        raise UsageError(f"{path} belongs to another user; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError:
            pass  # it may be full: then somebody is there
    raise BusyError(f"{path}: a process answers there already; choose another path")


def remove(path: Path, inode: int) -> None:
    """Remove our socket, unless another is in its place by now."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except OSError:
        pass  # the folder is gone, or not ours any more: nothing is left to remove
