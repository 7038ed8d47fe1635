"""
The other end of the socket: what the ``opencrypto`` command uses, and any program may.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from opencrypto.control import answers, protocol
from opencrypto.control.credentials import check_supported, peer_uid
from opencrypto.control.places import VARIABLE, check_folder, default_folder, from_environment
from opencrypto.exceptions import CryptoError, DriverGone, UsageError, error_from_errno

__all__ = ["Client", "ProcessGone", "find_sockets", "look"]

LONGEST_SENTENCE: Final = 2000
"""How many characters of what an error says are taken."""

_CODES: Final[Mapping[str, int]] = {name: code for code, name in errno.errorcode.items()}

R = TypeVar("R")


class ProcessGone(DriverGone):
    """There is a socket, and nobody listens any more (ENODEV)."""


class Client:
    """
    A connection to a live process. A context manager; not for several threads at once.

    Only a process of this user or of root is believed; by root also one of the user whose socket
    file it is.

    Args:
        path: The socket's path.
        timeout: Seconds that each call may take as a whole, however slowly the answer comes.

    Raises:
        DriverGone: nobody answers there (ENODEV); a `ProcessGone` if nobody listens.
        UsageError: there is no such socket, or it is another user's.
    """

    def __init__(self, path: Path | str, timeout: float = 15.0) -> None:
        check_supported()
        self.path = Path(path)
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._ids = itertools.count(1)
        self._pending = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connect()
            self._check_peer()
        except CryptoError:
            self._socket.close()
            raise
        except OSError as error:
            self._socket.close()
            raise _unreachable(self.path, error) from None

    def _connect(self) -> None:
        while True:
            self._socket.settimeout(self._left())
            try:
                self._socket.connect(str(self.path))
            except BlockingIOError:
                # Many are waiting to be let in, which a Unix socket says at once.
                time.sleep(0.02)
            else:
                return

    def _check_peer(self) -> None:
        """See that no impostor has made a socket where ours would be."""
        believed = {0, os.geteuid()}
        if os.geteuid() == 0:
            believed.add(self.path.stat().st_uid)
        uid = peer_uid(self._socket)
        if uid not in believed:
            raise UsageError(
                f"{self.path} is answered by a process of user {uid}, which is not believed; only "
                "your own and root's are",
                errno=errno.EPERM,
            )

    def _left(self) -> float:
        """Return how long the call may still take."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DriverGone(f"{self.path}: no answer in time")
        return left

    # Asking.

    def call(self, op: str, **parameters: Any) -> Any:
        """
        Ask for an operation and return its result, as it comes. See docs/control-protocol.md.

        Raises:
            CryptoError: the process refused, went away, or does not speak the protocol.
        """
        ident = next(self._ids)
        request = {"v": protocol.VERSION, "id": ident, "op": op, **parameters}
        self._deadline = time.monotonic() + self._timeout
        self._socket.settimeout(self._left())
        try:
            self._socket.sendall(protocol.encode(request))
        except OSError:
            pass  # it may have said why before it hung up
        while True:
            message = self._message()
            if message.get("id") in (ident, None):
                break
        if "error" in message:
            raise self._refusal(message["error"])
        return message.get("result")

    def _refusal(self, error: object) -> CryptoError:
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            return self._stranger("its error is none")
        sentence = error["message"][:LONGEST_SENTENCE]
        code = _CODES.get(str(error.get("errno")), errno.EIO)
        if code in {errno.EPERM, errno.EPROTONOSUPPORT}:
            return UsageError(sentence, errno=code)
        return error_from_errno(code, sentence)

    def _stranger(self, why: str) -> CryptoError:
        return CryptoError(f"{self.path}: what answers there does not speak our protocol: {why}")

    def _message(self) -> dict[str, Any]:
        line = self._line()
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise self._stranger("no line of JSON")
        return message

    def _line(self) -> bytes:
        chunks = [self._pending]
        size = len(self._pending)
        while b"\n" not in chunks[-1]:
            try:
                self._socket.settimeout(self._left())
                chunk = self._socket.recv(262144)
            except TimeoutError:
                raise DriverGone(f"{self.path}: no answer in time") from None
            except CryptoError:
                raise
            except OSError:
                chunk = b""
            if not chunk:
                raise DriverGone(f"{self.path}: the process has hung up")
            size += len(chunk)
            if size > protocol.MAX_ANSWER:
                raise CryptoError(f"{self.path}: the answer is too long to be true")
            chunks.append(chunk)
        line, _, self._pending = b"".join(chunks).partition(b"\n")
        return line

    # Answers of which each part is known.

    def hello(self) -> dict[str, Any]:
        """Ask who is there."""
        return self._seen(answers.hello, self.call("hello"))

    def get(self, *names: str) -> dict[str, Any]:
        """Read names or branches; all of them if none is given."""
        return self._seen(answers.values, self.call("get", names=list(names)))

    def nodes(self, *names: str) -> list[dict[str, Any]]:
        """Describe names or branches; all of them if none is given."""
        return self._seen(answers.nodes, self.call("nodes", names=list(names)))

    def set(self, name: str, value: int) -> dict[str, Any]:
        """Write a name; returns its ``old`` and ``new`` value."""
        return self._seen(answers.change, self.call("set", name=name, value=value))

    def drivers(self) -> list[dict[str, Any]]:
        """List its drivers: those attached, and those that could not be, with the reason."""
        return self._seen(answers.drivers, self.call("drivers"))

    def options(self) -> list[dict[str, Any]]:
        """List what can be set of its drivers, and what is."""
        return self._seen(answers.options, self.call("options"))

    def sessions(
        self,
        *,
        idle: float = 0.0,
        sort: str = "age",
        most: int | None = None,
        after: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """
        List open sessions: a page of those asked for, and where the next one begins.

        Args:
            idle: Those idle for so many seconds, or more.
            sort: ``age``, ``idle`` or ``requests``.
            most: How many at most; as many as a page has, if not given.
            after: What ``next`` of the page before was.
        """
        asked: dict[str, Any] = {"idle": idle, "sort": sort}
        asked |= {} if most is None else {"most": most}
        asked |= {} if after is None else {"after": list(after)}
        return self._seen(answers.sessions, self.call("sessions", **asked))

    def trace(self, action: str) -> dict[str, Any]:
        """Start, read or stop a trace."""
        return self._seen(partial(answers.trace, action), self.call("trace", action=action))

    def _seen(self, look: Callable[[object], R], result: object) -> R:
        try:
            return look(result)
        except answers.Wrong as error:
            raise self._stranger(error.strerror or "") from None

    # The end.

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _unreachable(path: Path, error: OSError) -> CryptoError:
    if isinstance(error, FileNotFoundError):
        return UsageError(
            f"{path}: no socket there; start the program with {VARIABLE}=1", errno=errno.ENOENT
        )
    if isinstance(error, PermissionError):
        return UsageError(f"{path} is another user's; become that user", errno=errno.EPERM)
    if isinstance(error, TimeoutError):
        return DriverGone(f"{path}: no answer in time")
    if isinstance(error, ConnectionRefusedError):
        return ProcessGone(f"{path}: its process is gone")
    return UsageError(f"{path}: {error.strerror or error}")


def folders() -> Sequence[Path]:
    """Return the folders in which sockets may be: this user's; for root, everybody's."""
    found = {default_folder()}
    if os.geteuid() == 0:
        found.update(Path("/run/user").glob("*/opencrypto"))
        found.update(Path("/tmp").glob("opencrypto-*"))  # noqa: S108 - looked at with care
    return sorted(found)


def look() -> tuple[list[Path], list[str]]:
    """
    Find the sockets in the usual places; not all need have a process.

    Returns:
        Their paths; and for each folder that cannot be trusted, a sentence that says why.
    """
    found: set[Path] = set()
    refused: list[str] = []
    for folder in folders():
        try:
            check_folder(folder)
            found.update(folder.glob("*.sock"))
        except FileNotFoundError:
            pass
        except OSError as error:
            refused.append(error.strerror or str(error))
    asked = from_environment()
    if isinstance(asked, Path):
        found.update((asked if asked.is_dir() else asked.parent).glob("*.sock"), [asked])
    return sorted(filter(_is_socket, found)), refused


def _is_socket(path: Path) -> bool:
    """Tell whether it is a socket; a symbolic link may lead to one that is not ours to disturb."""
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False


def find_sockets() -> list[Path]:
    """Return the paths of the sockets in the usual places; see `look`."""
    return look()[0]
