"""
Files that hold secrets or results: read if nobody else can, written where nobody else leads.

A file appears under its name only when all of it is there, and under the name that was meant: a
symbolic link on the way is followed if it is root's or one's own, and refused if it is somebody
else's, who could have put it into a folder that all may write. Pipes and devices are written
straight, and so is what is already open here (``/dev/stdout``).
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import secrets
import stat
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeVar

from opencrypto.exceptions import BusyError, UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["PRIVATE", "PUBLIC", "HeldFile", "Trusted", "read_private", "read_trusted", "writing"]

PRIVATE: Final = 0o600
"""The mode of what only its owner may read: decrypted packets, traces, state."""

PUBLIC: Final = 0o666
"""The mode of what all may read, if the umask lets them."""

LINKS: Final = 40
"""How many symbolic links are followed, as the kernel does."""

_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
_PART: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_STRAIGHT: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


def read_private(path: str | os.PathLike[str], holds: str = "keys") -> bytes:
    """
    Read a file that holds secrets.

    It is judged by the descriptor that is then read, so that nobody can exchange it in between.

    Args:
        path: A file, or a pipe.
        holds: What is in it, for the message.

    Raises:
        UsageError: others may read or write it, or it belongs to neither this user nor root.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        found = os.fstat(file.fileno())
        # Windows keeps permissions elsewhere, and reports 0o666 for all files.
        if os.name == "posix":
            _check_private(path, found, holds)
        return file.read()


class Trusted(NamedTuple):
    """
    A file that nobody else can change.

    Attributes:
        content: What is in it.
        private: Whether nobody else can read it either.
    """

    content: bytes
    private: bool


