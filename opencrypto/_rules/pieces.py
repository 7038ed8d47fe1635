"""
What a stream is: one message that comes in pieces, each a request of its own.

A request whose descriptors all have ``CRD_F_MORE`` is a piece after which more of its message
follows; the next one on its session goes on with it, and the first without the flag is the last
piece. One message is open in a session at a time. Linux says the same with ``MSG_MORE``.

* The IV and the additional data come with the first piece, the MAC with the last: no other piece
  has a place for them that is looked at. So a request that brings an IV (``CRD_F_IV_EXPLICIT`` or
  ``CRD_F_IV_PRESENT``) or additional data begins a message, and is refused with EBUSY while
  another one is open.
* Each piece has the descriptors of the first one, in the same order and the same direction. The
  region of a block cipher is whole blocks in each piece; all regions together keep to the
  algorithm's limit.
* A piece that fails, whatever the reason, breaks its message: later pieces may be on their way
  already, and would leave a gap. Each of them is refused, up to the last one, which ends it; or
  until a request begins another message beyond doubt. EBUSY alone breaks nothing, since it is
  somebody else's message that is refused.
* What a message is decrypted to is given out piece by piece, before its MAC has been seen.

This room says what of it can be said without a driver. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from opencrypto._request import buffer as _buffer
from opencrypto._rules.chain import Chain
from opencrypto._rules.check import (
    Plan,
    Step,
    broken_promise,
    check_places,
    check_region,
    check_unused,
    locate,
    pair,
    writes,
)
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_MORE,
    CRYPTO_F_IMBUF,
    CRYPTO_F_IOV,
)
from opencrypto.exceptions import LimitError, UsageError
from opencrypto.xform import Kind

if TYPE_CHECKING:
    from opencrypto._request.symmetric import Cryptodesc, Cryptop

_SEGMENTED: Final = CRYPTO_F_IOV | CRYPTO_F_IMBUF

_BRINGS_IV: Final = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT

OPEN: Final = (
    "a message is open on this session; its last piece ends it, and the IV and the additional data "
    "come with its first piece only"
)
"""The sentence of EBUSY."""


def more_follows(crp: Cryptop) -> bool:
    """
    Tell whether a request says that more of its message follows.

    Raises:
        UsageError: some of its descriptors say so, and others do not; or it is malformed.
    """
    try:
        said = {bool(crd.flags & CRD_F_MORE) for crd in crp.desc}
    except (AttributeError, TypeError):
        raise UsageError("the request is malformed; see Cryptop and Cryptodesc") from None
    if len(said) > 1:
        raise UsageError("CRD_F_MORE goes on all descriptors of a request, or on none")
    return said == {True}


def is_last(crp: Cryptop) -> bool:
    """Tell whether a request ends the message it is a piece of, however malformed it is."""
    try:
        return not any(crd.flags & CRD_F_MORE for crd in crp.desc)
    except (AttributeError, TypeError):
        return False


def begins(crp: Cryptop, chain: Chain) -> bool:
    """Tell whether a request begins a message beyond doubt: it brings an IV or additional data."""
    try:
        return any(_brings(step, chain) for step in locate(crp, chain))
    except (AttributeError, TypeError, ValueError, UsageError):
        return False


def _brings(step: Step, chain: Chain) -> bool:
    match chain.facts[step.position].kind:
        case Kind.CIPHER | Kind.AEAD:
            return bool(step.crd.flags & _BRINGS_IV)
        case Kind.AEAD_AUTH:
            return step.crd.len > 0
    return False


class PieceStep(Step):
    """A step of a piece: `given` is the consumer's descriptor, `crd` what it says to a driver."""

    __slots__ = ("given",)

    def __init__(self, step: Step, crd: Cryptodesc) -> None:
        super().__init__(crd, step.position)
        self.given = step.crd


