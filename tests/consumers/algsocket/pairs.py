"""One program of calls on two sockets, the kernel's and an `AlgSocket`, and what each answered."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from opencrypto import Framework
from opencrypto_algsocket import AlgSocket
from opencrypto_algsocket.numbers import ALG_SET_AEAD_AUTHSIZE, ALG_SET_KEY, MSG_MORE, SOL_ALG

Outcome = tuple[str, object]

MOST = 1 << 16


class Call(NamedTuple):
    """
    One call. Which socket it is made on is counted among those open, the transform's being 0.

    Attributes:
        name: The method.
        which: The socket, modulo how many there are.
        arguments: What it is called with.
        options: What it is called with by name.
    """

    name: str
    which: int
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


class Side:
    """One of the two: the sockets of a program, and what came of each call."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.sockets = [make()]
        self.sockets[0].setblocking(False)

    def call(self, call: Call) -> Outcome:
        """Make a call, and return its answer or its errno."""
        sock = self.sockets[call.which % len(self.sockets)]
        try:
            answer = getattr(sock, call.name)(*call.arguments, **dict(call.options))
        except OSError as error:
            return "errno", errno.errorcode.get(error.errno or 0, type(error).__name__)
        if call.name == "accept":
            answer[0].setblocking(False)
            self.sockets.append(answer[0])
            return "accepted", None
        if call.name == "recvmsg":
            return "answer", (answer[0], answer[2] & socket.MSG_TRUNC)
        return "answer", answer

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


def kernels() -> socket.socket:
    """Make a socket of the kernel's."""
    return socket.socket(38, socket.SOCK_SEQPACKET, 0)


def compare(framework: Framework, program: Sequence[Call]) -> None:
    """Run a program on both, and find the same answers to every call."""
    theirs, ours = Side(kernels), Side(lambda: AlgSocket(framework=framework))
    try:
        for number, call in enumerate(program):
            wanted, got = theirs.call(call), ours.call(call)
            shown = "\n".join(map(str, program[: number + 1]))
            assert got == wanted, f"the kernel: {wanted}\nhere: {got}\n{shown}"
    finally:
        theirs.close()
        ours.close()


def bind(kind: str, name: str) -> Call:
    return Call("bind", 0, ((kind, name),))


def key(value: bytes) -> Call:
    return Call("setsockopt", 0, (SOL_ALG, ALG_SET_KEY, value))


def tag(size: int) -> Call:
    return Call("setsockopt", 0, (SOL_ALG, ALG_SET_AEAD_AUTHSIZE, None, size))


def accept(which: int = 0) -> Call:
    return Call("accept", which)


def send(which: int, data: bytes, *, more: bool = False) -> Call:
    return Call("send", which, (data, MSG_MORE if more else 0))


def message(
    which: int,
    pieces: Sequence[bytes],
    *,
    op: int,
    iv: bytes | None = None,
    assoclen: int | None = None,
    more: bool = False,
) -> Call:
    given = {"op": op, "iv": iv, "assoclen": assoclen, "flags": MSG_MORE if more else 0}
    options = tuple((name, value) for name, value in given.items() if value is not None)
    return Call("sendmsg_afalg", which, (list(pieces),), options)


def recv(which: int, count: int = MOST) -> Call:
    return Call("recv", which, (count,))
