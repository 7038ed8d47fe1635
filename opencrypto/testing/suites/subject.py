"""
A driver that is asked, one operation at a time, with keys and nonces as standards write them.

A standard gives a key and a whole nonce; a session of opencrypto(9) may have a part of that nonce
at the end of its key. What that comes to is decided here, once. Each wait has an end.
"""

from __future__ import annotations

import errno
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from opencrypto import Cryptkop, Cryptodesc, Cryptoini, Cryptop, Framework
from opencrypto.constants import (
    CRD_F_ENCRYPT,
    CRD_F_IV_EXPLICIT,
    CRD_F_IV_PRESENT,
    CRD_F_VERIFY,
    CRYPTO_F_CBIMM,
    Alg,
)
from opencrypto.driver import KOPS, Driver
from opencrypto.exceptions import CryptoError, DriverBug
from opencrypto.testing._bounded import Caller
from opencrypto.xform import AEAD_PARTNERS, FACTS, Kind

PATIENCE: Final = 5.0
"""Seconds to wait for an answer, before it counts as never."""

GRACE: Final = 0.5
"""Seconds more that a call may take, which itself gives up waiting for an answer."""

_OUTSIDE: Final = CRD_F_IV_EXPLICIT | CRD_F_IV_PRESENT
"""The IV is in the descriptor, and the buffer has none."""

_COUNTED_FROM: Final = (1).to_bytes(4, "big")
"""How AES_CTR's counter begins, behind nonce and IV: RFC 3686, 4."""


class RefusedError(Exception):
    """The driver, or the framework for it, does not do what is asked; the message says why."""


class WrongError(Exception):
    """The driver has done it, and wrongly; the message says how."""


class UnansweredError(WrongError):
    """The driver has not answered in time."""


