"""
Drivers that are wrong on purpose, one rule each: a contract that nobody has seen fail is none.

``DoneTwice.of(MyDriver)`` is MyDriver, right in everything but that. Each names the clause which
must find it; the tests of this package try every one.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

from opencrypto import _buffer
from opencrypto._request import Cryptoini, Cryptop
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRYPTO_HINT_MORE,
    ERESTART,
)
from opencrypto.driver import Driver, Process
from opencrypto.exceptions import CryptoError, UsageError
from opencrypto.xform import FACTS, Kind


class Fault(Driver):
    """
    One way to break the contract. `of` makes a driver that has it.

    Attributes:
        clause: The clause that is broken, and must be named.
    """

    clause: ClassVar[str] = ""
    _port: Callable[[Cryptop], None]

    @classmethod
    def of(cls, base: type[Driver]) -> type[Driver]:
        """Return a class of drivers that are like `base` but for this fault."""
        return type(f"{cls.__name__}{base.__name__}", (cls, base), {"__module__": base.__module__})

    def __setattr__(self, name: str, value: Any) -> None:
        """Stand between the driver and the framework's ``done``."""
        if name == "done":
            super().__setattr__("_port", value)
            value = self.finish
        super().__setattr__(name, value)

    def finish(self, crp: Cryptop) -> None:
        """Complete a request, as the driver has asked."""
        self._port(crp)

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Carry a request out by the driver's own process."""
        return process(crp, hint)

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Open a session, its process behind `serve`."""
        answer = super().newsession(ini)
        if isinstance(answer, int):
            return answer
        lid, process = answer

        def served(crp: Cryptop, hint: int) -> int:
            return self.serve(process, crp, hint)

        return lid, served

    def process(self, crp: Cryptop, hint: int) -> int:
        """Carry out a request for a session without a process of its own."""
        return self.serve(super().process, crp, hint)


def _ciphers(ini: Sequence[Cryptoini]) -> int:
    return sum(FACTS[cri.alg].kind in (Kind.CIPHER, Kind.AEAD) for cri in ini)


def _fresh(flags: int) -> bool:
    return flags & (CRD_F_ENCRYPT | CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT) == CRD_F_ENCRYPT


class NameOfTwoWords(Fault):
    """Its name is no token."""

    clause = "D1"
    name = "two words"


class LiesAboutSync(Fault):
    """Answers from a thread, although it says SYNC."""

    clause = "D1"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Answer a little later."""
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
            for part in _buffer.region(_buffer.segments(crp.buf), crd.skip, min(crd.len, 1)):
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


class DoneTwice(Fault):
    """Completes each request twice."""

    clause = "D7"

    def finish(self, crp: Cryptop) -> None:
        """Once more, to be sure."""
        super().finish(crp)
        with suppress(CryptoError):
            super().finish(crp)


class ForgetsDone(Fault):
    """Does not complete what did not verify."""

    clause = "D7"

    def finish(self, crp: Cryptop) -> None:
        """Return early on the error path."""
        if crp.etype != errno.EBADMSG:
            super().finish(crp)


class HoldsALockOverDone(Fault):
    """Calls done with its lock held."""

    clause = "D8"

    def finish(self, crp: Cryptop) -> None:
        """Guard what needs no guard."""
        lock = self.__dict__.setdefault("_lock", threading.Lock())
        with lock:
            super().finish(crp)


class Raises(Fault):
    """Raises what should have gone into etype."""

    clause = "D9"

    def finish(self, crp: Cryptop) -> None:
        """Raise instead of reporting."""
        if crp.etype == errno.EBADMSG:
            raise ValueError("MAC check failed")
        super().finish(crp)


class ReturnsNonsense(Fault):
    """Returns a count from process."""

    clause = "D9"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Return 1."""
        process(crp, hint)
        return 1


class Blocks(Fault):
    """Waits for more data when a region is empty; until it is closed."""

    clause = "D9"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Wait in the caller's thread."""
        if len(crp.desc) == 1 and crp.desc[0].len == 0:
            self._event().wait()
        return super().serve(process, crp, hint)

    def _event(self) -> threading.Event:
        event: threading.Event = self.__dict__.setdefault("_closed", threading.Event())
        return event

    def close(self) -> None:
        """End the waiting."""
        self._event().set()
        super().close()


class NeverUnblocks(Fault):
    """Answers ERESTART from the hundredth request on, and never unblocks."""

    clause = "D10"
    _taken = 0

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Take a hundred."""
        self._taken += 1
        return ERESTART if self._taken > 100 else super().serve(process, crp, hint)


class WaitsForMore(Fault):
    """Believes CRYPTO_HINT_MORE, and keeps the request until the next one comes."""

    clause = "D11"
    _open = 0

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Count sessions: it collects for a single one only."""
        self._open += 1
        return super().newsession(ini)

    def freesession(self, lid: int) -> None:
        """Count sessions."""
        self._open -= 1
        super().freesession(lid)

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Keep it, or carry out all that is kept."""
        kept: list[Cryptop] = self.__dict__.setdefault("_kept", [])
        kept.append(crp)
        if not (hint & CRYPTO_HINT_MORE and self._open == 1):
            while kept:
                process(kept.pop(0), 0)
        return 0


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


def _flip(crp: Cryptop, at: int) -> None:
    parts = _buffer.segments(crp.buf)
    if at < _buffer.total(parts):
        _buffer.region(parts, at, 1)[0][0] ^= 0x01


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
            parts = _buffer.segments(crp.buf)
        except CryptoError:
            return super().serve(process, crp, hint)
        if len(parts) > 1:
            self.__dict__.setdefault("_real", {})[id(crp)] = crp.buf
            crp.buf = _buffer.gather(parts)
        return super().serve(process, crp, hint)

    def finish(self, crp: Cryptop) -> None:
        """Put the consumer's buffer back."""
        crp.buf = self.__dict__.setdefault("_real", {}).pop(id(crp), crp.buf)
        super().finish(crp)


