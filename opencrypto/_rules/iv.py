"""
IVs: where a request has its IV from, and how fresh ones are made.

A counter mode breaks when an IV comes twice under one key, so the sequence belongs to the chain
(and moves with it when a session migrates), not to the driver that happens to serve it. Fresh IVs
of block modes cannot be foretold.
"""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from opencrypto._rules.template import compile_function
from opencrypto._threads import renew_after_fork
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_IV_PRESENT
from opencrypto.exceptions import LimitError, UsageError

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
iv = crd.ini.iv
if flags != SEALS and flags != OPENS or type(iv) is not bytes or len(iv) != ivlen:
    # Else, as mostly, it is given and all is well.
    if flags & STRANGE:
        refuse(name, "its descriptor has flags that mean nothing there")
    way = IV_WAYS[flags]
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
buffer of `size` bytes. Then `iv` is the one that is given; where there is none, or it is to be
written, `IV_TAKE` does the rest by `way`.
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
    "SEALS": CRD_F_ENCRYPT | CRD_F_IV_PRESENT | CRD_F_IV_EXPLICIT,
    "OPENS": CRD_F_IV_PRESENT | CRD_F_IV_EXPLICIT,
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

_WIPE_ON_FORK: Final = 18
"""MADV_WIPEONFORK of madvise(2), since Linux 4.14; `mmap` has no name for it."""


def _fork_witness() -> mmap.mmap | bytearray:
    """
    Return a byte that is 1 until a fork of whatever kind makes it 0 in the child.

    A fork below Python (by C code, or ctypes) runs none of Python's hooks; the kernel wipes this
    page in any child. Where it cannot, only `os.fork` is noticed.
    """
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except (OSError, AttributeError, ValueError):
        return bytearray(b"\1")
    page[0] = 1
    return page


_witness: Final = _fork_witness()


class _Forks:
    """How many forks lie between this process and the one that imported this."""

    __slots__ = ("__weakref__", "count")

    def __init__(self) -> None:
        self.count = 0
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Count one; it is the only thing that notices a fork where no page can be wiped."""
        self.count += 1
        _witness[0] = 1  # last: who sees it sees the fork counted


_forks: Final = _Forks()

COUNTED: Final = 8
"""How many bytes of an IV of a counter mode count; what is before them stays the same."""


class _Run(NamedTuple):
    """One run of a counter, from a random start round to it again."""

    forks: int
    prefix: bytes
    start: int
    numbers: Iterator[int]
    counted: int  # bytes


class IvSource:
    """
    Makes the IVs of one algorithm of one session. It holds no lock: any thread, signal handler or
    finalizer may ask.

    Counter modes get a random start and then count, in 64 bits, big-endian, behind random bytes if
    the IV is longer. Other modes get bytes from the system's generator. In a forked child, of C's
    fork too, the sequence starts anew at random: parent and child have the same key and must not
    count alike. A process that was copied otherwise (CRIU, a snapshot of its virtual machine)
    cannot know it, and repeats IVs.

    Args:
        length: Bytes of an IV.
        counter: Whether it counts.
        prefix: The first of the bytes that count, which then stay as they are: for sessions that
            share a key and tell their IVs apart so. Of a counter alone.
        counts: How many of its last **bytes** the cipher itself counts blocks with. They are zeros
            here, so that messages of fewer than 256**`counts` blocks do not run into each other.
    """

    __slots__ = ("_fixed", "_length", "_run", "_space", "_tail")

    def __init__(self, length: int, *, counter: bool, prefix: bytes = b"", counts: int = 0) -> None:
        self._tail = bytes(counts)
        length -= counts
        self._length = length
        self._fixed = prefix
        self._space = 1 << 8 * (min(length, COUNTED) - len(prefix)) if counter else 0
        self._run = self._begin() if counter else None

    def _begin(self) -> _Run:
        spare = os.urandom(max(0, self._length - COUNTED))
        start = int.from_bytes(os.urandom(COUNTED)) % self._space
        prefix = spare + self._fixed
        return _Run(_forks.count, prefix, start, itertools.count(), self._length - len(prefix))

    def fresh(self) -> bytes:
        """
        Return an IV that this source has never returned before.

        Raises:
            LimitError: all that its prefix leaves have been used.
            UsageError: it has a prefix, which is the parent's, and this is a forked child.
        """
        run = self._run
        if run is None:
            return os.urandom(self._length)
        if not _witness[0]:
            _forks.after_fork()
        if run[0] != _forks.count:
            run = self._restart()
        _, prefix, start, numbers, counted = run  # which is quicker than to name each
        number = next(numbers)  # which no two threads get alike
        if number >= self._space:
            raise LimitError(
                "the session has used every IV of its iv_prefix; open one with another prefix"
            )
        return prefix + ((start + number) % self._space).to_bytes(counted) + self._tail

    def _restart(self) -> _Run:
        # Threads of the child may come here at once: each then begins at random, which is as well.
        if self._fixed:
            raise UsageError(
                "the session's iv_prefix is the parent process's; open one with another prefix"
            )
        self._run = run = self._begin()
        return run
