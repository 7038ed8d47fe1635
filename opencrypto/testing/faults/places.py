"""
Bytes and their places: D12 to D14, D21. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

import errno

from opencrypto import Cryptop
from opencrypto.chain import gather, region, segments
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
)
from opencrypto.driver import Process
from opencrypto.exceptions import CryptoError
from opencrypto.testing.faults.fault import Fault
from opencrypto.xform import FACTS, Kind

__all__ = [
    "DropsTheTail",
    "HandsBackHalfDone",
    "LosesSegments",
    "OneIvForAll",
    "RaisesForUnknownSessions",
    "RefusesNothing",
    "WritesBehind",
]


def _fresh(flags: int) -> bool:
    return flags & (CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT) == CRD_F_ENCRYPT


class WritesBehind(Fault):
    """Encrypts one byte too many."""

    clause = "D12"

    def finish(self, crp: Cryptop) -> None:
        """Change the byte behind the region."""
        for crd in crp.desc:
            # Not where the tag of an authenticated cipher stands: that would be another fault.
            plain = crd.alg in FACTS and FACTS[crd.alg].kind is Kind.CIPHER
            if plain and crd.flags & CRD_F_ENCRYPT and not crp.etype:
                _flip(crp, crd.skip + crd.len)
        super().finish(crp)


class HandsBackHalfDone(Fault):
    """Finds out that it cannot serve a request when it has encrypted already."""

    clause = "D12"
    _done = 0

    def finish(self, crp: Cryptop) -> None:
        """Hand one request back that was encrypted, as it is now."""
        encrypted = any(crd.flags & CRD_F_ENCRYPT and crd.len for crd in crp.desc)
        if encrypted and not crp.etype:
            self._done += 1
            if self._done == 3:
                crp.fail(errno.EAGAIN)
        super().finish(crp)


def _flip(crp: Cryptop, at: int) -> None:
    parts = segments(crp.buf)
    if at < sum(map(len, parts)):
        region(parts, at, 1)[0][0] ^= 0x01


class RaisesForUnknownSessions(Fault):
    """Looks sessions up as if they were always there."""

    clause = "D12"

    def process(self, crp: Cryptop, hint: int) -> int:
        """Raise KeyError."""
        raise KeyError(crp.lid)


class OneIvForAll(Fault):
    """Encrypts with an IV of zeros where it should make a fresh one."""

    clause = "D13"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Make fresh IVs explicit ones."""
        for crd in crp.desc:
            ivlen = FACTS[crd.alg].iv if crd.alg in FACTS else 0
            if ivlen and _fresh(crd.flags):
                # Of a salted key the IV is shorter; zeros are written either way.
                crd.flags |= CRD_F_IV_EXPLICIT
                crd.iv = bytes(8 if FACTS[crd.alg].salted_iv else ivlen)
        return super().serve(process, crp, hint)


class LosesSegments(Fault):
    """Copies several segments together, and forgets to copy them back."""

    clause = "D14"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Work on a copy."""
        try:
            parts = segments(crp.buf)
        except CryptoError:
            return super().serve(process, crp, hint)
        if len(parts) > 1:
            self.__dict__.setdefault("_real", {})[id(crp)] = crp.buf
            crp.buf = gather(parts)
        return super().serve(process, crp, hint)

    def finish(self, crp: Cryptop) -> None:
        """Put the consumer's buffer back."""
        crp.buf = self.__dict__.setdefault("_real", {}).pop(id(crp), crp.buf)
        super().finish(crp)


class RefusesNothing(Fault):
    """Calls it an error to cipher nothing."""

    clause = "D21"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Refuse it."""
        nothing = len(crp.desc) == 1 and crp.desc[0].len == 0
        if nothing and crp.desc[0].alg in FACTS and FACTS[crp.desc[0].alg].kind is Kind.CIPHER:
            crp.fail(errno.EINVAL, "nothing to do")
            self.done(crp)
            return 0
        return super().serve(process, crp, hint)


class DropsTheTail(Fault):
    """Ciphers the first 64 KiB only."""

    clause = "D21"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Cut the regions."""
        for crd in crp.desc:
            if crd.alg in FACTS and FACTS[crd.alg].kind is Kind.CIPHER:
                crd.len = min(crd.len, 65536)
        return super().serve(process, crp, hint)