class _Usual:
    """
    A piece in the midst of a message, to be looked for again: nothing changes but its lengths.

    Whatever has the same algorithms and flags in the same order has been found sound in all else.
    """

    __slots__ = ("_bounds", "_plan", "_reads_only", "_steps")

    def __init__(self, chain: Chain, steps: list[Step]) -> None:
        self._steps = [(step, step.crd, step.given.flags) for step in steps]  # type: ignore[attr-defined]  # pieces' own
        facts = [chain.facts[step.position] for step in steps]
        self._bounds = [
            (step, each.granule, 0 if each.kind is not Kind.AEAD_AUTH else 1, chain.longest[at])
            for step, each in zip(steps, facts, strict=True)
            for at in (step.position,)
        ]
        self._reads_only = all(each.kind in (Kind.MAC, Kind.HASH) for each in facts)
        self._plan = Plan([], pair(chain, list(steps)))

    def plan(self, crp: Cryptop) -> Plan | None:
        """Resolve a piece, if it is a usual one, in memory that is in one piece."""
        desc, buf = crp.desc, crp.buf
        if len(desc) != len(self._steps) or crp.mac is not None or crp.flags & _SEGMENTED:
            return None
        kind = type(buf)
        if kind is not bytearray and kind is not memoryview and kind is not bytes:
            return None
        view = memoryview(buf)
        if view.format != "B" or view.ndim != 1 or not view.c_contiguous:
            return None
        if view.readonly and not self._reads_only:
            return None
        size = len(view)
        for crd, (step, described, flags), (_, granule, empty, _) in zip(
            desc, self._steps, self._bounds, strict=True
        ):
            ini, start, length = crd.ini, crd.skip, crd.len
            if ini.alg != described.ini.alg or crd.flags != flags or ini.iv is not None:
                return None
            if ini.mlen or ini.limit or not 0 <= start <= start + length <= size:
                return None
            if length % granule or (empty and length):
                return None
            described.skip, described.len, step.length = start, length, length
            step.crd, step.given = described, crd  # type: ignore[attr-defined]  # pieces' own
        plan = self._plan
        plan.parts = [view]
        return plan

    def adds_up(self, lengths: list[int]) -> bool:
        """Add the lengths of the piece resolved to a message's; False if that is too long."""
        for step, _, _, longest in self._bounds:
            if longest and lengths[step.position] + step.length > longest:
                return False
        for step, _, _, _ in self._bounds:
            lengths[step.position] += step.length
        return True


