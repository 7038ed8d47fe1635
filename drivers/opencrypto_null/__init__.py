"""
The smallest honest driver: NULL_CBC and NULL_HMAC. Copy it to begin one of your own.

NULL_CBC (RFC 2410) leaves its region as it is; NULL_HMAC (NetBSD's xform.c) gives zeros for a MAC.
Since it does next to nothing itself, it also shows what the framework costs.
"""

from __future__ import annotations

import errno
import hmac
from collections.abc import Callable, Mapping, Sequence

from opencrypto import Capability, Cryptodesc, Cryptoini, Cryptop, Driver, Profile, hookimpl
from opencrypto.chain import Plan, region, scatter, segments
from opencrypto.constants import (
    CRD_F_VERIFY,
    CRYPTO_NULL_CBC,
    CRYPTO_NULL_HMAC,
    CRYPTOCAP_F_SOFTWARE,
    CRYPTOCAP_F_SYNC,
)
from opencrypto.xform import FACTS

__all__ = ["NullDriver", "opencrypto_drivers"]

MAC_BYTES = FACTS[CRYPTO_NULL_HMAC].mac


class NullDriver(Driver):
    """Serves each request at once, in the thread that dispatches it; any number of threads may."""

    name = "null"
    flags = CRYPTOCAP_F_SOFTWARE | CRYPTOCAP_F_SYNC
    capabilities: Mapping[int, Capability] = {
        CRYPTO_NULL_CBC: Capability(),
        CRYPTO_NULL_HMAC: Capability(),
    }

    def __init__(self) -> None:
        self._maclens: dict[int, int] = {}  # to put in, look up and pop is one step each

    def refusal(self, ini: Sequence[Cryptoini], profile: Profile, named: bool = False) -> str:
        """Take one MAC in a session; the framework opens several sessions for a chain with more."""
        macs = [cri for cri in ini if cri.alg == CRYPTO_NULL_HMAC]
        return "makes one MAC in a session" if len(macs) > 1 else ""

    def newsession(self, ini: Sequence[Cryptoini]) -> int:
        """Note how long the session's MAC is, in bytes."""
        lid = self.newlid()
        while lid in self._maclens:  # after 2**32 of them
            lid = self.newlid()
        lengths = [cri.mlen or MAC_BYTES for cri in ini if cri.alg == CRYPTO_NULL_HMAC]
        self._maclens[lid] = lengths[0] if lengths else 0
        return lid

    def freesession(self, lid: int) -> None:
        """Forget a session."""
        self._maclens.pop(lid, None)

    def process(self, crp: Cryptop, hint: int) -> int:
        """Carry a request out. The framework has checked that it fits its session."""
        length = self._maclens.get(crp.lid)
        if length is None:
            crp.fail(errno.ENOENT, f"driver {self.name} has no session {crp.lid}")
            self.done(crp)
            return 0
        self.make_mac(crp, length)
        self.done(crp)
        return 0

    def newstream(self, lid: int, done: Callable[[Cryptop], None]) -> NullStream:
        """Begin a message in pieces, of which there is nothing to keep."""
        return NullStream(self, self._maclens[lid], done)

    def make_mac(self, crp: Cryptop, length: int) -> None:
        """Make or verify the MAC of a request, if it has one."""
        macs = [crd for crd in crp.desc if crd.ini.alg == CRYPTO_NULL_HMAC]
        at = 0  # where in crp.mac the next MAC goes, if they go there
        for crd in macs:
            if not self._mac(crp, crd, length, at):
                crp.fail(errno.EBADMSG, "the MAC does not verify; discard the data")
                break
            at += length

    @staticmethod
    def _mac(crp: Cryptop, crd: Cryptodesc, length: int, at: int) -> bool:
        if crp.mac is not None:
            place = [memoryview(crp.mac).cast("B")[at : at + length]]
        else:
            verifying = bool(crd.flags & CRD_F_VERIFY)
            parts = segments(crp.buf, crp.flags, writable=not verifying)
            place = region(parts, crd.inject, length)
        if crd.flags & CRD_F_VERIFY:
            return hmac.compare_digest(b"".join(place), bytes(length))
        scatter(place, bytes(length))
        return True


class NullStream:
    """A message in pieces: here a driver keeps what it has to from piece to piece."""

    def __init__(self, driver: NullDriver, maclen: int, done: Callable[[Cryptop], None]) -> None:
        self._driver = driver
        self._maclen = maclen
        self._done = done

    def piece(self, crp: Cryptop, plan: Plan, last: bool) -> None:
        """Carry a piece out: the MAC comes with the last one."""
        if last:
            self._driver.make_mac(crp, self._maclen)
        self._done(crp)

    def copy(self, lid: int, done: Callable[[Cryptop], None]) -> NullStream:
        """Copy what is kept, for another session with the same keys."""
        return NullStream(self._driver, self._maclen, done)

    def wipe(self) -> None:
        """Wipe what was kept of the message: nothing."""


@hookimpl
def opencrypto_drivers() -> list[Driver]:
    """Offer the driver; called once, when a framework looks for drivers."""
    return [NullDriver()]