class KeepsTheRequest(Fault):
    """Remembers the last request."""

    clause = "D15"

    def finish(self, crp: Cryptop) -> None:
        """Remember it."""
        self.last = crp
        super().finish(crp)


class LastKeyForAll(Fault):
    """Uses the newest session of a kind for all of that kind."""

    clause = "D16"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Keep the process by the chain's algorithms."""
        answer = super().newsession(ini)
        if isinstance(answer, int):
            return answer
        lid, own = answer
        newest: dict[Any, tuple[int, Process]] = self.__dict__.setdefault("_newest", {})
        chain = tuple((cri.alg, cri.klen) for cri in ini)
        newest[chain] = (lid, own)

        def process(crp: Cryptop, hint: int) -> int:
            return newest.get(chain, (lid, own))[1](crp, hint)

        return lid, process

    def freesession(self, lid: int) -> None:
        """Forget it, if it is the newest."""
        newest: dict[Any, tuple[int, Process]] = self.__dict__.setdefault("_newest", {})
        for chain, (number, _) in list(newest.items()):
            if number == lid:
                del newest[chain]
        super().freesession(lid)


class SharesAScratch(Fault):
    """Has one scratch buffer for all threads."""

    clause = "D17"

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Pass the data through the scratch buffer."""
        with suppress(CryptoError):
            parts = _buffer.segments(crp.buf)
            self._scratch = _buffer.gather(parts)
            time.sleep(0.0002)
            if len(self._scratch) == _buffer.total(parts):
                _buffer.scatter(parts, self._scratch)
        return super().serve(process, crp, hint)


class NeverForgets(Fault):
    """Does nothing when a session is freed."""

    clause = "D18"

    def freesession(self, lid: int) -> None:
        """Keep it."""


class FreesOnlyOnce(Fault):
    """Raises for a session that it does not have."""

    clause = "D18"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Note the number."""
        answer = super().newsession(ini)
        lids: set[int] = self.__dict__.setdefault("_lids", set())
        lids.add(answer if isinstance(answer, int) else answer[0])
        return answer

    def freesession(self, lid: int) -> None:
        """Raise KeyError the second time."""
        self.__dict__.setdefault("_lids", set()).remove(lid)
        super().freesession(lid)


class LeavesAThread(Fault):
    """Has a thread that outlives it."""

    clause = "D19"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Start it with the first session."""
        if "_worker" not in self.__dict__:
            wait = threading.Event().wait
            self._worker = threading.Thread(target=wait, args=(30,), name="left", daemon=True)
            self._worker.start()
        return super().newsession(ini)


class RaisesAtClose(Fault):
    """Cannot leave while it has ever had a session."""

    clause = "D19"
    _used = False

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Note that."""
        self._used = True
        return super().newsession(ini)

    def close(self) -> None:
        """Raise."""
        super().close()
        if self._used:
            raise RuntimeError("still in use")


class ShowsKeys(Fault):
    """Has the last key in its repr."""

    clause = "D20"
    _last = ""

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Note it."""
        self._last = bytes(ini[0].key or b"").hex()
        return super().newsession(ini)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._last}>"


class LogsKeys(Fault):
    """Logs each key, for debugging."""

    clause = "D20"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Log it."""
        logging.getLogger("opencrypto.faulty").debug("session with %r", bytes(ini[0].key or b""))
        return super().newsession(ini)


class TellsKeys(Fault):
    """Quotes the key in the message of a refusal."""

    clause = "D20"

    def newsession(self, ini: Sequence[Cryptoini]) -> int | tuple[int, Process]:
        """Refuse keys of lengths that there are not."""
        for cri in ini:
            key = bytes(cri.key or b"")
            if not FACTS[cri.alg].key_ok(len(key)):
                raise UsageError(f"not a key: {key.hex()}")
        return super().newsession(ini)


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


class DiesInAFork(Fault):
    """Waits, in a forked child, for a thread that did not come along."""

    clause = "D22"
    _home: ClassVar[int] = os.getpid()

    def serve(self, process: Process, crp: Cryptop, hint: int) -> int:
        """Wait for ever."""
        if os.getpid() != self._home:
            threading.Event().wait()
        return super().serve(process, crp, hint)


FAULTS: Final[tuple[type[Fault], ...]] = tuple(Fault.__subclasses__())
"""Every fault of this module."""
