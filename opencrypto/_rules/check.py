"""
Whether a request fits its session: every rule that can refuse it before a byte is touched.

Pure. The framework asks it for drivers that do not compile their sessions; `chain.ChainDriver`
asks it for those that do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from opencrypto._request import buffer as _buffer
from opencrypto._request.buffer import Segments
from opencrypto._rules.chain import Chain
from opencrypto._rules.iv import GIVEN, IV_UNUSED, check_iv, iv_way
from opencrypto.constants import (
    CRD_F_COMP,
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_MORE,
    CRD_F_VERIFY,
    Alg,
)
from opencrypto.exceptions import LimitError, UsageError
from opencrypto.xform import Kind

if TYPE_CHECKING:
    from opencrypto._request.symmetric import Cryptodesc, Cryptop


class IsPiece(Exception):
    """Raised where a request turns out to be a piece of a stream, which `_rules.pieces` checks."""


class Step:
    """
    One descriptor, found to be sound.

    `position` is its algorithm's place in the session's chain, `length` the bytes of its region.
    `partner` is the authenticating descriptor of an authenticated cipher, which is carried out
    together with it. `mac_at` is where in ``crp.mac`` its MAC goes, or -1 if it goes to ``inject``
    in the buffer. `late` says that a step before it changes lengths: then `settle` finds its
    `length` out, and whether it fits, once that step is done.
    """

    __slots__ = ("crd", "late", "length", "mac_at", "partner", "position")

    def __init__(self, crd: Cryptodesc, position: int) -> None:
        self.crd = crd
        self.position = position
        self.length = 0
        self.mac_at = -1
        self.partner: Step | None = None
        self.late = False


class Plan:
    """
    A request, resolved: its buffer's segments and its steps in order.

    `changing` says that a step among others changes lengths: such a request is done whole, or its
    buffer is put back. `end` is where what the last such step left ends, -1 before there was one.
    """

    __slots__ = ("changing", "end", "parts", "steps")

    def __init__(self, parts: Segments, steps: list[Step], changing: bool = False) -> None:
        self.parts = parts
        self.steps = steps
        self.changing = changing
        self.end = -1

    def left(self, step: Step, chain: Chain, olen: int) -> None:
        """Note what a step that changes lengths has left, given the ``olen`` it has said."""
        kept = is_kept(step, chain, olen)
        self.end = step.crd.skip + (step.length if kept else olen)


def check(crp: Cryptop, chain: Chain) -> Plan:
    """
    Resolve a request against its session's chain.

    Args:
        crp: The request.
        chain: The session's.

    Returns:
        Its steps in order, each with its place in the chain and its region, and its buffer's
        segments.

    Raises:
        UsageError: something does not fit; the buffer is untouched.
        LimitError: a region is longer than its algorithm, or the driver, takes; likewise.
        IsPiece: it is a piece of a stream, and no message of its own.
    """
    try:
        if not crp.desc:
            raise UsageError("the request has no descriptors; take it from getreq(n), with n >= 1")
        if not isinstance(crp.desc, Sequence):
            raise UsageError(f"desc must be a list of Cryptodesc, not {type(crp.desc).__name__}")
        refuse_pieces(crp)
        steps = locate(crp, chain)
        if crp.mac is not None and not any(
            chain.facts[step.position].authenticates for step in steps
        ):
            raise UsageError("the request makes no MAC; leave crp.mac None, or add its descriptor")
        changing = len(steps) > 1 and _mark_late(steps, chain)
        writable = any(writes(crp, chain, step) for step in steps)
        parts = _buffer.segments(crp.buf, crp.flags, writable=writable)
        size = _buffer.total(parts)
        mac_at = 0
        for step in steps:
            mac_at += _check_step(crp, chain, step, size, mac_at)
        return Plan(parts, pair(chain, steps), changing)
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(
            "the request is malformed: a field has a wrong type; see Cryptop and Cryptodesc"
        ) from error


def refuse_pieces(crp: Cryptop) -> None:
    """
    Refuse a request that says that more of its message follows.

    Raises:
        IsPiece: it does.
    """
    for crd in crp.desc:
        if crd.flags & CRD_F_MORE:
            raise IsPiece


def settle(crp: Cryptop, chain: Chain, plan: Plan, step: Step) -> None:
    """
    Find out how long a late step's region is, now that the steps before it are done, and check it.

    Args:
        crp: The request.
        chain: The session's.
        plan: What `check` made of it; its segments are looked up anew.
        step: One of its steps, whose ``late`` is set; its length is filled in, and its partner's.

    Raises:
        UsageError: it does not fit what those have left.
        LimitError: it is longer than its algorithm, or the driver, takes.
    """
    plan.parts = _buffer.segments(crp.buf, crp.flags, writable=False)
    size = _buffer.total(plan.parts)
    for each in (step, step.partner):
        if each is not None and each.late:
            each.length = _length_now(each, chain, plan.end)
            check_region(chain, each, size)
            check_places(crp, chain, each, size, each.mac_at)
    if step.partner is not None:
        _check_aead(chain, step, step.partner)


def is_kept(step: Step, chain: Chain, olen: int) -> bool:
    """Tell whether a step has left its region as it was: deflate without growth, which it would."""
    facts = chain.facts[step.position]
    if facts.alg != Alg.DEFLATE_COMP_NOGROW or not step.crd.flags & CRD_F_COMP:
        return False
    return olen >= step.length


def _length_now(step: Step, chain: Chain, end: int) -> int:
    """Return the bytes of a region, of which a descriptor says ``~n`` where it means the rest."""
    crd = step.crd
    if crd.len >= 0:
        return crd.len
    length = end - crd.skip - ~crd.len
    if length < 0:
        raise UsageError(
            f"{chain.facts[step.position].name}: all but {~crd.len} bytes from {crd.skip} on; what "
            f"the step before left ends at {end}"
        )
    return length


def _mark_late(steps: list[Step], chain: Chain) -> bool:
    """Mark the steps behind one that changes lengths; tell whether there is such a one."""
    kinds = [chain.facts[step.position].kind for step in steps]
    if Kind.COMP not in kinds:
        return False
    # The halves of an authenticated cipher are carried out together, where the first of them is.
    halves = [n for n, kind in enumerate(kinds) if kind in (Kind.AEAD, Kind.AEAD_AUTH)]
    changes = kinds.index(Kind.COMP)
    for n, step in enumerate(steps):
        step.late = (halves[0] if n in halves else n) > changes
    return True


def locate(crp: Cryptop, chain: Chain) -> list[Step]:
    """
    Find each descriptor's place in the chain.

    Where its algorithm stands once, it is that. Where it stands more often, a descriptor with a
    key means the place with that key; the n-th one without a key means the n-th place.
    """
    seen: dict[int, int] = {}
    taken: set[int] = set()
    steps = []
    for crd in crp.desc:
        cri = crd.ini
        if cri.key and len(chain.positions.get(cri.alg, ())) > 1:
            position = chain.locate_key(cri, taken)
        else:
            occurrence = seen.get(cri.alg, 0)
            seen[cri.alg] = occurrence + 1
            position = chain.locate(cri.alg, occurrence)
        taken.add(position)
        steps.append(Step(crd, position))
    return steps


def broken_promise(crp: Cryptop, chain: Chain) -> str:
    """
    Say how a request breaks its session's profile, or return an empty string.

    Raises:
        UsageError: an algorithm is not in the session.
    """
    steps = locate(crp, chain)
    forward = _goes_forward(steps, chain)
    wanted = chain.profile.direction
    if wanted and forward != (wanted == "encrypt"):
        return f"the session promised to {wanted} only"
    if not chain.profile.ordered:
        return ""
    order = [
        step.position for step in steps if chain.facts[step.position].kind is not Kind.AEAD_AUTH
    ]
    if order != sorted(order, reverse=not forward):
        way = "the chain's order" if forward else "the reverse of the chain's order"
        return f"the session promised descriptors in {way}"
    return ""


def _goes_forward(steps: list[Step], chain: Chain) -> bool:
    """Tell whether a request encrypts, compresses or makes MACs, rather than the reverse."""
    verifies = False
    for step in steps:
        match chain.facts[step.position].kind:
            case Kind.CIPHER | Kind.AEAD:
                return bool(step.crd.flags & CRD_F_ENCRYPT)
            case Kind.COMP:
                return bool(step.crd.flags & CRD_F_COMP)
            case _:
                verifies = verifies or bool(step.crd.flags & CRD_F_VERIFY)
    return not verifies


def writes(crp: Cryptop, chain: Chain, step: Step) -> bool:
    """Tell whether a step may write into the buffer."""
    if chain.facts[step.position].kind not in (Kind.MAC, Kind.HASH):
        return True
    return crp.mac is None and not step.crd.flags & CRD_F_VERIFY


def _check_step(crp: Cryptop, chain: Chain, step: Step, size: int, mac_at: int) -> int:
    """Check one descriptor; return how many bytes of ``crp.mac`` it takes."""
    crd = step.crd
    crd.skip | crd.len | crd.flags  # a TypeError, if one is no whole number
    check_unused(crd, chain, step.position)
    step.length = crd.len
    if step.late:
        # What can be checked of it now. Its region may be as short as nothing, an mbuf may grow.
        step.length = max(0, crd.len)
        size = sys.maxsize if isinstance(crp.buf, _buffer.Mbuf) else size
    check_region(chain, step, size)
    return check_places(crp, chain, step, size, mac_at)


def check_region(chain: Chain, step: Step, size: int) -> None:
    skip, length, facts = step.crd.skip, step.length, chain.facts[step.position]
    if skip < 0 or length < 0 or skip + length > size:
        hint = "; a length below 0 goes behind a step that changes lengths" if length < 0 else ""
        raise UsageError(
            f"{facts.name}: the region of {length} bytes at {skip} is outside the buffer "
            f"of {size} bytes{hint}"
        )
    longest = chain.longest[step.position]
    if longest and length > longest:
        raise LimitError(
            f"{facts.name}: a region of {length} bytes; {longest} is the most; divide it"
        )
    if length % facts.granule:
        raise UsageError(
            f"{facts.name}: a region of {length} bytes is not a multiple of {facts.granule}"
        )


def check_places(crp: Cryptop, chain: Chain, step: Step, size: int, mac_at: int) -> int:
    """Check where a step's MAC or IV is; return how many bytes of ``crp.mac`` it takes."""
    crd, facts = step.crd, chain.facts[step.position]
    if facts.authenticates:
        return _check_mac(crp, step, facts.name, chain.macs[step.position], size, mac_at)
    if chain.ivlens[step.position]:
        if iv_way(crd.flags) != GIVEN:
            crd.inject | 0  # a TypeError again: the IV stands there, or will
        end = crd.skip + step.length
        check_iv(crd, facts.name, chain.ivlens[step.position], crd.skip, end, size)
    return 0


