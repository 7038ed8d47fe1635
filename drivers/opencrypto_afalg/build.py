"""
From an algorithm's parameters to its transform; and a trial of it, which also tells its speed.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Final, Literal

from opencrypto import Alg, Cryptoini, KeySerial
from opencrypto.chain import Transform
from opencrypto.selftest import Answer, answers
from opencrypto.xform import FACTS, Kind
from opencrypto_afalg import ipsec
from opencrypto_afalg.catalogue import Served
from opencrypto_afalg.kernel import Kernel
from opencrypto_afalg.names import Form
from opencrypto_afalg.pieces import CounterCipher, PiecewiseMac
from opencrypto_afalg.sockets import (
    DEVICE_MOST,
    Descriptors,
    KernelRefused,
    KernelTransform,
    Key,
)
from opencrypto_afalg.transforms import Aead, Cipher, Mac

TRIAL: Final = 4096
"""Bytes of a trial."""


class WrongAnswer(KernelRefused):
    """The kernel's algorithm does not give its known answer, so nobody may have it."""


class Builder:
    """Makes transforms over one kernel's sockets."""

    def __init__(self, kernel: Kernel, descriptors: Descriptors) -> None:
        self._kernel = kernel
        self._descriptors = descriptors

    def socketed(
        self,
        served: Served,
        key: Callable[[], Key] | None,
        authsize: int = 0,
    ) -> KernelTransform:
        """Return the sockets of one name and key, none of them open yet."""
        most = DEVICE_MOST if served.device else 0
        return KernelTransform(self._kernel, self._descriptors, served.address, key, authsize, most)

    def build(
        self, served: Served, cri: Cryptoini, maclen: int
    ) -> tuple[Transform, KernelTransform]:
        """
        Return the transform of one algorithm of a session, and its sockets.

        Args:
            served: What serves it.
            cri: Its parameters. The key is read again whenever a socket is opened.
            maclen: For an authenticated cipher, its tag's length in bytes.
        """
        facts = FACTS[cri.alg]
        form = served.name.form
        serial = key_serial(cri)
        if serial is not None:
            return self._by_serial(served, cri, serial, maclen)
        size = cri.klen // 8
        salt = facts.salt if size in facts.salted else 0
        keeps_salt = form is Form.SALTED
        if keeps_salt and not salt:
            raise KernelRefused(f"{served.name.name} takes only keys with their nonce at the end")
        stop = size if keeps_salt else size - salt
        nonce = b"" if keeps_salt else bytes((cri.key or b"")[size - salt : size])

        def key() -> bytes | bytearray:
            held = cri.key or b""
            return held[:stop] if isinstance(held, (bytes, bytearray)) else bytes(held[:stop])

        if facts.kind is Kind.CIPHER:
            cipher = self.socketed(served, None if form is Form.NO_KEY else key)
            made = CounterCipher if form is Form.COUNTER else Cipher
            return made(cipher, form, nonce), cipher
        if facts.kind is Kind.AEAD:
            if keeps_salt:
                return self._ipsec(served, key, maclen)
            aead = self.socketed(served, key, maclen)
            return Aead(aead, form, nonce), aead
        if form in (Form.PREFIXED, Form.AROUND):
            plain = self.socketed(served, None)
            secret = bytes(cri.key or b"")
            if form is Form.PREFIXED:
                return PiecewiseMac(plain, facts.digest, secret), plain
            fill = _fill(size, "little" if facts.alg == Alg.MD5_KPDK else "big")
            return PiecewiseMac(plain, facts.digest, secret + fill, secret), plain
        # A keyed hash takes an empty key too; a plain one, or BLAKE2 without a key, takes none.
        keyed = facts.kind is Kind.MAC and (size > 0 or facts.alg not in _KEY_OPTIONAL)
        mac = self.socketed(served, key if keyed else None)
        return PiecewiseMac(mac, facts.digest), mac

    def _ipsec(
        self, served: Served, key: Callable[[], Key], maclen: int
    ) -> tuple[Transform, KernelTransform]:
        if served.name.name.startswith("rfc4543"):
            whole = self.socketed(served, key, ipsec.TAG)
            return ipsec.Gmac(whole, served.name.form), whole
        aead = self.socketed(served, key, maclen)
        return ipsec.Esp(aead, served.name.form), aead

    def _by_serial(
        self, served: Served, cri: Cryptoini, serial: KeySerial, maclen: int
    ) -> tuple[Transform, KernelTransform]:
        """As `build`, with a key of the kernel's keyring; tried at once, to refuse it in time."""
        facts, form = FACTS[cri.alg], served.name.form
        seen = (Form.PREFIXED, Form.AROUND, Form.NO_KEY, Form.SALTED)
        if len(serial) in facts.salted or form in seen:
            raise KernelRefused("it needs to see the key, which a serial number does not show")
        sockets = self.socketed(served, lambda: serial, maclen)
        try:
            self._descriptors.close(sockets.make())
        except OSError as error:
            raise KernelRefused(_no_serial(error), error.errno or errno.EIO) from None
        if facts.kind is Kind.CIPHER:
            return Cipher(sockets, form), sockets
        if facts.kind is Kind.AEAD:
            return Aead(sockets, form), sockets
        return PiecewiseMac(sockets, facts.digest), sockets

    def trial(self, served: Served, alg: int, size: int) -> int:
        """
        Try a name before its first session: its known answer, and how long `TRIAL` bytes take.

        The second is done with a key of `size` bytes that nobody has.

        Returns:
            Nanoseconds.

        Raises:
            KernelRefused: the name can be bound, but does not work.
            WrongAnswer: it answers wrongly.
        """
        esp = alg == Alg.AES_GCM_16 and served.name.form is Form.SALTED
        answer = ipsec.ANSWER if esp else answers().get(alg)
        if answer is not None:
            transform, sockets = self.build(served, Cryptoini(alg, answer.key), len(answer.mac))
            try:
                if not _right(transform, answer):
                    raise WrongAnswer(f"{served.name.name}: its known answer is wrong")
            finally:
                sockets.close()
        transform, sockets = self.build(served, Cryptoini(alg, os.urandom(size)), 16)
        try:
            return _time(transform, bytes(FACTS[alg].ivlen(size)), alg != Alg.AES_GMAC)
        finally:
            sockets.close()