class Subject:
    """
    One driver attached to a framework of its own, as who is asked. A context manager.

    Args:
        driver: A driver that is not attached anywhere.
        patience: Seconds to wait for an answer.

    Raises:
        CryptoError: the driver cannot be attached.
    """

    def __init__(self, driver: Driver, patience: float = PATIENCE) -> None:
        self.name = driver.name
        self.patience = patience
        self._framework = Framework(plugins=False)
        try:
            # Without known answers of its own: they would take away what is to be shown wrong.
            self._hid = self._framework.attach(driver, selftest=False)
        except BaseException:
            self._framework.close()
            raise
        self._algorithms = frozenset(driver.capabilities)
        self._keyops = frozenset(driver.keyops)
        self._answers: queue.SimpleQueue[Cryptop | Cryptkop] = queue.SimpleQueue()
        self._caller = Caller()
        self._deadline: float | None = None  # of all that is asked in one call

    def call(self, ask: Callable[[Subject], None], patience: float) -> None:
        """
        Ask something from a thread that is left behind if the driver keeps it.

        Raises:
            UnansweredError: it does not come back in so many seconds.
        """
        self._deadline = time.monotonic() + patience
        if not self._caller.run(lambda: ask(self), patience + GRACE):
            self._caller.stop()
            self._caller = Caller()
            raise UnansweredError(f"no answer in {patience:g} s")

    # What there is.

    def require(self, *algs: int) -> None:
        """Refuse what the driver has no algorithm for."""
        missing = [FACTS[alg].name for alg in algs if alg not in self._algorithms]
        if missing:
            raise RefusedError(f"has no {' and no '.join(missing)}")

    def require_keyop(self, op: int) -> None:
        """Refuse a key operation that the driver does not have."""
        if op not in self._keyops:
            raise RefusedError(f"has no key operation {KOPS[op].name}")

    # Ciphers.

    @contextmanager
    def session(self, *inis: Cryptoini) -> Iterator[int]:
        """Open a session for a while."""
        self.require(*(ini.alg for ini in inis))
        try:
            sid = self._framework.newsession(list(inis), driver=self._hid)
        except CryptoError as error:
            bug = error if isinstance(error, DriverBug) else error.__cause__
            if isinstance(bug, DriverBug):
                raise WrongError(_why(bug)) from None
            raise RefusedError(_why(error)) from None
        try:
            yield sid
        finally:
            self._framework.freesession(sid)

    def crypt(self, sid: int, alg: int, iv: bytes, data: bytes, *, encrypt: bool) -> bytes:
        """Encrypt or decrypt on an open session of one cipher."""
        buf = bytearray(data)
        flags = CRD_F_ENCRYPT if encrypt else 0
        if iv:
            flags |= _OUTSIDE
        self._good(sid, buf, Cryptodesc(0, len(buf), 0, flags, alg=alg, iv=iv or None))
        return bytes(buf)

    def cipher(self, alg: int, key: bytes, iv: bytes, data: bytes, *, encrypt: bool) -> bytes:
        """Encrypt or decrypt with a cipher that has no tag."""
        self._fitting(alg, key, iv, data)
        with self.session(Cryptoini(alg, key)) as sid:
            return self.crypt(sid, alg, iv, data, encrypt=encrypt)

    def counter(self, key: bytes, block: bytes, data: bytes, *, encrypt: bool) -> bytes:
        """Encrypt or decrypt with AES in counter mode, from a whole first counter block."""
        if Alg.AES_ICM in self._algorithms:
            return self.cipher(Alg.AES_ICM, key, block, data, encrypt=encrypt)
        self.require(Alg.AES_CTR)
        if block[12:] != _COUNTED_FROM:
            raise RefusedError("counts from 1 (RFC 3686), not from any block")
        return self.cipher(Alg.AES_CTR, key + block[:4], block[4:12], data, encrypt=encrypt)

    # Authenticated ciphers.

    def seal(
        self, alg: int, key: bytes, nonce: bytes, aad: bytes, plain: bytes, taglen: int
    ) -> tuple[bytes, bytes]:
        """Encrypt and authenticate; return ciphertext and tag."""
        inis, iv = self._aead(alg, key, nonce, taglen)
        buf = bytearray(aad + plain + bytes(taglen))
        at, to = len(aad), len(aad) + len(plain)
        with self.session(*inis) as sid:
            self._good(sid, buf, *_pair(inis, iv, at, to, seal=True))
        return bytes(buf[at:to]), bytes(buf[to:])

    def open(
        self, alg: int, key: bytes, nonce: bytes, aad: bytes, coded: bytes, tag: bytes
    ) -> bytes | None:
        """Verify and decrypt; return None if it does not verify."""
        inis, iv = self._aead(alg, key, nonce, len(tag))
        sealed = aad + coded + tag
        buf = bytearray(sealed)
        at, to = len(aad), len(aad) + len(coded)
        with self.session(*inis) as sid:
            descriptors = _pair(inis, iv, at, to, seal=False)
            if not self._verified(sid, buf, sealed, *descriptors):
                return None
        return bytes(buf[at:to])

    def _aead(
        self, alg: int, key: bytes, nonce: bytes, taglen: int
    ) -> tuple[tuple[Cryptoini, Cryptoini], bytes]:
        """Return what a session is made from, and the IV of its requests."""
        facts = FACTS[alg]
        salt = 0 if len(nonce) == facts.iv else facts.salt
        if len(nonce) != (salt + facts.salted_iv if salt else facts.iv):
            raise RefusedError(f"takes no nonce of {len(nonce)} bytes")
        key += nonce[:salt]
        halves = [half for half in sorted(AEAD_PARTNERS[alg]) if FACTS[half].key_ok(len(key))]
        if not halves:
            raise RefusedError(f"takes no key of {(len(key) - salt) * 8} bits")
        (half,) = halves
        if taglen not in FACTS[half].macs:
            raise RefusedError(f"gives no tag of {taglen} bytes")
        return (Cryptoini(alg, key), Cryptoini(half, key, mlen=taglen)), nonce[salt:]

    # Authenticators.

    def mac(self, alg: int, key: bytes, data: bytes, length: int) -> bytes:
        """Return the MAC of some data, or its digest."""
        with self.maker(alg, key, length) as make:
            return make(data)

    @contextmanager
    def maker(self, alg: int, key: bytes, length: int) -> Iterator[Callable[[bytes], bytes]]:
        """Open a session for a while whose MACs or digests are had by a call."""
        with self.session(self._authenticator(alg, key, length)) as sid:

            def make(data: bytes) -> bytes:
                buf = bytearray(data + bytes(length))
                self._good(sid, buf, Cryptodesc(0, len(data), len(data), alg=alg))
                return bytes(buf[len(data) :])

            yield make

    def verifies(self, alg: int, key: bytes, data: bytes, mac: bytes) -> bool:
        """Tell whether a MAC verifies."""
        whole = data + mac
        buf = bytearray(whole)
        with self.session(self._authenticator(alg, key, len(mac))) as sid:
            crd = Cryptodesc(0, len(data), len(data), CRD_F_VERIFY, alg=alg)
            return self._verified(sid, buf, whole, crd)

    def digest(self, alg: int, data: bytes) -> bytes:
        """Return the digest of some data."""
        return self.mac(alg, b"", data, FACTS[alg].digest)

    def _authenticator(self, alg: int, key: bytes, length: int) -> Cryptoini:
        self.require(alg)
        facts = FACTS[alg]
        if length not in facts.macs:
            raise RefusedError(f"gives no MAC of {length} bytes")
        return Cryptoini(alg, key, mlen=length)

    # Key operations.

    def compute(self, op: int, inputs: Sequence[int | bytes], bits: int) -> int | None:
        """Return the one result of a key operation; None if it takes no such input."""
        krp = self._kop(op, inputs, (bits,))
        if krp.status in {errno.EINVAL, errno.ERANGE, errno.EDOM}:
            return None
        _require_no_error(krp.status, krp.error)
        return krp.outputs[0].to_int()

    def verdict(self, op: int, inputs: Sequence[int | bytes]) -> bool:
        """Tell whether a signature is good; one whose numbers are refused is not."""
        krp = self._kop(op, inputs, ())
        if krp.status in {errno.EINVAL, errno.ERANGE, errno.EDOM}:
            return False
        _require_no_error(krp.status, krp.error)
        return bool(krp.verdict)

    def _kop(self, op: int, inputs: Sequence[int | bytes], outputs: Sequence[int]) -> Cryptkop:
        self.require_keyop(op)
        krp = Cryptkop.of(op, inputs, outputs, self._answers.put, CRYPTO_F_CBIMM)
        self._framework.kdispatch(krp, driver=self._hid)
        self._await(krp)
        return krp

    # Requests.

    def _fitting(self, alg: int, key: bytes, iv: bytes, data: bytes) -> None:
        """Refuse what no driver of the framework could be asked."""
        self.require(alg)
        facts = FACTS[alg]
        if facts.kind is not Kind.CIPHER:
            raise RefusedError(f"{facts.name} is no cipher")
        if not facts.key_ok(len(key)):
            raise RefusedError(f"takes no key of {len(key) * 8} bits")
        if len(iv) != facts.ivlen(len(key)):
            raise RefusedError(f"takes no IV of {len(iv)} bytes")
        if len(data) % facts.granule:
            raise RefusedError(f"takes whole blocks of {facts.granule} bytes only")

    def _good(self, sid: int, buf: Any, *desc: Cryptodesc) -> None:
        crp = self._run(sid, buf, *desc)
        _require_no_error(crp.etype, crp.error)

    def _verified(self, sid: int, buf: bytearray, before: bytes, *desc: Cryptodesc) -> bool:
        crp = self._run(sid, buf, *desc)
        if crp.etype != errno.EBADMSG:
            _require_no_error(crp.etype, crp.error)
            return True
        if buf != before:
            raise WrongError("what does not verify was changed: plaintext has come out")
        return False

    def _run(self, sid: int, buf: Any, *desc: Cryptodesc) -> Cryptop:
        crp = Cryptop(sid, buf, desc, self._answers.put, CRYPTO_F_CBIMM)
        crp.ilen = len(buf)
        self._framework.dispatch(crp)
        self._await(crp)
        return crp

    def _await(self, request: Cryptop | Cryptkop) -> None:
        """Wait for one request; an answer to an earlier one is none to this."""
        begun = time.monotonic()
        deadline = self._deadline or begun + self.patience
        try:
            while self._answers.get(timeout=max(0.0, deadline - time.monotonic())) is not request:
                pass
        except queue.Empty:
            raise UnansweredError(f"no answer in {time.monotonic() - begun:.1f} s") from None

    # The end.

    def close(self) -> None:
        """Have the driver leave; what it keeps longer than our patience is taken from it."""
        self._caller.stop()
        self._framework.detach(self._hid, timeout=self.patience)
        self._framework.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pair(
    inis: tuple[Cryptoini, Cryptoini], iv: bytes, at: int, to: int, *, seal: bool
) -> list[Cryptodesc]:
    """Describe a message of additional data, text and tag, one after the other."""
    cipher, half = inis
    way, check = (CRD_F_ENCRYPT, 0) if seal else (0, CRD_F_VERIFY)
    return [
        Cryptodesc(at, to - at, 0, way | _OUTSIDE, alg=cipher.alg, iv=iv),
        Cryptodesc(0, at, to, check, alg=half.alg),
    ]


def _require_no_error(code: int, sentence: str) -> None:
    if code in {errno.EOPNOTSUPP, errno.E2BIG, errno.EFBIG}:
        raise RefusedError(sentence or errno.errorcode[code])
    if code:
        name = errno.errorcode.get(code, str(code))
        raise WrongError(f"ended with {name}{': ' if sentence else ''}{sentence}")


def _why(error: CryptoError) -> str:
    """Return a refusal's reason in the driver's words, without what it was asked for."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return "; ".join(str(reason) for reason in reasons.values())
    return error.strerror or type(error).__name__
