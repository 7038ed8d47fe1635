"""
What few tests would notice: D1, D5, D9, D15 to D17, D20, D21, D25. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from opencrypto import Cryptodesc, Cryptoini, Cryptop
from opencrypto.chain import gather, region, scatter, segments
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_IV_EXPLICIT, CRD_F_VERIFY
from opencrypto.driver import Process, Profile
from opencrypto.exceptions import CryptoError, DriverUnavailable, UsageError
from opencrypto.testing.faults.fault import Fault
from opencrypto.xform import FACTS, Kind

__all__ = [
    "AcceptsZeros",
    "AnswersThenWrites",
    "ComparesHalfATag",
    "EmptiesTheRequest",
    "KeysByTheirBeginning",
    "NumbersOfEightBits",
    "OffsetsOf16Bits",
    "OnlyOneAtATime",
    "RaisesForSomeSizes",
    "RefusesWithTheKey",
    "ReleasesBeforeItVerifies",
    "SetsOlen",
    "SharesAnIv",
    "StopsAt256K",
    "TakesOpaque",
    "TellsKeysOfChains",
]


class OnlyOneAtATime(Fault):
    """Can be opened once at a time, and does not say so."""

    clause = "D1"
    _open: ClassVar[list[int]] = []

    def __init__(self) -> None:
        if self._open:
            raise DriverUnavailable("somebody has the card open")
        super().__init__()
        self._open.append(1)
        self._mine = True

    def close(self) -> None:
        """Let it go."""
        if self._mine:
            self._mine = False
            self._open.pop()
        super().close()


def _verifying(crp: Cryptop) -> Cryptodesc | None:
    return next((crd for crd in crp.desc if crd.flags & CRD_F_VERIFY), None)


class AcceptsZeros(Fault):
    """Compares the tag with memory that is still zero."""

    clause = "D5"

    def finish(self, crp: Cryptop) -> None:
        """Accept a tag of zeros."""
        crd = _verifying(crp)
        if crp.etype == errno.EBADMSG and crd is not None:
            tag = gather(region(segments(crp.buf, writable=False), crd.inject, 12))
            if not any(tag):
                crp.fail(0)
        super().finish(crp)


class ComparesHalfATag(Fault):
    """Stops comparing a tag at the first byte that is zero, as strcmp does."""

    clause = "D5"

    def finish(self, crp: Cryptop) -> None:
        """Accept a tag that ends in zeros."""
        crd = _verifying(crp)
        if crp.etype == errno.EBADMSG and crd is not None:
            tag = gather(region(segments(crp.buf, writable=False), crd.inject, 12))
            if tag[0] and not any(tag[1:]):
                crp.fail(0)
        super().finish(crp)


class ReleasesBeforeItVerifies(Fault):
    """Decrypts in place, compares the tag then, and puts the ciphertext back if it is wrong."""

    clause = "D5"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Have something else in the payload for a moment."""
        crd = crp.desc[0] if crp.desc else None
        if crd is not None and _verifying(crp) not in (None, crd) and crd.alg in FACTS:
            with suppress(CryptoError):
                parts = region(segments(crp.buf), crd.skip, crd.len)
                before = gather(parts)
                scatter(parts, bytes(byte ^ 0xFF for byte in before))
                scatter(parts, before)
        return super().serve(process, crp, hint)


class RaisesForSomeSizes(Fault):
    """Looks packets of certain sizes up in a table that has none for them."""

    clause = "D9"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Raise TypeError."""
        if crp.desc and 4000 < crp.desc[0].len < 5000:
            table: Any = None
            table[crp.desc[0].len]
        return super().serve(process, crp, hint)


class AnswersThenWrites(Fault):
    """Calls done first, and copies the result to where it belongs then."""

    clause = "D15"

    def finish(self, crp: Cryptop) -> None:
        """Answer, and write."""
        crd = crp.desc[0] if crp.desc else None
        if crp.etype or crd is None or not crd.flags & CRD_F_ENCRYPT or not crd.len:
            super().finish(crp)
            return
        with suppress(CryptoError):
            parts = region(segments(crp.buf), crd.skip, crd.len)
            result = gather(parts)
            scatter(parts, bytes(len(result)))
            super().finish(crp)
            scatter(parts, result)


class KeysByTheirBeginning(Fault):
    """Has a cache of keys, and finds them by their first eight bytes."""

    clause = "D16"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Serve a session by the first one whose key begins like its own."""
        answer = super().newsession(ini)
        if isinstance(answer, int):
            return answer
        lid, own = answer
        cache: dict[Any, tuple[int, Process]] = self.__dict__.setdefault("_cache", {})
        name = tuple((cri.alg, cri.klen, bytes(cri.key or b"")[:8]) for cri in ini)
        _, process = cache.setdefault(name, (lid, own))
        return lid, process

    def freesession(self, lid: int) -> None:
        """Forget it."""
        cache: dict[Any, tuple[int, Process]] = self.__dict__.setdefault("_cache", {})
        for name in [name for name, (number, _) in cache.items() if number == lid]:
            del cache[name]
        super().freesession(lid)