class Message:
    """
    One message in pieces, as far as it has come.

    Args:
        chain: The session's.

    Attributes:
        pieces: How many pieces of it are done.
    """

    __slots__ = ("_chain", "_lengths", "_usual", "_way", "pieces")

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._lengths = [0] * len(chain.inis)
        self._way: tuple[tuple[int, int], ...] = ()
        self._usual: _Usual | None = None
        self.pieces = 0

    def copy(self) -> Message:
        """Return another one that has come as far."""
        twin = Message(self._chain)
        twin._lengths, twin._way, twin.pieces = list(self._lengths), self._way, self.pieces
        return twin

    def again(self, crp: Cryptop) -> Plan | None:
        """
        Resolve a piece that is like the one before it, as most are; None if it is not.

        What it finds is what `plan` would; the plan is the same object for all of them.
        """
        usual = self._usual
        if usual is None:
            return None
        try:
            plan = usual.plan(crp)
        except (AttributeError, TypeError, ValueError):
            return None  # it is malformed, as `plan` says
        if plan is None or not usual.adds_up(self._lengths):
            return None
        return plan

    def plan(self, crp: Cryptop, *, last: bool) -> Plan:
        """
        Resolve the next piece, as `_rules.check.check` resolves a message of its own.

        Args:
            crp: The piece.
            last: Whether it is the last one.

        Returns:
            Its steps in order, whose descriptors say nothing of pieces any more.

        Raises:
            UsageError: something does not fit; the buffer is untouched.
            LimitError: the message is longer than an algorithm takes.
        """
        try:
            return self._plan(crp, last=last)
        except (AttributeError, TypeError, ValueError) as error:
            raise UsageError(
                "the request is malformed: a field has a wrong type; see Cryptop and Cryptodesc"
            ) from error

    def _plan(self, crp: Cryptop, *, last: bool) -> Plan:
        chain, first = self._chain, not self.pieces
        if first and chain.profile.promises:
            broken = broken_promise(crp, chain)
            if broken:
                raise UsageError(broken)
        steps: list[Step] = [
            PieceStep(step, self._described(step, first=first)) for step in locate(crp, chain)
        ]
        if not steps:
            raise UsageError("the request has no descriptors; each piece has those of the first")
        self._keep_to_the_way(steps, first=first)
        if crp.mac is not None and (not last or not self._has_mac(steps)):
            raise UsageError("a MAC comes with the last piece; leave crp.mac None in the others")
        writable = any(self._writes(crp, step, last=last) for step in steps)
        parts = _buffer.segments(crp.buf, crp.flags, writable=writable)
        size = _buffer.total(parts)
        mac_at = 0
        for step in steps:
            mac_at += self._check(crp, step, size, mac_at, last=last)
        self._add_up(steps)
        usual = not first and not last and len(chain.positions) == len(chain.inis)
        self._usual = _Usual(chain, steps) if usual else None
        return Plan(parts, pair(chain, steps))

    def _described(self, step: Step, *, first: bool) -> Cryptodesc:
        """Describe a step as if its piece were a message of its own."""
        crd = step.crd
        flags = crd.flags & ~CRD_F_MORE
        if not first and self._chain.facts[step.position].kind in (Kind.CIPHER, Kind.AEAD):
            flags |= _BRINGS_IV  # so that nobody looks for one in the buffer
        return type(crd)(crd.skip, crd.len, crd.inject, flags, crd.ini)

    def _keep_to_the_way(self, steps: Iterable[Step], *, first: bool) -> None:
        """Hold a piece to the descriptors of the first one."""
        way = []
        for step in steps:
            kind = self._chain.facts[step.position].kind
            if kind is Kind.COMP:
                name = self._chain.facts[step.position].name
                raise UsageError(f"{name} takes whole messages only, since it changes lengths")
            turn = CRD_F_ENCRYPT if kind in (Kind.CIPHER, Kind.AEAD) else 0
            way.append((step.position, step.crd.flags & turn))
        if first:
            self._way = tuple(way)
        elif self._way != tuple(way):
            raise UsageError(
                "each piece of a message has the descriptors of the first one, in the same order "
                "and the same direction"
            )

    def _has_mac(self, steps: Iterable[Step]) -> bool:
        return any(self._chain.facts[step.position].authenticates for step in steps)

    def _writes(self, crp: Cryptop, step: Step, *, last: bool) -> bool:
        authenticates = self._chain.facts[step.position].authenticates
        return (last or not authenticates) and writes(crp, self._chain, step)

    def _check(self, crp: Cryptop, step: Step, size: int, mac_at: int, *, last: bool) -> int:
        """Check one descriptor; return how many bytes of ``crp.mac`` it takes."""
        chain, crd = self._chain, step.crd
        crd.skip | crd.len | crd.flags  # a TypeError, if one is no whole number
        facts = chain.facts[step.position]
        check_unused(crd, chain, step.position)
        step.length = crd.len
        check_region(chain, step, size)
        if facts.authenticates and not last:
            step.mac_at = 0  # nowhere yet
            return 0
        if self.pieces and not facts.authenticates:
            if crd.ini.iv is not None:
                raise UsageError(f"{facts.name}: {OPEN}")
            return 0
        return check_places(crp, chain, step, size, mac_at)

    def _add_up(self, steps: Iterable[Step]) -> None:
        """Hold the whole message to what its algorithms take."""
        for step in steps:
            at, longest = step.position, self._chain.longest[step.position]
            whole = self._lengths[at] + step.length
            if longest and whole > longest:
                raise LimitError(
                    f"{self._name(step)}: a message of {whole} bytes so far; {longest} is the most"
                )
            self._lengths[at] = whole

    def _name(self, step: Step) -> str:
        return self._chain.facts[step.position].name
