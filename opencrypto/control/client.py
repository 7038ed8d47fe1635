"""
The other end of the socket: what the ``opencrypto`` command uses, and any program may.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from opencrypto.control import protocol
from opencrypto.control.places import VARIABLE, default_folder, from_environment
from opencrypto.exceptions import CryptoError, DriverGone, UsageError, error_from_errno

__all__ = ["Client", "find_sockets"]


class Client:
    """
    A connection to a live process. A context manager; not for several threads at once.

    Args:
        path: The socket's path.
        timeout: Seconds to wait for an answer.

    Raises:
        DriverGone: nobody answers there (ENODEV).
        UsageError: there is no such socket, or it is another user's.
    """

    def __init__(self, path: Path | str, timeout: float = 15.0) -> None:
        self.path = Path(path)
        self._ids = itertools.count(1)
        self._pending = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._connect(timeout)
        except OSError as error:
            self._socket.close()
            raise _unreachable(self.path, error) from None

    def _connect(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(str(self.path))
            except BlockingIOError:
                # Many are waiting to be let in, which a Unix socket says at once.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def call(self, op: str, **parameters: Any) -> Any:
        """
        Ask for an operation and return its result. See docs/control-protocol.md.

        Raises:
            CryptoError: the process refused, or went away.
        """
        ident = next(self._ids)
        request = {"v": protocol.VERSION, "id": ident, "op": op, **parameters}
        try:
            self._socket.sendall(protocol.encode(request))
        except OSError:
            pass  # it may have said why before it hung up
        while True:
            message = self._message()
            if message.get("id") in {ident, None}:
                break
        if "error" in message:
            error = message["error"]
            code = getattr(errno, str(error.get("errno")), errno.EIO)
            sentence = str(error.get("message", ""))
            if code in {errno.EPERM, errno.EPROTONOSUPPORT}:
                raise UsageError(sentence, errno=code)
            raise error_from_errno(code, sentence)
        return message.get("result")

    def _message(self) -> dict[str, Any]:
        line = self._line()
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise CryptoError(f"{self.path}: what answers there does not speak our protocol")
        return message

    def _line(self) -> bytes:
        chunks = [self._pending]
        size = len(self._pending)
        while b"\n" not in chunks[-1]:
            try:
                chunk = self._socket.recv(262144)
            except TimeoutError:
                raise DriverGone(f"{self.path}: no answer in time") from None
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

    def get(self, *names: str) -> dict[str, Any]:
        """Read names or branches; all of them if none is given."""
        values: dict[str, Any] = self.call("get", names=list(names))
        return values

    def set(self, name: str, value: int) -> dict[str, Any]:
        """Write a name; returns its ``old`` and ``new`` value."""
        change: dict[str, Any] = self.call("set", name=name, value=value)
        return change

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
    if isinstance(error, ConnectionRefusedError):
        return DriverGone(f"{path}: its process is gone")
    return UsageError(f"{path}: {error.strerror or error}")


def folders() -> Sequence[Path]:
    """Return the folders in which sockets may be: this user's; for root, everybody's."""
    found = {default_folder()}
    asked = from_environment()
    if isinstance(asked, Path):
        found.add(asked if asked.is_dir() else asked.parent)
    if os.geteuid() == 0:
        found.update(Path("/run/user").glob("*/opencrypto"))
        found.update(Path("/tmp").glob("opencrypto-*"))  # noqa: S108 - only looked at
    return sorted(found)


def find_sockets() -> list[Path]:
    """Return the paths of the sockets in the usual places; not all need have a process."""
    found = {path for folder in folders() if folder.is_dir() for path in folder.glob("*.sock")}
    asked = from_environment()
    if isinstance(asked, Path):
        found.add(asked)
    return sorted(path for path in found if path.is_socket())
