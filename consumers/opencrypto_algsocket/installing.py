"""
Making `socket.socket` give AlgSockets, for programs that cannot be changed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opencrypto import Framework, default_framework
from opencrypto_algsocket import numbers
from opencrypto_algsocket.sockets import AlgSocket

_NAMES = [name for name in vars(numbers) if name.isupper() and name.startswith(("A", "S", "MSG"))]
_MISSING = object()


@contextmanager
def installed(framework: Framework | None = None) -> Iterator[None]:
    """
    Have ``socket.socket(socket.AF_ALG, …)`` make an `AlgSocket`, and the constants be there.

    What took ``socket`` out of its module before (``from socket import socket``) is not reached:
    install first, then import the program.

    Args:
        framework: Whose drivers serve; the default one's, if not given.
    """
    # Before: the kernel's own driver takes its sockets from the module as it is when it is loaded.
    framework = framework or default_framework()
    real: Any = socket.socket

    class Kind(type(real)):  # type: ignore[misc]  # the class of a class
        """Real sockets are instances too, whenever they were made."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real | AlgSocket)

    class Installed(real, metaclass=Kind):  # type: ignore[misc]  # as Kind
        """`socket.socket`, but for the family AF_ALG."""

        def __new__(
            cls,
            family: int = -1,
            type: int = -1,
            proto: int = -1,
            fileno: int | None = None,
        ) -> Any:
            if family != numbers.AF_ALG or fileno is not None:
                return real.__new__(cls, family, type, proto, fileno)
            kind = socket.SOCK_SEQPACKET if type == -1 else type
            return AlgSocket(family, kind, max(proto, 0), framework=framework)

    before = {name: getattr(socket, name, _MISSING) for name in _NAMES}
    for name in _NAMES:
        if before[name] is _MISSING:
            setattr(socket, name, getattr(numbers, name))
    Installed.__name__ = Installed.__qualname__ = "socket"
    setattr(socket, "socket", Installed)  # noqa: B010 - a stranger's module
    try:
        yield
    finally:
        setattr(socket, "socket", real)  # noqa: B010 - likewise
        for name in _NAMES:
            if before[name] is _MISSING:
                delattr(socket, name)
