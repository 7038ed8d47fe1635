"""
A request chain carried out over transforms, step by step: a session of a `ChainDriver`.

An author gives one small object (a *transform*) per algorithm. `ChainSession` does what is the same
for all of them: it has requests checked, finds their regions in any buffer kind, applies the IV
rules, pairs the halves of an authenticated cipher, and injects or verifies MACs. Which thread does
it, and what becomes of the request afterwards, is the affair of `chain`.
"""

from __future__ import annotations

import errno
import hmac
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from opencrypto._later import Way
from opencrypto._request.buffer import (
    Saved,
    Segments,
    byteview,
    gather,
    region,
    replace_region,
    scatter,
)
from opencrypto._request.symmetric import Cryptodesc, Cryptoini, Cryptop
from opencrypto._rules.chain import Chain
from opencrypto._rules.check import Plan, Step, check, is_kept, settle
from opencrypto._rules.iv import GIVEN, READ, WRITTEN, iv_way
from opencrypto._rules.lending import Loan, lend
from opencrypto._rules.messages import UNVERIFIED
from opencrypto._rules.quick import at_once
from opencrypto._rules.shapes import OF_MALFORMED
from opencrypto.constants import CRD_F_COMP, CRD_F_ENCRYPT, CRD_F_VERIFY
from opencrypto.exceptions import CryptoError, OutputTooSmall
from opencrypto.xform import Kind


class CipherTransform(Protocol):
    """A keyed cipher. Called by several threads at once."""

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> None:
        """Encrypt or decrypt the region in place; its segments may break inside a block."""


class MacTransform(Protocol):
    """A keyed authenticator, or a plain digest. Called by several threads at once."""

    def mac(self, parts: Sequence[memoryview]) -> bytes:
        """Return the whole MAC of the region."""


class CompTransform(Protocol):
    """Compression. Called by several threads at once."""

    def compress(self, data: bytearray) -> bytes:
        """Return the region compressed."""

    def decompress(self, data: bytearray) -> bytes:
        """
        Return the region decompressed.

        Raises:
            CryptoError: it is damaged, or would become too large.
        """


class AeadTransform(Protocol):
    """A keyed authenticated cipher. Called by several threads at once."""

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> bytes:
        """Encrypt the payload in place and return the tag of `maclen` bytes."""

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> bool:
        """Decrypt the payload in place if the tag verifies; else leave it and return False."""


class LaterCipher(Protocol):
    """A `CipherTransform` that answers later."""

    def crypt(self, iv: bytes, parts: Segments, encrypt: bool) -> Awaitable[None]:
        """Begin to encrypt or decrypt the region in place; finish with None."""


class LaterMac(Protocol):
    """A `MacTransform` that answers later."""

    def mac(self, parts: Sequence[memoryview]) -> Awaitable[bytes]:
        """Begin to make the MAC of the region; finish with the whole of it."""


class LaterComp(Protocol):
    """A `CompTransform` that answers later."""

    def compress(self, data: bytearray) -> Awaitable[bytes]:
        """Begin to compress the region; finish with the result."""

    def decompress(self, data: bytearray) -> Awaitable[bytes]:
        """Begin to decompress the region; finish with the result."""


class LaterAead(Protocol):
    """An `AeadTransform` that answers later."""

    def seal(self, iv: bytes, aad: Segments, parts: Segments, maclen: int) -> Awaitable[bytes]:
        """Begin to encrypt the payload in place; finish with the tag of `maclen` bytes."""

    def open(self, iv: bytes, aad: Segments, parts: Segments, tag: bytes) -> Awaitable[bool]:
        """Begin to decrypt the payload in place if the tag verifies; finish with whether so."""


Transform: TypeAlias = (
    CipherTransform | MacTransform | AeadTransform | CompTransform
    | LaterCipher | LaterMac | LaterAead | LaterComp
)  # fmt: skip
"""What does the mathematics. One that has a ``wipe()`` has it called when its session ends."""

TransformFactory: TypeAlias = Callable[[Cryptoini], Transform]


def in_one_piece(parts: Segments, work: Callable[[memoryview], object]) -> None:
    """
    Let `work` change a region in place as one piece, whatever its segments.

    A region of several segments is copied together, worked on, and copied back; the copy is
    wiped, since one of the two is plaintext. It raises nothing of its own; what `work` raises comes
    out, with the region as it was if that is of several segments.

    Args:
        parts: The segments of the region.
        work: What changes a view of it in place, and leaves its length.
    """
    if len(parts) == 1:
        work(parts[0])
        return
    whole = gather(parts)
    try:
        work(memoryview(whole))
        scatter(parts, whole)
    finally:
        whole[:] = bytes(len(whole))