def read_trusted(path: str | os.PathLike[str], holds: str) -> Trusted:
    """
    Read a file that decides what is done, so that nobody else may have written it.

    Args:
        path: A file.
        holds: What is in it, for the message.

    Raises:
        UsageError: others may write it, or it belongs to neither this user nor root (EPERM).
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        found = os.fstat(file.fileno())
        if os.name == "posix" and not stat.S_ISCHR(
            found.st_mode
        ):  # of a device nobody's word stays
            _check_owner(path, found, holds)
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                mode = stat.filemode(found.st_mode)
                raise UsageError(
                    f"{path} holds {holds} and others may write it ({mode}); "
                    f"run: chmod go-w {path}",
                    errno=errno.EPERM,
                )
        private = os.name != "posix" or not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        return Trusted(file.read(), private)


def _check_private(path: str | os.PathLike[str], found: os.stat_result, holds: str) -> None:
    _check_owner(path, found, holds)
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"{path} holds {holds} and others may read it ({stat.filemode(found.st_mode)}); "
            f"run: chmod 600 {path}"
        )


def _check_owner(path: str | os.PathLike[str], found: os.stat_result, holds: str) -> None:
    if not _trusted(found.st_uid):
        raise UsageError(
            f"{path} holds {holds} and belongs to user {found.st_uid}, who can change it; "
            f"take a copy of your own, or run: chown {os.geteuid()} {path}",
            errno=errno.EPERM,
        )


def _trusted(uid: int) -> bool:
    """Tell whether what this user made can be relied on: it is root, or the one we are."""
    return uid in {0, os.geteuid()}


@contextmanager
def writing(
    path: str | os.PathLike[str], mode: int = PUBLIC, *, new: bool = False
) -> Iterator[IO[bytes]]:
    """
    Write a file that appears under its name when the block ends well, and else not at all.

    What is written goes to a part file in the same folder, which is made whole on the disk before
    it takes the name, and is gone if the block raises. To a pipe or a device it goes straight.

    Args:
        path: What it is to be called.
        mode: Its permissions, before the umask: `PRIVATE` or `PUBLIC`.
        new: Refuse to replace a file.

    Raises:
        UsageError: somebody else's symbolic link or pipe is in the way, or what has been written
            was exchanged by somebody who can write its folder.
        FileExistsError: there is such a file, and it should be new.
        OSError: it cannot be written; each names the file.
    """
    said = Path(path)
    with ExitStack() as held:
        folder, name = _placed(said, held)
        if not name:
            yield from _straight(folder, said)
            return
        found = _named(said, _lstat, name, folder)
        if found is None or stat.S_ISREG(found.st_mode):
            if found is not None and new:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(said))
            yield from _by_part(folder, name, said, mode, new=new)
        elif stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(said))
        else:
            yield from _straight(_open_special(folder, name, found, said), said)


# A regular file.


def _by_part(folder: int, name: str, said: Path, mode: int, *, new: bool) -> Iterator[IO[bytes]]:
    """Write beside, then take the name."""
    # Named before it is made: whatever interrupts the making, what was made goes.
    part = f".{name[:40]}.{secrets.token_hex(8)}.part"
    try:
        handle = _named(said, os.open, part, _PART, mode, dir_fd=folder)
        raw = _File(handle, said)
        try:
            file = io.BufferedWriter(raw)
            yield file
            file.flush()
            _named(said, os.fsync, handle)
            _take_name(folder, part, name, said, new=new)
            _check_taken(folder, name, os.fstat(handle), said)
        finally:
            raw.close()  # not the buffer: what could not be written is not tried again
    finally:
        try:
            os.unlink(part, dir_fd=folder)
        except FileNotFoundError:
            pass  # it has its name
    _sync_folder(folder)


def _take_name(folder: int, part: str, name: str, said: Path, *, new: bool) -> None:
    if new:
        # A link refuses to replace what has come meanwhile; the part's own name goes afterwards.
        try:
            _named(said, os.link, part, name, src_dir_fd=folder, dst_dir_fd=folder)
            return
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK}:
                raise
            # This file system has no links: it was not there when we began.
    _named(said, os.rename, part, name, src_dir_fd=folder, dst_dir_fd=folder)


def _check_taken(folder: int, name: str, ours: os.stat_result, said: Path) -> None:
    """See that what has the name is what was written: a folder open to all is open to tricks."""
    found = _lstat(name, folder)
    if found is None or (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino):
        raise UsageError(
            f"{said}: somebody has put something else in its place; choose a folder that only you "
            "can write",
            errno=errno.EPERM,
        )


def _sync_folder(folder: int) -> None:
    """Have the name on the disk too, where the folder can be read at all."""
    try:
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some file systems have nothing to do for it, and say so with an error
    finally:
        os.close(handle)


_parting = contextmanager(_by_part)


class HeldFile:
    """
    A private file that one process at a time has, and replaces as a whole.

    Who has it holds a lock (flock) on what has the name now; what is to take the name is locked
    before it does, so that there is no moment without.

    Args:
        path: What it is called; it need not be there yet.

    Attributes:
        content: What was in it; None if there was none.

    Raises:
        BusyError: another process has it.
        UsageError: it is another user's, others may read it or take it away, or it is no
            regular file.
        OSError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._folder = -1
        self._said = Path(path)
        self._pid = os.getpid()
        self._handle: int | None = None
        self.content: bytes | None = None
        with ExitStack() as held:
            folder, self._name = _placed(self._said, held)
            if not self._name:
                os.close(folder)
                raise self._refused("is no regular file; name one")
            self._folder = os.dup(folder)
        try:
            self._check_folder()
            self._take()
        except BaseException:
            self.close()
            raise

    def _check_folder(self) -> None:
        """See that nobody else can take the file away, so that it would begin anew."""
        found = os.fstat(self._folder)
        others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
        if others or not _trusted(found.st_uid):
            raise self._refused(
                "lies in a folder from which others can take it away; choose one that only you "
                "can write"
            )

    def _refused(self, why: str) -> UsageError:
        return UsageError(f"{self._said} {why}")

    def _busy(self) -> BusyError:
        return BusyError(f"{self._said} is in use by another process; wait for it, or name another")

    def _take(self) -> None:
        """Open and lock what is there, if anything is, and read it."""
        while (found := _lstat(self._name, self._folder)) is not None:
            if not stat.S_ISREG(found.st_mode):
                raise self._refused("is no regular file; name one")
            self._let_go()
            try:
                self._handle = _named(
                    self._said, os.open, self._name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC,
                    dir_fd=self._folder,
                )  # fmt: skip
            except FileNotFoundError:
                continue  # gone meanwhile
            _check_private(self._said, os.fstat(self._handle), "state")
            self._lock(self._handle)
            if self._has_the_name():
                with io.FileIO(self._handle, closefd=False) as file:
                    self.content = file.read()
                return
            # Another process has replaced it between our opening and our locking it.

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._busy() from None

    def _has_the_name(self) -> bool:
        assert self._handle is not None
        ours, found = os.fstat(self._handle), _lstat(self._name, self._folder)
        return found is not None and (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def replace(self, content: bytes) -> None:
        """
        Have it hold something else, on the disk when this returns. If it fails nothing changes.

        Raises:
            UsageError: a forked child asks, or somebody has put another file in its place.
            BusyError: it was new, and another process has made it meanwhile.
            OSError: it cannot be written.
        """
        if os.getpid() != self._pid:
            raise self._refused("is the parent's; name another")
        if self._handle is not None and not self._has_the_name():
            raise self._refused("was removed or exchanged while it was in use")
        handle = None
        new = self._handle is None
        try:
            with _parting(self._folder, self._name, self._said, PRIVATE, new=new) as file:
                file.write(content)
                handle = os.dup(file.fileno())  # the lock is that of both
                self._lock(handle)
        except FileExistsError:
            if handle is not None:
                os.close(handle)
            raise self._busy() from None
        except BaseException:
            if handle is not None:
                os.close(handle)
            raise
        self._let_go()
        self._handle = handle

    def _let_go(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __del__(self) -> None:
        if self._folder >= 0:
            warnings.warn(f"{self._said} was not closed", ResourceWarning, 2, self)
            self.close()

    def close(self) -> None:
        """Leave the file to others. Closing again does nothing."""
        self._let_go()
        folder, self._folder = self._folder, -1
        if folder >= 0:
            os.close(folder)


# What is no regular file.


def _straight(handle: int, said: Path) -> Iterator[IO[bytes]]:
    raw = _File(handle, said)
    try:
        file = io.BufferedWriter(raw)
        yield file
        file.flush()
    finally:
        raw.close()


def _open_special(folder: int, name: str, found: os.stat_result, said: Path) -> int:
    """Open a pipe or a device."""
    if stat.S_ISFIFO(found.st_mode) and not _trusted(found.st_uid):
        raise UsageError(
            f"{said} is a pipe of user {found.st_uid}, who would read it; name another file",
            errno=errno.EPERM,
        )
    handle = _named(said, os.open, name, _STRAIGHT, dir_fd=folder)
    opened = os.fstat(handle)
    if (opened.st_dev, opened.st_ino) != (found.st_dev, found.st_ino):
        os.close(handle)
        raise UsageError(f"{said} has just been exchanged; choose another folder")
    return handle


class _File(io.FileIO):
    """A descriptor whose errors name the file, as those of opening do."""

    def __init__(self, handle: int, said: Path) -> None:
        super().__init__(handle, "wb")
        self._said = said

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some bytes; see `io.FileIO.write`."""
        return _named(self._said, super().write, data)


# Where it is.


def _placed(path: Path, held: ExitStack) -> tuple[int, str]:
    """
    Follow a path, and return an open folder and the name in it, which is no symbolic link.

    Without a name it is a descriptor of our own that was named, ``/dev/stdout`` say. Each folder
    is held open while the next is looked for, so that none can be exchanged behind us.
    """
    folder = _folder(".", None, path, held)
    left = deque(path.parts)
    links = 0
    while left:
        name = left.popleft()
        found = _named(path, _lstat, name, folder)
        if found is not None and stat.S_ISLNK(found.st_mode):
            links += 1
            if links > LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = _target(path, name, folder)
            own = _own_descriptor(folder, name)
            if own is not None and not left:
                return _named(path, os.dup, own), ""
            left.extendleft(reversed(PurePath(target).parts))
        elif not left and name not in {"..", os.sep}:
            return folder, name
        else:
            folder = _folder(name, folder, path, held)
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _folder(name: str, parent: int | None, path: Path, held: ExitStack) -> int:
    handle = _named(path, os.open, name, _FOLDER, dir_fd=parent)
    held.callback(os.close, handle)
    return handle


def _target(path: Path, name: str, folder: int) -> str:
    """Read a symbolic link that can be relied on: the one that is judged, whatever comes there."""
    handle = _named(path, os.open, name, _LINK, dir_fd=folder)
    try:
        found = os.fstat(handle)
        if not _trusted(found.st_uid):
            raise UsageError(
                f"{path}: {name} is a symbolic link of user {found.st_uid}, which may lead "
                "anywhere; name another file",
                errno=errno.EPERM,
            )
        return _named(path, os.readlink, "", dir_fd=handle)
    finally:
        os.close(handle)


def _own_descriptor(folder: int, name: str) -> int | None:
    """Return the descriptor of this process that a link of /proc stands for, if it does."""
    try:
        where = os.readlink(f"/proc/self/fd/{folder}")  # noqa: PTH115 - a name in /proc, not a path that is opened
    except OSError:
        return None  # there is no /proc, and so no such link
    if name.isdecimal() and re.fullmatch(rf"/proc/{os.getpid()}(/task/\d+)?/fd", where):
        return int(name)
    return None


def _lstat(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None


def _named(said: Path, call: Callable[P, R], /, *args: P.args, **more: P.kwargs) -> R:
    """Call, and have what goes wrong name the file as the user did."""
    try:
        return call(*args, **more)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(said)) from None
