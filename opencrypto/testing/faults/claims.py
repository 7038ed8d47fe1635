"""
What comes out, and what was claimed: D1 to D6. See `opencrypto.testing.faults`.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from contextlib import suppress

from opencrypto import Cryptoini, Cryptop
from opencrypto.chain import region, segments
from opencrypto.constants import CRD_F_ENCRYPT, CRD_F_MORE
from opencrypto.driver import Process, Profile
from opencrypto.exceptions import CryptoError, UsageError
from opencrypto.testing.faults.fault import Fault
from opencrypto.xform import FACTS, Kind

__all__ = [
    "AcceptsForgeries",
    "AnotherKey",
    "CiphersFirst",
    "LiesAboutKeys",
    "LiesAboutSync",
    "NameOfTwoWords",
    "RaisesAtNewsession",
    "RefusesTooLate",
    "ShrugsItsShoulders",
    "TouchesForgeries",
]


def _ciphers(ini: Sequence[Cryptoini]) -> int:
    return sum(FACTS[cri.alg].kind in (Kind.CIPHER, Kind.AEAD) for cri in ini)


class NameOfTwoWords(Fault):
    """Its name is no token."""

    clause = "D1"
    name = "two words"


class ShrugsItsShoulders(Fault):
    """Has nothing to refuse, and says so by None."""

    clause = "D3"

    def refusal(self, ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
        """Fall off the end of the function."""
        if len(ini) > 1:
            return None  # type: ignore[return-value]  # the fault
        return super().refusal(ini, profile, named)


class LiesAboutSync(Fault):
    """Answers once in a while from a thread, although it says SYNC."""

    clause = "D1"
    _taken = 0

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Answer the third request a little later, if it is whole: a piece is found out here."""
        if any(crd.flags & CRD_F_MORE for crd in crp.desc):
            return super().serve(process, crp, hint)
        self._taken += 1
        if self._taken != 3:
            return super().serve(process, crp, hint)
        threading.Timer(0.002, process, (crp, hint)).start()
        return 0


class LiesAboutKeys(Fault):
    """Claims 32 bytes of key and does not take them."""

    clause = "D2"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Refuse what was claimed."""
        if any(cri.klen == 256 and FACTS[cri.alg].keys is not None for cri in ini):
            raise UsageError("no, not with this key")
        return super().newsession(ini)


class RefusesTooLate(Fault):
    """Cannot have two ciphers in a chain, and says so with the first request."""

    clause = "D3"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Accept everything."""
        answer = super().newsession(ini)
        if _ciphers(ini) < 2 or isinstance(answer, int):
            return answer

        def refuse(crp: Cryptop, hint: int) -> int:
            crp.fail(errno.EINVAL, "two ciphers are too many")
            self.done(crp)
            return 0

        return answer[0], refuse


class RaisesAtNewsession(Fault):
    """Raises what is no CryptoError when it cannot have a chain."""

    clause = "D3"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Raise a ValueError for two ciphers."""
        if _ciphers(ini) > 1:
            raise ValueError("two ciphers are too many")
        return super().newsession(ini)


class AnotherKey(Fault):
    """Consistently uses another key: everything comes back as it was, and nothing is right."""

    clause = "D4"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Change a bit of each key."""
        return super().newsession([_other_key(cri) for cri in ini])


def _other_key(cri: Cryptoini) -> Cryptoini:
    key = bytearray(cri.key or b"")
    if key:
        key[0] ^= 0x10
    return Cryptoini(cri.alg, key, cri.klen, cri.rnd, mlen=cri.mlen)


class AcceptsForgeries(Fault):
    """Compares a MAC and ignores what comes of it."""

    clause = "D5"

    def finish(self, crp: Cryptop) -> None:
        """Call it a success."""
        if crp.etype == errno.EBADMSG:
            crp.fail(0)
        super().finish(crp)


class TouchesForgeries(Fault):
    """Decrypts first and verifies then, so that what did not verify has been changed."""

    clause = "D5"

    def finish(self, crp: Cryptop) -> None:
        """Leave something else in the payload."""
        crd = crp.desc[0] if crp.desc else None
        if crp.etype == errno.EBADMSG and crd is not None:
            with suppress(CryptoError):  # a buffer that is only verified may be read-only
                for part in region(segments(crp.buf), crd.skip, min(crd.len, 1)):
                    part[0] ^= 0xFF
        super().finish(crp)


class CiphersFirst(Fault):
    """Encrypts before it authenticates, whatever the request says."""

    clause = "D6"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Sort the descriptors of a request that encrypts."""
        if any(crd.flags & CRD_F_ENCRYPT for crd in crp.desc):
            crp.desc = sorted(crp.desc, key=lambda crd: not crd.flags & CRD_F_ENCRYPT)
        return super().serve(process, crp, hint)