def request_iv(crd: Cryptodesc, cri: Cryptoini, ivlen: int, parts: Segments) -> bytes:
    """
    Find or make the IV of a cipher's descriptor, and write it into the buffer where asked.

    Args:
        crd: The descriptor, which `check` has found sound.
        cri: The session's parameters of its algorithm; fresh IVs come from there.
        ivlen: The **bytes** of IV that it takes.
        parts: The request's buffer.

    Returns:
        The IV, of that many bytes; empty if it takes none.

    Raises:
        UsageError: the IV's place is not inside the buffer.
    """
    if not ivlen:
        return b""
    way = iv_way(crd.flags)
    if way == READ:
        return b"".join(region(parts, crd.inject, ivlen))
    iv = bytes(crd.ini.iv or b"") if way & GIVEN else cri.fresh_iv()
    if way & WRITTEN:
        scatter(region(parts, crd.inject, ivlen), iv)
    return iv


class ChainSession:
    """
    A session of a `ChainDriver`: its chain, and the transform of each place in it.

    The transform of an authenticated cipher stands at its ciphering half; its authenticating
    half has None. `longest` is how many bytes of region the driver takes for each place, 0 for any
    number; the limits of the algorithms themselves hold besides.
    """

    __slots__ = ("chain", "transforms")

    def __init__(
        self,
        chain: Chain,
        transforms: Sequence[Transform | None],
        longest: Sequence[int] | None = None,
    ) -> None:
        self.chain = chain
        self.transforms = tuple(transforms)
        if longest is not None:
            chain.shorten(longest)

    def wipe(self) -> None:
        """Have the transforms drop what they keep of the keys."""
        for transform in self.transforms:
            wipe = getattr(transform, "wipe", None)
            if wipe is not None:
                wipe()

    def run(self, crp: Cryptop) -> None:
        """
        Check a request and carry its chain out, setting ``etype`` to what came of it.

        A request refused by a check has touched nothing. A MAC that does not verify ends the
        chain: what precedes it in the chain has been done, nothing after it. Where a step changes
        lengths, a step that fails leaves the buffer as it was before the first one. It raises only
        what is no `CryptoError`, from a transform.
        """
        try:
            plan = check(crp, self.chain)
            loan = lend(plan, self.chain)
            if loan is not None:
                with _on_loan(crp, plan, loan):
                    self.carry_out(crp, plan)
            elif plan.changing:
                with _as_one(crp, plan):
                    self.carry_out(crp, plan)
            else:
                self.carry_out(crp, plan)
        except CryptoError as error:
            crp.fail_for(error)

    def run_later(self, crp: Cryptop) -> Way:
        """
        Do the same with transforms that answer later: yield each `Later` that must be waited for.

        A request that fails, whatever the reason, leaves its buffer as it was: it may be one that
        is handed back half way, to be carried out anew by another driver.
        """
        try:
            plan = check(crp, self.chain)
            loan = lend(plan, self.chain)
            with _as_one(crp, plan) if loan is None else _on_loan(crp, plan, loan):
                yield from self._carry_out_later(crp, plan)
        except CryptoError as error:
            crp.fail_for(error)

    def carry_out(self, crp: Cryptop, plan: Plan) -> None:
        """Carry out a request that is sound, step by step. For those who know a shorter way."""
        for step in plan.steps:
            if step.late:
                settle(crp, self.chain, plan, step)
            answer = at_once(self._begin(crp, step, plan))
            if not self._end(crp, step, plan, answer):
                crp.fail(errno.EBADMSG, UNVERIFIED)
                return

    def _carry_out_later(self, crp: Cryptop, plan: Plan) -> Way:
        for step in plan.steps:
            if step.late:
                settle(crp, self.chain, plan, step)
            answer = self._begin(crp, step, plan)
            if hasattr(answer, "__await__"):
                answer = yield from answer.__await__()
            if not self._end(crp, step, plan, answer):
                crp.fail(errno.EBADMSG, UNVERIFIED)
                return

    def blame(self, crp: Cryptop, error: Exception) -> None:
        """
        Fail a request for what its carrying out raised.

        Raises:
            Exception: what it raised, if that is no `CryptoError`, and the request not malformed.
        """
        if isinstance(error, CryptoError):
            crp.fail_for(error)
        elif not isinstance(error, OF_MALFORMED) or not self.faults(crp):
            raise error

    def faults(self, crp: Cryptop) -> bool:
        """Fail a request that is malformed; return whether it is."""
        try:
            check(crp, self.chain)
        except CryptoError as error:
            crp.fail_for(error)
            return True
        return False

    def _begin(self, crp: Cryptop, step: Step, plan: Plan) -> Any:
        """Have the transform of a step do its work, and return what it answers."""
        crd, parts = step.crd, plan.parts
        transform: Any = self.transforms[step.position]
        match self.chain.facts[step.position].kind:
            case Kind.COMP:
                data = gather(region(parts, crd.skip, step.length))
                compress = bool(crd.flags & CRD_F_COMP)
                return transform.compress(data) if compress else transform.decompress(data)
            case Kind.CIPHER:
                iv = self._iv(step, parts)
                payload = region(parts, crd.skip, step.length)
                return transform.crypt(iv, payload, _encrypts(crd)) if payload else None
            case Kind.AEAD:
                return self._begin_aead(crp, step, parts, transform)
            case _:
                return transform.mac(region(parts, crd.skip, step.length))

    def _begin_aead(
        self, crp: Cryptop, step: Step, parts: Segments, transform: Any
    ) -> bytes | bool | Awaitable[bytes | bool]:
        crd, tag = step.crd, step.partner
        assert tag is not None
        iv = self._iv(step, parts)
        aad = region(parts, tag.crd.skip, tag.length)
        payload = region(parts, crd.skip, step.length)
        if _encrypts(crd):
            return transform.seal(iv, aad, payload, self.chain.macs[tag.position])  # type: ignore[no-any-return]  # by its kind
        place = self._mac_place(crp, tag, parts)
        return transform.open(iv, aad, payload, b"".join(place))  # type: ignore[no-any-return]  # by its kind

    def _end(self, crp: Cryptop, step: Step, plan: Plan, answer: Any) -> bool:
        """Put what a transform has answered where it belongs; False if a MAC did not verify."""
        match self.chain.facts[step.position].kind:
            case Kind.COMP:
                self._replace(crp, step, plan, answer)
            case Kind.CIPHER:
                pass
            case Kind.AEAD if not _encrypts(step.crd):
                return bool(answer)
            case Kind.AEAD:
                assert step.partner is not None
                scatter(self._mac_place(crp, step.partner, plan.parts), answer)
            case _:
                place = self._mac_place(crp, step, plan.parts)
                digest = answer[: self.chain.macs[step.position]]
                if step.crd.flags & CRD_F_VERIFY:
                    return hmac.compare_digest(b"".join(place), digest)
                scatter(place, digest)
        return True

    def _iv(self, step: Step, parts: Segments) -> bytes:
        at = step.position
        return request_iv(step.crd, self.chain.inis[at], self.chain.ivlens[at], parts)

    def _mac_place(self, crp: Cryptop, step: Step, parts: Segments) -> Segments:
        length = self.chain.macs[step.position]
        if step.mac_at < 0:
            return region(parts, step.crd.inject, length)
        return [byteview(crp.mac, writable=False)[step.mac_at : step.mac_at + length]]

    def _replace(self, crp: Cryptop, step: Step, plan: Plan, result: bytes) -> None:
        """
        Replace a region by its compressed or decompressed form; ``olen`` says how long that is.

        An mbuf grows or shrinks by the difference. In a buffer of fixed size the result may reach
        from ``skip`` to the end; where it does not fit, nothing is written. What is left of the
        region behind a shorter result is zeros. Deflate without growth
        leaves data that would not shrink as it is, and ``olen`` at what it would have become.
        """
        crp.olen = len(result)
        plan.left(step, self.chain, len(result))
        if not is_kept(step, self.chain, len(result)):
            plan.parts = replace_region(crp.buf, plan.parts, step.crd.skip, step.length, result)


def _encrypts(crd: Cryptodesc) -> bool:
    return bool(crd.flags & CRD_F_ENCRYPT)


@contextmanager
def _on_loan(crp: Cryptop, plan: Plan, loan: Loan) -> Iterator[None]:
    """Have a request carried out in a copy of the memory that others may write."""
    plan.parts = loan.parts
    try:
        yield
        if not crp.etype:
            loan.give_back()
    finally:
        loan.end()


@contextmanager
def _as_one(crp: Cryptop, plan: Plan) -> Iterator[None]:
    """Have all steps of a request carried out, or its buffer put back."""
    before, olen = Saved(crp.buf, plan.parts), crp.olen
    try:
        yield
    except GeneratorExit:  # it was given up, long ago: the buffer is not ours any more
        before.forget()
        raise
    except BaseException as error:
        before.restore()
        if not isinstance(error, OutputTooSmall):  # of which `olen` says how much it takes
            crp.olen = olen
        raise
    if crp.etype:
        before.restore()
        crp.olen = olen
    else:
        before.forget()
