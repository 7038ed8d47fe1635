"""
Lending: a request over memory that others may write is carried out on a private copy.

Whoever can write a buffer while it is worked on could flip a byte between its verification and its
decryption, or between its encryption and the making of its MAC. The consumer would be given what
was never verified, or would authenticate what somebody else wrote. So the bytes that a request
concerns are copied, the work is done on the copy, and only what it wrote is put back, once the
request has succeeded. One that fails leaves such a buffer as it was.

One algorithm alone reads each byte once, and needs no copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from opencrypto._request.buffer import Segments, gather, is_private, region, scatter, total
from opencrypto._rules.chain import Chain
from opencrypto._rules.check import Plan, Step
from opencrypto._rules.iv import GIVEN, WRITTEN, iv_way
from opencrypto.constants import CRD_F_VERIFY, CRYPTO_F_IMBUF, CRYPTO_F_IOV
from opencrypto.exceptions import UsageError
from opencrypto.xform import Kind

if TYPE_CHECKING:
    from opencrypto._request.symmetric import Cryptop


BESIDE: Final = 4096
"""
How many bytes that a request does not concern are copied with the others, if it then is over one
contiguous buffer: for those the drivers have their quick ways.
"""


class Loan:
    """
    The private copy of what a request concerns.

    Attributes:
        parts: The buffer, with the copy in the place of what it copies. No other byte of it is
            read or written by the request.
    """

    __slots__ = ("_copy", "_start", "_theirs", "_written", "parts")

    def __init__(self, plan: Plan, chain: Chain, alignment: int = 1) -> None:
        touched = [span for step in plan.steps for span in _spans(step, chain)]
        start = min(at for at, _, _ in touched)
        end = max(at + length for at, length, _ in touched)
        size = total(plan.parts)
        beside = BESIDE if len(plan.parts) == 1 else 0
        if alignment > 1 or size <= end - start + beside:
            start, end = 0, size
        theirs = region(plan.parts, start, end - start)
        after = region(plan.parts, end, size - end)
        self._theirs = theirs
        self._start = start
        self._copy = memoryview(gather(theirs)) if alignment == 1 else _aligned(theirs, alignment)
        self._written = [(at, length) for at, length, writes in touched if writes and length]
        self.parts = [*region(plan.parts, 0, start), self._copy, *after]

    def give_back(self) -> None:
        """Write into the consumer's memory what the request wrote."""
        for at, length in self._written:
            place = at - self._start
            scatter(region(self._theirs, place, length), self._copy[place : place + length])

    def end(self) -> None:
        """Wipe the copy."""
        self._copy[:] = bytes(len(self._copy))


def lend(plan: Plan, chain: Chain, alignment: int = 1) -> Loan | None:
    """
    Lend a copy to a request that `check` has found sound, if its memory will not do.

    Args:
        plan: The request, as `check` has resolved it.
        chain: The session's.
        alignment: Its memory must be in one piece that begins at a multiple of so many **bytes**;
            1 if it need not. No compression is lent a copy for that.

    Returns:
        The loan, on whose `parts` the request is to be carried out, and which is then given back
        and ended; None if the request's own memory will do.

    Raises:
        UsageError: it compresses or decompresses among other steps, in such memory.
    """
    if alignment > 1 and not _changes(plan, chain) and not _is_aligned(plan.parts, alignment):
        return Loan(plan, chain, alignment)
    if len(plan.steps) == 1 and plan.steps[0].partner is None:
        return None
    if all(map(is_private, plan.parts)) and not chain.profile.shared:
        return None
    if _changes(plan, chain):
        raise UsageError(
            "compression with other steps, in memory that others may write; give a bytearray"
        )
    return Loan(plan, chain)


def _changes(plan: Plan, chain: Chain) -> bool:
    """Tell whether a request changes lengths."""
    return any(chain.facts[step.position].kind is Kind.COMP for step in plan.steps)


def _is_aligned(parts: Segments, alignment: int) -> bool:
    """Tell whether memory is in one piece that begins at a multiple of so many bytes."""
    return len(parts) == 1 and not parts[0].readonly and _address(parts[0]) % alignment == 0


def _address(view: memoryview) -> int:
    """Return where writable memory is; 0 if there is none."""
    import ctypes  # for the few drivers that want it

    return ctypes.addressof(ctypes.c_char.from_buffer(view)) if len(view) else 0


def _aligned(parts: Segments, alignment: int) -> memoryview:
    """Copy memory into a new piece that begins at a multiple of so many bytes."""
    size = total(parts)
    memory = memoryview(bytearray(size + alignment - 1))
    at = -_address(memory) % alignment
    copy = memory[at : at + size]
    done = 0
    for part in parts:  # with no other copy in between, which nobody would wipe
        copy[done : done + len(part)] = part
        done += len(part)
    return copy


_KINDS: Final = CRYPTO_F_IMBUF | CRYPTO_F_IOV


class Borrowed:
    """
    A request whose driver works on a copy, until its callback.

    It stands in for the consumer's callback: there the request gets its own buffer back.
    """

    __slots__ = ("_buf", "_callback", "_flags", "_loan")

    def __init__(self, crp: Cryptop, loan: Loan) -> None:
        self._buf: Any = crp.buf
        self._flags = crp.flags
        self._callback: Any = crp.callback
        self._loan = loan
        one = len(loan.parts) == 1
        crp.buf = loan.parts[0] if one else loan.parts
        crp.flags = crp.flags & ~_KINDS | (0 if one else CRYPTO_F_IOV)
        crp.callback = self

    def __call__(self, crp: Cryptop) -> None:
        """Give a completed request to its consumer, as it would have been without the copy."""
        self.undo(crp, done=not crp.etype)
        self._callback(crp)

    def undo(self, crp: Cryptop, *, done: bool) -> None:
        """Let a request be as it came, with what was written if it is `done`."""
        crp.buf, crp.callback = self._buf, self._callback
        crp.flags = crp.flags & ~_KINDS | self._flags & _KINDS
        if done:
            self._loan.give_back()
        self._loan.end()


def _spans(step: Step, chain: Chain) -> Iterator[tuple[int, int, bool]]:
    """Yield the places that a step concerns: where, how many bytes, whether it writes there."""
    crd = step.crd
    kind = chain.facts[step.position].kind
    yield crd.skip, step.length, kind in (Kind.CIPHER, Kind.AEAD)
    if chain.facts[step.position].authenticates:
        if step.mac_at < 0:
            yield crd.inject, chain.macs[step.position], not crd.flags & CRD_F_VERIFY
    elif chain.ivlens[step.position]:
        way = iv_way(crd.flags)
        if way != GIVEN:
            yield crd.inject, chain.ivlens[step.position], bool(way & WRITTEN)
    if step.partner is not None:
        yield from _spans(step.partner, chain)