class NumbersOfEightBits(Fault):
    """Has session numbers of eight bits, and does not look whether one is in use."""

    clause = "D16"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Cut the number."""
        answer = super().newsession(ini)
        numbers: dict[int, int] = self.__dict__.setdefault("_numbers", {})
        lid = answer if isinstance(answer, int) else answer[0]
        numbers[lid & 0xFF] = lid
        return lid & 0xFF if isinstance(answer, int) else (lid & 0xFF, answer[1])

    def freesession(self, lid: int) -> None:
        """Find the number."""
        super().freesession(self.__dict__.setdefault("_numbers", {}).pop(lid, lid))


class SharesAnIv(Fault):
    """Has one variable for the IV of whatever request it works on."""

    clause = "D17"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Put the IV there, and take it from there later."""
        crd = crp.desc[0] if crp.desc else None
        if crd is not None and crd.flags & CRD_F_IV_EXPLICIT and crd.iv is not None:
            self._iv = crd.iv
            time.sleep(0.0002)
            if len(self._iv) == len(crd.iv):
                crd.iv = self._iv
        return super().serve(process, crp, hint)

    def finish(self, crp: Cryptop) -> None:
        """Forget it."""
        self._iv = b""
        super().finish(crp)


class TellsKeysOfChains(Fault):
    """Quotes the keys of a chain that it refuses."""

    clause = "D20"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Refuse two ciphers."""
        if sum(FACTS[cri.alg].kind is Kind.CIPHER for cri in ini) > 1:
            raise UsageError(f"no two ciphers: {[bytes(cri.key or b'').hex() for cri in ini]}")
        return super().newsession(ini)


class RefusesWithTheKey(Fault):
    """Says in refusal() what it was asked for, keys included."""

    clause = "D20"

    def refusal(self, ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
        """Refuse two MACs."""
        if sum(FACTS[cri.alg].kind is Kind.MAC for cri in ini) > 1:
            return f"no two MACs with keys {[bytes(cri.key or b'').hex() for cri in ini]}"
        return super().refusal(ini, profile, named)


class OffsetsOf16Bits(Fault):
    """Gives its device offsets of 16 bits."""

    clause = "D21"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Cut the offset, for as long as the device works."""
        skips = [crd.skip for crd in crp.desc]
        for crd in crp.desc:
            if crd.alg in FACTS and FACTS[crd.alg].kind is Kind.CIPHER and crd.skip > 0:
                crd.skip &= 0xFFFF
        try:
            return super().serve(process, crp, hint)
        finally:
            for crd, skip in zip(crp.desc, skips, strict=True):
                crd.skip = skip


class StopsAt256K(Fault):
    """Ciphers the first 256 KiB only."""

    clause = "D21"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Cut the regions, for as long as it works."""
        lengths = [crd.len for crd in crp.desc]
        for crd in crp.desc:
            if crd.alg in FACTS and FACTS[crd.alg].kind is Kind.CIPHER:
                crd.len = min(crd.len, 1 << 18)
        try:
            return super().serve(process, crp, hint)
        finally:
            for crd, length in zip(crp.desc, lengths, strict=True):
                crd.len = length


class TakesOpaque(Fault):
    """Takes `opaque` for a place to keep things of its own."""

    clause = "D25"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Keep something there."""
        crp.opaque = "taken"
        return super().serve(process, crp, hint)


class SetsOlen(Fault):
    """Says how long the output is, which only compression does."""

    clause = "D25"

    def finish(self, crp: Cryptop) -> None:
        """Say it."""
        crp.olen = sum(max(crd.len, 0) for crd in crp.desc)
        super().finish(crp)


class EmptiesTheRequest(Fault):
    """Takes the descriptors off the request as it works through them."""

    clause = "D25"

    def finish(self, crp: Cryptop) -> None:
        """Leave none."""
        if not crp.etype:
            crp.desc = []
        super().finish(crp)