_MEANT: Final = {
    Kind.CIPHER: CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT,
    Kind.AEAD: CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT,
    Kind.COMP: CRD_F_COMP,
}
"""The flags of each kind of descriptor that say something. Authenticators have `_OF_A_MAC`."""

_OF_A_MAC: Final = CRD_F_VERIFY | CRD_F_ENCRYPT  # which BSD's consumers set all along a chain


def check_unused(crd: Cryptodesc, chain: Chain, position: int) -> None:
    """
    Refuse fields and flags that would do nothing here, though somebody may count on them.

    Those that opencrypto(9) leaves to the session (key, klen, rnd) are not looked at.
    """
    facts, ini, mac = chain.facts[position], crd.ini, chain.macs[position]
    strange = crd.flags & ~_MEANT.get(facts.kind, _OF_A_MAC)
    if strange:
        raise UsageError(
            f"{facts.name}: the flags {strange:#x} mean nothing in its descriptor; leave them out"
        )
    if ini.iv not in (None, b"") and not chain.ivlens[position]:
        raise UsageError(f"{facts.name} takes no iv; leave the descriptor's None")
    if ini.iv is not None and not crd.flags & CRD_F_IV_EXPLICIT:
        raise UsageError(f"{facts.name}: {IV_UNUSED}")
    if facts.authenticates and ini.mlen and ini.mlen != mac:
        raise UsageError(
            f"{facts.name}: mlen {ini.mlen} in a descriptor, and the session gives {mac}; "
            "the length belongs to newsession()"
        )
    if facts.kind is Kind.COMP and ini.limit and ini.limit != chain.inis[position].limit:
        raise UsageError(f"{facts.name}: a limit belongs to newsession(); leave it 0")


