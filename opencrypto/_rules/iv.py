"""
IVs: where a request has its IV from, and how fresh ones are made.

A counter mode breaks when an IV comes twice under one key, so the sequence belongs to the chain
(and moves with it when a session migrates), not to the driver that happens to serve it. Fresh IVs
of block modes cannot be foretold.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from opencrypto._rules.template import compile_function
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT
from opencrypto.exceptions import UsageError

if TYPE_CHECKING:
    from opencrypto._request.symmetric import Cryptodesc

GIVEN: Final = 1
"""The descriptor has the IV, in ``crd.ini.iv``."""

READ: Final = 2
"""The IV stands in the buffer, at ``inject``."""

WRITTEN: Final = 4
"""The IV is written into the buffer, at ``inject``; it is a fresh one unless it is `GIVEN`."""

_DECIDING: Final = CRD_F_ENCRYPT | CRD_F_IV_PRESENT | CRD_F_IV_EXPLICIT


def iv_way(flags: int) -> int:
    """
    Tell where an IV comes from, and whether it is written.

    Args:
        flags: Those of a cipher's descriptor.

    Returns:
        `GIVEN`, ``GIVEN | WRITTEN``, `READ`, or `WRITTEN` alone: a fresh one.
    """
    written = WRITTEN if flags & CRD_F_ENCRYPT and not flags & CRD_F_IV_PRESENT else 0
    if flags & CRD_F_IV_EXPLICIT:
        return GIVEN | written
    return written or READ


IV_UNUSED: Final = "the descriptor has an iv and not CRD_F_IV_EXPLICIT; set it, or leave iv None"

IV_RULE: Final = """
if flags & STRANGE:
    refuse(name, "its descriptor has flags that mean nothing there")
way = IV_WAYS[flags]
iv = crd.ini.iv
if way != GIVEN or type(iv) is not bytes or len(iv) != ivlen:  # else, as mostly, all is well
    if way & GIVEN:
        if iv is None:
            refuse(name, "CRD_F_IV_EXPLICIT, but the descriptor has no iv")
        iv = bytes(memoryview(iv))
        if len(iv) != ivlen:
            refuse(name, f"an iv of {len(iv)} bytes; it takes {ivlen}")
    elif iv is not None:
        refuse(name, IV_UNUSED)
    if way != GIVEN:
        place = crd.inject | 0
        place_end = place + ivlen
        if place < 0 or place_end > size:
            refuse(name, f"the iv's place of {ivlen} bytes at {place} is outside the buffer of {size} bytes")
        if place < end and start < place_end:
            refuse(name, f"the iv's place at {place} is inside the region it ciphers")
        # here: take
"""  # noqa: E501 - a refusal is one line of the text
"""
Finds out whether the IV of the descriptor `crd`, whose region is `start` to `end`, is sound in a
buffer of `size` bytes. Then `iv` is the one that is given, and `way` says what is to be done.
"""

IV_TAKE: Final = """
if way == READ:
    iv = bytes(view[place:place_end])
else:
    refuse(name, "the IV would be written")  # where unwritten
    if way == WRITTEN:
        iv = fresh()
    view[place:place_end] = iv
"""
"""For where `IV_RULE` says so, over `view`, one piece: has the IV in `iv`, and writes it."""


def _refuse(name: str, words: str) -> NoReturn:
    raise UsageError(f"{name}: {words}")


IV_NAMES: Final = {
    "GIVEN": GIVEN,
    "READ": READ,
    "WRITTEN": WRITTEN,
    "IV_UNUSED": IV_UNUSED,
    "IV_WAYS": tuple(map(iv_way, range(_DECIDING + 1))),
    "STRANGE": ~_DECIDING,
    "refuse": _refuse,
}
"""What the two texts name."""

check_iv: Callable[[Cryptodesc, str, int, int, int, int], None] = compile_function(
    "check_iv(crd, name, ivlen, start, end, size)",
    f"flags = crd.flags\n{IV_RULE}",
    IV_NAMES,
    "rule of IVs",
)
"""
Find out whether a descriptor's IV is sound: ``check_iv(crd, name, ivlen, start, end, size)``.

Raises:
    UsageError: it is not, in a sentence that begins with the algorithm's `name`.
    TypeError: what is given as the IV is not bytes-like, or its place is no whole number.
"""

_forks = 0
"""How many forks lie between this process and the one that imported this."""

_restarting = threading.Lock()


def _forked() -> None:
    global _forks, _restarting  # noqa: PLW0603 - a fork is of the process, not of an object
    _forks += 1
    _restarting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class IvSource:
    """
    Makes the IVs of one algorithm of one session. Safe to call from any thread.

    Counter modes get a random start and then count: 64 bits, big-endian, after a random prefix
    if the IV is longer. Other modes get bytes from the system's generator. In a forked child the
    sequence starts anew at random: parent and child have the same key and must not count alike.
    """

    __slots__ = ("_counter", "_forks", "_length", "_lock", "_next", "_prefix")

    def __init__(self, length: int, *, counter: bool) -> None:
        self._length = length
        self._counter = counter
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()  # guards _next
        self._prefix = os.urandom(max(0, self._length - 8)) if self._counter else b""
        self._next = int.from_bytes(os.urandom(8)) if self._counter else 0
        self._forks = _forks  # last: it is looked at without a lock

    def fresh(self) -> bytes:
        """Return an IV that this source has never returned before."""
        if not self._counter:
            return os.urandom(self._length)
        if self._forks != _forks:
            self._restart()
        with self._lock:
            value = self._next
            self._next = (value + 1) & 0xFFFFFFFFFFFFFFFF
        return self._prefix + value.to_bytes(8)

    def _restart(self) -> None:
        # Under a lock of the child's own: this one may have been held at the fork, by a thread
        # that did not come along.
        with _restarting:
            if self._forks != _forks:
                self._start()