def key_serial(cri: Cryptoini) -> KeySerial | None:
    """Return the serial number that stands for the key, if it does."""
    key: object = cri.key
    return key if isinstance(key, KeySerial) else None


def _no_serial(error: OSError) -> str:
    match error.errno:
        case errno.ENOPROTOOPT:
            return "this kernel takes no key by its serial number; Linux 6.2 and later may"
        case errno.ENOKEY | errno.EKEYREVOKED | errno.EKEYEXPIRED:
            return "there is no such key in the kernel's keyrings"
        case errno.EACCES | errno.EPERM:
            return "this process may not search for that key"
        case code:
            return f"the kernel does not take that key: {os.strerror(code or errno.EIO)}"


def _right(transform: Transform, answer: Answer) -> bool:
    data = bytearray(answer.input)
    parts = [memoryview(data)] if data else []
    if isinstance(transform, Cipher):
        transform.crypt(answer.iv, parts, True)
        return data == answer.output
    if isinstance(transform, Aead):
        tag = transform.seal(answer.iv, [memoryview(answer.aad)], parts, len(answer.mac))
        return data == answer.output and tag == answer.mac
    assert isinstance(transform, Mac)
    return transform.mac(parts)[: len(answer.mac)] == answer.mac


def _time(transform: Transform, iv: bytes, payload: bool) -> int:
    region = [memoryview(bytearray(TRIAL))] if payload else []
    aad = [memoryview(bytearray(8 if payload else TRIAL))]
    taken = 0
    for _ in range(2):  # the first opens the sockets
        start = time.perf_counter_ns()
        if isinstance(transform, Cipher):
            transform.crypt(iv, region, True)
        elif isinstance(transform, Aead):
            transform.seal(iv, aad, region, 16)
        elif isinstance(transform, Mac):
            transform.mac(region)
        taken = time.perf_counter_ns() - start
    return taken


def _fill(size: int, byteorder: Literal["little", "big"]) -> bytes:
    """Return what a hash of 64-byte blocks appends to a message of `size` bytes (RFC 1828)."""
    return b"\x80" + bytes(-(size + 9) % 64) + (size * 8).to_bytes(8, byteorder)


_KEY_OPTIONAL: Final = frozenset({Alg.BLAKE2B})