def _check_mac(crp: Cryptop, step: Step, name: str, mac: int, size: int, mac_at: int) -> int:
    if crp.mac is None:
        if (step.crd.inject | 0) < 0 or step.crd.inject + mac > size:
            raise UsageError(
                f"{name}: the MAC's place of {mac} bytes at {step.crd.inject} is outside the "
                f"buffer of {size} bytes"
            )
        return 0
    verifying = step.crd.flags & CRD_F_VERIFY
    room = len(_buffer.byteview(crp.mac, writable=not verifying, what="mac"))
    if mac_at + mac > room:
        raise UsageError(f"{name}: mac has room for {room} bytes, {mac_at + mac} needed")
    step.mac_at = mac_at
    return mac


def pair(chain: Chain, steps: list[Step]) -> list[Step]:
    """Put the two descriptors of an authenticated cipher into one step."""
    kinds = [chain.facts[step.position].kind for step in steps]
    if Kind.AEAD not in kinds and Kind.AEAD_AUTH not in kinds:
        return steps
    if kinds.count(Kind.AEAD) != 1 or kinds.count(Kind.AEAD_AUTH) != 1:
        raise UsageError("an authenticated cipher needs both its descriptors in the request, once")
    cipher, tag = steps[kinds.index(Kind.AEAD)], steps[kinds.index(Kind.AEAD_AUTH)]
    _check_aead(chain, cipher, tag)
    first = min(steps.index(cipher), steps.index(tag))
    cipher.partner = tag
    others = [step for step in steps if step is not cipher and step is not tag]
    return [*others[:first], cipher, *others[first:]]


def _check_aead(chain: Chain, cipher: Step, tag: Step) -> None:
    crd, facts = cipher.crd, chain.facts[cipher.position]
    if facts.alg == Alg.AES_GMAC and cipher.length:
        raise UsageError("AES_GMAC ciphers nothing: set len to 0, authenticate in the other region")
    if crd.flags & CRD_F_ENCRYPT and tag.crd.flags & CRD_F_VERIFY:
        raise UsageError(f"{facts.name}: an encryption makes its tag; verify it when decrypting")
    mac = chain.macs[tag.position]
    at = tag.crd.inject
    if tag.mac_at < 0 and cipher.length and at < crd.skip + cipher.length and crd.skip < at + mac:
        raise UsageError(f"{facts.name}: the tag's place at {at} is inside the payload")
